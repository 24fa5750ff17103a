//! An operation before it has its place in the log.

use std::sync::Arc;

use crate::model::{Actor, BranchId, Landmark, OpCode, OpData, OpId, OpType, Timestamp, Touched};

/// An operation that was applied to the tree and is now to be recorded. The recorder adds id, branch and time.
#[derive(Clone, Debug)]
pub struct OpDraft {
    /// What happened.
    pub op_type: OpType,
    /// The bytes it brought; never [`OpData::Reference`].
    pub data: OpData,
    /// Each inode it touched, with its metadata afterwards.
    pub touched: Vec<Touched>,
    /// Who did it.
    pub actor: Arc<Actor>,
    /// Set where it is known at once that the moment after it is worth showing to a person.
    pub landmark: Option<Landmark>,
    /// An earlier operation that this one answers.
    pub parent: Option<OpId>,
}

impl OpDraft {
    /// Makes the operation.
    pub(super) fn at(self, id: OpId, branch: BranchId, timestamp: Timestamp) -> OpCode {
        OpCode {
            id,
            last_id: id,
            branch,
            timestamp,
            op_type: self.op_type,
            data: self.data,
            touched: self.touched,
            actor: self.actor,
            landmark: self.landmark,
            parent: self.parent,
        }
    }
}
