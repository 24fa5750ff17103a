//! Merging: what was recorded in small steps between two landmarks becomes fewer operations before it is stored.
//!
//! The law is `replay(coalesce(ops)) == replay(ops)` wherever a merged operation ends, and so at every landmark: names,
//! content with its holes, metadata, attributes. Therefore only neighbours in the log are merged and nothing is ever
//! reordered; any moment that can be named is a moment that really was. The log stays dense: a merged operation covers
//! the ids of its parts and takes effect at the last of them. The processor calls this on each batch, recovery on each
//! of its own; there is no clock and no I/O here.

mod content;
mod run;
mod temporary;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use self::run::Run;
use crate::model::{OpCode, OpId, Timestamp};
use crate::storage::Batch;

/// Merges neighbouring operations of a batch.
///
/// What is merged, where file, actor, branch and parent are the same and no landmark lies between:
/// - writes that touch or overlap, into one write of what they left there;
/// - a creation and the writes that fill the new file from its beginning;
/// - changes of mode, of owner, of times: from the first's old values to the last's new ones;
/// - what was done to a new file, into its removal if that follows: the creation and the removal tell that it was there.
///
/// ```
/// use ize_core::conformance::LogBuilder;
/// use ize_core::model::{FileId, OpId};
/// use ize_core::record::OpCodeCoalescer;
/// use ize_core::storage::Batch;
///
/// let mut log = LogBuilder::new();
/// let notes = log.create(FileId::ROOT, "notes.txt");
/// log.write(notes, 0, b"hello ");
/// log.write(notes, 6, b"world");
///
/// let merged = OpCodeCoalescer::default().coalesce(Batch { ops: log.take(), landmarks: Vec::new() });
/// assert_eq!(merged.ops.len(), 1);
/// assert_eq!((merged.ops[0].id, merged.ops[0].last_id), (OpId::new(1), OpId::new(3)));
/// assert_eq!(merged.ops[0].data.size(), 11);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpCodeCoalescer {
    /// The most bytes that a merged operation brings. A write that replaces all of those before it is merged with them
    /// whatever its size: that makes nothing larger.
    pub data_bytes_max: u64,
    /// The longest time between the first part and the last. So a time names a state that is hardly older than this,
    /// however long a batch had to wait.
    pub span_max: Duration,
}

impl Default for OpCodeCoalescer {
    fn default() -> Self {
        Self { data_bytes_max: 1 << 20, span_max: Duration::from_secs(1) }
    }
}

impl OpCodeCoalescer {
    /// Merges what can be merged. Every operation that is a landmark, by itself or in `batch.landmarks`, stays the end
    /// of an operation. The time that it takes is proportional to the operations and their bytes; beyond what the batch
    /// holds it needs room for one merged operation.
    pub fn coalesce(&self, batch: Batch) -> Batch {
        let marked: HashSet<_> = batch.landmarks.iter().map(|(op, _)| *op).collect();
        let mut ops = Vec::new();
        let mut open: Option<Run> = None;
        for op in temporary::forget(batch.ops, &marked, self) {
            let is_end = is_landmark(&op, &marked);
            let refused = match &mut open {
                Some(run) => run.take(op, self),
                None => Some(op),
            };
            if let Some(op) = refused {
                ops.extend(open.replace(Run::new(op)).map(Run::finish));
            }
            if is_end {
                ops.extend(open.take().map(Run::finish));
            }
        }
        ops.extend(open.map(Run::finish));
        Batch { ops, landmarks: batch.landmarks }
    }

    /// Tells whether an operation follows another directly and was made in the same way, soon enough after the first of
    /// those that are to be merged.
    fn are_neighbours(&self, begun: Timestamp, one: &OpCode, next: &OpCode) -> bool {
        let span_ns = (next.timestamp.as_nanos() - begun.as_nanos()).unsigned_abs();
        next.id == one.last_id.next()
            && next.op_type.file() == one.op_type.file()
            && next.op_type.is_external() == one.op_type.is_external()
            && next.branch == one.branch
            && next.parent == one.parent
            && next.actor == one.actor
            && span_ns <= self.span_max.as_nanos()
    }
}

/// Tells whether an operation is a landmark, by itself or by a mark in its batch.
fn is_landmark(op: &OpCode, marked: &HashSet<OpId>) -> bool {
    op.landmark.is_some() || marked.contains(&op.last_id)
}
