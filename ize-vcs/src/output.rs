//! The tree that a channel holds, as Pijul itself would write it into a working copy: conflicts included.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use ize_core::model::ContentHash;
use ize_core::storage::Result;
use libpijul::Conflict;
use libpijul::output::output_repository_no_pending;
use libpijul::pristine::{Inode, InodeMetadata};
use libpijul::working_copy::{WorkingCopy, WorkingCopyRead};
use parking_lot::Mutex;

use crate::error::{OrPijul, failed};
use crate::follower::SALT;
use crate::layout::Layout;
use crate::repository::{Channel, Repository, Txn};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Whether it is a folder.
    pub(crate) is_dir: bool,
    /// The exec bit.
    pub(crate) exec: bool,
    /// How long the content is, in bytes.
    pub(crate) size: u64,
    /// The content's hash.
    pub(crate) hash: ContentHash,
    /// Where it lies among the contents.
    offset: u64,
}

/// A tree that was written out. Its contents lie in a temporary file.
pub(crate) struct Output {
    /// What is at each path.
    pub(crate) items: BTreeMap<String, Item>,
    /// Paths in conflict.
    pub(crate) conflicts: BTreeSet<String>,
    contents: File,
}

impl Output {
    /// Has the library write out what lies at and below a path of a channel, all if it is empty. The table of the working
    /// copy then is that of the channel, as far as that goes.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub(crate) fn of(
        repository: &Repository,
        layout: &Layout,
        (txn, channel): (&Txn, &Channel),
        path: &str,
    ) -> Result<Self> {
        let contents =
            tempfile::tempfile_in(layout.ours()).map_err(|error| failed("making a temporary file", error))?;
        let spool = Spool(Arc::new(Mutex::new(Spooled { items: BTreeMap::new(), contents, end: 0 })));
        let conflicts =
            output_repository_no_pending(&spool, &repository.changes, txn, channel, path, true, None, 1, SALT)
                .or_pijul("writing out the repository's tree")?;
        let mut spooled = spool.0.lock();
        let items = std::mem::take(&mut spooled.items);
        let contents = spooled.contents.try_clone().map_err(|error| failed("opening a temporary file", error))?;
        Ok(Self { items, conflicts: conflicts.iter().map(path_of).collect(), contents })
    }

    /// Returns a file's content.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn content(&self, item: &Item) -> Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(item.size).unwrap_or(usize::MAX)];
        let read = self.contents.read_exact_at(&mut bytes, item.offset);
        read.map_err(|error| failed("reading a temporary file", error))?;
        Ok(bytes.into())
    }
}

fn path_of(conflict: &Conflict) -> String {
    match conflict {
        Conflict::Name { path, .. }
        | Conflict::ZombieFile { path, .. }
        | Conflict::MultipleNames { path, .. }
        | Conflict::Zombie { path, .. }
        | Conflict::Cyclic { path, .. }
        | Conflict::Order { path, .. } => path.clone(),
    }
}

/// A working copy that collects what is written to it.
#[derive(Clone)]
struct Spool(Arc<Mutex<Spooled>>);

struct Spooled {
    items: BTreeMap<String, Item>,
    contents: File,
    end: u64,
}

/// The content of one file on its way.
struct SpoolWriter {
    spool: Spool,
    path: String,
    content: Vec<u8>,
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Is called once, when all is written.
    fn flush(&mut self) -> std::io::Result<()> {
        let mut spooled = self.spool.0.lock();
        let (offset, size) = (spooled.end, self.content.len() as u64);
        spooled.contents.write_all_at(&self.content, offset)?;
        spooled.end += size;
        let hash = ContentHash::of(&self.content);
        spooled.items.insert(self.path.clone(), Item { is_dir: false, exec: false, size, hash, offset });
        Ok(())
    }
}

impl WorkingCopyRead for Spool {
    type Error = Error;

    fn file_metadata(&self, path: &str) -> Result<InodeMetadata, Error> {
        let spooled = self.0.lock();
        let item = spooled.items.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(InodeMetadata::new(if item.exec { 0o100 } else { 0 }, item.is_dir))
    }

    /// Nothing is there before it is written.
    fn read_file(&self, _path: &str, _buffer: &mut Vec<u8>) -> Result<(), Error> {
        Err(ErrorKind::NotFound.into())
    }

    fn modified_time(&self, _path: &str) -> Result<SystemTime, Error> {
        Err(ErrorKind::NotFound.into())
    }
}

impl WorkingCopy for Spool {
    type Writer = SpoolWriter;

    fn create_dir_all(&self, path: &str) -> Result<(), Error> {
        let mut spooled = self.0.lock();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]).filter(|folder| !folder.is_empty()) {
            let hash = ContentHash::of(&[]);
            let folder_item = Item { is_dir: true, exec: true, size: 0, hash, offset: 0 };
            spooled.items.entry(folder.to_owned()).or_insert(folder_item);
        }
        Ok(())
    }

    /// What the table names and the channel does not hold was never written here.
    fn remove_path(&self, _path: &str, _below: bool) -> Result<(), Error> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let mut spooled = self.0.lock();
        let is_moved =
            |path: &str| path.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let moved: Vec<String> = spooled.items.keys().filter(|path| is_moved(path)).cloned().collect();
        for path in moved {
            if let Some(item) = spooled.items.remove(&path) {
                spooled.items.insert(format!("{to}{}", &path[from.len()..]), item);
            }
        }
        Ok(())
    }

    fn set_permissions(&self, path: &str, permissions: u16) -> Result<(), Error> {
        if let Some(item) = self.0.lock().items.get_mut(path) {
            item.exec = permissions & 0o100 != 0;
        }
        Ok(())
    }

    fn write_file(&self, path: &str, _inode: Inode) -> Result<SpoolWriter, Error> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.create_dir_all(folder)?;
        }
        Ok(SpoolWriter { spool: self.clone(), path: path.to_owned(), content: Vec::new() })
    }
}
