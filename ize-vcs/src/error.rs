//! What failures of the layers below mean to a caller of the storage.

use std::error::Error;

use ize_core::storage::StorageError;

/// Tells what a failed call to the host means.
pub(crate) fn failed(action: impl Into<String>, error: std::io::Error) -> StorageError {
    if is_full(&error) { StorageError::Full } else { StorageError::backend(action, error) }
}

/// Tells what a failed call to the Pijul library means. Its errors name types of transactions, which cannot go from
/// thread to thread, so the causes become text.
pub(crate) fn pijul<'a>(action: &'a str) -> impl Fn(&(dyn Error + 'static)) -> StorageError + 'a {
    move |error| {
        let mut causes = String::new();
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && is_full(io)
            {
                return StorageError::Full;
            }
            let text = cause.to_string();
            if !causes.ends_with(&text) {
                causes.push_str(if causes.is_empty() { "" } else { ": " });
                causes.push_str(&text);
            }
            next = cause.source();
        }
        StorageError::backend(action, causes)
    }
}

/// Shortens `map_err(|error| pijul("…")(&error))`.
pub(crate) trait OrPijul<T> {
    /// Says what was being done.
    fn or_pijul(self, action: &str) -> Result<T, StorageError>;
}

impl<T, E: Error + 'static> OrPijul<T> for Result<T, E> {
    fn or_pijul(self, action: &str) -> Result<T, StorageError> {
        self.map_err(|error| pijul(action)(&error))
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
