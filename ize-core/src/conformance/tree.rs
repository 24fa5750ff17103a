//! The tree as a [`super::LogBuilder`] knows it: the newest metadata and names on one branch.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Entry, FileId, FileKind, FileMetadata, Name, Timestamp, XattrName};

/// The newest state of one branch.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<FileId, FileMetadata>,
    pub(super) entries: BTreeMap<Entry, FileId>,
    /// Where each folder was bound last. (For files it means little: they can have several names.)
    pub(super) parents: BTreeMap<FileId, FileId>,
    pub(super) xattrs: BTreeSet<(FileId, XattrName)>,
}

impl Tree {
    /// Makes the tree before the first operation.
    pub(super) fn new(now: Timestamp) -> Self {
        let root = new_metadata(FileKind::Directory, 0o755, now);
        Self {
            nodes: BTreeMap::from([(FileId::ROOT, root)]),
            entries: BTreeMap::new(),
            parents: BTreeMap::new(),
            xattrs: BTreeSet::new(),
        }
    }

    /// Returns a folder's entries.
    pub(super) fn children(&self, dir: FileId) -> impl Iterator<Item = (&Name, FileId)> {
        let first = Entry::new(dir, Name::new(&b"\x01"[..]).expect("the least name of all is a name"));
        let entries = self.entries.range(first..).take_while(move |(entry, _)| entry.dir == dir);
        entries.map(|(entry, file)| (&entry.name, *file))
    }

    /// Tells whether `dir` is `file` or lies below it.
    pub(super) fn is_below(&self, dir: FileId, file: FileId) -> bool {
        let mut at = Some(dir);
        while let Some(folder) = at {
            if folder == file {
                return true;
            }
            at = self.parents.get(&folder).copied();
        }
        false
    }
}

/// Makes the metadata of a new inode.
pub(super) fn new_metadata(kind: FileKind, mode: u32, now: Timestamp) -> FileMetadata {
    let nlink = if kind == FileKind::Directory { 2 } else { 1 };
    FileMetadata { kind, mode, uid: 1000, gid: 1000, size: 0, nlink, rdev: 0, atime: now, mtime: now, ctime: now }
}
