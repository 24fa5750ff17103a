//! Bringing the past back into the live tree.

use serde::{Deserialize, Serialize};

use super::{Project, Result};
use crate::model::{OpId, RelPath, View};
use crate::tree::{Caller, RestoreOptions, RestoreReport, restore};

/// One path that a restore changed, or has something to say about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredPath {
    /// The path.
    pub path: RelPath,
    /// What was done, or would be: "created", "content", "removed".
    pub what: String,
    /// Something was changed, or would be; else this is a note.
    pub is_change: bool,
}

impl Project {
    /// Makes everything at and below a path equal to what it was in a view, and returns the operation after which it
    /// is. This is recorded as any change is, so it can be undone. Ignored files are left alone. With `dry_run`, nothing
    /// is changed.
    ///
    /// # Errors
    /// [`super::ProjectError::Restore`] if the path was not there, is ignored, or could not be restored.
    pub fn restore(
        &self,
        path: &RelPath,
        view: View,
        dry_run: bool,
        each: &mut dyn FnMut(RestoredPath),
    ) -> Result<OpId> {
        // What open files hold now is to be brought back, too.
        self.live().record_versions()?;
        // Where nothing can be committed, nothing is restored.
        self.barrier()?;
        let reader = self.reader()?;
        let snapshot = reader.at(view);
        let options = RestoreOptions {
            dry_run,
            ignore: self.live().ignore(),
            caller: own_caller(),
            newest: Some(reader.newest()),
            ..RestoreOptions::default()
        };
        let report = restore(self.live().as_ref(), &snapshot, path, &options)?;
        self.invalidate(&report);
        for (path, what) in report.entries {
            each(RestoredPath { path, what: what.to_string(), is_change: what.is_change() });
        }
        self.barrier()
    }

    /// A mount must forget what it cached of what changed underneath it.
    fn invalidate(&self, report: &RestoreReport) {
        for entry in &report.changed_entries {
            self.live().invalidate_entry(entry.dir, &entry.name);
        }
        for file in &report.changed_files {
            self.live().invalidate_inode(*file);
        }
    }
}

/// This process, as the maker of a change.
pub(super) fn own_caller() -> Caller {
    Caller {
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}
