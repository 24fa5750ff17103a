//! What goes over the socket.

use serde::{Deserialize, Serialize};

use crate::model::{OpId, RelPath, View};
use crate::project::{BroughtIn, ErrorKind, HistoryQuery, HistoryRow, ProjectError, RestoredPath, Status};
use crate::storage::{Finding, RefName};

/// The version of these messages.
pub(super) const VERSION: u32 = 3;

/// The first message of a client; the server answers with `Result<(), Refusal>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) service: Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Service {
    Control,
    Storage,
}

/// How to unmount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmountOptions {
    /// Even if somebody still uses the mount: it goes at once, and their files with it.
    pub force: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Status,
    Sync,
    Barrier,
    Snapshot {
        name: RefName,
    },
    Restore {
        path: RelPath,
        view: View,
        dry_run: bool,
    },
    Verify {
        repair: bool,
    },
    Unmount(UnmountOptions),
    /// Begins a history; the answer has its first rows.
    History(HistoryQuery),
    /// The next rows of the history that was begun last.
    MoreHistory,
    /// Hands the repository to the client's program, until [`Request::Resume`] or the end of the connection.
    Suspend,
    Resume,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Item(Item),
    End(Result<Answer, Refusal>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Item {
    Finding(Finding),
    Restored(RestoredPath),
    BroughtIn(Box<BroughtIn>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Op(OpId),
    Status(Box<Status>),
    /// Rows of a history; there may be more behind them.
    History {
        rows: Vec<HistoryRow>,
        more: bool,
    },
}

/// A [`ProjectError`] that can be sent: causes have become text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    message: String,
    hint: Option<String>,
    kind: ErrorKind,
}

impl Refusal {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, kind }
    }
}

impl From<ProjectError> for Refusal {
    fn from(error: ProjectError) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        Self { message, hint: error.hint(), kind: error.kind() }
    }
}

impl From<Refusal> for ProjectError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { message, hint, kind } = refusal;
        Self::Remote { message, hint, kind }
    }
}
