//! The storage backends that a program knows, by name.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{MemoryBackend, ProjectError, Result};
use crate::storage::{FileSystemStorage, StorageError};

/// What a backend is told when it makes or opens a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendOptions {
    /// Which of its engines to use; `None` for the backend's own choice (when opening: whichever the store has).
    pub engine: Option<String>,
    /// Whether content is compressed.
    pub compress: bool,
    /// Who makes the changes of a backend whose format names an author, as `Ada <ada@example.org>`.
    pub author: Option<String>,
    /// Whether each operation becomes a change of its own in the backend's format, rather than each save.
    pub change_per_op: bool,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self { engine: None, compress: true, author: None, change_per_op: false }
    }
}

/// A kind of storage that projects can have.
pub trait Backend: Send + Sync {
    /// Returns the name by which it is chosen, for example `store`.
    fn name(&self) -> &'static str;

    /// Returns the name of its folder inside a project's folder.
    fn folder(&self) -> &'static str {
        "store"
    }

    /// Returns the name, at the root of the live files, of a link to the backend's folder, where programs for its format
    /// look for it. A project has it from the first time that it is opened for writing; its tree neither shows nor
    /// records it.
    fn working_link(&self) -> Option<&'static str> {
        None
    }

    /// Tells whether an operation is acknowledged only once the backend has committed it, unmerged
    /// ([`crate::record::RecorderOptions::commits_first`]).
    fn commits_first(&self, _options: &BackendOptions) -> bool {
        false
    }

    /// Makes an empty store in `dir`, an existing empty folder.
    ///
    /// # Errors
    /// [`StorageError`].
    fn create(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError>;

    /// Opens the store in `dir`. The caller makes sure that no other process has it open.
    ///
    /// # Errors
    /// [`StorageError`].
    fn open(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError>;
}

/// The backends that a program knows. [`MemoryBackend`] is among them from the start.
#[derive(Clone)]
pub struct Backends {
    known: Vec<Arc<dyn Backend>>,
}

impl Backends {
    /// Knows the memory backend.
    pub fn new() -> Self {
        Self { known: vec![Arc::new(MemoryBackend::default())] }
    }

    /// Adds a backend; it replaces one of the same name.
    #[must_use]
    pub fn with(mut self, backend: impl Backend + 'static) -> Self {
        self.known.retain(|known| known.name() != backend.name());
        self.known.push(Arc::new(backend));
        self
    }

    /// Finds a backend.
    ///
    /// # Errors
    /// [`ProjectError::UnknownBackend`] names those there are.
    pub fn get(&self, name: &str) -> Result<&dyn Backend> {
        let found = self.known.iter().find(|backend| backend.name() == name);
        found.map(AsRef::as_ref).ok_or_else(|| ProjectError::UnknownBackend {
            name: name.to_owned(),
            known: self.known.iter().map(|backend| backend.name()).collect(),
        })
    }
}

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|backend| backend.name())).finish()
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_by_name_and_the_error_names_those_there_are() {
        let backends = Backends::new();
        assert_eq!(backends.get("memory").unwrap().name(), "memory");
        match backends.get("stor").map(|_| ()) {
            Err(ProjectError::UnknownBackend { known, .. }) => assert_eq!(known, ["memory"]),
            other => panic!("{other:?}"),
        }
    }
}
