//! Where the operations of a history come from, newest first: the whole log, what concerns a folder, or some files.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::timeline::{Occupant, Timeline};
use crate::model::{Displaced, Entry, FileId, FileKind, OpCode, OpId, OpType, RelPath, View};
use crate::storage::{Direction, FileSystemStorage, OpQuery, Result};

/// How many operations of the log are held at a time.
const PAGE_LOG: usize = 256;
/// How many operations of one file are held at a time.
const PAGE_FILE: usize = 32;
/// The most folders that one path is followed through.
const FOLDERS_MAX: usize = 10_000;
/// How many answers about folders are kept.
const CACHE_MAX: usize = 10_000;

/// Where something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its path right after the operation; right before it for a deletion.
    pub(super) path: RelPath,
    /// The old path of a rename.
    pub(super) from: Option<RelPath>,
}

/// Operations, newest first.
pub(super) struct Source {
    storage: Arc<dyn FileSystemStorage>,
    view: View,
    path: RelPath,
    which: Which,
    paths: HashMap<FileId, Option<RelPath>>,
    /// The last operation renamed a folder: what was known about paths does not hold before it.
    stale: bool,
}

#[derive(Debug)]
enum Which {
    All(Stream),
    Folder { log: Stream, inside: Inside },
    Files(Files),
}

impl Source {
    /// Begins with the history of a path; `None` if nothing ever was there.
    pub(super) fn new(storage: Arc<dyn FileSystemStorage>, view: View, path: &RelPath) -> Result<Option<Self>> {
        let which = if path.is_root() {
            Which::All(Stream::new(None, view.at))
        } else {
            let mut timeline = Timeline::new(storage.as_ref(), view, path)?;
            let Some(newest) = timeline.next(storage.as_ref())? else { return Ok(None) };
            if is_folder(storage.as_ref(), view, newest)? {
                let inside = Inside::new(storage.as_ref(), newest, timeline)?;
                Which::Folder { log: Stream::new(None, view.at), inside }
            } else {
                Which::Files(Files::new(newest, timeline))
            }
        };
        Ok(Some(Self { storage, view, path: path.clone(), which, paths: HashMap::new(), stale: false }))
    }

    pub(super) fn next(&mut self) -> Result<Option<OpCode>> {
        let storage = self.storage.as_ref();
        loop {
            if std::mem::take(&mut self.stale) {
                self.paths.clear();
                if let Which::Folder { inside, .. } = &mut self.which {
                    inside.then.clear();
                }
            }
            let op = match &mut self.which {
                Which::All(log) | Which::Folder { log, .. } => log.next(storage, self.view)?,
                Which::Files(files) => files.next(storage, self.view)?,
            };
            let Some(op) = op else { return Ok(None) };
            self.stale = match self.which {
                Which::Files(_) => true,
                _ => renames_folder(&op),
            };
            let concerns = match &mut self.which {
                Which::Folder { inside, .. } => inside.concerns(storage, self.view, &op)?,
                Which::All(_) | Which::Files(_) => true,
            };
            if concerns {
                return Ok(Some(op));
            }
        }
    }

    /// Finds where the operation that was returned last happened.
    pub(super) fn place(&mut self, op: &OpCode) -> Result<Place> {
        let view = View { at: op.last_id, ..self.view };
        let from = match op.op_type.change() {
            OpType::Rename { from, .. } => self.path_of_entry(view, from)?,
            _ => None,
        };
        let path = match op.op_type.entry() {
            Some(entry) => self.path_of_entry(view, entry)?,
            None => self.path_of_file(view, op.op_type.file())?,
        };
        let path = path.unwrap_or_else(|| RelPath::new(op.op_type.file().to_string()).unwrap_or_default());
        Ok(Place { path, from })
    }

    /// Prefers the path that was asked about where a file has several.
    fn path_of_file(&mut self, view: View, file: FileId) -> Result<Option<RelPath>> {
        if file == FileId::ROOT {
            return Ok(Some(RelPath::root()));
        }
        let mut first = None;
        for entry in self.storage.names(view, file)? {
            let path = self.path_of_entry(view, &entry)?;
            if path.as_ref() == Some(&self.path) {
                return Ok(path);
            }
            first = first.or(path);
        }
        Ok(first)
    }

    fn path_of_entry(&mut self, view: View, entry: &Entry) -> Result<Option<RelPath>> {
        Ok(self.path_of_folder(view, entry.dir)?.map(|folder| folder.join(&entry.name)))
    }

    fn path_of_folder(&mut self, view: View, folder: FileId) -> Result<Option<RelPath>> {
        let mut names = Vec::new();
        let mut at = folder;
        let base = loop {
            if at == FileId::ROOT {
                break RelPath::root();
            }
            if let Some(known) = self.paths.get(&at) {
                match known {
                    Some(path) => break path.clone(),
                    None => return Ok(None),
                }
            }
            match self.storage.names(view, at)?.into_iter().next() {
                Some(entry) => {
                    names.push(entry.name);
                    at = entry.dir;
                }
                None => return Ok(None),
            }
        };
        let path = names.iter().rev().fold(base, |path, name| path.join(name));
        if self.paths.len() >= CACHE_MAX {
            self.paths.clear();
        }
        self.paths.insert(folder, Some(path.clone()));
        Ok(Some(path))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("view", &self.view).field("path", &self.path).finish_non_exhaustive()
    }
}

fn renames_folder(op: &OpCode) -> bool {
    matches!(op.op_type.change(), OpType::Rename { .. })
        && op.touched.iter().any(|touched| {
            let is_moved = Some(touched.file) == op.op_type.displaced_file() || touched.file == op.op_type.file();
            is_moved && touched.metadata.kind == FileKind::Directory
        })
}

fn is_folder<S: FileSystemStorage + ?Sized>(storage: &S, view: View, occupant: Occupant) -> Result<bool> {
    let at = |at| storage.node(View { at, ..view }, occupant.file);
    // The operation until which it was there may have removed it.
    let metadata = match at(occupant.until)? {
        Some(metadata) => Some(metadata),
        None => at(occupant.until.prev())?,
    };
    Ok(metadata.is_some_and(|metadata| metadata.kind == FileKind::Directory))
}

/// Operations of the log, or of one file, read page by page.
#[derive(Debug)]
pub(super) struct Stream {
    file: Option<FileId>,
    /// Where to ask for the next page.
    at: OpId,
    page: VecDeque<OpCode>,
}

impl Stream {
    pub(super) const fn new(file: Option<FileId>, at: OpId) -> Self {
        Self { file, at, page: VecDeque::new() }
    }

    /// Returns the latest moment at which the next operation can be.
    fn bound(&self) -> OpId {
        self.page.front().map_or(self.at, |op| op.last_id)
    }

    pub(super) fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<OpCode>> {
        if self.page.is_empty() && self.at > OpId::ZERO {
            let max = if self.file.is_some() { PAGE_FILE } else { PAGE_LOG };
            let query = OpQuery {
                file: self.file,
                direction: Direction::NewestFirst,
                max,
                ..OpQuery::all(View { at: self.at, ..view })
            };
            self.page = storage.ops(&query)?.into();
            let is_last = self.page.len() < max;
            self.at = self.page.back().filter(|_| !is_last).map_or(OpId::ZERO, |op| op.last_id.prev());
        }
        Ok(self.page.pop_front())
    }
}

/// The operations of all files that a path named, and of those that were replaced when they were saved.
#[derive(Debug)]
struct Files {
    streams: Vec<Stream>,
    timeline: Timeline,
    next_occupant: Option<Occupant>,
    /// Per file, up to where its operations belong to this history.
    known: HashMap<FileId, OpId>,
    /// The operations by which files left the path: what they replaced elsewhere is not this history.
    left: HashMap<FileId, OpId>,
    last: Option<OpId>,
}

impl Files {
    fn new(newest: Occupant, timeline: Timeline) -> Self {
        Self {
            streams: Vec::new(),
            timeline,
            next_occupant: Some(newest),
            known: HashMap::new(),
            left: HashMap::new(),
            last: None,
        }
    }

    fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<OpCode>> {
        loop {
            let best = self.streams.iter().enumerate().map(|(at, stream)| (stream.bound(), at)).max();
            if let Some(occupant) = self.next_occupant.take_if(|next| best.is_none_or(|(at, _)| at <= next.until)) {
                self.add(occupant);
                self.next_occupant = self.timeline.next(storage)?;
                continue;
            }
            let Some((_, at)) = best else { return Ok(None) };
            let Some(op) = self.streams[at].next(storage, view)? else {
                self.streams.swap_remove(at);
                continue;
            };
            if let OpType::Rename { file, displaced: Displaced::Replaced(victim), .. } = *op.op_type.change()
                && self.left.get(&file) != Some(&op.last_id)
            {
                self.add(Occupant { file: victim, until: op.last_id, left: true });
            }
            // Two files can share an operation (a rename of one over the other): it comes once.
            if self.last.is_none_or(|last| op.last_id < last) {
                self.last = Some(op.last_id);
                return Ok(Some(op));
            }
        }
    }

    fn add(&mut self, occupant: Occupant) {
        let Occupant { file, until, left } = occupant;
        if self.known.get(&file).is_none_or(|known| *known < until) {
            if left {
                self.left.insert(file, until);
            }
            self.known.insert(file, until);
            self.streams.retain(|stream| stream.file != Some(file));
            self.streams.push(Stream::new(Some(file), until));
        }
    }
}

/// Tells what concerns a folder: what happened in it at the time, and what happened earlier to what is in it now.
#[derive(Debug)]
struct Inside {
    /// What the path named, and until when.
    occupants: HashMap<FileId, OpId>,
    /// Folders, at the moment of the walk.
    then: HashMap<FileId, bool>,
    /// Files, at the moment of the view.
    now: HashMap<FileId, bool>,
}

impl Inside {
    fn new<S: FileSystemStorage + ?Sized>(storage: &S, newest: Occupant, mut timeline: Timeline) -> Result<Self> {
        let mut occupants = HashMap::from([(newest.file, newest.until)]);
        while let Some(occupant) = timeline.next(storage)? {
            occupants.entry(occupant.file).or_insert(occupant.until);
            if occupants.len() >= FOLDERS_MAX {
                break;
            }
        }
        Ok(Self { occupants, then: HashMap::new(), now: HashMap::new() })
    }

    fn concerns<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View, op: &OpCode) -> Result<bool> {
        let file = op.op_type.file();
        if self.is_occupant(file, op.last_id) {
            return Ok(true);
        }
        let then = View { at: op.last_id, ..view };
        let mut folders: Vec<FileId> = op.op_type.entry().map(|entry| entry.dir).into_iter().collect();
        match op.op_type.change() {
            OpType::Rename { from, .. } => folders.push(from.dir),
            change if !change.is_namespace() => {
                folders.extend(storage.names(then, file)?.into_iter().map(|entry| entry.dir));
            }
            _ => {}
        }
        for folder in folders {
            if self.was_inside(storage, then, folder)? {
                return Ok(true);
            }
        }
        self.is_inside_now(storage, view, file)
    }

    fn is_occupant(&self, file: FileId, at: OpId) -> bool {
        self.occupants.get(&file).is_some_and(|until| at <= *until)
    }

    /// Tells whether a folder was the folder in question, or below it.
    fn was_inside<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, then: View, folder: FileId) -> Result<bool> {
        let mut passed = Vec::new();
        let mut at = folder;
        let inside = loop {
            if self.is_occupant(at, then.at) {
                break true;
            }
            if at == FileId::ROOT {
                break false;
            }
            if let Some(known) = self.then.get(&at) {
                break *known;
            }
            passed.push(at);
            match storage.names(then, at)?.into_iter().next() {
                Some(entry) => at = entry.dir,
                None => break false,
            }
        };
        if self.then.len() >= CACHE_MAX {
            self.then.clear();
        }
        self.then.extend(passed.into_iter().map(|folder| (folder, inside)));
        Ok(inside)
    }

    fn is_inside_now<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View, file: FileId) -> Result<bool> {
        if let Some(known) = self.now.get(&file) {
            return Ok(*known);
        }
        let mut inside = false;
        for entry in storage.names(view, file)? {
            let mut at = entry.dir;
            inside |= loop {
                if self.is_occupant(at, view.at) {
                    break true;
                }
                match storage.names(view, at)?.into_iter().next() {
                    Some(entry) => at = entry.dir,
                    None => break false,
                }
            };
        }
        if self.now.len() >= CACHE_MAX {
            self.now.clear();
        }
        self.now.insert(file, inside);
        Ok(inside)
    }
}
