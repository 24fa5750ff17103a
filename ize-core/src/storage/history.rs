//! The history of a path: of what it names, of what that replaced, and of what the path named before.

use std::collections::{HashMap, VecDeque};

use super::{Direction, FileSystemStorage, OpQuery, Result};
use crate::model::{Displaced, Entry, FileId, OpCode, OpId, OpType, RelPath, View};

/// How many operations of one file are held at a time.
const PAGE_OPS: usize = 32;
/// How many bindings of the entry are asked for at a time.
const PAGE_BINDINGS: usize = 256;

/// An iterator over the operations in a path's history, newest first.
///
/// It follows renames: the history of what the path names goes back to where that was created, under whatever name.
/// Where a rename replaced a file (how editors save), the past of the replaced file follows. Where the path was deleted
/// and made again, so does the past of what it named earlier. For a path that names nothing in the view, the history is
/// that of what it named last. For a folder it is the folder's own, without what lies in it.
///
/// It holds one page of operations per file that it is just reading. Made by
/// [`super::FileSystemStorageExt::file_history`].
#[derive(Debug)]
pub struct FileHistory<'a, S: ?Sized> {
    storage: &'a S,
    view: View,
    sources: Vec<Source>,
    /// Per file, up to where its operations belong to this history.
    known: HashMap<FileId, OpId>,
    last: Option<OpId>,
}

/// The operations of one file up to a moment, read page by page.
#[derive(Debug)]
struct Source {
    file: FileId,
    /// Where to ask for the next page.
    at: OpId,
    page: VecDeque<OpCode>,
}

impl Source {
    /// Returns the latest moment at which the next operation can be.
    fn bound(&self) -> OpId {
        self.page.front().map_or(self.at, |op| op.last_id)
    }

    fn fill<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<()> {
        let query = OpQuery {
            file: Some(self.file),
            direction: Direction::NewestFirst,
            max: PAGE_OPS,
            ..OpQuery::all(View { at: self.at, ..view })
        };
        self.page = storage.ops(&query)?.into();
        let is_last = self.page.len() < PAGE_OPS;
        self.at = self.page.back().filter(|_| !is_last).map_or(OpId::ZERO, |op| op.last_id.prev());
        Ok(())
    }
}

impl<'a, S: FileSystemStorage + ?Sized> FileHistory<'a, S> {
    /// Begins with everything that the path named up to the view's moment.
    pub(super) fn new(storage: &'a S, view: View, path: &RelPath) -> Result<Self> {
        let mut history = Self { storage, view, sources: Vec::new(), known: HashMap::new(), last: None };
        match entry_of(storage, view, path)? {
            Some(entry) => history.add_bindings(&entry)?,
            None if path.is_root() => history.add(FileId::ROOT, view.at),
            None => {}
        }
        Ok(history)
    }

    fn add_bindings(&mut self, entry: &Entry) -> Result<()> {
        let mut view = self.view;
        // Where the entry ceased to name the file at hand; the operation that did so belongs to its history.
        let mut until = view.at;
        loop {
            let page = self.storage.bindings(view, entry, PAGE_BINDINGS)?;
            for binding in &page {
                if let Some(file) = binding.file {
                    self.add(file, until);
                }
                until = binding.at;
            }
            if page.len() < PAGE_BINDINGS {
                return Ok(());
            }
            view.at = until.prev();
        }
    }

    /// Adds a file's operations up to a moment. Nothing older than that was returned yet.
    fn add(&mut self, file: FileId, until: OpId) {
        if self.known.get(&file).is_none_or(|known| *known < until) {
            self.known.insert(file, until);
            self.sources.retain(|source| source.file != file);
            self.sources.push(Source { file, at: until, page: VecDeque::new() });
        }
    }

    fn step(&mut self) -> Result<Option<OpCode>> {
        loop {
            self.sources.retain(|source| source.bound() > OpId::ZERO);
            let Some(newest) = self.sources.iter_mut().max_by_key(|source| source.bound()) else { return Ok(None) };
            let file = newest.file;
            let Some(op) = newest.page.pop_front() else {
                newest.fill(self.storage, self.view)?;
                continue;
            };
            match *op.op_type.change() {
                OpType::Rename { file: renamed, displaced: Displaced::Replaced(victim), .. } if renamed == file => {
                    self.add(victim, op.last_id);
                }
                _ => {}
            }
            // Two files can share an operation (a rename of one over the other): it comes once.
            if self.last != Some(op.last_id) {
                self.last = Some(op.last_id);
                return Ok(Some(op));
            }
        }
    }
}

impl<S: FileSystemStorage + ?Sized> Iterator for FileHistory<'_, S> {
    type Item = Result<OpCode>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.sources.clear();
        }
        step.transpose()
    }
}

/// Finds the entry that a path means: each folder on the way is what its name stands for in the view, or else what it
/// stood for last. `None` for the root, and where there never was such a folder.
fn entry_of<S: FileSystemStorage + ?Sized>(storage: &S, view: View, path: &RelPath) -> Result<Option<Entry>> {
    let Some((folder, name)) = path.split_last() else { return Ok(None) };
    let mut dir = FileId::ROOT;
    for name in folder.names() {
        let entry = Entry::new(dir, name);
        // The newest binding is to a file, or it is the end of one: of two neighbours at most one is empty.
        let bindings = storage.bindings(view, &entry, 2)?;
        let Some(found) = bindings.iter().find_map(|binding| binding.file) else { return Ok(None) };
        dir = found;
    }
    Ok(Some(Entry::new(dir, name)))
}
