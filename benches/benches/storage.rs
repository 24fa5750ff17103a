//! Each storage backend: batches in, and the questions that people's commands ask. All backends get the same history.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use ize_benches::{History, Project};
use ize_core::model::{OpId, View};
use ize_core::storage::{Direction, FileSystemStorage, MemoryStorage, OpQuery};
use ize_store::{Engine, Store, StoreOptions};
use ize_vcs::{PijulOptions, PijulStorage};
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
    Kind { name: "pijul, index in a store", make: pijul },
];

fn pijul(dir: &TempDir) -> Arc<dyn FileSystemStorage> {
    let index =
        Store::create(dir.path().join("index"), &StoreOptions::default()).expect("a new folder can become a store");
    let storage = PijulStorage::create(dir.path(), Arc::new(index), &PijulOptions::default());
    Arc::new(storage.expect("a folder without a repository can get one"))
}

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
                storage.commit(&history.batch(scaled(1000))).expect("the history is valid");
                let commit = |batch| storage.commit(&batch).expect("the history is valid");
                bencher.iter_batched(|| history.batch(scaled(ops)), commit, BatchSize::PerIteration);
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
    for _ in 0..scaled(OPS) / 1000 {
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
        let past = |rng: &mut Rng| View::main(OpId::new(rng.u64(1..scaled(OPS) as u64)));
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

/// Returns a size for measuring, or a small one where the benchmarks are only tried.
fn scaled(size: usize) -> usize {
    if std::env::args().any(|argument| argument == "--bench") { size } else { size / 50 }
}

/// One edit of 4 KiB, committed and durable, in a project of 10,000 files; an edit of a binary file of 50 MB; and the oldest
/// of 1,000 versions of a file.
fn versions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("versions");
    group.sample_size(20);
    for kind in KINDS {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let storage = (kind.make)(&dir);
        let mut project = Project::new(scaled(10_000) as u64);
        storage.commit(&project.take()).expect("the operations are valid");
        group.bench_function(BenchmarkId::new("edit of 4 KiB among 10,000 files", kind.name), |bencher| {
            let edit = |batch| storage.commit(&batch).expect("the operations are valid");
            bencher.iter_batched(|| project.edit(4096), edit, BatchSize::PerIteration);
        });

        for _ in 0..scaled(1000) {
            storage.commit(&project.edit_of(0, 4096)).expect("the operations are valid");
        }
        let (file, oldest) = (project.file(0), View::main(project.created()));
        group.bench_function(BenchmarkId::new("oldest of 1,000 versions", kind.name), |bencher| {
            let mut buf = vec![0; 16 * 1024];
            bencher.iter(|| black_box(storage.read(oldest, file, 0, &mut buf).expect("it can be read")));
        });

        let large = project.create_large(scaled(50_000_000));
        storage.commit(&project.take()).expect("the operations are valid");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("edit of a binary file of 50 MB", kind.name), |bencher| {
            let edit = |batch| storage.commit(&batch).expect("the operations are valid");
            bencher.iter_batched(|| project.overwrite(large, 4096), edit, BatchSize::PerIteration);
        });
        group.sample_size(20);
    }
    group.sample_size(10);
    for peer in PEERS {
        recorded_by(&mut group, peer);
    }
    group.finish();
}

/// A program that keeps versions when it is told to: how it begins in a folder of files, and how it records what changed.
struct Peer {
    name: &'static str,
    begin: &'static [&'static [&'static str]],
    record: &'static [&'static [&'static str]],
}

const PEERS: &[Peer] = &[
    Peer {
        name: "git add and commit",
        begin: &[&["git", "init", "--quiet"]],
        record: &[
            &["git", "add", "--all"],
            &[
                "git",
                "-c",
                "user.name=Ize",
                "-c",
                "user.email=ize@example.org",
                "commit",
                "--quiet",
                "--message",
                "save",
            ],
        ],
    },
    Peer {
        name: "pijul record",
        begin: &[&["pijul", "init"], &["pijul", "add", "--recursive", "."]],
        record: &[&["pijul", "record", "--all", "--message", "save"]],
    },
];

/// One edit of 4 KiB among 10,000 files, written to a plain folder and recorded by another program: whole processes.
fn recorded_by(group: &mut BenchmarkGroup<'_, WallTime>, peer: &Peer) {
    let dir = TempDir::new().expect("a folder can be made");
    let files = scaled(10_000);
    let mut rng = Rng::with_seed(7);
    let mut edit = |file: usize| {
        let folder = dir.path().join(format!("folder-{}", file / 100));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let content: String = (0..4096).map(|at| if at % 64 == 63 { '\n' } else { rng.lowercase() }).collect();
        std::fs::write(folder.join(format!("file-{file}.txt")), content).expect("a file can be written");
    };
    (0..files).for_each(&mut edit);
    let run = |commands: &[&[&str]]| {
        commands.iter().all(|command| {
            let mut process = Command::new(command[0]);
            process.args(&command[1..]).current_dir(dir.path());
            let output = process.stdin(Stdio::null()).output();
            output.is_ok_and(|output| output.status.success())
        })
    };
    if !run(peer.begin) || !run(peer.record) {
        eprintln!("{} is left out: it is not installed, or could not begin", peer.name);
        return;
    }
    let mut rng = Rng::with_seed(8);
    group.bench_function(BenchmarkId::new("edit of 4 KiB among 10,000 files", peer.name), |bencher| {
        let record = |()| assert!(run(peer.record), "{} could not record an edit", peer.name);
        bencher.iter_batched(|| edit(rng.usize(..files)), record, BatchSize::PerIteration);
    });
}

criterion_group!(benches, insert, reads, versions);
criterion_main!(benches);
