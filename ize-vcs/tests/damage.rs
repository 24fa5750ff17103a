//! Damage is named, history is read on from the index, and what can be mended is.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::path::{Path, PathBuf};

use ize_core::conformance::{LogBuilder, Workload};
use ize_core::model::{BranchId, FileId, OpId, View};
use ize_core::storage::FileSystemStorage;
use ize_vcs::{PijulOptions, PijulStorage};
use support::{Foreign, create, findings, open};

fn options() -> PijulOptions {
    PijulOptions::default().change_per_op(true)
}

fn begun(dir: &Path) -> (PijulStorage, Workload) {
    let storage = create(dir, &options());
    let mut work = Workload::new(11);
    (0..50).for_each(|_| work.step());
    work.log().commit(&storage).unwrap();
    (storage, work)
}

fn file_of(dir: &Path, hash: &str) -> PathBuf {
    dir.join(".pijul/changes").join(&hash[..2]).join(format!("{}.change", &hash[2..]))
}

/// Returns the hash of the change somewhere in the middle.
fn some_change(storage: &dyn FileSystemStorage) -> String {
    (20..50).find_map(|op| storage.native_id(OpId::new(op)).unwrap()).unwrap()
}

/// Everything that is in history can be read, and history goes on.
fn assert_history_goes_on(storage: &PijulStorage, work: &mut Workload) {
    let before = storage.head().unwrap().op;
    (0..5).for_each(|_| work.step());
    work.log().commit(storage).unwrap();
    assert!(storage.head().unwrap().op > before);
    assert!(storage.node(View::latest(BranchId::MAIN), FileId::ROOT).unwrap().is_some());
}

fn assert_mended(storage: PijulStorage, dir: &Path, mut work: Workload) {
    storage.repair(&mut |_| {}).unwrap();
    assert_eq!(findings(&storage), []);
    assert_history_goes_on(&storage, &mut work);
    assert_eq!(findings(&storage), []);
    drop(storage);
    let storage = open(dir, &options());
    assert_eq!(storage.incoming().unwrap(), None);
    assert_eq!(findings(&storage), []);
}

#[test]
fn truncated_and_flipped_change_files_are_named_and_recorded_anew() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2),
        |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (storage, mut work) = begun(dir.path());
        let hash = some_change(&storage);
        drop(storage);
        let path = file_of(dir.path(), &hash);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let storage = open(dir.path(), &options());
        assert!(findings(&storage).iter().any(|finding| finding.what.contains(&hash)), "{:?}", findings(&storage));
        assert_history_goes_on(&storage, &mut work);
        assert_mended(storage, dir.path(), work);
    }
}

#[test]
fn a_missing_change_file_is_named_and_recorded_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, work) = begun(dir.path());
    let hash = some_change(&storage);
    std::fs::remove_file(file_of(dir.path(), &hash)).unwrap();
    assert!(findings(&storage).iter().any(|finding| finding.what.contains(&hash)));
    assert_mended(storage, dir.path(), work);
}

#[test]
fn a_database_that_changed_by_itself_is_not_opened_and_made_anew() {
    for damage in ["flip", "remove"] {
        let dir = tempfile::tempdir().unwrap();
        let (storage, mut work) = begun(dir.path());
        let known = some_change(&storage);
        drop(storage);
        let path = dir.path().join(".pijul/pristine/db");
        if damage == "remove" {
            std::fs::remove_file(&path).unwrap();
        } else {
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            (4096..bytes.len()).step_by(97).for_each(|at| bytes[at] ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let storage = open(dir.path(), &options());
        assert!(findings(&storage).iter().any(|finding| finding.what.contains("database")), "{:?}", findings(&storage));
        assert_eq!(some_change(&storage), known);
        assert_history_goes_on(&storage, &mut work);
        assert_mended(storage, dir.path(), work);
    }
}

/// A repository with one file that nobody has open.
fn closed_with_one_file() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &options());
    let mut log = LogBuilder::new();
    log.create_with(FileId::ROOT, "a", b"1\n");
    log.commit(&storage).unwrap();
    drop(storage);
    dir
}

#[test]
fn a_database_that_another_program_wrote_is_taken_as_it_is() {
    let dir = closed_with_one_file();
    let foreign = Foreign::checkout(dir.path());
    foreign.write("a", b"2\n");
    foreign.record("elsewhere");
    drop(foreign);
    let storage = open(dir.path(), &options());
    assert!(storage.incoming().unwrap().is_some());
}

#[test]
fn a_tree_that_is_not_as_history_has_it_is_named() {
    let dir = closed_with_one_file();
    // An index that tells something else of the same operations.
    let other = std::sync::Arc::new(ize_core::storage::MemoryStorage::new());
    let mut log = LogBuilder::new();
    log.create_with(FileId::ROOT, "a", b"X\n");
    log.commit(&*other).unwrap();
    let storage = PijulStorage::open(dir.path(), other, &options()).unwrap();
    let found: Vec<String> = findings(&storage).into_iter().map(|finding| finding.what).collect();
    assert!(found.iter().any(|what| what == "the repository's a is not as history has it"), "{found:?}");
    assert!(found.iter().any(|what| what.contains("does not bring what @1 to @1 did")), "{found:?}");
}
