//! The conformance suite on every engine.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use ize_core::conformance::Fixture;
use ize_core::storage::FileSystemStorage;
use ize_store::{Engine, Store, StoreOptions};
use tempfile::TempDir;

/// A store in a folder of its own.
struct OnDisk {
    dir: TempDir,
    options: StoreOptions,
    store: Option<Store>,
}

impl OnDisk {
    fn new(options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store"), &options).unwrap();
        Self { dir, options, store: Some(store) }
    }
}

impl Fixture for OnDisk {
    fn store(&self) -> &dyn FileSystemStorage {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.dir.path().join("store"), &self.options).unwrap());
    }
}

impl Drop for OnDisk {
    /// After every check that passed, the store verifies.
    fn drop(&mut self) {
        if let Some(store) = self.store.take().filter(|_| !std::thread::panicking()) {
            let mut findings = Vec::new();
            store.verify(&mut |finding| findings.push(finding)).unwrap();
            assert!(findings.is_empty(), "{findings:?}");
        }
    }
}

mod sanakirja {
    use super::*;
    ize_core::conformance!(|| OnDisk::new(StoreOptions::default().engine(Engine::Sanakirja)));
}

#[cfg(feature = "redb")]
mod redb {
    use super::*;
    ize_core::conformance!(|| OnDisk::new(StoreOptions::default().engine(Engine::Redb)));
}

mod small_packs_without_compression {
    use super::*;
    ize_core::conformance!(|| OnDisk::new(StoreOptions::default().pack_bytes_max(100_000).compression(false)));
}
