//! Landmarks that come when their operation is stored already, and may have been merged by then.
//!
//! A file is closed some time after the last write through its handle; other operations, also on the same file, may have
//! been recorded in between and merged with that write. Then the merged operation becomes the landmark. All of its parts
//! were recorded before the mark was made, and nobody saw a state between them. Barriers and idle gaps mark the last
//! operation of the log: what follows it comes into a later batch, or finds the mark in its own, so it always is the end
//! of an operation, and an id that was given out stays one.

use crate::model::{BranchId, OpCode, OpId, View};
use crate::storage::{Batch, FileSystemStorage, OpQuery, RefTarget, Result};

/// The most operations that are looked at together.
const PAGE_OPS: usize = 32;

/// Names each landmark of a batch by the end of the operation that covers it now.
pub(super) fn settle(storage: &dyn FileSystemStorage, branch: BranchId, batch: &mut Batch) -> Result<()> {
    let first = batch.ops.first().map_or(OpId::MAX, |op| op.id);
    batch.landmarks.sort_unstable();
    let late = batch.landmarks.partition_point(|(op, _)| *op < first);
    let mut page = Vec::new();
    for at in 0..late {
        let (op, _) = batch.landmarks[at];
        let end = match covering(&page, op) {
            Some(end) => Some(end),
            None => {
                page = page_from(storage, branch, op, (late - at).min(PAGE_OPS))?;
                covering(&page, op)
            }
        };
        batch.landmarks[at].0 = match end {
            Some(end) => end,
            None => end_elsewhere(storage, op)?,
        };
    }
    Ok(())
}

fn page_from(storage: &dyn FileSystemStorage, branch: BranchId, op: OpId, max: usize) -> Result<Vec<OpCode>> {
    storage.ops(&OpQuery { since: op.prev(), max, ..OpQuery::all(View::latest(branch)) })
}

/// Returns the end of the operation in a page, the oldest first, that covers an id.
fn covering(page: &[OpCode], op: OpId) -> Option<OpId> {
    let at = page.partition_point(|known| known.last_id < op);
    page.get(at).filter(|known| known.id <= op).map(|known| known.last_id)
}

/// Looks on all branches: a journal may hold marks of the one that was recorded before. What is not found is left as it
/// is, and storage will have its say.
fn end_elsewhere(storage: &dyn FileSystemStorage, op: OpId) -> Result<OpId> {
    let named = storage.refs()?.into_iter().filter_map(|known| match known.target {
        RefTarget::Branch { id, .. } => Some(id),
        RefTarget::Snapshot { .. } => None,
    });
    for branch in std::iter::once(BranchId::MAIN).chain(named) {
        if let Some(end) = covering(&page_from(storage, branch, op, 1)?, op) {
            return Ok(end);
        }
    }
    Ok(op)
}
