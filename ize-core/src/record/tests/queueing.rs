//! Bounds, back-pressure and concurrency.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread;

use parking_lot::Mutex;

use super::gate::GatedStorage;
use super::*;

#[test]
fn concurrent_recorders_keep_ids_dense_and_a_full_queue_drops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let options = RecorderOptions { queue: QueueLimits { ops_max: 16, bytes_max: 200 }, ..options() };
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, options).unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| record_writes(&recorder, 300));
        }
    });
    recorder.wait_committed(recorder.recorded()).unwrap();
    assert_dense(&*storage, 6 * 301);
    assert!(storage.batch_ops_max.load(Ordering::SeqCst) <= 16);
    let stats = recorder.status().queue;
    assert_eq!((stats.total_enqueued, stats.total_dequeued, stats.current_size), (1806, 1806, 0));
    assert!(stats.total_spilled > 0 && stats.spilled == 0);
    assert!(stats.peak_size <= 16 && stats.queue_utilization() == 0.0 && stats.average_batch_size >= 1.0);
}

#[test]
fn what_was_recorded_can_be_waited_for_while_others_record() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(&Arc::new(MemoryStorage::new()), dir.path());
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3).map(|_| scope.spawn(|| record_writes(&recorder, 3000))).collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            recorder.wait_committed(recorder.recorded()).unwrap();
        }
    });
}

#[test]
fn segments_are_removed_while_recording_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let mut options = options();
    options.journal.segment_bytes = 64 << 10;
    let recorder = Recorder::open(storage, dir.path(), BranchId::MAIN, options).unwrap();
    let file = record_writes(&recorder, 0);
    for _ in 0..200 {
        let op = record(&recorder, write(file, &[7; 20_000]));
        recorder.wait_committed(op).unwrap();
    }
    assert!(segments(dir.path()) <= 4, "{} segments are left", segments(dir.path()));
}

#[test]
fn file_ids_are_never_given_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(&Arc::new(MemoryStorage::new()), dir.path());
    let ids = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| assert!(ids.lock().insert(recorder.allocate_file()))));
        }
    });
    assert_eq!(ids.into_inner().len(), 2000);
}
