//! What a tree is, as text per path: in `working/` and in history.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ize_core::model::{ContentHash, FileId, FileKind, FileMetadata, Name, Timestamp, View};
use ize_core::storage::FileSystemStorage;

/// Everything that must be equal of one path, and the modification time, which of a folder says little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    text: String,
    mtime: Timestamp,
    is_folder: bool,
}

/// A tree by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<Vec<u8>, Described>);

impl Tree {
    /// Describes a folder of the host.
    pub(crate) fn of_host(folder: &Path) -> std::io::Result<Self> {
        let mut tree = Self::default();
        tree.add_host(folder, &[])?;
        Ok(tree)
    }

    fn add_host(&mut self, folder: &Path, path: &[u8]) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (path, about) = (join(path, entry.file_name().as_bytes()), entry.metadata()?);
            let kind = FileKind::from_type_bits(about.mode()).ok_or(std::io::ErrorKind::Unsupported)?;
            let (content, mut xattrs) = match kind {
                FileKind::File => (std::fs::read(entry.path())?, host_xattrs(&entry.path())),
                FileKind::Symlink => (std::fs::read_link(entry.path())?.as_os_str().as_bytes().to_vec(), Vec::new()),
                _ => (Vec::new(), host_xattrs(&entry.path())),
            };
            xattrs.sort();
            let metadata = FileMetadata {
                kind,
                mode: about.mode() & 0o7777,
                uid: about.uid(),
                gid: about.gid(),
                size: about.size(),
                nlink: u32::try_from(about.nlink()).unwrap_or(u32::MAX),
                rdev: about.rdev(),
                atime: Timestamp::default(),
                mtime: Timestamp::from_secs_nanos(about.mtime(), u32::try_from(about.mtime_nsec()).unwrap_or(0)),
                ctime: Timestamp::default(),
            };
            self.add(path.clone(), &metadata, &content, &xattrs);
            if kind == FileKind::Directory {
                self.add_host(&entry.path(), &path)?;
            }
        }
        Ok(())
    }

    /// Describes a moment of history.
    pub(crate) fn of_history(storage: &dyn FileSystemStorage, view: View) -> Result<Self, String> {
        let mut tree = Self::default();
        tree.add_history(storage, view, FileId::ROOT, &[]).map_err(|error| format!("history: {error}"))?;
        Ok(tree)
    }

    fn add_history(
        &mut self,
        storage: &dyn FileSystemStorage,
        view: View,
        dir: FileId,
        path: &[u8],
    ) -> ize_core::storage::Result<()> {
        let mut after: Option<Name> = None;
        loop {
            let page = storage.entries(view, dir, after.as_ref(), 64)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for entry in page {
                let path = join(path, entry.name.as_bytes());
                let Some(node) = storage.node(view, entry.file)? else { continue };
                let mut content = Vec::new();
                if matches!(node.kind, FileKind::File | FileKind::Symlink) {
                    content.resize(usize::try_from(node.size).unwrap_or(0), 0);
                    storage.read(view, entry.file, 0, &mut content)?;
                }
                let xattrs = storage.xattrs(view, entry.file)?;
                let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> =
                    xattrs.iter().map(|xattr| (xattr.name.as_bytes().to_vec(), xattr.value.to_vec())).collect();
                xattrs.sort();
                self.add(path.clone(), &node, &content, &xattrs);
                if node.kind == FileKind::Directory {
                    self.add_history(storage, view, entry.file, &path)?;
                }
            }
        }
    }

    fn add(&mut self, path: Vec<u8>, about: &FileMetadata, content: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) {
        let is_folder = about.kind == FileKind::Directory;
        let (size, links) = if is_folder { (0, 0) } else { (about.size, about.nlink) };
        let (kind, mode, uid, gid) = (about.kind, about.mode, about.uid, about.gid);
        let hash = ContentHash::of(content).to_string();
        let xattrs: Vec<_> = xattrs.iter().map(|(name, value)| (name.escape_ascii().to_string(), value)).collect();
        let text = format!("{kind} {mode:o} {uid}:{gid} links {links} size {size} {} {xattrs:?}", &hash[..12]);
        self.0.insert(path, Described { text, mtime: about.mtime, is_folder });
    }

    /// Tells whether two trees are the same but for the modification times of folders.
    pub(crate) fn is_state(&self, other: &Self) -> bool {
        let same = |(ours, theirs): (&Described, &Described)| {
            ours.text == theirs.text && (ours.is_folder || ours.mtime == theirs.mtime)
        };
        self.0.len() == other.0.len()
            && self.0.keys().eq(other.0.keys())
            && self.0.values().zip(other.0.values()).all(same)
    }

    /// Tells how two trees differ, for people.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let paths = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        let lines = paths.filter(|path| self.0.get(*path) != other.0.get(*path)).map(|path| {
            let told = |tree: &Self| {
                tree.0
                    .get(path)
                    .map_or("nothing".to_owned(), |one| format!("{} mtime {}", one.text, one.mtime.as_nanos()))
            };
            format!("  {}:\n    {}\n    {}\n", path.escape_ascii(), told(self), told(other))
        });
        lines.collect()
    }
}

fn host_xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::getxattr(path, name, &mut value[..]).unwrap_or(0);
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
