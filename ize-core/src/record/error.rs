//! Why something could not be recorded.

use crate::journal::JournalError;
use crate::model::OpId;
use crate::storage::StorageError;

/// An error of the recorder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Something could not be recorded, now or earlier. Nothing is recorded any more until the project is opened again;
    /// the past can still be read.
    #[error("nothing can be recorded any more: {0}")]
    Poisoned(String),
    /// The recorder was closed.
    #[error("the recorder is closed")]
    Closed,
    /// The disk is full.
    #[error("no space left to record changes")]
    Full,
    /// The journal is as long as it may be, and whoever asked did not want to wait for commits.
    #[error("the queue of changes is full")]
    QueueFull,
    /// An operation's data is larger than the recorder takes at once.
    #[error("data of {bytes} bytes cannot be recorded at once, at most {bytes_max}")]
    TooLarge {
        /// The size of the data.
        bytes: u64,
        /// The most that can be recorded at once.
        bytes_max: u64,
    },
    /// An operation was named that was never recorded.
    #[error("{0} was never recorded")]
    UnknownOp(OpId),
    /// The journal begins later than the storage ends: the storage lost what it had committed, or is another one.
    #[error("the journal begins at {journal}, but the storage ends at {storage}")]
    Gap {
        /// The first operation in the journal.
        journal: OpId,
        /// The last operation in the storage.
        storage: OpId,
    },
    /// An option that this version cannot serve.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// The journal could not be opened, read or removed.
    #[error("the journal failed")]
    Journal {
        /// Why.
        #[source]
        source: JournalError,
    },
    /// The storage refused what the journal holds.
    #[error("storing recorded operations failed")]
    Storage {
        /// Why.
        #[source]
        source: StorageError,
    },
}

impl From<JournalError> for RecordError {
    fn from(source: JournalError) -> Self {
        match source {
            JournalError::Full => Self::Full,
            JournalError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            source => Self::Journal { source },
        }
    }
}

impl From<StorageError> for RecordError {
    fn from(source: StorageError) -> Self {
        Self::Storage { source }
    }
}

/// Tells an error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
