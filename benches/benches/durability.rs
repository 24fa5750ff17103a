//! What durability costs: the same operations recorded in each mode, by one writer and by eight.
//!
//! Two ratios are the point, and both come from one run: in immediate mode eight writers against one (they share
//! syncs), and group mode against relaxed (nobody waits for the sync that goes on beside).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ize_core::model::{
    Actor, BranchId, Entry, FileId, FileKind, FileMetadata, Name, OpData, OpId, OpType, Timestamp, Touched,
};
use ize_core::record::{DurabilityMode, OpDraft, Recorder, RecorderOptions};
use ize_core::storage::MemoryStorage;
use tempfile::TempDir;

/// The data of one operation, in bytes.
const DATA_BYTES: usize = 128;
/// After so many operations the recorder is opened anew: its storage is memory.
const OPS_MAX: u64 = 1_000_000;

struct Bench {
    _dir: TempDir,
    recorder: Recorder,
    /// One for each writer.
    files: Vec<FileId>,
}

impl Bench {
    fn new(durability: DurabilityMode, writers: usize) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let options = RecorderOptions { durability, ..RecorderOptions::default() };
        let recorder = Recorder::open(Arc::new(MemoryStorage::new()), dir.path(), BranchId::MAIN, options)
            .expect("an empty folder is a journal");
        let files = (0..writers).map(|_| recorder.allocate_file()).collect();
        let bench = Self { _dir: dir, recorder, files };
        for file in &bench.files {
            let name = Name::new(format!("file-{file}").into_bytes()).expect("a valid name");
            let entry = Entry::new(FileId::ROOT, name);
            let touched = [(*file, FileKind::File), (FileId::ROOT, FileKind::Directory)];
            let op_type = OpType::FileCreate { file: *file, entry, mode: 0o644 };
            bench.record(op_type, OpData::None, &touched);
        }
        bench
    }

    fn record(&self, op_type: OpType, data: OpData, touched: &[(FileId, FileKind)]) -> OpId {
        let touched = touched.iter().map(|(file, kind)| Touched { file: *file, metadata: metadata(*kind) }).collect();
        let actor = Arc::new(Actor::default());
        let draft = OpDraft { op_type, data, touched, actor, landmark: None, parent: None };
        let room = self.recorder.reserve(draft.data.size()).expect("there is room");
        self.recorder.record(room, draft).expect("it can be recorded")
    }

    fn write(&self, file: FileId) {
        let op_type = OpType::FileWrite { file, offset: 0, size: DATA_BYTES as u64 };
        self.record(op_type, OpData::Inline(vec![7; DATA_BYTES].into()), &[(file, FileKind::File)]);
    }

    /// Lets each writer record so many operations, and returns how long all of them took.
    fn run(&self, ops_each: u64) -> Duration {
        let began = Instant::now();
        thread::scope(|scope| {
            for file in &self.files {
                scope.spawn(|| (0..ops_each).for_each(|_| self.write(*file)));
            }
        });
        began.elapsed()
    }
}

fn metadata(kind: FileKind) -> FileMetadata {
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let nlink = if kind == FileKind::Directory { 2 } else { 1 };
    let size = DATA_BYTES as u64;
    FileMetadata { kind, mode: 0o644, uid: 0, gid: 0, size, nlink, rdev: 0, atime: time, mtime: time, ctime: time }
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durability");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    let group_mode = DurabilityMode::GROUP_DEFAULT;
    let cases = [
        (DurabilityMode::Immediate, 1),
        (DurabilityMode::Immediate, 8),
        (DurabilityMode::Relaxed, 1),
        (group_mode, 1),
        (DurabilityMode::Relaxed, 8),
        (group_mode, 8),
    ];
    for (mode, writers) in cases {
        group.throughput(Throughput::Elements(1));
        let id = BenchmarkId::new(mode.name(), format!("{writers} writers"));
        group.bench_function(id, |bencher| {
            let (mut bench, mut recorded) = (Bench::new(mode, writers), 0);
            bencher.iter_custom(|ops| {
                if recorded + ops > OPS_MAX {
                    (bench, recorded) = (Bench::new(mode, writers), 0);
                }
                recorded += ops;
                let each = ops.div_ceil(writers as u64);
                // Per operation, whoever made it.
                bench.run(each).mul_f64(ops as f64 / (each * writers as u64) as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
