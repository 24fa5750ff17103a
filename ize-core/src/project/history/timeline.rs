//! Which files a path named, and until when: newest first, found as they are asked for.

use std::collections::{HashMap, VecDeque};

use crate::model::{Entry, FileId, Name, OpId, RelPath, View};
use crate::storage::{FileSystemStorage, Result};

/// How many bindings of an entry are asked for at a time.
const PAGE_BINDINGS: usize = 64;

/// A file that a path named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occupant {
    /// The file.
    pub(super) file: FileId,
    /// The operation by which it lost that path, or the view's moment.
    pub(super) until: OpId,
    /// It lost that path.
    pub(super) left: bool,
}

/// The occupants of a path. A folder on the way counts with its whole life up to when it lost its name, so that the
/// past of a file in a renamed folder is found.
#[derive(Debug)]
pub(super) struct Timeline {
    view: View,
    level: Level,
    /// Per file, up to when it was returned.
    known: HashMap<FileId, OpId>,
}

#[derive(Debug)]
enum Level {
    Root(Option<Occupant>),
    Entry { folders: Box<Timeline>, next_folder: Option<Occupant>, name: Name, open: Vec<Bindings> },
}

impl Timeline {
    pub(super) fn new<S: FileSystemStorage + ?Sized>(storage: &S, view: View, path: &RelPath) -> Result<Self> {
        let root = Level::Root(Some(Occupant { file: FileId::ROOT, until: view.at, left: false }));
        let mut timeline = Self { view, level: root, known: HashMap::new() };
        for name in path.names() {
            let next_folder = timeline.next(storage)?;
            let level = Level::Entry { folders: Box::new(timeline), next_folder, name, open: Vec::new() };
            timeline = Self { view, level, known: HashMap::new() };
        }
        Ok(timeline)
    }

    /// Returns the next occupant, the one that lost the path last first. A file comes again only for a later moment,
    /// which never happens within the order.
    pub(super) fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S) -> Result<Option<Occupant>> {
        while let Some(occupant) = self.level.next(storage, self.view)? {
            let is_new = self.known.get(&occupant.file).is_none_or(|until| *until < occupant.until);
            if is_new {
                self.known.insert(occupant.file, occupant.until);
                return Ok(Some(occupant));
            }
        }
        Ok(None)
    }
}

impl Level {
    fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<Occupant>> {
        let (folders, next_folder, name, open) = match self {
            Self::Root(root) => return Ok(root.take()),
            Self::Entry { folders, next_folder, name, open } => (folders, next_folder, name, open),
        };
        loop {
            let best = open.iter().enumerate().filter_map(|(at, bindings)| Some((bindings.peek()?.until, at))).max();
            if let Some(folder) = next_folder.take_if(|folder| best.is_none_or(|(until, _)| until < folder.until)) {
                // A folder may hold an occupant that is newer than the best so far.
                let entry = Entry::new(folder.file, name.clone());
                let mut bindings = Bindings::new(entry, folder);
                bindings.fill(storage, view)?;
                open.push(bindings);
                *next_folder = folders.next(storage)?;
                continue;
            }
            let Some((_, at)) = best else { return Ok(None) };
            let occupant = open[at].next(storage, view)?;
            open.retain(|bindings| bindings.peek().is_some());
            return Ok(occupant);
        }
    }
}

/// The occupants of one entry of one folder, read page by page. Between calls the next one is at hand, or there is none.
#[derive(Debug)]
struct Bindings {
    entry: Entry,
    ready: VecDeque<Occupant>,
    /// Until when the next binding that is read holds.
    until: OpId,
    left: bool,
    /// Where to ask for the next page.
    at: OpId,
    more: bool,
}

impl Bindings {
    fn new(entry: Entry, folder: Occupant) -> Self {
        let Occupant { until, left, .. } = folder;
        Self { entry, ready: VecDeque::new(), until, left, at: until, more: true }
    }

    fn peek(&self) -> Option<&Occupant> {
        self.ready.front()
    }

    fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<Occupant>> {
        let occupant = self.ready.pop_front();
        self.fill(storage, view)?;
        Ok(occupant)
    }

    fn fill<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<()> {
        while self.ready.is_empty() && self.more {
            let page = storage.bindings(View { at: self.at, ..view }, &self.entry, PAGE_BINDINGS)?;
            for binding in &page {
                if let Some(file) = binding.file {
                    self.ready.push_back(Occupant { file, until: self.until, left: self.left });
                }
                self.until = binding.at;
                self.left = true;
            }
            self.at = self.until.prev();
            self.more = page.len() == PAGE_BINDINGS && self.at > OpId::ZERO;
        }
        Ok(())
    }
}
