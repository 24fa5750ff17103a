//! Changes in a backend's own format, and what others put there.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{OpId, RelPath};

/// A change as the backend's own format has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeChange {
    /// Its name there, for example a hash.
    pub id: String,
    /// What its author says about it.
    pub message: String,
}

/// What others put into a backend's own repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The last operation of which the repository had everything when the first of them was noticed: what was changed in the tree
    /// since then may be about the same files.
    pub since: OpId,
    /// The changes that came, oldest first. Empty where only changes that were there are gone.
    pub changes: Vec<NativeChange>,
    /// What makes of the tree at the head what the repository holds, in an order in which it can be done.
    pub edits: Vec<IncomingEdit>,
    /// Files in which the repository holds a conflict; their content shows it as the repository's own program does.
    pub conflicts: Vec<RelPath>,
}

/// One step of what came in. Paths are those right before the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncomingEdit {
    /// Makes a folder.
    MakeDir {
        /// Where.
        path: RelPath,
    },
    /// Makes a file, or gives one other content.
    Write {
        /// Where.
        path: RelPath,
        /// All of its content.
        content: Bytes,
        /// Whether it may be run.
        executable: bool,
    },
    /// Renames a file or a folder; nothing is at the new path.
    Rename {
        /// Where it is.
        from: RelPath,
        /// Where it goes.
        to: RelPath,
    },
    /// Removes a file or an empty folder.
    Remove {
        /// Where.
        path: RelPath,
    },
}
