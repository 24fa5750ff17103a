//! Who made a change.

use serde::{Deserialize, Serialize};

/// The process that asked for an operation, taken when it opened the file or, for namespace operations, when it asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Process id; 0 where it is not known (writes that the kernel makes for a memory mapping).
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The program's short name (`/proc/<pid>/comm`), or the name of the part of Ize that made the change.
    pub program: String,
    /// The id of the `ize run` that the process belongs to.
    pub run: Option<String>,
}

impl Actor {
    /// The program that is named by changes which others put into a backend's own repository. It is longer than the
    /// name that any process has.
    pub const INCOMING: &str = "ize (incoming changes)";

    /// Tells whether the operation brought in what others put into a backend's own repository.
    pub fn is_incoming(&self) -> bool {
        self.program == Self::INCOMING
    }
}
