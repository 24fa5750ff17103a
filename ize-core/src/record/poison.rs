//! The note that something could not be recorded. Set once, never taken back while the process lives.

use std::sync::{Arc, OnceLock};

use super::RecordError;

/// Shared by everything that records.
#[derive(Clone, Debug, Default)]
pub(super) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// Notes why; the first reason stays.
    pub(super) fn set(&self, why: String) {
        // An earlier reason is the one that matters.
        let _ = self.0.set(why);
    }

    pub(super) fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), RecordError> {
        if self.0.get().is_some() { Err(self.error()) } else { Ok(()) }
    }

    pub(super) fn error(&self) -> RecordError {
        RecordError::Poisoned(self.why().unwrap_or("the worker has stopped").to_owned())
    }
}
