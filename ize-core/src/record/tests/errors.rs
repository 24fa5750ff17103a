//! Storage that is full, that fails for a while, that fails for good; poison from outside.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::gate::GatedStorage;
use super::*;
use crate::storage::StorageError;

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn full_storage_is_tried_again_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    storage.fail(4, || StorageError::Full);
    let recorder = open(&storage, dir.path());
    record_writes(&recorder, 5);
    recorder.wait_committed(OpId::new(6)).unwrap();
    assert!(storage.attempts.load(Ordering::SeqCst) >= 5);
    assert_eq!(recorder.status().poisoned, None);
}

#[test]
fn while_storage_is_full_and_the_journal_at_its_limit_data_is_refused_but_deletes_pass() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    storage.fail(1000, || StorageError::Full);
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, small_journal()).unwrap();
    let file = record_writes(&recorder, 0);
    let refused = loop {
        match recorder.reserve(9000) {
            Ok(reservation) => _ = recorder.record(reservation, write(file, &[7; 9000])).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, RecordError::Full));
    record(&recorder, draft(OpType::FileTruncate { file, old_size: 9000, new_size: 0 }, OpData::None, Vec::new()));
    let recorded = recorder.recorded();
    assert!(recorded > OpId::new(15));
    assert!(matches!(recorder.close(), Err(RecordError::Poisoned(_))));
    drop(recorder);
    assert!(segments(dir.path()) > 0, "the journal keeps what storage does not hold");
    let storage = Arc::new(MemoryStorage::new());
    assert_eq!(open(&storage, dir.path()).recorded(), recorded);
    assert_dense(&*storage, recorded.get());
}

#[test]
fn a_passing_backend_error_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    storage.fail(2, || StorageError::backend("commit", "a passing failure"));
    let recorder = open(&storage, dir.path());
    record_writes(&recorder, 5);
    recorder.wait_committed(OpId::new(6)).unwrap();
}

#[test]
fn storage_that_fails_for_good_poisons_and_the_journal_keeps_everything() {
    fail_for_good(1);
    fail_for_good(4);
}

fn fail_for_good(worker_threads: usize) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    storage.fail(1, || StorageError::Corrupt("the index".to_owned()));
    let processor = ProcessorConfig { worker_threads, ..options().processor };
    let recorder =
        Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, RecorderOptions { processor, ..options() })
            .unwrap();
    let file = record_writes(&recorder, 0);
    wait_until("poison", || recorder.status().poisoned.is_some());
    assert!(matches!(recorder.wait_committed(OpId::new(1)), Err(RecordError::Poisoned(_))));
    assert!(
        matches!(try_record(&recorder, write(file, b"x")), Err(RecordError::Poisoned(why)) if why.contains("index"))
    );
    assert!(matches!(recorder.barrier(), Err(RecordError::Poisoned(_))));
    assert!(recorder.close().is_err());
    drop(recorder);
    let again = open(&storage, dir.path());
    assert_eq!(again.recorded(), OpId::new(1));
    assert_dense(&*storage, 1);
}

#[test]
fn poison_from_outside_stops_recording_but_what_was_recorded_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    storage.shut_gate();
    let file = record_writes(&recorder, 5);
    recorder.poison("a rename was applied but not recorded".to_owned());
    assert!(matches!(try_record(&recorder, write(file, b"x")), Err(RecordError::Poisoned(_))));
    assert!(matches!(recorder.sync(), Err(RecordError::Poisoned(_))));
    storage.open_gate();
    recorder.wait_committed(OpId::new(6)).unwrap();
    assert!(matches!(recorder.close(), Err(RecordError::Poisoned(_))));
    assert_eq!(segments(dir.path()), 0, "all that was acknowledged is committed");
}

#[test]
fn a_journal_that_begins_after_the_end_of_storage_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    record_writes(&recorder, 5);
    recorder.wait_committed(OpId::new(6)).unwrap();
    storage.fail(1, || StorageError::Corrupt("gone".to_owned()));
    recorder.mark(OpId::new(6), crate::model::Landmark::Close).unwrap();
    assert!(recorder.close().is_err());
    drop(recorder);
    // The first segment still holds everything, so another, empty storage gets it all.
    let other = Arc::new(MemoryStorage::new());
    drop(open(&other, dir.path()));
    assert_dense(&*other, 6);
}

#[test]
fn a_backend_that_panics_poisons_and_nobody_waits_for_ever() {
    panic_in_the_backend(1);
    panic_in_the_backend(4);
}

fn panic_in_the_backend(worker_threads: usize) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    storage.fail(1, || panic!("a defect of the backend"));
    let processor = ProcessorConfig { worker_threads, ..options().processor };
    let recorder =
        Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, RecorderOptions { processor, ..options() })
            .unwrap();
    record_writes(&recorder, 0);
    assert!(
        matches!(recorder.wait_committed(OpId::new(1)), Err(RecordError::Poisoned(why)) if why.contains("panicked"))
    );
    assert!(recorder.close().is_err());
    assert!(segments(dir.path()) > 0);
}
