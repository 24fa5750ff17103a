//! The recorder against the storage model, on real folders.

mod crash;
mod durability;
mod errors;
mod gate;
mod landmarks;
mod merging;
mod queueing;
mod spilling;
pub(super) mod state;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::journal::JournalOptions;
use crate::model::{
    Actor, BranchId, Entry, FileId, FileKind, FileMetadata, Name, OpCode, OpData, OpId, OpType, Timestamp, Touched,
    View,
};
use crate::storage::{FileSystemStorage, MemoryStorage, OpQuery};

fn metadata(kind: FileKind, size: u64) -> FileMetadata {
    let time = Timestamp::from_nanos(1_700_000_000_123_456_789);
    let nlink = if kind == FileKind::Directory { 2 } else { 1 };
    FileMetadata { kind, mode: 0o644, uid: 1, gid: 1, size, nlink, rdev: 0, atime: time, mtime: time, ctime: time }
}

fn draft(op_type: OpType, data: OpData, touched: Vec<Touched>) -> OpDraft {
    OpDraft { op_type, data, touched, actor: Arc::new(Actor::default()), landmark: None, parent: None }
}

/// Creates a file with this name in the root.
fn create(file: FileId, name: &str) -> OpDraft {
    let entry = Entry::new(FileId::ROOT, Name::try_from(name).unwrap());
    let touched = vec![
        Touched { file, metadata: metadata(FileKind::File, 0) },
        Touched { file: FileId::ROOT, metadata: metadata(FileKind::Directory, 0) },
    ];
    draft(OpType::FileCreate { file, entry, mode: 0o644 }, OpData::None, touched)
}

/// Writes at the beginning of a file.
fn write(file: FileId, content: &[u8]) -> OpDraft {
    let size = content.len() as u64;
    let touched = vec![Touched { file, metadata: metadata(FileKind::File, size) }];
    draft(OpType::FileWrite { file, offset: 0, size }, OpData::Inline(Bytes::copy_from_slice(content)), touched)
}

fn record(recorder: &Recorder, draft: OpDraft) -> OpId {
    try_record(recorder, draft).unwrap()
}

fn try_record(recorder: &Recorder, draft: OpDraft) -> Result<OpId> {
    recorder.record(recorder.reserve(draft.data.size())?, draft)
}

/// Records a file and so many writes to it.
fn record_writes(recorder: &Recorder, writes: usize) -> FileId {
    let file = recorder.allocate_file();
    record(recorder, create(file, &format!("file-{file}")));
    for n in 0..writes {
        record(recorder, write(file, format!("content {n}").as_bytes()));
    }
    file
}

fn options() -> RecorderOptions {
    RecorderOptions {
        idle_gap: Duration::from_secs(3600),
        processor: ProcessorConfig { poll_interval: Duration::from_millis(1), ..ProcessorConfig::default() },
        ..RecorderOptions::default()
    }
}

/// Options with which every operation is stored as it came.
fn single_options() -> RecorderOptions {
    let processor = ProcessorConfig { enable_compression: false, ..options().processor };
    RecorderOptions { processor, ..options() }
}

/// Options with a journal of at most three small segments.
fn small_journal() -> RecorderOptions {
    let journal = JournalOptions { segment_bytes: 64 << 10, bytes_max: Some(0), ..JournalOptions::default() };
    RecorderOptions { journal, ..options() }
}

fn open(storage: &Arc<impl FileSystemStorage + 'static>, dir: &Path) -> Recorder {
    Recorder::open(storage.clone(), dir, BranchId::MAIN, options()).unwrap()
}

fn all_ops(storage: &dyn FileSystemStorage) -> Vec<OpCode> {
    storage.ops(&OpQuery { max: usize::MAX, ..OpQuery::all(View::latest(BranchId::MAIN)) }).unwrap()
}

/// Asserts that storage holds every operation up to `through`, alone or merged.
fn assert_dense(storage: &dyn FileSystemStorage, through: u64) {
    let last = all_ops(storage).iter().fold(OpId::ZERO, |last, op| {
        assert_eq!(op.id, last.next());
        op.last_id
    });
    assert_eq!(last, OpId::new(through));
}

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".seg")).count()
}

#[test]
fn what_is_recorded_is_committed_in_order_and_the_journal_is_empty_after_close() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let recorder = open(&storage, dir.path());
    let file = record_writes(&recorder, 100);
    assert_eq!(recorder.recorded(), OpId::new(101));
    recorder.wait_committed(OpId::new(101)).unwrap();
    assert_eq!(recorder.committed(), OpId::new(101));
    recorder.close().unwrap();
    assert_eq!(segments(dir.path()), 0);
    let mut content = [0; 32];
    let read = storage.read(View::latest(BranchId::MAIN), file, 0, &mut content).unwrap();
    assert_eq!(&content[..read], b"content 99");
    assert!(matches!(try_record(&recorder, write(file, b"late")), Err(RecordError::Closed)));
    assert!(matches!(recorder.close(), Err(RecordError::Closed)));
}

#[test]
fn ids_continue_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let first = open(&storage, dir.path());
    let file = record_writes(&first, 3);
    drop(first);
    let second = open(&storage, dir.path());
    assert_eq!(second.recorded(), OpId::new(4));
    assert!(second.allocate_file() > file);
    assert_eq!(record(&second, write(file, b"more")), OpId::new(5));
}

#[test]
fn a_second_recorder_on_the_same_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let _first = open(&storage, dir.path());
    let second = Recorder::open(storage, dir.path(), BranchId::MAIN, options());
    assert!(matches!(second, Err(RecordError::Journal { source: crate::journal::JournalError::Locked })));
}
