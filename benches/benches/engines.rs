//! Each engine of this build under the same work: bare tables, and a store on them.
//!
//! `cargo bench --workspace --bench engines --features ize-benches/heed,ize-benches/fjall,ize-benches/sled`

use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use ize_benches::engines::all;
use ize_benches::engines::figures::{Bare, Filled, OPS, ROWS, replay};
use ize_core::storage::StorageError;
use ize_store::engine::Constructor;
use tempfile::TempDir;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Runs one bench for every engine, in a folder of its own.
fn each(criterion: &mut Criterion, name: &str, bench: impl Fn(&mut Group<'_>, &Arc<dyn Constructor>, &TempDir)) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    for engine in all() {
        let dir = TempDir::new().expect("a temporary folder can be made");
        bench(&mut group, &engine, &dir);
    }
    group.finish();
}

/// Returns a size for measuring, or a small one where the benchmarks are only tried.
fn scaled(size: u64) -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { size } else { size / 50 }
}

fn must<T>(done: Result<T, StorageError>) -> T {
    done.expect("the engine does as it should")
}

fn bare(criterion: &mut Criterion) {
    each(criterion, "bare tables, look up a row", |group, engine, dir| {
        let (tables, mut rng) =
            (must(Bare::new(&**engine, &dir.path().join("tables"), scaled(ROWS))), Rng::with_seed(1));
        group.bench_function(engine.name(), |bencher| bencher.iter(|| must(tables.lookup(&mut rng))));
    });
    each(criterion, "bare tables, one row, durable", |group, engine, dir| {
        let (tables, mut rng) =
            (must(Bare::new(&**engine, &dir.path().join("tables"), scaled(ROWS))), Rng::with_seed(1));
        group.bench_function(engine.name(), |bencher| bencher.iter(|| must(tables.apply_one(&mut rng))));
    });
}

fn commits(criterion: &mut Criterion) {
    for ops in [1_usize, 1000] {
        each(criterion, &format!("engine commit, {ops} operations"), |group, engine, dir| {
            let mut filled = must(Filled::new(engine, &dir.path().join("store"), scaled(OPS)));
            group.throughput(Throughput::Elements(ops as u64));
            group.bench_function(engine.name(), |bencher| bencher.iter(|| must(filled.commit(ops))));
        });
    }
    each(criterion, "engine commit, a recorded session", |group, engine, _| {
        group.bench_function(engine.name(), |bencher| {
            bencher.iter_with_large_drop(|| {
                let dir = TempDir::new().expect("a temporary folder can be made");
                must(replay(engine, &dir.path().join("store")));
                dir
            });
        });
    });
}

/// A question about a store.
type Question = fn(&Filled, &mut Rng) -> Result<(), StorageError>;

fn questions(criterion: &mut Criterion) {
    let questions: [(&str, Question); 4] = [
        ("a file's metadata", Filled::node),
        ("list a folder", Filled::listing),
        ("history of a file", Filled::history),
        ("4 KiB of a file at some moment", Filled::past),
    ];
    let dir = TempDir::new().expect("a temporary folder can be made");
    let stores = all()
        .into_iter()
        .map(|engine| (engine.name(), must(Filled::new(&engine, &dir.path().join(engine.name()), scaled(OPS)))));
    let stores: Vec<(&str, Filled)> = stores.collect();
    for (name, question) in questions {
        let mut group = criterion.benchmark_group(format!("engine read, {name}"));
        for (engine, store) in &stores {
            let mut rng = Rng::with_seed(1);
            group.bench_function(*engine, |bencher| bencher.iter(|| must(question(store, &mut rng))));
        }
        group.finish();
    }
}

criterion_group!(benches, bare, commits, questions);
criterion_main!(benches);
