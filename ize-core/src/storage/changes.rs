//! What differs between two views.

use super::walk::FolderPages;
use super::{FileSystemStorage, OpQuery, Result, WalkEntry};
use crate::model::{FileId, FileKind, FileMetadata, RelPath, View};

/// How much of each of two contents is held while they are compared.
const COMPARED_BYTES: usize = 64 * 1024;

/// One path at which two views differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: RelPath,
    /// What was there in the first view.
    pub before: Option<WalkEntry>,
    /// What is there in the second view.
    pub after: Option<WalkEntry>,
    /// Content differs: bytes, a symlink's target, a device number, or the kind itself.
    pub content: bool,
    /// Permission bits, owner or group differ.
    pub attributes: bool,
    /// Modification times differ. (Access times and change times are never compared.)
    pub times: bool,
    /// Extended attributes differ.
    pub xattrs: bool,
}

impl Change {
    /// Tells whether nothing is there in one of the views.
    pub fn is_added_or_removed(&self) -> bool {
        self.before.is_some() != self.after.is_some()
    }

    fn differs(&self) -> bool {
        self.is_added_or_removed() || self.content || self.attributes || self.times || self.xattrs
    }
}

/// An iterator over the paths at which two views differ, each folder before what it holds. Content is compared as a
/// stream, and only where the log cannot tell that it is the same. Made by [`super::FileSystemStorageExt::changes`].
#[derive(Debug)]
pub struct Changes<'a, S: ?Sized> {
    storage: &'a S,
    before: View,
    after: View,
    first: Option<Sides>,
    folders: Vec<Folder>,
}

/// A folder that is being compared: first what it holds in the second view, then what only the first view has.
#[derive(Debug)]
struct Folder {
    before: Option<FileId>,
    after: Option<FileId>,
    pages: FolderPages,
    only_before: bool,
}

impl Folder {
    fn new(path: RelPath, before: Option<FileId>, after: Option<FileId>) -> Option<Self> {
        let dir = after.or(before)?;
        Some(Self { before, after, pages: FolderPages::new(path, dir), only_before: after.is_none() })
    }

    /// Goes on to what only the first view has; `false` if that is done or there is nothing.
    fn turn(&mut self) -> bool {
        match self.before {
            Some(before) if !self.only_before => {
                self.pages = FolderPages::new(self.pages.path.clone(), before);
                self.only_before = true;
                true
            }
            _ => false,
        }
    }
}

type Sides = (Option<WalkEntry>, Option<WalkEntry>);

impl<'a, S: FileSystemStorage + ?Sized> Changes<'a, S> {
    /// Begins with the two sides of a path.
    pub(super) fn new(storage: &'a S, before: View, after: View, first: Sides) -> Self {
        Self { storage, before, after, first: Some(first), folders: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<Change>> {
        while let Some(sides) = self.next_sides()? {
            let Some(path) = sides.1.as_ref().or(sides.0.as_ref()).map(|side| side.path.clone()) else { continue };
            let folder = |side: &Option<WalkEntry>| {
                side.as_ref().filter(|side| side.metadata.kind == FileKind::Directory).map(|side| side.file)
            };
            self.folders.extend(Folder::new(path.clone(), folder(&sides.0), folder(&sides.1)));
            let change = self.compare(path, sides)?;
            if change.differs() {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn next_sides(&mut self) -> Result<Option<Sides>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(folder) = self.folders.last_mut() {
            let view = if folder.only_before { self.before } else { self.after };
            let Some(entry) = folder.pages.next(self.storage, view)? else {
                if !folder.turn() {
                    self.folders.pop();
                }
                continue;
            };
            let path = folder.pages.path.join(&entry.name);
            let (here, there) = if folder.only_before {
                (self.before, folder.after.map(|dir| (self.after, dir)))
            } else {
                (self.after, folder.before.map(|dir| (self.before, dir)))
            };
            let only_before = folder.only_before;
            let other = match there {
                Some((view, dir)) => self.storage.entry(view, dir, &entry.name)?.map(|file| (view, file)),
                None => None,
            };
            if only_before && other.is_some() {
                continue; // It was met when the second view's entries were walked.
            }
            let this = side(self.storage, here, path.clone(), entry.file)?;
            let other = match other {
                Some((view, file)) => side(self.storage, view, path, file)?,
                None => None,
            };
            return Ok(Some(if only_before { (this, None) } else { (other, this) }));
        }
        Ok(None)
    }

    fn compare(&self, path: RelPath, (before, after): Sides) -> Result<Change> {
        let mut change = Change { path, before, after, content: false, attributes: false, times: false, xattrs: false };
        if let (Some(before), Some(after)) = (&change.before, &change.after) {
            let (old, new) = (&before.metadata, &after.metadata);
            change.attributes = (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid);
            change.times = old.mtime != new.mtime;
            if !self.is_untouched(before.file, after.file)? {
                change.content = self.content_differs((before.file, old), (after.file, new))?;
                change.xattrs =
                    self.storage.xattrs(self.before, before.file)? != self.storage.xattrs(self.after, after.file)?;
            }
        }
        Ok(change)
    }

    /// Tells whether the log shows that content and extended attributes are the same.
    fn is_untouched(&self, before: FileId, after: FileId) -> Result<bool> {
        if before != after || self.before.branch != self.after.branch {
            return Ok(false);
        }
        let (older, newer) =
            if self.before.at <= self.after.at { (self.before, self.after) } else { (self.after, self.before) };
        let query = OpQuery { since: older.at, file: Some(before), max: 1, ..OpQuery::all(newer) };
        Ok(self.storage.ops(&query)?.is_empty())
    }

    fn content_differs(&self, old: (FileId, &FileMetadata), new: (FileId, &FileMetadata)) -> Result<bool> {
        let ((old_file, old), (new_file, new)) = (old, new);
        if old.kind != new.kind || old.rdev != new.rdev {
            return Ok(true);
        }
        match old.kind {
            FileKind::File | FileKind::Symlink if old.size != new.size => Ok(true),
            FileKind::File | FileKind::Symlink => self.bytes_differ(old_file, new_file, old.size),
            _ => Ok(false),
        }
    }

    /// Compares where at least one side has data; common holes are passed over.
    fn bytes_differ(&self, old: FileId, new: FileId, size: u64) -> Result<bool> {
        let (mut old_buf, mut new_buf) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
        let mut offset = 0;
        while let Some(at) = self.next_data(old, new, offset)?.filter(|at| *at < size) {
            let old_len = self.storage.read(self.before, old, at, &mut old_buf)?;
            let new_len = self.storage.read(self.after, new, at, &mut new_buf)?;
            if old_buf[..old_len] != new_buf[..new_len] {
                return Ok(true);
            }
            if old_len == 0 {
                break;
            }
            offset = at + old_len as u64;
        }
        Ok(false)
    }

    fn next_data(&self, old: FileId, new: FileId, from: u64) -> Result<Option<u64>> {
        let old = self.storage.extents(self.before, old, from, 1)?;
        let new = self.storage.extents(self.after, new, from, 1)?;
        Ok(old.iter().chain(&new).map(|extent| extent.offset).min())
    }
}

impl<S: FileSystemStorage + ?Sized> Iterator for Changes<'_, S> {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.folders.clear();
        }
        step.transpose()
    }
}

/// Describes what a path names in a view.
pub(super) fn side<S: FileSystemStorage + ?Sized>(
    storage: &S,
    view: View,
    path: RelPath,
    file: FileId,
) -> Result<Option<WalkEntry>> {
    Ok(storage.node(view, file)?.map(|metadata| WalkEntry { path, file, metadata }))
}
