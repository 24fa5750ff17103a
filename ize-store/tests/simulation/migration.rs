//! A change of the engine, cut off anywhere.

use std::path::Path;

use fastrand::Rng;
use ize_core::conformance::{Workload, assert_same};
use ize_core::disk::simulation::{self, Failing, Fault};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage};
use ize_store::{Engine, Store, StoreOptions};
use tempfile::TempDir;

use crate::volume::{Ordering, Volume};

/// A closed store in a folder, and the model of what it holds.
fn filled(engine: Engine) -> (TempDir, MemoryStorage) {
    let (dir, model, mut workload) = (tempfile::tempdir().unwrap(), MemoryStorage::new(), Workload::new(12));
    let store = Store::create(dir.path().join("store"), &StoreOptions::default().engine(engine)).unwrap();
    for _ in 0..3 {
        (0..6).for_each(|_| workload.step());
        let batch = Batch { ops: workload.log().take(), landmarks: Vec::new() };
        model.commit(&batch).unwrap();
        store.commit(&batch).unwrap();
    }
    (dir, model)
}

/// Puts a volume into an empty folder.
fn put(volume: &Volume, folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    volume.write(folder).unwrap();
}

/// Opens what was left, and returns the engine that it has.
fn survivor(store: &Path, model: &MemoryStorage) -> String {
    let store = Store::open(store, &StoreOptions::default()).unwrap();
    assert_same(model, &store);
    store.info().unwrap().engine.unwrap()
}

/// Whichever call to the disk fails first and for good, as when the process is killed there.
pub(crate) fn cut_off_at_each_call(from: Engine, to: Engine) {
    let (dir, model) = filled(from);
    let (before, folder) = (Volume::read(dir.path()).unwrap(), dir.path().join("again"));
    let (mut first, mut engines) = (1, Vec::new());
    loop {
        put(&before, &folder);
        let store = folder.join("store");
        simulation::start(Some(Failing { fault: Fault::Io, first, count: u64::MAX }));
        let migrated = Store::migrate(&store, to, &mut |_| {});
        let (_, calls) = simulation::stop();
        let engine = survivor(&store, &model);
        assert!(migrated.is_err() || engine == to.name(), "call {first}: {migrated:?}, and the engine is {engine}");
        engines.push(engine);
        if calls < first {
            break;
        }
        first += 1;
    }
    engines.dedup();
    assert_eq!(engines, [from.name(), to.name()], "from one moment on the engine is the new one");
}

/// The power is cut after any change of the disk, and the disk may hold what was not synced, or not.
pub(crate) fn power_cut_at_each_change(from: Engine, to: Engine) {
    let (dir, model) = filled(from);
    let (before, folder) = (Volume::read(dir.path()).unwrap(), dir.path().join("again"));
    put(&before, &folder);
    let before = Volume::read(&folder).unwrap();
    simulation::start(None);
    Store::migrate(folder.join("store"), to, &mut |_| {}).unwrap();
    let (events, _) = simulation::stop();
    for at in 0..=events.len() {
        for ordering in Ordering::ALL {
            put(&before.cut(&events[..at], ordering, &mut Rng::with_seed(1)), &folder);
            let session = folder.join("store/session");
            if session.exists() {
                std::fs::write(session, "another boot").unwrap();
            }
            let engine = survivor(&folder.join("store"), &model);
            assert!([from.name(), to.name()].contains(&engine.as_str()), "{ordering:?}, {at}: {engine}");
        }
    }
}
