//! Errors on their way to the other end.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::model::{BranchId, OpId};
use crate::storage::StorageError;

/// A [`StorageError`] that can be sent: causes have become text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    Gap { expected: OpId, found: OpId },
    UnknownBranch(BranchId),
    Invalid(String),
    Unsupported(String),
    Corrupt(String),
    NewerFormat { found: u32, supported: u32 },
    Locked,
    Full,
    Poisoned,
    Suspended,
    Backend { action: String, causes: String },
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Gap { expected, found } => Self::Gap { expected, found },
            StorageError::UnknownBranch(branch) => Self::UnknownBranch(branch),
            StorageError::Invalid(what) => Self::Invalid(what),
            StorageError::Unsupported(what) => Self::Unsupported(what.to_owned()),
            StorageError::Corrupt(what) => Self::Corrupt(what),
            StorageError::NewerFormat { found, supported } => Self::NewerFormat { found, supported },
            StorageError::Locked => Self::Locked,
            StorageError::Full => Self::Full,
            StorageError::Poisoned => Self::Poisoned,
            StorageError::Suspended => Self::Suspended,
            StorageError::Disconnected { source } => {
                Self::Backend { action: "asking a store further away".to_owned(), causes: causes(&source) }
            }
            StorageError::Backend { action, source } => Self::Backend { action, causes: causes(&*source) },
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gap { expected, found } => Self::Gap { expected, found },
            Fault::UnknownBranch(branch) => Self::UnknownBranch(branch),
            Fault::Invalid(what) => Self::Invalid(what),
            // The text of this variant is part of a program; the other program's can only be told as a cause.
            Fault::Unsupported(what) => Self::backend("a read", format!("the backend does not support {what}")),
            Fault::Corrupt(what) => Self::Corrupt(what),
            Fault::NewerFormat { found, supported } => Self::NewerFormat { found, supported },
            Fault::Locked => Self::Locked,
            Fault::Full => Self::Full,
            Fault::Poisoned => Self::Poisoned,
            Fault::Suspended => Self::Suspended,
            Fault::Backend { action, causes } => Self::backend(action, causes),
        }
    }
}

/// Writes out an error and what caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
