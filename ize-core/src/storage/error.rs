//! Why a storage call failed.

use crate::model::{BranchId, OpId};

/// An error of a storage backend.
///
/// After any error other than [`StorageError::Poisoned`] the store is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A batch does not follow the head.
    #[error("a batch must go on at {expected}, but begins or continues at {found}")]
    Gap {
        /// The id that was due.
        expected: OpId,
        /// The id that came.
        found: OpId,
    },
    /// A view, an operation or a ref names a branch that does not exist.
    #[error("{0} does not exist")]
    UnknownBranch(BranchId),
    /// The caller asked for something that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// This backend cannot do that.
    #[error("this backend does not support {0}")]
    Unsupported(&'static str),
    /// Stored data failed a check.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The data was written by a later version of Ize.
    #[error("format version {found} is newer than the supported {supported}")]
    NewerFormat {
        /// The version on disk.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// Another process has the store open.
    #[error("another process has this store open")]
    Locked,
    /// The disk is full.
    #[error("no space left on the device")]
    Full,
    /// An earlier durable write failed. Reads still work; writes answer this until the store is reopened.
    #[error("an earlier write failed; the store must be reopened")]
    Poisoned,
    /// The repository was handed to another program; try again.
    #[error("another program works on the project's repository")]
    Suspended,
    /// The daemon that has the project open could not be asked.
    #[error("the project's daemon did not answer")]
    Disconnected {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else.
    #[error("{action} failed")]
    Backend {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// Wraps an error of the layer below; `action` says what was being done, as "commit of ops 41..=97".
    pub fn backend(action: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Backend { action: action.into(), source: source.into() }
    }
}
