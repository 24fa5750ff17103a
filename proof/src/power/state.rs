//! What a worker's folder holds: names, kinds, modes and content.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder { mode: u32 },
    File { mode: u32, content: Vec<u8> },
}

/// All of them, by path below the worker's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State(pub(super) BTreeMap<PathBuf, Entry>);

impl State {
    /// Reads what is there.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut state = Self::default();
        if folder.exists() {
            state.add(folder, Path::new(""))?;
        }
        Ok(state)
    }

    fn add(&mut self, folder: &Path, below: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, metadata) = (below.join(entry.file_name()), entry.metadata()?);
            let mode = metadata.mode() & 0o7777;
            if metadata.is_dir() {
                self.0.insert(path.clone(), Entry::Folder { mode });
                self.add(&entry.path(), &path)?;
            } else {
                self.0.insert(path, Entry::File { mode, content: fs::read(entry.path())? });
            }
        }
        Ok(())
    }

    /// Tells how two states differ, for people.
    pub(super) fn difference(&self, other: &Self) -> String {
        let mut lines = Vec::new();
        for path in self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path))) {
            let (ours, theirs) = (self.0.get(path), other.0.get(path));
            if ours != theirs {
                let path = path.display();
                lines.push(format!("{path}: {} against {}{}", told(ours), told(theirs), first(ours, theirs)));
            }
        }
        lines.join("; ")
    }
}

fn told(entry: Option<&Entry>) -> String {
    match entry {
        None => "nothing".to_owned(),
        Some(Entry::Folder { mode }) => format!("a folder ({mode:o})"),
        Some(Entry::File { mode, content }) => format!("{} bytes ({mode:o})", content.len()),
    }
}

fn first(ours: Option<&Entry>, theirs: Option<&Entry>) -> String {
    let (Some(Entry::File { content: ours, .. }), Some(Entry::File { content: theirs, .. })) = (ours, theirs) else {
        return String::new();
    };
    let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
    at.map_or(String::new(), |at| format!(", first other at byte {at}"))
}
