//! Files that are made and removed again before anybody could want them back.
//!
//! What was done to such a file in between is absorbed by its removal: the creation and the removal stay and tell that it
//! was there, and the removal covers the ids of what lies between them, whose bytes are not stored. The end of each
//! remaining operation is a moment as it really was, like everywhere in merging.

use std::collections::HashSet;

use super::{OpCodeCoalescer, is_landmark};
use crate::model::{OpCode, OpId, OpType};

/// Lets removals absorb what was done to files that were created just before.
pub(super) fn forget(ops: Vec<OpCode>, marked: &HashSet<OpId>, limits: &OpCodeCoalescer) -> Vec<OpCode> {
    let mut kept: Vec<OpCode> = Vec::with_capacity(ops.len());
    let mut young: Option<usize> = None;
    for mut op in ops {
        let created =
            young.filter(|at| kept.last().is_some_and(|last| limits.are_neighbours(kept[*at].timestamp, last, &op)));
        match (created, op.op_type.change()) {
            (_, OpType::FileCreate { .. }) => young = Some(kept.len()),
            (Some(at), OpType::FileDelete { .. }) => {
                if is_gone(&op) {
                    absorb(&mut op, kept.drain(at + 1..));
                }
                young = None;
            }
            (Some(_), change) if !change.is_namespace() && !is_landmark(&op, marked) => {}
            _ => young = None,
        }
        kept.push(op);
    }
    kept
}

/// Tells whether a removal took the last name.
fn is_gone(removal: &OpCode) -> bool {
    removal.metadata().is_some_and(|metadata| !metadata.is_linked())
}

fn absorb(removal: &mut OpCode, between: impl Iterator<Item = OpCode>) {
    for (n, part) in between.enumerate() {
        if n == 0 {
            removal.id = part.id;
        }
        for touched in part.touched {
            if removal.metadata_of(touched.file).is_none() {
                removal.touched.push(touched);
            }
        }
    }
}
