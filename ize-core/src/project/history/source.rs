//! Where the operations of a history come from, newest first: the whole log, what concerns a folder, or some files.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::timeline::{Occupant, Timeline};
use crate::model::{Displaced, Entry, FileId, FileKind, OpCode, OpId, OpType, RelPath, View};
use crate::storage::{Direction, FileSystemStorage, OpQuery, Result};

/// How many operations of the log are held at a time.
const PAGE_LOG: usize = 256;
/// How many operations of one file are read first: a save has few, and each may have to be unpacked with its neighbours.
const PAGE_FILE: usize = 4;
/// How many are held at a time, once more were wanted.
const PAGE_FILE_MAX: usize = 32;
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
    /// All that a storage tells about a folder, or, where it tells the whole log, that.
    Folder {
        places: Places,
        inside: Inside,
    },
    Files(Files),
}

impl Source {
    /// Begins with the history of a path; `None` if nothing ever was there.
    pub(super) fn new(storage: Arc<dyn FileSystemStorage>, view: View, path: &RelPath) -> Result<Option<Self>> {
        let which = if path.is_root() {
            Which::All(Stream::new(Of::Log, view.at))
        } else {
            let mut timeline = Timeline::new(storage.as_ref(), view, path)?;
            let Some(newest) = timeline.next(storage.as_ref())? else { return Ok(None) };
            if is_folder(storage.as_ref(), view, newest)? {
                let inside = Inside::new(storage.as_ref(), newest, timeline)?;
                Which::Folder { places: Places::new(storage.as_ref(), view, &inside)?, inside }
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
                    inside.forget_then();
                }
            }
            let op = match &mut self.which {
                Which::All(log) => log.next(storage, self.view)?,
                Which::Folder { places, inside } => places.next(storage, self.view, inside)?,
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

/// Which operations a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    Log,
    /// Those of one file.
    File(FileId),
    /// Those that were made in a folder.
    Below(FileId),
}

/// Operations of the log, of one file or of one folder, read page by page.
#[derive(Debug)]
pub(super) struct Stream {
    of: Of,
    /// Where to ask for the next page.
    at: OpId,
    page: VecDeque<OpCode>,
    /// How many to ask for.
    max: usize,
}

impl Stream {
    pub(super) const fn new(of: Of, at: OpId) -> Self {
        let max = if matches!(of, Of::File(_)) { PAGE_FILE } else { PAGE_LOG };
        Self { of, at, page: VecDeque::new(), max }
    }

    /// Returns the latest moment at which the next operation can be.
    fn bound(&self) -> OpId {
        self.page.front().map_or(self.at, |op| op.last_id)
    }

    pub(super) fn next<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<Option<OpCode>> {
        self.fill(storage, view)?;
        Ok(self.page.pop_front())
    }

    /// Reads the next page if none is at hand, so that [`Stream::bound`] is exact; tells whether it read one.
    fn fill<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View) -> Result<bool> {
        if !self.page.is_empty() || self.at == OpId::ZERO {
            return Ok(false);
        }
        let max = self.max;
        let (file, below) = match self.of {
            Of::Log => (None, None),
            Of::File(file) => {
                self.max = (2 * max).min(PAGE_FILE_MAX);
                (Some(file), None)
            }
            Of::Below(folder) => (None, Some(folder)),
        };
        let query = OpQuery {
            file,
            below,
            direction: Direction::NewestFirst,
            max,
            ..OpQuery::all(View { at: self.at, ..view })
        };
        self.page = storage.ops(&query)?.into();
        let is_last = self.page.len() < max;
        self.at = self.page.back().filter(|_| !is_last).map_or(OpId::ZERO, |op| op.last_id.prev());
        Ok(true)
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
            if self.streams[at].fill(storage, view)? {
                // It may begin later than another one.
                continue;
            }
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
            self.streams.retain(|stream| stream.of != Of::File(file));
            self.streams.push(Stream::new(Of::File(file), until));
        }
    }
}

/// The operations in which something of a folder's history can be: those that were made in it, and, once the walk comes
/// to where something arrived from elsewhere, those that were made there before.
#[derive(Debug, Default)]
struct Places {
    /// The streams by the latest moment at which their next operation can be.
    next: BinaryHeap<(OpId, usize)>,
    streams: Vec<Stream>,
    /// Up to where what was made in a folder, or about a file, comes.
    known: HashMap<Of, OpId>,
    last: Option<OpId>,
    /// The storage tells the whole log.
    everything: bool,
}

impl Places {
    fn new<S: FileSystemStorage + ?Sized>(storage: &S, view: View, inside: &Inside) -> Result<Self> {
        let nowhere = OpQuery { below: Some(FileId::new(u64::MAX)), max: 1, ..OpQuery::all(view) };
        let mut places = Self { everything: !storage.ops(&nowhere)?.is_empty(), ..Self::default() };
        if places.everything {
            places.add(Of::Log, view.at);
        } else {
            for (occupant, until) in &inside.occupants {
                places.add(Of::Below(*occupant), *until);
                // Earlier the path may have named a file.
                places.add(Of::File(*occupant), *until);
            }
        }
        Ok(places)
    }

    fn add(&mut self, of: Of, until: OpId) {
        if self.known.get(&of).is_none_or(|known| *known < until) {
            self.known.insert(of, until);
            self.next.push((until, self.streams.len()));
            self.streams.push(Stream::new(of, until));
        }
    }

    fn next<S: FileSystemStorage + ?Sized>(
        &mut self,
        storage: &S,
        view: View,
        inside: &mut Inside,
    ) -> Result<Option<OpCode>> {
        while let Some((_, at)) = self.next.pop() {
            let stream = &mut self.streams[at];
            if stream.fill(storage, view)? {
                // It may begin later than another one.
                self.next.push((stream.bound(), at));
                continue;
            }
            let Some(op) = stream.next(storage, view)? else { continue };
            self.next.push((stream.bound(), at));
            // Two streams can share an operation: it comes once.
            if self.last.is_none_or(|last| op.last_id < last) {
                self.last = Some(op.last_id);
                self.follow(storage, view, inside, &op)?;
                return Ok(Some(op));
            }
        }
        Ok(None)
    }

    /// Goes on with the past of what came into the folder by an operation.
    fn follow<S: FileSystemStorage + ?Sized>(
        &mut self,
        storage: &S,
        view: View,
        inside: &mut Inside,
        op: &OpCode,
    ) -> Result<()> {
        if self.everything {
            return Ok(());
        }
        let arrived = match op.op_type.change() {
            OpType::Rename { file, from, to, displaced } => {
                let taken = match displaced {
                    Displaced::Exchanged(taken) => Some((*taken, to.dir)),
                    Displaced::Nothing | Displaced::Replaced(_) => None,
                };
                [Some((*file, from.dir)), taken]
            }
            OpType::Hardlink { file, .. } => [Some((*file, FileId::ROOT)), None],
            _ => return Ok(()),
        };
        let then = View { at: op.last_id, ..view };
        for (file, from) in arrived.into_iter().flatten() {
            if inside.was_inside(storage, then, from)? {
                continue;
            }
            let is_folder = op.metadata_of(file).is_some_and(|metadata| metadata.kind == FileKind::Directory);
            if is_folder {
                self.add(Of::Below(file), op.last_id.prev());
            } else if inside.is_inside_now(storage, view, file)? {
                self.add(Of::File(file), op.last_id.prev());
            }
        }
        Ok(())
    }
}

/// Tells what concerns a folder: what happened in it at the time, and what happened earlier to what is in it now.
#[derive(Debug)]
struct Inside {
    /// What the path named, and until when.
    occupants: HashMap<FileId, OpId>,
    /// Folders, at the moment of the walk.
    then: HashMap<FileId, bool>,
    /// Whether files of which only the inode changed had a name inside, at the moment of the walk.
    named_then: HashMap<FileId, bool>,
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
        Ok(Self { occupants, then: HashMap::new(), named_then: HashMap::new(), now: HashMap::new() })
    }

    fn concerns<S: FileSystemStorage + ?Sized>(&mut self, storage: &S, view: View, op: &OpCode) -> Result<bool> {
        let file = op.op_type.file();
        if self.is_occupant(file, op.last_id) {
            return Ok(true);
        }
        let then = View { at: op.last_id, ..view };
        let was_inside = match (op.op_type.entry(), op.op_type.change()) {
            (Some(entry), change) => {
                // Before this operation the file had other names.
                self.named_then.remove(&file);
                op.op_type.displaced_file().iter().for_each(|file| _ = self.named_then.remove(file));
                let from = match change {
                    OpType::Rename { from, .. } => Some(from.dir),
                    _ => None,
                };
                self.was_inside(storage, then, entry.dir)?
                    || from.map_or(Ok(false), |from| self.was_inside(storage, then, from))?
            }
            (None, _) => self.was_named_inside(storage, then, file)?,
        };
        Ok(was_inside || self.is_inside_now(storage, view, file)?)
    }

    /// The next operation renamed a folder: what was known about the moment of the walk does not hold before it.
    fn forget_then(&mut self) {
        self.then.clear();
        self.named_then.clear();
    }

    /// Tells whether a file had a name in the folder in question, or below it.
    fn was_named_inside<S: FileSystemStorage + ?Sized>(
        &mut self,
        storage: &S,
        then: View,
        file: FileId,
    ) -> Result<bool> {
        if let Some(known) = self.named_then.get(&file) {
            return Ok(*known);
        }
        let mut inside = false;
        for entry in storage.names(then, file)? {
            inside = inside || self.was_inside(storage, then, entry.dir)?;
        }
        if self.named_then.len() >= CACHE_MAX {
            self.named_then.clear();
        }
        self.named_then.insert(file, inside);
        Ok(inside)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Workload;
    use crate::model::BranchId;
    use crate::storage::{FileSystemStorageExt, MemoryStorage};

    /// Walks the history of a folder, by what the storage knows about folders or by the whole log.
    fn walk(storage: &Arc<MemoryStorage>, path: &RelPath, everything: bool) -> Vec<OpId> {
        let view = View::new(BranchId::MAIN, storage.head().unwrap().op);
        let mut source = Source::new(storage.clone(), view, path).unwrap().unwrap();
        if let Which::Folder { places, .. } = &mut source.which {
            assert!(!places.everything);
            if everything {
                *places = Places { everything, ..Places::default() };
                places.add(Of::Log, view.at);
            }
        }
        std::iter::from_fn(|| source.next().unwrap()).map(|op| op.last_id).collect()
    }

    #[test]
    fn the_history_of_a_folder_is_the_same_with_and_without_the_whole_log() {
        let mut compared = 0;
        for seed in 0..25 {
            let storage = Arc::new(MemoryStorage::new());
            let mut workload = Workload::new(seed);
            for _ in 0..250 {
                workload.step();
            }
            workload.log().commit(&*storage).unwrap();
            let view = View::latest(BranchId::MAIN);
            let found: Vec<_> = storage.walk(view, &RelPath::root()).unwrap().map(Result::unwrap).collect();
            let folders = found.iter().filter(|found| found.metadata.kind == FileKind::Directory);
            for folder in folders.filter(|folder| !folder.path.is_root()) {
                let expected = walk(&storage, &folder.path, true);
                assert_eq!(walk(&storage, &folder.path, false), expected, "seed {seed}, {}", folder.path);
                compared += expected.len();
            }
        }
        assert!(compared > 1000, "{compared}");
    }
}
