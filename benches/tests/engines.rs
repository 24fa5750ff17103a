//! The checks of engines for every engine that is compared, and the whole conformance suite for a store on it. Which fail is in
//! docs/engines.md.
//!
//! Without features there is nothing here: ize-store's own tests check its own engines. With them:
//! `cargo test --workspace --test engines --features ize-benches/heed,ize-benches/fjall,ize-benches/sled`
#![cfg(any(feature = "heed", feature = "fjall", feature = "sled", feature = "rocksdb"))]
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::sync::Arc;

use ize_core::conformance::{Fixture, Workload, assert_same};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage};
use ize_store::engine::Constructor;
use ize_store::{Store, StoreOptions};
use tempfile::TempDir;

struct OnDisk {
    dir: TempDir,
    engine: Arc<dyn Constructor>,
    store: Option<Store>,
}

impl OnDisk {
    fn new(engine: impl Constructor + 'static) -> Self {
        let (dir, engine) = (tempfile::tempdir().unwrap(), Arc::new(engine));
        let store = Store::create_with(dir.path().join("store"), engine.clone(), &StoreOptions::default()).unwrap();
        Self { dir, engine, store: Some(store) }
    }
}

impl Fixture for OnDisk {
    fn store(&self) -> &dyn FileSystemStorage {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        let path = self.dir.path().join("store");
        self.store = Some(Store::open_with(path, self.engine.clone(), &StoreOptions::default()).unwrap());
    }
}

macro_rules! engine {
    ($module:ident, $engine:expr) => {
        mod $module {
            use super::*;

            ize_store::engine_conformance!($engine);

            mod store {
                use super::*;

                ize_core::conformance!(|| OnDisk::new($engine));

                #[test]
                fn an_index_is_made_anew() {
                    let (mut store, mut workload) = (OnDisk::new($engine), Workload::new(1));
                    (0..50).for_each(|_| workload.step());
                    let batch = Batch { ops: workload.log().take(), landmarks: Vec::new() };
                    store.store().commit(&batch).unwrap();
                    let model = MemoryStorage::new();
                    model.commit(&batch).unwrap();
                    store.store = None;
                    let path = store.dir.path().join("store");
                    Store::rebuild_index_with(path, &$engine, &mut |finding| panic!("{finding:?}")).unwrap();
                    store.reopen();
                    assert_same(&model, store.store());
                    store.store().verify(&mut |finding| panic!("{finding:?}")).unwrap();
                }
            }
        }
    };
}

#[cfg(feature = "heed")]
engine!(heed, ize_benches::engines::Heed);
#[cfg(feature = "fjall")]
engine!(fjall, ize_benches::engines::Fjall);
#[cfg(feature = "sled")]
engine!(sled, ize_benches::engines::Sled);
#[cfg(feature = "rocksdb")]
engine!(rocksdb, ize_benches::engines::RocksDb);
