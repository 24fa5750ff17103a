//! The tree as it was at one moment, read from a storage.
//!
//! A [`Snapshot`] holds nothing but a storage and a [`View`]: cloning it is cheap, and it reads only what it is asked for,
//! page by page. What it answers does not change, because a view's moment lies in the past; a snapshot of
//! [`View::latest`] is the exception and may be used only while nothing is committed.

mod mount;

use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use self::mount::OpenFolders;
use super::Result;
use crate::model::{FileId, FileKind, FileMetadata, Name, RelPath, View};
use crate::storage::{DirEntry, Extent, FileSystemStorage, Xattr};

/// How many entries or extents are asked of the storage at a time.
const PAGE: usize = 1000;

/// One moment of a tree: by path and by [`FileId`].
#[derive(Clone)]
pub struct Snapshot {
    storage: Arc<dyn FileSystemStorage>,
    view: View,
    folders: Arc<OpenFolders>,
}

impl Snapshot {
    /// Makes a snapshot of a view.
    pub fn new(storage: Arc<dyn FileSystemStorage>, view: View) -> Self {
        Self { storage, view, folders: Arc::default() }
    }

    /// Returns the moment.
    pub const fn view(&self) -> View {
        self.view
    }

    /// Returns the storage that it reads from.
    pub const fn storage(&self) -> &Arc<dyn FileSystemStorage> {
        &self.storage
    }

    /// Returns what a path names.
    ///
    /// # Errors
    /// `ENOENT` if there was no such file at that moment, `ENOTDIR` if a name on the way was no folder.
    pub fn resolve(&self, path: &RelPath) -> Result<FileId> {
        path.names().try_fold(FileId::ROOT, |dir, name| self.child(dir, &name))
    }

    /// Returns what an entry of a folder names.
    ///
    /// # Errors
    /// `ENOENT` if there was no such entry, `ENOTDIR` if `dir` was no folder.
    pub fn child(&self, dir: FileId, name: &Name) -> Result<FileId> {
        match self.entry(dir, name)? {
            Some(file) => Ok(file),
            None if self.metadata(dir)?.kind == FileKind::Directory => Err(Errno::NOENT.into()),
            None => Err(Errno::NOTDIR.into()),
        }
    }

    /// Returns what an entry of a folder names, or `None`.
    ///
    /// # Errors
    /// If history cannot be read.
    pub fn entry(&self, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        Ok(self.storage.entry(self.view, dir, name)?)
    }

    /// Returns a file's metadata.
    ///
    /// # Errors
    /// `ENOENT` if the file did not exist at that moment.
    pub fn metadata(&self, file: FileId) -> Result<FileMetadata> {
        Ok(self.storage.node(self.view, file)?.ok_or(Errno::NOENT)?)
    }

    /// Hands out all entries of a folder.
    ///
    /// # Errors
    /// What `take` answers; if history cannot be read.
    pub fn entries(&self, dir: FileId, take: &mut dyn FnMut(DirEntry) -> Result<()>) -> Result<()> {
        let mut after: Option<Name> = None;
        loop {
            let page = self.entries_after(dir, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.name.clone());
            page.into_iter().try_for_each(&mut *take)?;
        }
    }

    /// Returns the next at most `max` entries of a folder, behind `after`.
    ///
    /// # Errors
    /// If history cannot be read.
    pub fn entries_after(&self, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        Ok(self.storage.entries(self.view, dir, after, max)?)
    }

    /// Reads content into `buf` and returns how many bytes: fewer than asked only at the end of the file.
    ///
    /// # Errors
    /// If history cannot be read.
    pub fn read_at(&self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.storage.read(self.view, file, offset + done as u64, &mut buf[done..])? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// Returns the next at most `max` ranges of a file that hold data, at or behind `from`.
    ///
    /// # Errors
    /// If history cannot be read.
    pub fn extents(&self, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        Ok(self.storage.extents(self.view, file, from, max)?)
    }

    /// Returns a file's extended attributes, ordered by name.
    ///
    /// # Errors
    /// If history cannot be read.
    pub fn xattrs(&self, file: FileId) -> Result<Vec<Xattr>> {
        Ok(self.storage.xattrs(self.view, file)?)
    }

    /// Returns a symlink's target.
    ///
    /// # Errors
    /// `EINVAL` if it is no symlink.
    pub fn link_target(&self, file: FileId) -> Result<Vec<u8>> {
        let metadata = self.metadata(file)?;
        if metadata.kind != FileKind::Symlink {
            return Err(Errno::INVAL.into());
        }
        let mut target = vec![0; usize::try_from(metadata.size).map_err(|_| Errno::NAMETOOLONG)?];
        let read = self.read_at(file, 0, &mut target)?;
        target.truncate(read);
        Ok(target)
    }

    /// Hands out what a path names and everything below it, folders before what they hold.
    ///
    /// # Errors
    /// As [`Snapshot::resolve`]; what `take` answers.
    pub fn walk(
        &self,
        path: &RelPath,
        take: &mut dyn FnMut(&RelPath, FileId, &FileMetadata) -> Result<()>,
    ) -> Result<()> {
        let mut pending = vec![(path.clone(), self.resolve(path)?)];
        while let Some((path, file)) = pending.pop() {
            let metadata = self.metadata(file)?;
            take(&path, file, &metadata)?;
            if metadata.kind == FileKind::Directory {
                self.walk_folder(&path, file, &mut pending, take)?;
            }
        }
        Ok(())
    }

    fn walk_folder(
        &self,
        path: &RelPath,
        folder: FileId,
        pending: &mut Vec<(RelPath, FileId)>,
        take: &mut dyn FnMut(&RelPath, FileId, &FileMetadata) -> Result<()>,
    ) -> Result<()> {
        self.entries(folder, &mut |entry| {
            let path = path.join(&entry.name);
            if entry.kind == FileKind::Directory {
                pending.push((path, entry.file));
                return Ok(());
            }
            take(&path, entry.file, &self.metadata(entry.file)?)
        })
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("view", &self.view).finish_non_exhaustive()
    }
}
