//! The engine of a store changes, and nothing else.
#![cfg(feature = "redb")]
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;

use ize_core::conformance::{Workload, assert_same};
use ize_core::model::OpId;
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage, RefName, RefTarget, StorageError};
use ize_store::{Engine, MigrationStep, Store, StoreOptions};
use tempfile::TempDir;

/// A closed store, and the model of what it holds.
fn filled(engine: Engine) -> (TempDir, MemoryStorage) {
    let (dir, model, mut workload) = (tempfile::tempdir().unwrap(), MemoryStorage::new(), Workload::new(11));
    let options = StoreOptions::default().engine(engine).pack_bytes_max(50_000);
    let store = Store::create(dir.path(), &options).unwrap();
    for _ in 0..8 {
        (0..12).for_each(|_| workload.step());
        let batch = Batch { ops: workload.log().take(), landmarks: Vec::new() };
        model.commit(&batch).unwrap();
        store.commit(&batch).unwrap();
    }
    let (name, at) = (RefName::new("lunch").unwrap(), ize_core::model::View::main(OpId::new(5)));
    let target = RefTarget::Snapshot { view: at, created: Default::default() };
    store.set_ref(&name, Some(&target)).unwrap();
    model.set_ref(&name, Some(&target)).unwrap();
    (dir, model)
}

fn migrate(dir: &Path, engine: Engine) -> Result<bool, StorageError> {
    Store::migrate(dir, engine, &mut |_| {})
}

fn assert_holds(dir: &Path, model: &MemoryStorage, engine: Engine) {
    let store = Store::open(dir, &StoreOptions::default()).unwrap();
    assert_eq!(store.info().unwrap().engine.as_deref(), Some(engine.name()));
    assert_same(model, &store);
    store.verify(&mut |finding| panic!("{finding:?}")).unwrap();
}

fn indexes(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("index")).collect();
    names.sort();
    names
}

#[test]
fn a_store_goes_to_another_engine_and_back() {
    let (dir, model) = filled(Engine::Sanakirja);
    assert!(migrate(dir.path(), Engine::Redb).unwrap());
    assert_eq!(indexes(dir.path()), ["index-redb"]);
    assert_holds(dir.path(), &model, Engine::Redb);
    // What comes later comes into the new one.
    let mut workload = Workload::new(11);
    (0..96).for_each(|_| workload.step());
    workload.log().take();
    workload.step();
    let batch = Batch { ops: workload.log().take(), landmarks: Vec::new() };
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    store.commit(&batch).unwrap();
    store.repair(&mut |finding| panic!("{finding:?}")).unwrap();
    drop(store);
    model.commit(&batch).unwrap();
    assert_holds(dir.path(), &model, Engine::Redb);
    assert!(migrate(dir.path(), Engine::Sanakirja).unwrap());
    assert_eq!(indexes(dir.path()), ["index-sanakirja"]);
    assert_holds(dir.path(), &model, Engine::Sanakirja);
}

#[test]
fn the_engine_that_a_store_has_is_nothing_to_do() {
    let (dir, model) = filled(Engine::Redb);
    assert!(!migrate(dir.path(), Engine::Redb).unwrap());
    assert_eq!(indexes(dir.path()), ["index"]);
    assert_holds(dir.path(), &model, Engine::Redb);
}

#[test]
fn progress_ends_with_the_last_operation_and_the_comparison() {
    let (dir, model) = filled(Engine::Sanakirja);
    let mut steps = Vec::new();
    Store::migrate(dir.path(), Engine::Redb, &mut |step| steps.push(step)).unwrap();
    let head = model.head().unwrap().op;
    let last = MigrationStep::Entered { op: head, of: head };
    assert_eq!(steps[steps.len() - 2..], [last, MigrationStep::Comparing]);
}

#[test]
fn an_open_store_is_refused() {
    let (dir, _model) = filled(Engine::Sanakirja);
    let _open = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    assert!(matches!(migrate(dir.path(), Engine::Redb), Err(StorageError::Locked)));
}

#[test]
fn packs_that_do_not_hold_all_that_the_index_knows_leave_it_as_it_is() {
    let (dir, _model) = filled(Engine::Sanakirja);
    let pack = dir.path().join("packs/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    assert!(matches!(migrate(dir.path(), Engine::Redb), Err(StorageError::Corrupt(_))));
    assert_eq!(indexes(dir.path()), ["index"]);
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    assert_eq!(store.info().unwrap().engine.as_deref(), Some("sanakirja"));
}

#[test]
fn what_a_migration_that_was_cut_off_left_is_removed() {
    let (dir, model) = filled(Engine::Sanakirja);
    std::fs::write(dir.path().join("index.new"), "half of an index").unwrap();
    std::fs::write(dir.path().join("index-redb"), "an index that was never the store's").unwrap();
    assert_holds(dir.path(), &model, Engine::Sanakirja);
    assert_eq!(indexes(dir.path()), ["index"]);
}
