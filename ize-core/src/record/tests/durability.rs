//! When the journal is synced, and what happens when the disk fails.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use super::*;
use crate::journal::tests::disk::{Fault, MemoryMedium};
use crate::storage::StorageError;

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

/// Leaves a callback and returns where its outcome comes.
fn called_back(leave: impl FnOnce(Box<dyn FnOnce(Result<()>) + Send>)) -> Receiver<Result<()>> {
    let (sender, outcome) = channel();
    leave(Box::new(move |result| sender.send(result).unwrap()));
    outcome
}

const SOON: Duration = Duration::from_secs(20);

fn wait_for_sync(medium: &MemoryMedium, begun: u64) {
    let patience = Instant::now() + SOON;
    while medium.syncs() < begun {
        assert!(Instant::now() < patience, "no sync began");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_operation_settles_after_a_sync_in_immediate_mode_and_at_once_in_the_others() {
    for mode in [DurabilityMode::Relaxed, DurabilityMode::default(), DurabilityMode::Immediate] {
        let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
        let recorder = open_on(&medium, &storage, mode);
        medium.hold_syncs();
        let file = recorder.allocate_file();
        let draft = create(file, "file");
        // Comes back although the disk does not.
        recorder.append(recorder.reserve(0).unwrap(), draft).unwrap();
        let settled = called_back(|then| recorder.settle(then));
        let durable = called_back(|then| recorder.on_durable(then));
        wait_for_sync(&medium, 1);
        assert!(durable.recv_timeout(Duration::from_millis(20)).is_err(), "{mode:?}");
        let waits = mode == DurabilityMode::Immediate;
        assert_eq!(settled.try_recv().is_err(), waits, "{mode:?}");
        medium.let_syncs_end();
        durable.recv_timeout(SOON).unwrap().unwrap();
        if waits {
            settled.recv_timeout(SOON).unwrap().unwrap();
        }
        let syncs = medium.syncs();
        called_back(|then| recorder.on_durable(then)).try_recv().unwrap().unwrap();
        assert_eq!(medium.syncs(), syncs, "nothing was left to sync");
    }
}

/// A recorder of which nothing is committed before long unless somebody waits for it, and its storage.
fn open_commits_first(durability: DurabilityMode) -> (Recorder, Arc<gate::GatedStorage>) {
    let (medium, storage) = (Arc::new(MemoryMedium::new()), Arc::new(gate::GatedStorage::default()));
    let processor = ProcessorConfig { poll_interval: Duration::from_secs(3600), ..ProcessorConfig::default() };
    let options = RecorderOptions { durability, commits_first: true, processor, ..options() };
    (Recorder::open_on(storage.clone(), medium, BranchId::MAIN, options).unwrap(), storage)
}

#[test]
fn where_storage_comes_first_an_operation_settles_after_its_commit() {
    for durability in [DurabilityMode::Relaxed, DurabilityMode::Immediate] {
        let (recorder, storage) = open_commits_first(durability);
        storage.shut_gate();
        let file = recorder.allocate_file();
        recorder.append(recorder.reserve(0).unwrap(), create(file, "file")).unwrap();
        let settled = called_back(|then| recorder.settle(then));
        assert!(settled.recv_timeout(Duration::from_millis(20)).is_err(), "{durability:?}");
        storage.open_gate();
        settled.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(storage.head().unwrap().op, recorder.recorded());
        called_back(|then| recorder.settle(then)).recv_timeout(SOON).unwrap().unwrap();
        assert_eq!(record(&recorder, write(file, b"more")), recorder.committed());
        storage.fail(1, || StorageError::Corrupt("for good".to_owned()));
        assert!(matches!(try_record(&recorder, write(file, b"lost")), Err(RecordError::Poisoned(_))));
    }
}

#[test]
fn closing_while_an_operation_waits_for_its_commit_commits_and_answers_it() {
    let (recorder, storage) = open_commits_first(DurabilityMode::Immediate);
    storage.shut_gate();
    recorder.append(recorder.reserve(0).unwrap(), create(recorder.allocate_file(), "file")).unwrap();
    let settled = called_back(|then| recorder.settle(then));
    thread::scope(|scope| {
        let closing = scope.spawn(|| recorder.close());
        // Nobody waits for a sync, so the sync thread is gone by then.
        assert!(settled.recv_timeout(Duration::from_millis(50)).is_err());
        storage.open_gate();
        settled.recv_timeout(SOON).unwrap().unwrap();
        closing.join().unwrap().unwrap();
    });
    assert_eq!(storage.head().unwrap().op, recorder.recorded());
}

#[test]
fn those_who_wait_at_one_time_share_a_sync() {
    const WRITERS: u64 = 8;
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Immediate);
    let before = medium.syncs();
    medium.hold_syncs();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| record_writes(&recorder, 0));
        }
        // One of them syncs alone, perhaps; all others are in by the time it ends.
        while recorder.recorded().get() < WRITERS {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(50));
        medium.let_syncs_end();
    });
    assert!(medium.syncs() - before <= 2, "{} syncs", medium.syncs() - before);
}

#[test]
fn a_sync_that_began_before_an_operation_does_not_settle_it() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Immediate);
    medium.hold_syncs();
    let append = |name: &str| {
        let file = recorder.allocate_file();
        recorder.append(recorder.reserve(0).unwrap(), create(file, name)).unwrap();
        called_back(|then| recorder.settle(then))
    };
    let first = append("first");
    wait_for_sync(&medium, 1);
    let second = append("second");
    // The sync of the first fails for good; so the second one must not be taken for durable either.
    medium.fail(1, 1, Fault::Io);
    medium.let_syncs_end();
    assert!(matches!(first.recv_timeout(SOON).unwrap(), Err(RecordError::Poisoned(_))));
    assert!(matches!(second.recv_timeout(SOON).unwrap(), Err(RecordError::Poisoned(_))));
    assert_eq!(medium.syncs(), 1, "a failed sync is never tried again");
}

#[test]
fn closing_answers_those_who_still_wait() {
    for mode in [DurabilityMode::Relaxed, DurabilityMode::default(), DurabilityMode::Immediate] {
        let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
        let recorder = open_on(&medium, &storage, mode);
        medium.hold_syncs();
        recorder.append(recorder.reserve(0).unwrap(), create(recorder.allocate_file(), "first")).unwrap();
        let first = called_back(|then| recorder.on_durable(then));
        wait_for_sync(&medium, 1);
        recorder.append(recorder.reserve(0).unwrap(), create(recorder.allocate_file(), "second")).unwrap();
        let second = called_back(|then| recorder.on_durable(then));
        thread::scope(|scope| {
            let closing = scope.spawn(|| recorder.close());
            thread::sleep(Duration::from_millis(20));
            assert!(!closing.is_finished(), "closed while somebody waits for the disk");
            medium.let_syncs_end();
            closing.join().unwrap().unwrap();
        });
        first.try_recv().unwrap().unwrap();
        second.try_recv().unwrap().unwrap();
        assert_eq!(storage.head().unwrap().op, OpId::new(2));
        assert!(matches!(recorder.sync(), Err(RecordError::Closed)));
    }
}

#[test]
fn a_callback_that_panics_takes_nobody_with_it() {
    let (medium, storage) = (MemoryMedium::new(), Arc::new(MemoryStorage::new()));
    let recorder = open_on(&medium, &storage, DurabilityMode::Relaxed);
    recorder.append(recorder.reserve(0).unwrap(), create(recorder.allocate_file(), "file")).unwrap();
    medium.hold_syncs();
    recorder.on_durable(|_| panic!("this test panics on purpose"));
    let other = called_back(|then| recorder.on_durable(then));
    medium.let_syncs_end();
    other.recv_timeout(SOON).unwrap().unwrap();
    record_writes(&recorder, 1);
    recorder.sync().unwrap();
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
