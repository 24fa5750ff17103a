//! After a power cut: making `working/` again what history says.
//!
//! A power cut can leave `working/` behind history (what was not written back is lost) or ahead of it (a change reached the
//! disk before the record of it did). The state that holds is that of the last operation that the journal and storage have;
//! it is put in place file by file, never by doing operations again on a tree of which nobody knows what it is.
//!
//! Three passes. The first only looks. The second records what it found and history lacks: bytes that were never recorded,
//! as an external change, so that nothing is destroyed. The third changes `working/`. What is then still different from the
//! newest state of history (change times, and the versions that were just recorded) is recorded by [`Live::reconcile`].
//!
//! Any of it may be interrupted: whoever calls keeps the [`PowerCut`] until all is done, and then it is done again.

mod apply;
mod look;
mod save;

use std::collections::{BTreeSet, HashMap};

use super::past::Past;
use super::{Live, recording};
use crate::failpoint;
use crate::model::{FileId, OpId, Timestamp, View};
use crate::storage::OpQuery;
use crate::tree::Result;

/// How many operations are read from history at a time.
const PAGE: usize = 1000;

/// What is known after a power cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// The operation after which the tree is to be as it was.
    pub target: OpId,
    /// An operation at which the tree was known to be on disk.
    pub synced: OpId,
    /// Files whose content may have changed since then, though no operation tells of it.
    pub dirty: BTreeSet<FileId>,
    /// What has changed in the tree later than this was changed by somebody after the power cut: it is left alone.
    pub edited_after: Option<Timestamp>,
}

/// What was done to a tree after a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MendReport {
    /// Files and folders that were looked at.
    pub seen: u64,
    /// Files whose content or metadata was put right.
    pub mended: u64,
    /// Files and folders that were missing.
    pub created: u64,
    /// Files that had another name.
    pub renamed: u64,
    /// Files and folders that were not in history any more, or not yet.
    pub removed: u64,
    /// Files with content that history did not have. It has it now, as a version of its own.
    pub saved: u64,
}

impl MendReport {
    /// Tells whether the tree was as it should be.
    pub const fn is_clean(&self) -> bool {
        self.mended == 0 && self.created == 0 && self.renamed == 0 && self.removed == 0 && self.saved == 0
    }
}

/// Files whose fingerprint is not to be trusted, with the operations on them since the tree was last on disk.
#[derive(Default)]
struct Suspects {
    files: HashMap<FileId, Vec<OpId>>,
}

impl Suspects {
    fn find(past: &Past, cut: &PowerCut) -> Result<Self> {
        let mut suspects = Self::default();
        for file in &cut.dirty {
            suspects.files.entry(*file).or_default();
        }
        let mut query = OpQuery { since: cut.synced, max: PAGE, ..OpQuery::all(past.view) };
        loop {
            let ops = past.storage.ops(&query)?;
            for op in &ops {
                suspects.files.entry(op.op_type.file()).or_default().push(op.last_id);
            }
            match ops.last() {
                Some(last) if ops.len() == PAGE => query.since = last.last_id,
                _ => return Ok(suspects),
            }
        }
    }

    fn contains(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Returns the operations on a file, the newest first.
    fn ops(&self, file: FileId) -> impl Iterator<Item = OpId> {
        self.files.get(&file).map(Vec::as_slice).unwrap_or_default().iter().rev().copied()
    }
}

impl Live {
    /// Makes the tree what it was after an operation, whatever a power cut left of it. Nobody else may use it meanwhile.
    /// [`Live::reconcile`] is to follow.
    ///
    /// # Errors
    /// If `working/` or history cannot be read, or `working/` cannot be changed. Then it is to be called again, with the
    /// same arguments but for `edited_after`, which the first call has made meaningless.
    pub fn mend(&self, cut: &PowerCut) -> Result<MendReport> {
        let newest = self.recorder.recorded();
        self.recorder.wait_committed(newest).map_err(recording)?;
        let at = |op| Past { storage: self.recorder.storage().clone(), view: View::new(self.recorder.branch(), op) };
        let past = at(cut.target);
        let suspects = Suspects::find(&past, cut)?;
        let mut report = MendReport::default();
        let differences = look::look(self, &past, &suspects, cut, &mut report)?;
        if differences.is_empty() {
            return Ok(report);
        }
        report.saved = save::save(self, &past, &at(newest), &suspects, cut, &differences)?;
        if report.saved > 0 {
            self.recorder.sync().map_err(recording)?;
        }
        failpoint::pass("mend");
        apply::apply(self, &past, &differences, &mut report)?;
        failpoint::pass("mended");
        Ok(report)
    }
}
