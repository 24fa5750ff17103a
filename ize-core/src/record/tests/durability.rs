//! When the journal is synced, and what happens when the disk fails.

use std::time::Instant;

use super::*;
use crate::journal::tests::disk::{Fault, MemoryMedium};

fn open_on(medium: &MemoryMedium, storage: &Arc<MemoryStorage>, durability: DurabilityMode) -> Recorder {
    let options = RecorderOptions { durability, ..options() };
    Recorder::open_on(storage.clone(), Arc::new(medium.clone()), BranchId::MAIN, options).unwrap()
}

#[test]
fn immediate_mode_syncs_before_each_operation_returns() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Immediate);
    record_writes(&recorder, 9);
    assert_eq!(medium.syncs(), 10);
    assert_eq!(recorder.sync().unwrap(), OpId::new(10));
    assert_eq!(medium.syncs(), 10, "nothing was left to sync");
}

#[test]
fn relaxed_mode_syncs_only_when_asked() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Relaxed);
    record_writes(&recorder, 9);
    assert_eq!(medium.syncs(), 0);
    assert_eq!(recorder.sync().unwrap(), OpId::new(10));
    assert_eq!(medium.syncs(), 1);
}

#[test]
fn group_mode_syncs_after_a_while_and_after_so_many_operations() {
    let wait = |medium: &MemoryMedium| {
        let patience = Instant::now() + Duration::from_secs(20);
        while medium.syncs() == 0 {
            assert!(Instant::now() < patience, "no sync came");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let by_time = DurabilityMode::GroupCommit { max_delay_ms: 1, max_pending_ops: 1_000_000 };
    let recorder = open_on(&medium, &storage, by_time);
    record_writes(&recorder, 1);
    wait(&medium);
    drop(recorder);

    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let by_count = DurabilityMode::GroupCommit { max_delay_ms: 3_600_000, max_pending_ops: 5 };
    let recorder = open_on(&medium, &storage, by_count);
    record_writes(&recorder, 3);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(medium.syncs(), 0);
    record_writes(&recorder, 1);
    wait(&medium);
}

#[test]
fn a_failed_append_poisons_and_what_was_acknowledged_is_committed() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Relaxed);
    let file = record_writes(&recorder, 4);
    medium.fail(1, 1, Fault::Io);
    assert!(matches!(try_record(&recorder, write(file, b"fails")), Err(RecordError::Poisoned(_))));
    assert!(matches!(try_record(&recorder, write(file, b"never tried")), Err(RecordError::Poisoned(_))));
    assert!(recorder.status().poisoned.is_some_and(|why| why.contains("simulated failure")));
    recorder.wait_committed(OpId::new(5)).unwrap();
    assert!(matches!(recorder.close(), Err(RecordError::Poisoned(_))));
    drop(recorder);
    let again = open_on(&medium, &storage, DurabilityMode::Relaxed);
    assert_eq!(again.recorded(), OpId::new(5));
    assert_eq!(record(&again, write(file, b"works")), OpId::new(6));
}

#[test]
fn a_failed_sync_poisons_and_is_never_tried_again() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Relaxed);
    let file = record_writes(&recorder, 4);
    recorder.wait_committed(OpId::new(5)).unwrap();
    medium.fail(1, 1, Fault::Io);
    assert!(matches!(recorder.sync(), Err(RecordError::Poisoned(_))));
    let syncs = medium.syncs();
    assert!(matches!(recorder.sync(), Err(RecordError::Poisoned(_))));
    assert!(matches!(try_record(&recorder, write(file, b"no")), Err(RecordError::Poisoned(_))));
    assert_eq!(medium.syncs(), syncs);
}

#[test]
fn a_full_disk_refuses_reservations_and_poisons_nothing() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Relaxed);
    medium.fail(1, u64::MAX, Fault::Full);
    assert!(matches!(recorder.reserve(10), Err(RecordError::Full)));
    medium.fail(0, 0, Fault::Full);
    record_writes(&recorder, 1);
    assert_eq!(recorder.status().poisoned, None);
}
