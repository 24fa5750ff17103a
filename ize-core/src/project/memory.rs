//! The backend that keeps history in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Backend, BackendOptions};
use crate::storage::{FileSystemStorage, MemoryStorage, StorageError};

/// Keeps history in memory: for tests and trying things out. A store can be opened again as long as this value (or a
/// clone of it) lives; nothing survives the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    stores: Arc<Mutex<HashMap<PathBuf, Arc<MemoryStorage>>>>,
}

impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn folder(&self) -> &'static str {
        "memory"
    }

    fn create(&self, dir: &Path, _options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        let store = Arc::new(MemoryStorage::new());
        self.stores.lock().insert(dir.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    fn open(&self, dir: &Path, _options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        let store = self.stores.lock().get(dir).cloned();
        let store = store.ok_or_else(|| StorageError::Invalid("history in memory ended with its process".into()))?;
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_opens_again_in_the_same_process_only() {
        let backend = MemoryBackend::default();
        let options = BackendOptions::default();
        backend.create(Path::new("/a"), &options).unwrap();
        backend.open(Path::new("/a"), &options).unwrap();
        assert!(backend.open(Path::new("/b"), &options).is_err());
        assert!(MemoryBackend::default().open(Path::new("/a"), &options).is_err());
    }
}
