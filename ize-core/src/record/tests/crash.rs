//! What a killed process leaves: the journal's folder is copied while recording goes on, and opened with the storage
//! that had committed nothing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::gate::GatedStorage;
use super::*;
use crate::model::Landmark;

/// Copies the segments, the newest first: whoever appends meanwhile adds to segments that are copied later, or not at all.
/// So the copy is what a process would leave that is killed at some moment during the copy. The other way round a segment
/// could be missing its end, though the next one, which is made in advance, has records already.
pub(super) fn copy_journal(from: &Path, to: &Path) {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.reverse();
    std::fs::create_dir_all(to).unwrap();
    for path in paths {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Lets the writers end, also when an assertion fails: else the test would wait for them for ever.
struct EndWriters<'a> {
    done: &'a AtomicBool,
    storage: &'a GatedStorage,
}

impl Drop for EndWriters<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.storage.open_gate();
    }
}

#[test]
fn a_process_killed_at_any_moment_keeps_every_acknowledged_operation() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let mut options = options();
    options.journal.segment_bytes = 64 << 10;
    options.journal.bytes_max = Some(2 << 20);
    let recorder = Recorder::open(storage.clone(), &dir.path().join("live"), BranchId::MAIN, options).unwrap();
    storage.shut_gate();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end_writers = EndWriters { done: &done, storage: &storage };
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let file = record_writes(&recorder, 20);
                    recorder.mark(record(&recorder, write(file, &[1; 3000])), Landmark::Close).unwrap();
                }
            });
        }
        for round in 0..15 {
            let copy = dir.path().join(format!("copy-{round}"));
            let acknowledged = recorder.recorded();
            copy_journal(&dir.path().join("live"), &copy);
            let begun = recorder.recorded().get() + 3;
            let fresh = Arc::new(MemoryStorage::new());
            let reopened = open(&fresh, &copy);
            assert!(reopened.recorded() >= acknowledged && reopened.recorded().get() <= begun);
            assert_eq!(fresh.head().unwrap().op, reopened.recorded());
            thread::sleep(Duration::from_millis(2));
        }
    });
}

#[test]
fn replaying_what_is_committed_already_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let recorder = open(&storage, &dir.path().join("live"));
    record_writes(&recorder, 50);
    recorder.mark(OpId::new(7), Landmark::Close).unwrap();
    recorder.barrier().unwrap();
    recorder.wait_committed(OpId::new(51)).unwrap();
    copy_journal(&dir.path().join("live"), &dir.path().join("copy"));
    let before = all_ops(&*storage);
    drop(recorder);
    let again = open(&storage, &dir.path().join("copy"));
    assert_eq!(again.recorded(), OpId::new(51));
    assert_eq!(again.recovery().records, 53);
    assert_eq!(all_ops(&*storage), before);
}

#[test]
fn a_gap_between_storage_and_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    drop({
        let recorder = open(&storage, &dir.path().join("live"));
        record_writes(&recorder, 9);
        recorder
    });
    let recorder = open(&storage, &dir.path().join("live"));
    record_writes(&recorder, 9);
    copy_journal(&dir.path().join("live"), &dir.path().join("copy"));
    let other: Arc<dyn FileSystemStorage> = Arc::new(MemoryStorage::new());
    let opened = Recorder::open(other, &dir.path().join("copy"), BranchId::MAIN, options());
    assert!(
        matches!(opened, Err(RecordError::Gap { journal, storage }) if journal == OpId::new(11) && storage == OpId::ZERO)
    );
    assert_eq!(segments(&dir.path().join("copy")), segments(&dir.path().join("live")));
}
