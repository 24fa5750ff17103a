//! The journal: what one acknowledged operation costs, by the size of its data, with and without waiting for the disk;
//! and the recorder on top of it.
//!
//! `cargo bench -p ize-benches --bench journal -- 128` answers what 128-byte records cost.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ize_benches::History;
use ize_core::journal::{FsMedium, Journal, JournalOptions};
use ize_core::model::{
    Actor, BranchId, Entry, FileId, FileKind, FileMetadata, Name, OpCode, OpData, OpType, Timestamp, Touched,
};
use ize_core::record::{DurabilityMode, OpDraft, Recorder, RecorderOptions};
use ize_core::storage::MemoryStorage;
use tempfile::TempDir;

/// How many bytes are appended before the journal is cleared, as the recorder would trim it.
const CLEAR_BYTES: u64 = 256 << 20;

struct Bench {
    _dir: TempDir,
    journal: Journal,
    appended: u64,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let medium = FsMedium::open(dir.path()).expect("it can be opened");
        let journal = Journal::open(Arc::new(medium), JournalOptions::default()).expect("an empty folder is a journal");
        Self { _dir: dir, journal, appended: 0 }
    }

    fn append(&mut self, op: &OpCode, bytes: u64) {
        self.appended += bytes;
        if self.appended > CLEAR_BYTES {
            self.journal.clear().expect("it can be cleared");
            self.appended = 0;
        }
        self.journal.reserve(bytes).expect("there is room");
        self.journal.append_op(op).expect("it can be appended");
        self.journal.release(bytes);
    }

    fn sync(&mut self) {
        let point = self.journal.sync_point();
        let outcome = point.sync();
        self.journal.finish_sync(&point, outcome).expect("it can be synced");
    }
}

/// Writes of so many bytes, numbered on.
fn write_of(bytes: usize) -> impl FnMut() -> OpCode {
    let mut history = History::new(1);
    let batch = history.batch(1000);
    let template = batch.ops.into_iter().find(|op| matches!(op.op_type, OpType::FileWrite { .. }));
    let mut op = template.expect("a thousand operations hold a write");
    op.data = OpData::Inline(vec![7; bytes].into());
    if let OpType::FileWrite { size, .. } = &mut op.op_type {
        *size = bytes as u64;
    }
    let mut next = op.id;
    move || {
        next = next.next();
        op.id = next;
        op.last_id = next;
        op.clone()
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal append");
    for bytes in [128_usize, 4096, 131_072] {
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &bytes, |bencher, &bytes| {
            let (mut bench, mut next) = (Bench::new(), write_of(bytes));
            bencher.iter(|| bench.append(&next(), bytes as u64));
        });
    }
    group.finish();
}

fn append_and_sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal append and sync");
    group.sample_size(20);
    for ops in [1_usize, 100] {
        group.throughput(Throughput::Elements(ops as u64));
        group.bench_with_input(BenchmarkId::new("4096 bytes, ops per sync", ops), &ops, |bencher, &ops| {
            let (mut bench, mut next) = (Bench::new(), write_of(4096));
            bencher.iter(|| {
                (0..ops).for_each(|_| bench.append(&next(), 4096));
                bench.sync();
            });
        });
    }
    group.finish();
}

/// All that an acknowledged operation costs in relaxed mode, while another thread merges and commits.
fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder record, relaxed");
    for bytes in [128_usize, 4096] {
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &bytes, |bencher, &bytes| {
            let dir = TempDir::new().expect("a temporary folder can be made");
            let storage = Arc::new(MemoryStorage::new());
            let options = RecorderOptions { durability: DurabilityMode::Relaxed, ..RecorderOptions::default() };
            let recorder = Recorder::open(storage, dir.path(), BranchId::MAIN, options).expect("it can be opened");
            let file = recorder.allocate_file();
            enqueue(&recorder, creation(file));
            let draft = write_to(file, bytes);
            bencher.iter(|| enqueue(&recorder, draft.clone()));
        });
    }
    group.finish();
}

fn enqueue(recorder: &Recorder, draft: OpDraft) {
    let reservation = recorder.reserve(draft.data.size()).expect("there is room");
    recorder.record(reservation, draft).expect("it can be recorded");
}

fn draft(op_type: OpType, data: OpData, file: FileId, size: u64) -> OpDraft {
    let time = Timestamp::from_nanos(1_700_000_000_123_456_789);
    let kind = FileKind::File;
    let metadata = FileMetadata {
        kind,
        mode: 0o644,
        uid: 1,
        gid: 1,
        size,
        nlink: 1,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
    };
    let touched = vec![Touched { file, metadata }];
    OpDraft { op_type, data, touched, actor: Arc::new(Actor::default()), landmark: None, parent: None }
}

fn creation(file: FileId) -> OpDraft {
    let entry = Entry::new(FileId::ROOT, Name::try_from("file").expect("it is a name"));
    draft(OpType::FileCreate { file, entry, mode: 0o644 }, OpData::None, file, 0)
}

/// Writes the beginning of a file, again and again: merging keeps the storage in memory small.
fn write_to(file: FileId, bytes: usize) -> OpDraft {
    let size = bytes as u64;
    draft(OpType::FileWrite { file, offset: 0, size }, OpData::Inline(vec![7; bytes].into()), file, size)
}

criterion_group!(benches, append, append_and_sync, record);
criterion_main!(benches);
