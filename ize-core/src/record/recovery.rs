//! Opening: what the journal holds and storage does not is committed before anything new is recorded.

use crate::failpoint;
use crate::journal::{Journal, Record};
use crate::model::{BranchId, Entry, FileId, Landmark, OpCode, OpId, OpType, View};
use crate::storage::{Batch, Direction, FileSystemStorage, OpQuery};

use super::tree_sync::Unsynced;
use super::{ProcessorConfig, RecordError, Result, UnsyncedTree, mark};

/// Where recording goes on.
#[derive(Clone, Debug)]
pub(super) struct Resume {
    /// The last operation.
    pub(super) op: OpId,
    /// The highest file id that was ever used.
    pub(super) file: FileId,
    /// Whether the last operation is a landmark.
    pub(super) marked: bool,
    /// Operations that came from the journal.
    pub(super) replayed: u64,
    /// What the journal tells of the tree.
    pub(super) unsynced: UnsyncedTree,
}

/// Commits to storage what only the journal holds.
pub(super) fn replay(
    journal: &Journal,
    storage: &dyn FileSystemStorage,
    branch: BranchId,
    config: &ProcessorConfig,
) -> Result<Resume> {
    let head = storage.head()?;
    let marked = head.op == OpId::ZERO || is_landmark(storage, branch, head.op)?;
    let mut replay = Replay {
        storage,
        branch,
        config,
        batch: Batch::default(),
        batch_bytes: 0,
        resume: Resume { op: head.op, file: head.file, marked, replayed: 0, unsynced: UnsyncedTree::default() },
    };
    let mut unsynced = Unsynced::default();
    for record in journal.replay() {
        let (seq, record) = record?;
        match record {
            Record::Op(op) => replay.op(op)?,
            Record::Mark { op, landmark } => replay.mark(op, landmark)?,
            Record::Dirty { file } => unsynced.note_dirty(seq, file),
            Record::Synced(through) => unsynced.note_synced(through),
        }
    }
    replay.commit()?;
    replay.resume.unsynced = unsynced.finish();
    Ok(replay.resume)
}

fn is_landmark(storage: &dyn FileSystemStorage, branch: BranchId, op: OpId) -> Result<bool> {
    let query =
        OpQuery { since: op.prev(), direction: Direction::NewestFirst, max: 1, ..OpQuery::all(View::latest(branch)) };
    let last = storage.ops(&query)?;
    Ok(last.first().is_some_and(|last| last.last_id == op && last.landmark.is_some()))
}

struct Replay<'a> {
    storage: &'a dyn FileSystemStorage,
    branch: BranchId,
    config: &'a ProcessorConfig,
    batch: Batch,
    batch_bytes: u64,
    resume: Resume,
}

impl Replay<'_> {
    fn op(&mut self, op: OpCode) -> Result<()> {
        if op.id <= self.resume.op {
            return Ok(());
        }
        if op.id != self.resume.op.next() {
            return Err(RecordError::Gap { journal: op.id, storage: self.resume.op });
        }
        let bytes = op.data.size();
        let full = self.batch.ops.len() >= self.config.max_batch_size
            || self.batch_bytes + bytes > ProcessorConfig::BATCH_BYTES_MAX;
        if full {
            self.commit()?;
        }
        self.resume.op = op.id;
        self.resume.file = self.resume.file.max(highest_file(&op));
        self.resume.marked = op.landmark.is_some();
        self.resume.replayed += 1;
        self.batch_bytes += bytes;
        self.batch.ops.push(op);
        Ok(())
    }

    fn mark(&mut self, op: OpId, landmark: Landmark) -> Result<()> {
        if op > self.resume.op {
            return Err(RecordError::UnknownOp(op));
        }
        self.resume.marked |= op == self.resume.op;
        self.batch.landmarks.push((op, landmark));
        if self.batch.landmarks.len() >= self.config.max_batch_size { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.ops.is_empty() && batch.landmarks.is_empty() {
            return Ok(());
        }
        let mut batch = self.config.merge(batch);
        mark::settle(self.storage, self.branch, &mut batch)?;
        failpoint::pass("replay-commit");
        self.storage.commit(&batch)?;
        failpoint::pass("replay-committed");
        Ok(())
    }
}

/// Returns the highest file id that an operation names.
fn highest_file(op: &OpCode) -> FileId {
    let touched = op.touched.iter().map(|touched| touched.file);
    let dir = |entry: &Entry| entry.dir;
    let from = match op.op_type.change() {
        OpType::Rename { from, .. } => Some(from.dir),
        OpType::CopyRange { source, .. } => Some(*source),
        _ => None,
    };
    let others = [op.op_type.displaced_file(), op.op_type.entry().map(dir), from];
    touched.chain(others.into_iter().flatten()).fold(op.op_type.file(), FileId::max)
}
