//! The conformance suite, with an index in memory and with one on disk.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::sync::Arc;

use ize_core::conformance::Fixture;
use ize_core::storage::{FileSystemStorage, MemoryStorage};
use ize_store::{Store, StoreOptions};
use ize_vcs::{PijulOptions, PijulStorage};
use tempfile::TempDir;

/// A repository in a folder of its own.
struct OnDisk {
    dir: TempDir,
    index: fn(&TempDir, Option<Arc<dyn FileSystemStorage>>) -> Arc<dyn FileSystemStorage>,
    options: PijulOptions,
    store: Option<PijulStorage>,
    kept: Option<Arc<dyn FileSystemStorage>>,
}

impl OnDisk {
    fn new(
        options: PijulOptions,
        index: fn(&TempDir, Option<Arc<dyn FileSystemStorage>>) -> Arc<dyn FileSystemStorage>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kept = index(&dir, None);
        let store = PijulStorage::create(dir.path(), kept.clone(), &options).unwrap();
        Self { dir, index, options, store: Some(store), kept: Some(kept) }
    }
}

impl Fixture for OnDisk {
    fn store(&self) -> &dyn FileSystemStorage {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        let kept = (self.index)(&self.dir, self.kept.take());
        self.kept = Some(kept.clone());
        self.store = Some(PijulStorage::open(self.dir.path(), kept, &self.options).unwrap());
    }
}

impl Drop for OnDisk {
    /// After every check that passed, index and repository verify and agree. Where there is very much, that takes minutes.
    fn drop(&mut self) {
        let is_checked = |store: &PijulStorage| !std::thread::panicking() && store.head().unwrap().op.get() < 20_000;
        if let Some(store) = self.store.take().filter(is_checked) {
            let mut findings = Vec::new();
            store.verify(&mut |finding| findings.push(finding)).unwrap();
            assert!(findings.is_empty(), "{findings:?}");
        }
    }
}

fn in_memory(_dir: &TempDir, kept: Option<Arc<dyn FileSystemStorage>>) -> Arc<dyn FileSystemStorage> {
    kept.unwrap_or_else(|| Arc::new(MemoryStorage::new()))
}

fn on_disk(dir: &TempDir, kept: Option<Arc<dyn FileSystemStorage>>) -> Arc<dyn FileSystemStorage> {
    let (path, options) = (dir.path().join("index"), StoreOptions::default());
    let is_new = kept.is_none();
    drop(kept);
    let store = if is_new { Store::create(path, &options) } else { Store::open(path, &options) };
    Arc::new(store.unwrap())
}

mod memory_index {
    use super::*;
    ize_core::conformance!(|| OnDisk::new(PijulOptions::default().author("Ada", None), in_memory));
}

mod store_index_change_per_op {
    use super::*;
    ize_core::conformance!(|| OnDisk::new(PijulOptions::default().change_per_op(true), on_disk));
}
