//! Branches, and what a view sees of them.

use std::collections::BTreeMap;

use ize_core::model::{BranchId, OpId, View};
use ize_core::storage::{Result, StorageError};

/// Where a branch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) parent: BranchId,
    pub(crate) base: OpId,
}

/// The parts of the log that a view sees: its branch up to its moment, then each parent up to where it was left.
#[derive(Clone, Debug)]
pub(crate) struct Lineage(Vec<(BranchId, OpId)>);

impl Lineage {
    pub(crate) fn parts(&self) -> impl Iterator<Item = (BranchId, OpId)> {
        self.0.iter().copied()
    }

    /// Returns the moment of the view itself.
    pub(crate) fn at(&self) -> OpId {
        self.0.first().map_or(OpId::ZERO, |(_, at)| *at)
    }

    /// Tells whether the view sees what happened on `branch` at `at`.
    pub(crate) fn sees(&self, branch: BranchId, at: OpId) -> bool {
        self.parts().any(|(seen, until)| seen == branch && at <= until)
    }
}

/// All branches but the main one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branches(BTreeMap<BranchId, Origin>);

impl Branches {
    pub(crate) fn insert(&mut self, branch: BranchId, origin: Origin) {
        self.0.insert(branch, origin);
    }

    pub(crate) fn get(&self, branch: BranchId) -> Option<Origin> {
        self.0.get(&branch).copied()
    }

    /// Returns what a view sees. A branch is made after its parent and never changed, so this ends.
    ///
    /// # Errors
    /// [`StorageError::UnknownBranch`].
    pub(crate) fn lineage(&self, view: View) -> Result<Lineage> {
        let mut parts = vec![(view.branch, view.at)];
        let (mut branch, mut until) = (view.branch, view.at);
        while branch != BranchId::MAIN {
            let origin = self.get(branch).ok_or(StorageError::UnknownBranch(branch))?;
            (branch, until) = (origin.parent, until.min(origin.base));
            parts.push((branch, until));
        }
        Ok(Lineage(parts))
    }
}
