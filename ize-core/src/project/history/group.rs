//! Which operations make up one save.

use super::row::{HistoryKind, Word, size_after};
use super::source::{Of, Stream};
use crate::model::{BranchId, Displaced, FileId, FileKind, Landmark, Name, OpCode, OpId, OpType, RangeKind, View};
use crate::storage::{FileSystemStorage, Result};

/// The most operations in one save; a longer run is cut.
const OPS_MAX: usize = 4096;
/// The program that restores, finds and copies in.
const OWN_PROGRAM: &str = "ize";
/// The longest pause between two changes that belong together although each could stand alone.
const TIED_GAP_NS: i128 = 2_000_000_000;
/// How many finished writings (by fsync and by close) a temporary file may have seen before it was renamed.
const BOUNDARIES_MAX: usize = 2;

/// A run of operations on one file that a person would call one.
#[derive(Clone, Debug)]
pub(super) struct Save {
    /// Its first operation.
    pub(super) first: OpId,
    /// Its last operation.
    pub(super) last: OpCode,
    pub(super) kind: HistoryKind,
    pub(super) size: Option<u64>,
}

impl Save {
    /// Makes a save of one operation.
    pub(super) fn single(op: OpCode) -> Self {
        let kind = HistoryKind::of(&op);
        Self { first: op.id, size: size_after(&op), kind, last: op }
    }

    /// Finds the save whose last operation is given, among the earlier operations of its file.
    pub(super) fn ending_with<S: FileSystemStorage + ?Sized>(
        storage: &S,
        branch: BranchId,
        last: OpCode,
    ) -> Result<Self> {
        let class = Class::of(&last);
        let mut run = Run::new(&last, class);
        if matches!(class, Class::Create | Class::Other) {
            return Ok(Self::single(last));
        }
        let mut earlier = Stream::new(Of::File(last.op_type.file()), last.last_id.prev());
        while run.taken < OPS_MAX {
            let Some(op) = earlier.next(storage, View::new(branch, last.last_id))? else { break };
            // Operations in which the file was displaced by another are not of its own making.
            if op.op_type.file() != last.op_type.file() || !run.take(&op) {
                break;
            }
        }
        Ok(run.finish(last))
    }
}

/// What an operation can be in a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The file comes into being.
    Create,
    /// Bytes change.
    Content,
    /// Mode, owner, times, extended attributes.
    Attributes,
    /// A file that was written elsewhere takes its place.
    Arrival,
    /// Stands alone.
    Other,
}

impl Class {
    fn of(op: &OpCode) -> Self {
        match op.op_type.change() {
            OpType::FileCreate { .. } | OpType::DirCreate { .. } | OpType::Symlink { .. } | OpType::Special { .. } => {
                Self::Create
            }
            OpType::FileWrite { .. }
            | OpType::FileTruncate { .. }
            | OpType::Range { .. }
            | OpType::CopyRange { .. } => Self::Content,
            OpType::Chmod { .. }
            | OpType::Chown { .. }
            | OpType::Touch { .. }
            | OpType::SetXattr { .. }
            | OpType::RemoveXattr { .. } => Self::Attributes,
            OpType::Rename { displaced: Displaced::Replaced(_), .. } => Self::Arrival,
            OpType::Rename { from, displaced: Displaced::Nothing, .. } if is_temporary(&from.name) => Self::Arrival,
            OpType::Rename { .. }
            | OpType::FileDelete { .. }
            | OpType::DirDelete { .. }
            | OpType::Hardlink { .. }
            | OpType::ExternalChange(_) => Self::Other,
        }
    }
}

/// Tells whether a program would give such a name to a file that it is going to rename.
fn is_temporary(name: &Name) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    let begins = [&b".~"[..], b".#", b"#", b"tmp", b".tmp", b".goutputstream-", b"~"];
    let ends = [&b"~"[..], b".tmp", b".temp", b".part", b".partial", b".crdownload", b".lock", b".swp", b".new"];
    // rsync: `.name.Ab12Cd`
    let is_rsync = name.first() == Some(&b'.') && name.len() > 8 && name[name.len() - 7] == b'.';
    is_rsync || begins.iter().any(|part| name.starts_with(part)) || ends.iter().any(|part| name.ends_with(part))
}

/// A save that is being put together, from its last operation backwards.
#[derive(Debug)]
struct Run {
    class: Class,
    /// What was taken for certain.
    sure: Part,
    /// What was taken, the rest of it on condition that the creation of the file follows.
    all: Part,
    /// The operation that was taken last.
    newer: OpCode,
    /// How many finished writings were taken.
    boundaries: usize,
    taken: usize,
    created: bool,
}

/// How far a run reaches, and what its operations on content did.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: OpId,
    has_content: bool,
    wrote: bool,
    size: Option<u64>,
}

impl Run {
    fn new(last: &OpCode, class: Class) -> Self {
        let has_content = class == Class::Content;
        let part = Part { first: last.id, has_content, wrote: has_content && writes(last), size: size_after(last) };
        let boundaries = usize::from(has_content && last.landmark.is_some());
        Self { class, sure: part, all: part, newer: last.clone(), boundaries, taken: 1, created: false }
    }

    /// Takes one more, earlier operation, or answers that the run ends before it.
    fn take(&mut self, op: &OpCode) -> bool {
        let ours = is_same_maker(op, &self.newer);
        let tied = is_tied(op, &self.newer);
        let is_boundary = op.landmark.is_some();
        let fits = match (Class::of(op), self.class) {
            (Class::Create, Class::Attributes) => tied && !(self.all.has_content && brought_content(op)),
            (Class::Create, _) => ours && !is_finished_creation(op, self.boundaries),
            (Class::Content, Class::Content) => !is_boundary,
            (Class::Content, Class::Attributes) => tied && !(is_boundary && self.all.has_content),
            (Class::Content, _) => ours && self.boundaries + usize::from(is_boundary) <= BOUNDARIES_MAX,
            (Class::Attributes, Class::Attributes) => tied,
            (Class::Attributes, _) => ours,
            (Class::Arrival | Class::Other, _) => false,
        };
        if fits {
            self.add(op, tied);
        }
        // Nothing precedes a creation.
        fits && !self.created
    }

    fn add(&mut self, op: &OpCode, tied: bool) {
        let is_content = Class::of(op) == Class::Content;
        let follows_sure = self.sure.first == self.all.first;
        // Attributes come after content: these belong to what was done before.
        let is_earlier = self.all.has_content && Class::of(op) == Class::Attributes;
        self.taken += 1;
        self.created = Class::of(op) == Class::Create;
        self.boundaries += usize::from(is_content && op.landmark.is_some());
        self.all = Part {
            first: op.id,
            has_content: self.all.has_content || is_content,
            wrote: self.all.wrote || (is_content && writes(op)),
            size: self.all.size.or_else(|| size_after(op)),
        };
        // Content before content is sure, and so is what belongs to one restore; a change of attributes in the middle
        // only counts if the creation follows.
        let is_sure = (tied && !is_earlier) || (self.class == Class::Content && is_content);
        if is_sure && follows_sure && self.class != Class::Arrival {
            self.sure = self.all;
        }
        self.newer = op.clone();
    }

    fn finish(self, last: OpCode) -> Save {
        let external = last.op_type.is_external();
        let part = if self.created { self.all } else { self.sure };
        let kind = match (self.class, self.created) {
            (Class::Arrival, false) => return Save::single(last),
            (Class::Arrival, true) if last.op_type.displaced_file().is_none() => {
                HistoryKind::new(Word::Create, external)
            }
            (Class::Arrival, true) => HistoryKind::new(Word::Write, external),
            (_, true) => HistoryKind::new(HistoryKind::of(&self.newer).word, external),
            _ if part.wrote => HistoryKind::new(Word::Write, external),
            _ if part.has_content && self.class != Class::Content => HistoryKind::new(Word::Truncate, external),
            _ => HistoryKind::of(&last),
        };
        Save { first: part.first, size: size_after(&last).or(part.size), kind, last }
    }
}

/// Tells whether an operation brought bytes, rather than only made room for them or cut them off.
fn writes(op: &OpCode) -> bool {
    match op.op_type.change() {
        OpType::FileWrite { .. } | OpType::CopyRange { .. } => true,
        OpType::Range { kind, .. } => *kind != RangeKind::Allocate,
        _ => false,
    }
}

/// Tells whether a creation was merged with what filled the file, and that was finished.
fn brought_content(op: &OpCode) -> bool {
    op.landmark.is_some() && op.data.size() > 0
}

/// Tells whether a creation that already brought content was a save of its own, given how many later ones there are.
fn is_finished_creation(op: &OpCode, boundaries: usize) -> bool {
    let is_closed = matches!(op.landmark, Some(Landmark::Close | Landmark::Idle));
    let is_marked = op.data.size() > 0 && matches!(op.landmark, Some(Landmark::Sync | Landmark::Barrier));
    (is_closed || is_marked) && boundaries > 0
}

/// Tells whether two operations were made by one program. The kernel does not say who wrote to a memory mapping, and
/// threads of one process have ids of their own.
fn is_same_maker(a: &OpCode, b: &OpCode) -> bool {
    let (one, other) = (&a.actor, &b.actor);
    let is_unknown = one.pid == 0 || other.pid == 0;
    let is_same_program = one.program == other.program && one.uid == other.uid && one.run == other.run;
    one.pid == other.pid || is_unknown || (is_same_program && !one.program.is_empty())
}

/// Tells whether two operations belong together although each could stand alone: they are parts of one restore, were
/// found or copied in together, or one process made both in one go (as `tar` and `cp -p` set the mode of what they wrote).
fn is_tied(a: &OpCode, b: &OpCode) -> bool {
    let is_soon = (a.timestamp.as_nanos() - b.timestamp.as_nanos()).abs() <= TIED_GAP_NS;
    let is_one_process = a.actor.pid != 0 && a.actor.pid == b.actor.pid;
    is_soon && a.parent == b.parent && (a.parent.is_some() || is_one_process || (is_own(a) && is_own(b)))
}

/// Tells whether Ize itself made a change, or found it.
fn is_own(op: &OpCode) -> bool {
    op.op_type.is_external() || op.actor.program == OWN_PROGRAM
}

/// Tells whether an operation only keeps the record exact and is nobody's doing: the times of a folder whose entries
/// were found or restored, the permissions of a new project's root.
pub(super) fn is_bookkeeping(op: &OpCode) -> bool {
    let is_folder = op.metadata().is_some_and(|metadata| metadata.kind == FileKind::Directory);
    let is_new_root = op.op_type.file() == FileId::ROOT && !op.op_type.is_external();
    let is_touch = matches!(op.op_type.change(), OpType::Touch { .. });
    let is_attribute = Class::of(op) == Class::Attributes;
    is_folder && is_attribute && (is_touch || is_new_root) && is_own(op)
}
