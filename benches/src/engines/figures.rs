//! What is measured of an engine: the bare tables, and a store on them under the work that it is for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use ize_core::model::{FileId, OpId, View};
use ize_core::storage::{Direction, FileSystemStorage, OpQuery, StorageError};
use ize_store::engine::{Changes, Constructor, Engine, Table};
use ize_store::{Store, StoreOptions};

use crate::{History, trace};

/// How many rows bare tables have.
pub const ROWS: u64 = 100_000;
/// How many operations a store has that is asked.
pub const OPS: u64 = 30_000;
const OPS_PER_BATCH: usize = 1000;

/// Something that is measured. Less is better, of all of them.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name in [`Figures`].
    pub key: &'static str,
    /// What it is.
    pub label: &'static str,
    /// The unit.
    pub unit: &'static str,
}

const fn measure(key: &'static str, label: &'static str, unit: &'static str) -> Measure {
    Measure { key, label, unit }
}

/// All of them.
pub const MEASURES: &[Measure] = &[
    measure("lookup", "bare: look up a row", "µs"),
    measure("apply", "bare: one row, durable", "µs"),
    measure("insert", "commit in batches of 1,000", "µs per operation"),
    measure("commit", "commit one operation, durable", "µs"),
    measure("node", "a file's metadata, now", "µs"),
    measure("listing", "list a folder, now", "µs"),
    measure("history", "history of a file, newest 100", "µs"),
    measure("past", "4 KiB of a file at some moment", "µs"),
    measure("trace", "commit a recorded session", "ms"),
    measure("rebuild", "make the index anew", "µs per operation"),
    measure("size", "size of the index", "MiB"),
    measure("memory", "memory at most", "MiB"),
];

/// What was measured, by [`Measure::key`].
pub type Figures = BTreeMap<String, f64>;

/// Measures everything, once, in an empty folder. Memory is this process's, so it should do nothing else.
///
/// # Errors
/// If the engine fails.
pub fn figures(engine: &Arc<dyn Constructor>, dir: &Path) -> Result<Figures, StorageError> {
    let mut figures = Figures::new();
    let mut put = |key: &str, value: f64| figures.insert(key.to_owned(), value);

    let bare = Bare::new(&**engine, &dir.join("bare"), ROWS)?;
    let mut rng = Rng::with_seed(1);
    put("lookup", micros_each(20_000, || bare.lookup(&mut rng))?);
    put("apply", micros_each(200, || bare.apply_one(&mut rng))?);
    drop(bare);

    let path = dir.join("store");
    let mut filled = Filled::new(engine, &path, OPS)?;
    put("insert", filled.insert_micros);
    put("commit", micros_each(200, || filled.commit_one())?);
    put("node", micros_each(10_000, || filled.node(&mut rng))?);
    put("listing", micros_each(300, || filled.listing(&mut rng))?);
    put("history", micros_each(1000, || filled.history(&mut rng))?);
    put("past", micros_each(2000, || filled.past(&mut rng))?);
    drop(filled);
    put("size", mebibytes(bytes_below(&path.join("index"))));

    put("trace", replay(engine, &dir.join("trace"))? / 1000.0);
    let rebuilt = micros_each(1, || Store::rebuild_index_with(&path, &**engine, &mut |_| {}))?;
    put("rebuild", rebuilt / (OPS + 200) as f64);
    put("memory", mebibytes(memory_peak()));
    Ok(figures)
}

/// Tables without a store.
pub struct Bare {
    engine: Box<dyn Engine>,
    rows: u64,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare").finish_non_exhaustive()
    }
}

impl Bare {
    /// Makes tables with so many small rows, as most of an index are.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn new(engine: &dyn Constructor, path: &Path, rows: u64) -> Result<Self, StorageError> {
        let bare = Self { engine: engine.create(path)?, rows };
        for tenth in 0..10 {
            bare.apply(rows * tenth / 10..rows * (tenth + 1) / 10)?;
        }
        Ok(bare)
    }

    /// Looks some row up, in a snapshot of its own.
    ///
    /// # Errors
    /// If the engine fails, or has no such row.
    pub fn lookup(&self, rng: &mut Rng) -> Result<(), StorageError> {
        let found = self.engine.snapshot()?.get(Table::Files, &row_key(rng.u64(..self.rows)))?;
        found.map(drop).ok_or_else(|| StorageError::Corrupt("a row is missing".to_owned()))
    }

    /// Adds a row, durably.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn apply_one(&self, rng: &mut Rng) -> Result<(), StorageError> {
        self.apply([self.rows + rng.u64(..1 << 40)].into_iter())
    }

    fn apply(&self, rows: impl Iterator<Item = u64>) -> Result<(), StorageError> {
        let mut changes = Changes::default();
        rows.for_each(|row| changes.set(Table::Files, &row_key(row), Some(&[7; 60])));
        self.engine.apply(&changes, &mut || Ok(())).map_err(|error| match error {
            ize_store::engine::ApplyError::Refused(error) | ize_store::engine::ApplyError::Unknown(error) => error,
        })
    }
}

/// 20 bytes in no order.
fn row_key(row: u64) -> Vec<u8> {
    let mut key = row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
    key.extend_from_slice(&row.to_be_bytes());
    key.extend_from_slice(&[0; 4]);
    key
}

/// A store with a history.
#[derive(Debug)]
pub struct Filled {
    store: Store,
    history: History,
    folders: Vec<FileId>,
    files: Vec<FileId>,
    head: OpId,
    /// What committing cost, per operation.
    pub insert_micros: f64,
}

impl Filled {
    /// Makes a store and commits a history of so many operations, in batches as they come in a burst.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn new(engine: &Arc<dyn Constructor>, path: &Path, ops: u64) -> Result<Self, StorageError> {
        let store = Store::create_with(path, engine.clone(), &StoreOptions::default())?;
        let mut history = History::new(1);
        let (mut micros, mut done) = (0.0, 0);
        while done < ops {
            let batch = history.batch(OPS_PER_BATCH);
            micros += micros_each(1, || store.commit(&batch))?;
            done += OPS_PER_BATCH as u64;
        }
        let (folders, files) = (history.folders().to_vec(), history.files.iter().map(|live| live.file).collect());
        let head = store.head()?.op;
        Ok(Self { store, history, folders, files, head, insert_micros: micros / done as f64 })
    }

    /// Commits the next operation.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn commit_one(&mut self) -> Result<(), StorageError> {
        self.store.commit(&self.history.batch(1))
    }

    /// Commits so many of the next operations.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn commit(&mut self, ops: usize) -> Result<(), StorageError> {
        self.store.commit(&self.history.batch(ops))
    }

    /// Reads the metadata of some file.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn node(&self, rng: &mut Rng) -> Result<(), StorageError> {
        self.store.node(View::main(self.head), self.file(rng)).map(drop)
    }

    /// Lists some folder.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn listing(&self, rng: &mut Rng) -> Result<(), StorageError> {
        let folder = self.folders[rng.usize(..self.folders.len())];
        self.store.entries(View::main(self.head), folder, None, 1000).map(drop)
    }

    /// Asks for the newest operations on some file.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn history(&self, rng: &mut Rng) -> Result<(), StorageError> {
        let query = OpQuery {
            file: Some(self.file(rng)),
            direction: Direction::NewestFirst,
            max: 100,
            ..OpQuery::all(View::main(self.head))
        };
        self.store.ops(&query).map(drop)
    }

    /// Reads the beginning of some file as it was at some moment.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn past(&self, rng: &mut Rng) -> Result<(), StorageError> {
        let at = OpId::new(rng.u64(1..=self.head.get()));
        self.store.read(View::main(at), self.file(rng), 0, &mut [0; 4096]).map(drop)
    }

    fn file(&self, rng: &mut Rng) -> FileId {
        self.files[rng.usize(..self.files.len())]
    }
}

/// Commits the recorded session to a new store; returns how many microseconds that took.
///
/// # Errors
/// If the engine fails.
pub fn replay(engine: &Arc<dyn Constructor>, path: &Path) -> Result<f64, StorageError> {
    let batches = trace::recorded();
    let store = Store::create_with(path, engine.clone(), &StoreOptions::default())?;
    micros_each(1, || batches.iter().try_for_each(|batch| store.commit(batch)))
}

fn micros_each(times: u32, mut call: impl FnMut() -> Result<(), StorageError>) -> Result<f64, StorageError> {
    let begun = Instant::now();
    for _ in 0..times {
        call()?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What a file, or all files in a folder, take on the disk.
fn bytes_below(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes_below(&entry.path()));
    metadata.blocks() * 512 + below.sum::<u64>()
}

/// The most memory that this process had, mapped files included.
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
