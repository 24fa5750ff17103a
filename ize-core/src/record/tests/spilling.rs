//! What does not fit into the queue: it waits in the journal and comes back in order. And the journal's limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::crash::copy_journal;
use super::gate::GatedStorage;
use super::state::describe;
use super::*;
use crate::model::{ContentHash, Landmark};

/// A queue of ten operations and little data over small segments, everything stored as it came.
fn tiny_queue() -> RecorderOptions {
    let journal = JournalOptions { segment_bytes: 64 << 10, ..JournalOptions::default() };
    RecorderOptions { queue: QueueLimits { ops_max: 10, bytes_max: 4000 }, journal, ..single_options() }
}

/// Writes that can be told apart, of sizes from nothing to more than the queue holds.
fn content(thread: usize, n: usize) -> Vec<u8> {
    let size = if n.is_multiple_of(97) { 9000 } else { n % 200 };
    format!("{thread}: {n};").into_bytes().into_iter().cycle().take(size).collect()
}

/// Records from several threads, with marks in time and late ones, and returns what the log must hold of each file.
fn record_from_threads(recorder: &Recorder, threads: usize, writes: usize) -> Vec<(FileId, Vec<Vec<u8>>)> {
    thread::scope(|scope| {
        let recording = (0..threads).map(|thread| {
            scope.spawn(move || {
                let file = record_writes(recorder, 0);
                let contents: Vec<Vec<u8>> = (0..writes).map(|n| content(thread, n)).collect();
                let mut late = None;
                for (n, content) in contents.iter().enumerate() {
                    let op = record(recorder, write(file, content));
                    match n % 50 {
                        7 => recorder.mark(op, Landmark::Close).unwrap(),
                        9 => late = Some(op),
                        40 => recorder.mark(late.unwrap(), Landmark::Sync).unwrap(),
                        _ => {}
                    }
                }
                (file, contents)
            })
        });
        let recording: Vec<_> = recording.collect();
        recording.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asserts that every write of every thread is there, in its thread's order, and its landmark.
fn assert_holds(storage: &dyn FileSystemStorage, recorded: &[(FileId, Vec<Vec<u8>>)]) {
    let ops = all_ops(storage);
    assert!(ops.iter().zip(1..).all(|(op, id)| op.id == OpId::new(id) && op.last_id == op.id), "dense");
    assert_eq!(ops.len(), recorded.iter().map(|(_, contents)| contents.len() + 1).sum::<usize>());
    for (file, contents) in recorded {
        let of_file: Vec<&OpCode> = ops.iter().filter(|op| op.op_type.file() == *file).skip(1).collect();
        assert_eq!(of_file.len(), contents.len());
        for (n, (op, content)) in of_file.into_iter().zip(contents).enumerate() {
            assert_eq!(hash_of(&op.data), ContentHash::of(content), "write {n} of {file}");
            let expected = match n % 50 {
                7 => Some(Landmark::Close),
                9 if n + 31 < contents.len() => Some(Landmark::Sync),
                _ => None,
            };
            assert!(op.landmark == expected || op.landmark == Some(Landmark::Barrier), "write {n} of {file}: {op:?}");
        }
    }
}

fn hash_of(data: &OpData) -> ContentHash {
    match data {
        OpData::None => ContentHash::of(b""),
        OpData::Inline(bytes) => ContentHash::of(bytes),
        OpData::Reference { hash, .. } => *hash,
    }
}

#[test]
fn thousands_of_operations_pass_through_a_queue_of_ten() {
    pass_thousands(tiny_queue());
}

#[test]
fn batches_that_several_threads_prepare_are_committed_in_order() {
    for worker_threads in [2, 5] {
        let mut options = tiny_queue();
        options.processor.worker_threads = worker_threads;
        options.processor.max_batch_size = 3;
        pass_thousands(options);
    }
}

fn pass_thousands(options: RecorderOptions) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, options).unwrap();
    storage.shut_gate();
    // Storage does not go on, but nobody who records waits for it.
    let recorded = record_from_threads(&recorder, 5, 700);
    let status = recorder.status();
    assert_eq!((status.pending_ops, status.recorded.get()), (5 * 701, 5 * 701));
    assert!(status.queue.spilled > 3400 && status.queue.current_size <= 10, "{status:?}");
    assert!(segments(dir.path()) > 5);
    storage.open_gate();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                storage.shut_gate();
                thread::sleep(Duration::from_micros(300));
                storage.open_gate();
                thread::sleep(Duration::from_micros(300));
            }
        });
        // More is recorded while what was spilled is read back.
        let more = record_from_threads(&recorder, 4, 500);
        recorder.wait_committed(recorder.recorded()).unwrap();
        done.store(true, Ordering::SeqCst);
        assert_holds(&*storage, &[recorded, more].concat());
    });
    let stats = recorder.status().queue;
    let all = 5 * 701 + 4 * 501;
    assert_eq!((stats.total_enqueued, stats.total_dequeued, stats.spilled), (all, all, 0));
    assert!(stats.peak_size <= 10);
    assert_eq!(recorder.status().pending_bytes, 0);
    assert!(storage.batch_ops_max.load(Ordering::SeqCst) <= 10);
    assert!(segments(dir.path()) <= 3, "it is trimmed");
}

#[test]
fn what_was_spilled_survives_a_kill_and_goes_on_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let live = dir.path().join("live");
    let recorder = Recorder::open(storage.clone(), &live, BranchId::MAIN, tiny_queue()).unwrap();
    storage.shut_gate();
    let before = record_from_threads(&recorder, 3, 200);
    // What a killed process leaves.
    copy_journal(&live, &dir.path().join("copy"));
    storage.open_gate();
    drop(recorder);
    let again = Arc::new(MemoryStorage::new());
    let recorder = Recorder::open(again.clone(), &dir.path().join("copy"), BranchId::MAIN, tiny_queue()).unwrap();
    assert_eq!(recorder.recorded(), OpId::new(3 * 201));
    let after = record_from_threads(&recorder, 3, 200);
    recorder.close().unwrap();
    assert_holds(&*again, &[before, after].concat());
    assert_eq!(segments(&dir.path().join("copy")), 0);
}

#[test]
fn a_barrier_on_a_spilled_operation_ends_a_merged_one() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let merging = RecorderOptions { processor: options().processor, ..tiny_queue() };
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, merging).unwrap();
    storage.shut_gate();
    let file = record_writes(&recorder, 20);
    let mut shown = Vec::new();
    for n in 0..60 {
        record(&recorder, write(file, format!("{n}").as_bytes()));
        if n % 3 == 0 {
            shown.push(recorder.barrier().unwrap());
        }
    }
    assert!(recorder.status().queue.spilled > 40);
    copy_journal(dir.path(), &dir.path().join("copy"));
    storage.open_gate();
    recorder.wait_committed(recorder.recorded()).unwrap();
    let plain = Arc::new(MemoryStorage::new());
    let copy = dir.path().join("copy");
    drop(Recorder::open(plain.clone(), &copy, BranchId::MAIN, single_options()).unwrap());
    let ops = all_ops(&*storage);
    assert!(ops.len() < 81 && ops.iter().any(|op| op.id != op.last_id), "nothing was merged");
    for op in shown {
        let at = ops.iter().find(|known| known.last_id == op).unwrap_or_else(|| panic!("{op} is no moment"));
        assert_eq!(at.landmark, Some(Landmark::Barrier));
        assert!(describe(&*plain, op) == describe(&*storage, op));
    }
}

#[test]
fn at_the_journals_limit_writers_wait_until_it_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, small_journal()).unwrap();
    storage.shut_gate();
    let file = record_writes(&recorder, 0);
    let recorded = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                record(&recorder, write(file, &[7; 9000]));
            }
            recorded.store(true, Ordering::SeqCst);
        });
        let mut last = OpId::ZERO;
        while recorder.recorded() != last || last < OpId::new(8) {
            last = recorder.recorded();
            thread::sleep(Duration::from_millis(50));
        }
        assert!(!recorded.load(Ordering::SeqCst), "it went on to {last}");
        let status = recorder.status();
        assert!(status.journal_bytes <= status.journal_bytes_max && status.journal_bytes_max == 3 << 16);
        assert!(matches!(recorder.try_enqueue(write(file, &[8; 9000])), Err(RecordError::QueueFull)));
        assert_eq!(recorder.recorded(), last, "and nothing of it was recorded");
        // What makes space passes.
        let cut = OpType::FileTruncate { file, old_size: 9000, new_size: 0 };
        assert_eq!(recorder.try_enqueue(draft(cut, OpData::None, Vec::new())).unwrap(), last.next());
        storage.open_gate();
    });
    recorder.wait_committed(OpId::new(102)).unwrap();
    assert_dense(&*storage, 102);
    assert_eq!(recorder.try_enqueue(write(file, b"room again")).unwrap(), OpId::new(103));
}

#[test]
fn whoever_waits_at_the_limit_is_told_when_recording_ends() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, small_journal()).unwrap();
    storage.shut_gate();
    let file = record_writes(&recorder, 0);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            loop {
                if let Err(error) = try_record(&recorder, write(file, &[7; 9000])) {
                    return error;
                }
            }
        });
        thread::sleep(Duration::from_millis(100));
        recorder.poison("a test".to_owned());
        assert!(matches!(waiting.join().unwrap(), RecordError::Poisoned(_)));
        storage.open_gate();
    });
}

#[test]
fn a_reservation_that_is_dropped_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, small_journal()).unwrap();
    for _ in 0..100 {
        drop(recorder.reserve(20_000).unwrap());
    }
    let too_large = recorder.data_bytes_max() + 1;
    assert!(matches!(recorder.reserve(too_large), Err(RecordError::TooLarge { .. })));
    drop(recorder.reserve(recorder.data_bytes_max()).unwrap());
}
