//! Each storage backend: batches in, and the questions that people's commands ask. All backends get the same history.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use ize_benches::History;
use ize_core::model::{OpId, View};
use ize_core::storage::{Direction, FileSystemStorage, MemoryStorage, OpQuery};
use ize_store::{Engine, Store, StoreOptions};
use tempfile::TempDir;

/// How many operations the read benchmarks find.
const OPS: usize = 50_000;

/// A kind of storage, and how to make a new one in a folder.
struct Kind {
    name: &'static str,
    make: fn(&TempDir) -> Arc<dyn FileSystemStorage>,
}

const KINDS: &[Kind] = &[
    Kind { name: "memory", make: |_| Arc::new(MemoryStorage::new()) },
    Kind { name: "store, sanakirja", make: |dir| store(dir, Engine::Sanakirja) },
    Kind { name: "store, redb", make: |dir| store(dir, Engine::Redb) },
];

fn store(dir: &TempDir, engine: Engine) -> Arc<dyn FileSystemStorage> {
    let options = StoreOptions::default().engine(engine);
    Arc::new(Store::create(dir.path(), &options).expect("an empty folder can become a store"))
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10);
    for ops in [100, 1000, 10_000] {
        group.throughput(Throughput::Elements(ops as u64));
        for kind in KINDS {
            group.bench_with_input(BenchmarkId::new(kind.name, ops), &ops, |bencher, &ops| {
                let dir = TempDir::new().expect("a temporary folder can be made");
                let storage = (kind.make)(&dir);
                let mut history = History::new(1);
                storage.commit(&history.batch(1000)).expect("the history is valid");
                let commit = |batch| storage.commit(&batch).expect("the history is valid");
                bencher.iter_batched(|| history.batch(ops), commit, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

/// A storage with history, and what reads need to know of it.
struct Filled {
    _dir: TempDir,
    storage: Arc<dyn FileSystemStorage>,
    history: History,
}

fn filled(kind: &Kind) -> Filled {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let storage = (kind.make)(&dir);
    let mut history = History::new(1);
    for _ in 0..OPS / 1000 {
        storage.commit(&history.batch(1000)).expect("the history is valid");
    }
    Filled { _dir: dir, storage, history }
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for kind in KINDS {
        let Filled { storage, history, _dir } = filled(kind);
        let mut rng = Rng::with_seed(2);
        let now = View::main(OpId::MAX);
        let file = |rng: &mut Rng| history.files[rng.usize(..history.files.len())].clone();
        let past = |rng: &mut Rng| View::main(OpId::new(rng.u64(1..OPS as u64)));
        let mut buf = vec![0; 16 * 1024];

        group.bench_function(BenchmarkId::new("lookup and stat", kind.name), |bencher| {
            bencher.iter(|| {
                let entry = file(&mut rng).entry;
                let found = storage.entry(now, entry.dir, &entry.name).expect("it can be read").expect("it exists");
                black_box(storage.node(now, found).expect("it can be read"))
            });
        });
        group.bench_function(BenchmarkId::new("content now", kind.name), |bencher| {
            bencher.iter(|| black_box(storage.read(now, file(&mut rng).file, 0, &mut buf).expect("it can be read")));
        });
        group.bench_function(BenchmarkId::new("content at a moment", kind.name), |bencher| {
            bencher.iter(|| {
                let view = past(&mut rng);
                black_box(storage.read(view, file(&mut rng).file, 0, &mut buf).expect("it can be read"))
            });
        });
        group.bench_function(BenchmarkId::new("folder listing", kind.name), |bencher| {
            bencher.iter(|| {
                let dir = history.folders()[rng.usize(..history.folders().len())];
                black_box(storage.entries(now, dir, None, 1000).expect("it can be read"))
            });
        });
        group.bench_function(BenchmarkId::new("folder listing at a moment", kind.name), |bencher| {
            bencher.iter(|| {
                let dir = history.folders()[rng.usize(..history.folders().len())];
                black_box(storage.entries(past(&mut rng), dir, None, 1000).expect("it can be read"))
            });
        });
        group.bench_function(BenchmarkId::new("history of a file", kind.name), |bencher| {
            bencher.iter(|| {
                let file = Some(file(&mut rng).file);
                let query = OpQuery { file, direction: Direction::NewestFirst, max: 100, ..OpQuery::all(now) };
                black_box(storage.ops(&query).expect("it can be read"))
            });
        });
        group.bench_function(BenchmarkId::new("newest 100 landmarks", kind.name), |bencher| {
            bencher.iter(|| {
                let (direction, max) = (Direction::NewestFirst, 100);
                let query = OpQuery { landmarks_only: true, direction, max, ..OpQuery::all(now) };
                black_box(storage.ops(&query).expect("it can be read"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, insert, reads);
criterion_main!(benches);
