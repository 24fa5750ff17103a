//! Everything at and below a path, one page of a folder at a time.

use std::collections::VecDeque;

use super::{DirEntry, FileSystemStorage, Result};
use crate::model::{FileId, FileKind, FileMetadata, Name, RelPath, View};

/// How many entries of one folder are held at a time.
pub(super) const PAGE_ENTRIES: usize = 256;

/// What [`Walk`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// Its path from the project's root.
    pub path: RelPath,
    /// The file.
    pub file: FileId,
    /// Its metadata in the view.
    pub metadata: FileMetadata,
}

/// An iterator over a path and everything below it: each folder before what it holds, files with several names once
/// per name. It holds one page of entries per level of depth. Made by [`super::FileSystemStorageExt::walk`].
#[derive(Debug)]
pub struct Walk<'a, S: ?Sized> {
    storage: &'a S,
    view: View,
    first: Option<WalkEntry>,
    folders: Vec<FolderPages>,
}

impl<'a, S: FileSystemStorage + ?Sized> Walk<'a, S> {
    /// Begins at `first`.
    pub(super) fn new(storage: &'a S, view: View, first: Option<WalkEntry>) -> Self {
        Self { storage, view, first, folders: Vec::new() }
    }

    /// Leaves out what lies below the folder that was returned last.
    pub fn skip_folder(&mut self) {
        if self.folders.last().is_some_and(FolderPages::is_untouched) {
            self.folders.pop();
        }
    }

    fn enter(&mut self, entry: &WalkEntry) {
        if entry.metadata.kind == FileKind::Directory {
            self.folders.push(FolderPages::new(entry.path.clone(), entry.file));
        }
    }

    fn step(&mut self) -> Result<Option<WalkEntry>> {
        if let Some(first) = self.first.take() {
            self.enter(&first);
            return Ok(Some(first));
        }
        while let Some(folder) = self.folders.last_mut() {
            let Some(entry) = folder.next(self.storage, self.view)? else {
                self.folders.pop();
                continue;
            };
            let path = folder.path.join(&entry.name);
            let Some(metadata) = self.storage.node(self.view, entry.file)? else { continue };
            let found = WalkEntry { path, file: entry.file, metadata };
            self.enter(&found);
            return Ok(Some(found));
        }
        Ok(None)
    }
}

impl<S: FileSystemStorage + ?Sized> Iterator for Walk<'_, S> {
    type Item = Result<WalkEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.folders.clear();
        }
        step.transpose()
    }
}

/// The entries of one folder, read page by page.
#[derive(Debug)]
pub(super) struct FolderPages {
    pub(super) path: RelPath,
    dir: FileId,
    page: VecDeque<DirEntry>,
    after: Option<Name>,
    more: bool,
}

impl FolderPages {
    pub(super) fn new(path: RelPath, dir: FileId) -> Self {
        Self { path, dir, page: VecDeque::new(), after: None, more: true }
    }

    fn is_untouched(&self) -> bool {
        self.more && self.after.is_none() && self.page.is_empty()
    }

    pub(super) fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<DirEntry>> {
        if self.page.is_empty() && self.more {
            self.page = storage.entries(view, self.dir, self.after.as_ref(), PAGE_ENTRIES)?.into();
            self.more = self.page.len() == PAGE_ENTRIES;
            if let Some(last) = self.page.back() {
                self.after = Some(last.name.clone());
            }
        }
        Ok(self.page.pop_front())
    }
}
