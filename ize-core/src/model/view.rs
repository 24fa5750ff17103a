//! A moment on a branch.

use serde::{Deserialize, Serialize};

use super::{BranchId, OpId};

/// What a read of the past sees: the operations of `branch` (and of its parents, each up to where the next branch
/// left it) whose id is at most `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// The branch.
    pub branch: BranchId,
    /// The last operation that counts; an id beyond the head means "all there is".
    pub at: OpId,
}

impl View {
    /// Makes a view.
    pub const fn new(branch: BranchId, at: OpId) -> Self {
        Self { branch, at }
    }

    /// The moment `at` on the main branch.
    pub const fn main(at: OpId) -> Self {
        Self::new(BranchId::MAIN, at)
    }

    /// The newest state of a branch.
    pub const fn latest(branch: BranchId) -> Self {
        Self::new(branch, OpId::MAX)
    }
}
