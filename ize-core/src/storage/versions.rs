//! Values that change over time: which of them a view sees.

use crate::model::{BranchId, OpId};

/// The parts of the log that a view sees: its branch up to its moment, then each parent up to where it was left.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    parts: Vec<(BranchId, OpId)>,
}

impl Lineage {
    /// Begins with a branch and a moment.
    pub(crate) fn new(branch: BranchId, at: OpId) -> Self {
        Self { parts: vec![(branch, at)] }
    }

    /// Goes on with the parent of the last branch.
    pub(crate) fn push_parent(&mut self, parent: BranchId, base: OpId) {
        let at = self.parts.last().map_or(base, |(_, at)| base.min(*at));
        self.parts.push((parent, at));
    }

    /// Returns the moment of the view itself, beyond which it sees nothing.
    pub(crate) fn at(&self) -> OpId {
        self.parts.first().map_or(OpId::ZERO, |(_, at)| *at)
    }

    /// Tells whether the view sees what happened on `branch` at `at`.
    pub(crate) fn sees(&self, branch: BranchId, at: OpId) -> bool {
        self.parts.iter().any(|(seen, until)| *seen == branch && at <= *until)
    }
}

/// Something that happened on a branch at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Version<T> {
    /// The branch.
    pub(crate) branch: BranchId,
    /// The moment: an operation's `last_id`.
    pub(crate) at: OpId,
    /// What happened.
    pub(crate) value: T,
}

/// Versions in the order of the log.
#[derive(Clone, Debug)]
pub(crate) struct Versions<T> {
    versions: Vec<Version<T>>,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self { versions: Vec::new() }
    }
}

impl<T> Versions<T> {
    /// Adds the newest one.
    pub(crate) fn push(&mut self, branch: BranchId, at: OpId, value: T) {
        self.versions.push(Version { branch, at, value });
    }

    /// Adds the newest one, in place of the last one if that is of the same moment.
    pub(crate) fn set(&mut self, branch: BranchId, at: OpId, value: T) {
        if self.versions.last().is_some_and(|last| last.at == at) {
            self.versions.pop();
        }
        self.push(branch, at, value);
    }

    /// Returns those that a view sees, in the order of the log.
    pub(crate) fn seen<'a>(&'a self, lineage: &'a Lineage) -> impl DoubleEndedIterator<Item = &'a Version<T>> {
        self.versions[..self.end(lineage)].iter().filter(|version| lineage.sees(version.branch, version.at))
    }

    /// Returns the newest value that a view sees.
    pub(crate) fn newest<'a>(&'a self, lineage: &Lineage) -> Option<&'a T> {
        let end = self.end(lineage);
        self.versions[..end]
            .iter()
            .rev()
            .find(|version| lineage.sees(version.branch, version.at))
            .map(|version| &version.value)
    }

    /// Returns how many versions are not later than the view's moment.
    fn end(&self, lineage: &Lineage) -> usize {
        self.versions.partition_point(|version| version.at <= lineage.at())
    }
}
