//! Why a call on a tree failed.

use rustix::io::Errno;

use crate::storage::StorageError;

/// An error of a call on a tree. [`TreeError::errno`] is what the program in the mount sees.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The host filesystem or a rule of the tree refused; nothing was recorded.
    #[error("refused: {0}")]
    Refused(#[from] Errno),
    /// The disk is nearly full: growing is refused, removing still works.
    #[error("the disk is nearly full")]
    NearlyFull,
    /// A change cannot be recorded any more; reads go on.
    #[error("changes can no longer be recorded")]
    Recording {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// History could not be read.
    #[error("history could not be read")]
    Storage(#[from] StorageError),
}

impl TreeError {
    /// Returns the error number for the program that asked.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Refused(errno) => *errno,
            Self::NearlyFull => Errno::NOSPC,
            Self::Recording { .. } | Self::Storage(_) => Errno::IO,
        }
    }
}
