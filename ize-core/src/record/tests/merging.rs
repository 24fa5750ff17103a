//! Merged operations: marks that come when theirs are stored, barriers, and what a crash leaves.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread;

use parking_lot::Mutex;

use super::crash::copy_journal;
use super::gate::GatedStorage;
use super::state::describe;
use super::*;
use crate::model::Landmark;
use crate::storage::{Batch, RefName, RefTarget, StorageError};

/// Waits with the next commit until the gate is opened, so that what is recorded meanwhile is one batch.
fn record_one_batch(recorder: &Recorder, storage: &GatedStorage, writes: usize) -> FileId {
    let attempts = storage.attempts.load(Ordering::SeqCst);
    storage.shut_gate();
    // The worker holds this one, and waits at the gate.
    let other = recorder.allocate_file();
    record(recorder, create(other, &format!("other-{other}")));
    while storage.attempts.load(Ordering::SeqCst) == attempts {
        thread::yield_now();
    }
    let file = record_writes(recorder, writes);
    storage.open_gate();
    recorder.wait_committed(recorder.recorded()).unwrap();
    file
}

fn ranges(storage: &dyn FileSystemStorage) -> Vec<(u64, u64)> {
    all_ops(storage).iter().map(|op| (op.id.get(), op.last_id.get())).collect()
}

fn landmarks(storage: &dyn FileSystemStorage) -> Vec<(u64, Landmark)> {
    all_ops(storage).iter().filter_map(|op| Some((op.last_id.get(), op.landmark?))).collect()
}

#[test]
fn a_batch_is_merged_and_everything_waits_for_the_recorded_ids() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    let file = record_one_batch(&recorder, &storage, 9);
    assert_eq!(ranges(&*storage), [(1, 1), (2, 11)]);
    assert_eq!((recorder.committed(), recorder.status().pending_ops), (OpId::new(11), 0));
    recorder.wait_committed(OpId::new(5)).unwrap();
    let stats = recorder.status().queue;
    assert_eq!((stats.total_enqueued, stats.total_dequeued), (11, 11));
    let op = all_ops(&*storage).pop().unwrap();
    assert_eq!((op.op_type.file(), op.data.size()), (file, 9));
}

#[test]
fn merging_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, single_options()).unwrap();
    record_one_batch(&recorder, &storage, 9);
    assert_eq!(all_ops(&*storage).len(), 11);
}

#[test]
fn a_late_mark_of_a_merged_operation_marks_what_it_was_merged_into() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    record_one_batch(&recorder, &storage, 9);
    recorder.mark(OpId::new(5), Landmark::Close).unwrap();
    recorder.mark(OpId::new(3), Landmark::Namespace).unwrap();
    recorder.wait_committed(OpId::new(5)).unwrap();
    assert_eq!(landmarks(&*storage), [(11, Landmark::Close)]);
}

#[test]
fn marks_of_queued_operations_keep_them_apart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    storage.shut_gate();
    let other = recorder.allocate_file();
    record(&recorder, create(other, "other"));
    while storage.attempts.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let file = record_writes(&recorder, 3);
    recorder.mark(OpId::new(3), Landmark::Close).unwrap();
    assert_eq!(recorder.barrier().unwrap(), OpId::new(5));
    record(&recorder, write(file, b"behind the barrier"));
    storage.open_gate();
    recorder.wait_committed(OpId::new(6)).unwrap();
    assert_eq!(ranges(&*storage), [(1, 1), (2, 3), (4, 5), (6, 6)]);
    assert_eq!(landmarks(&*storage), [(3, Landmark::Close), (5, Landmark::Barrier)]);
}

#[test]
fn marks_of_operations_that_were_merged_before_a_crash_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    let file = record_one_batch(&recorder, &storage, 9);
    storage.fail(1, || StorageError::Corrupt("a simulated crash".to_owned()));
    storage.shut_gate();
    record(&recorder, write(file, b"not committed"));
    recorder.mark(OpId::new(4), Landmark::Close).unwrap();
    storage.open_gate();
    drop(recorder);
    assert_eq!(landmarks(&*storage), []);
    assert_eq!(storage.head().unwrap().op, OpId::new(11));
    let recorder = open(&storage, dir.path());
    assert_eq!(recorder.recorded(), OpId::new(12));
    assert_eq!(ranges(&*storage), [(1, 1), (2, 11), (12, 12)]);
    assert_eq!(landmarks(&*storage)[0], (11, Landmark::Close));
}

#[test]
fn a_mark_from_another_branch_finds_its_operation() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, dir.path());
    record_one_batch(&recorder, &storage, 3);
    let branch = BranchId::new(1);
    let target = RefTarget::Branch { id: branch, parent: BranchId::MAIN, base: OpId::new(1) };
    storage.set_ref(&RefName::new("other").unwrap(), Some(&target)).unwrap();
    let mut batch = Batch { ops: Vec::new(), landmarks: vec![(OpId::new(3), Landmark::Close)] };
    mark::settle(&*storage, branch, &mut batch).unwrap();
    assert_eq!(batch.landmarks, [(OpId::new(5), Landmark::Close)]);
}

/// Several threads write, mark late and place barriers; then the journal is replayed without merging, and both logs are
/// compared wherever a merged operation ends.
#[test]
fn concurrent_marks_and_barriers_leave_a_log_that_reads_like_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let recorder = open(&storage, &dir.path().join("live"));
    let shown = Mutex::new(BTreeSet::new());
    let marked = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for thread in 0..3u64 {
            let (recorder, shown, marked) = (&recorder, &shown, &marked);
            scope.spawn(move || {
                let file = record_writes(recorder, 1);
                for n in 0..300 {
                    let op = record(recorder, write(file, format!("{thread}: {n}").as_bytes()));
                    if n % 37 == thread {
                        shown.lock().insert(recorder.barrier().unwrap());
                    }
                    if n % 11 == 3 {
                        // Long enough that others record, and that some of it is committed.
                        thread::sleep(Duration::from_micros(700 * thread));
                        recorder.mark(op, Landmark::Close).unwrap();
                        marked.lock().insert(op);
                    }
                }
            });
        }
    });
    recorder.wait_committed(recorder.recorded()).unwrap();
    copy_journal(&dir.path().join("live"), &dir.path().join("copy"));
    let plain = Arc::new(MemoryStorage::new());
    drop(Recorder::open(plain.clone(), &dir.path().join("copy"), BranchId::MAIN, single_options()).unwrap());
    assert_eq!(all_ops(&*plain).len() as u64, recorder.recorded().get());

    let ops = all_ops(&*storage);
    let ends: BTreeSet<OpId> = ops.iter().map(|op| op.last_id).collect();
    assert!(shown.into_inner().is_subset(&ends), "an id that was shown names a moment");
    for op in marked.into_inner() {
        let covering = ops.iter().find(|found| found.last_id >= op).unwrap();
        assert!(covering.landmark >= Some(Landmark::Close), "{op} became no landmark");
    }
    for op in &ops {
        assert!(describe(&*plain, op.last_id) == describe(&*storage, op.last_id), "at {}", op.last_id);
    }
}

/// The same after a crash that left some of it in storage, merged, and all of it in the journal.
#[test]
fn recovery_into_a_storage_that_holds_merged_operations_reads_like_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let storage = Arc::new(GatedStorage::default());
    let recorder = open(&storage, &live);
    let file = record_one_batch(&recorder, &storage, 20);
    // What a killed process leaves: the storage as it is now, the journal as it is later.
    let stored = Batch { ops: all_ops(&*storage), landmarks: Vec::new() };
    storage.shut_gate();
    for n in 0..60u64 {
        let op = record(&recorder, write(file, format!("{n}").as_bytes()));
        let late = OpId::new(op.get() - n * 7 % 20);
        if n % 5 == 0 {
            recorder.mark(late, Landmark::Close).unwrap();
        }
    }
    copy_journal(&live, &copy);
    copy_journal(&live, &dir.path().join("plain"));
    storage.open_gate();
    let plain = Arc::new(MemoryStorage::new());
    drop(Recorder::open(plain.clone(), &dir.path().join("plain"), BranchId::MAIN, single_options()).unwrap());
    for batch_size in [1, 7, 4096] {
        let again = Arc::new(MemoryStorage::new());
        again.commit(&stored).unwrap();
        let journal = dir.path().join(format!("again-{batch_size}"));
        copy_journal(&copy, &journal);
        let mut options = options();
        options.processor.max_batch_size = batch_size;
        let reopened = Recorder::open(again.clone(), &journal, BranchId::MAIN, options).unwrap();
        assert_eq!(reopened.recorded(), recorder.recorded());
        // Closing places a barrier, as it did for the other.
        drop(reopened);
        for op in all_ops(&*again) {
            assert!(describe(&*plain, op.last_id) == describe(&*again, op.last_id), "at {}", op.last_id);
            let parts = all_ops(&*plain).into_iter().filter(|part| op.id <= part.id && part.id <= op.last_id);
            assert_eq!(op.landmark, parts.filter_map(|part| part.landmark).max(), "of {}", op.last_id);
        }
    }
}
