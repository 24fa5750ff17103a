//! Tables in a Sanakirja file. The only place of this crate with `unsafe`.
//!
//! Found by reading and running Sanakirja 2.0.0-beta.3, and kept out of everybody else's way here:
//! - The lock of its writer is released twice (by `commit` and by the drop after it), and a page that is free in a newer
//!   version counts as free for an older one that has no free page behind it. So a commit excludes every snapshot
//!   ([`SanakirjaEngine::gate`]): no reader is ever older than the last commit, and two versions suffice.
//! - `get` answers the first key at least as great: keys are compared. `put` adds a second value: the old one is deleted
//!   first. `rev_iter` may begin one row too high: such rows are skipped.
//! - Every commit syncs each mapping of the file on its own, and a file that grows gets one more mapping, twice as long as
//!   the one before. So the file is lengthened here in smaller steps, and mapped anew in one piece when it has grown.
//! - Damage to a page shows as a panic as often as an error; panics become [`StorageError::Corrupt`].
#![allow(unsafe_code)]

mod tree;

use std::fs::File;
use std::io::Read;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ize_core::storage::{Result, StorageError};
use parking_lot::{RwLock, RwLockReadGuard};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;
use sanakirja::btree::{self, UDb};
use sanakirja::{Commit, Env, MutTxn, RootDb, RootPageMut, Txn};

use super::{ApplyError, Changes, Engine, RowSource, Snapshot, Step, Table, Visit};
use crate::disk;
use tree::TreeBuilder;

type Rows = UDb<[u8], [u8]>;

/// How many versions the file keeps: the committed one and the next.
const VERSIONS: usize = 2;
/// Bytes of a new file.
const BYTES_FIRST: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;
const FORMAT: u16 = 3;

/// An engine on one Sanakirja file.
///
/// The caller holds the store's lock: the file is open once in one process.
pub(crate) struct SanakirjaEngine {
    path: PathBuf,
    /// Held for reading by snapshots, for writing during a commit.
    gate: RwLock<Mapped>,
}

/// The file, mapped.
struct Mapped {
    /// None if the file could not be mapped again after it grew.
    env: Option<Arc<Env>>,
    /// Bytes of the file when it was mapped.
    bytes: u64,
}

impl Mapped {
    fn new(path: &Path) -> Result<Self> {
        let action = "opening the index";
        // SAFETY: the store's lock on its folder keeps any other environment away from this file, in this process and
        // in others; the engine drops its environment before it makes the next.
        let env = unsafe { Env::new_nolock(path, BYTES_FIRST, VERSIONS) }.map_err(|error| failed(action, error))?;
        let bytes = std::fs::metadata(path).map_err(|error| disk::failed(action, error))?.len();
        Ok(Self { env: Some(Arc::new(env)), bytes })
    }

    fn env(&self) -> Result<Arc<Env>> {
        let gone = || StorageError::backend("reading the index", "the file could not be mapped again after it grew");
        self.env.clone().ok_or_else(gone)
    }

    /// Maps the file anew. Nobody uses the old mapping any more.
    fn renew(&mut self, path: &Path) -> Result<()> {
        drop(self.env.take());
        *self = Self::new(path)?;
        Ok(())
    }
}

impl SanakirjaEngine {
    /// Makes a new file with empty tables. The caller gives it its final name.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mapped = Mapped::new(path)?;
        lengthen(path, BYTES_FIRST)?;
        let begun = Env::mut_txn_begin(mapped.env()?).and_then(|mut txn| {
            for table in Table::ALL {
                // SAFETY: `txn` is a live transaction of the environment that was just made.
                let rows: Rows = unsafe { btree::create_db_(&mut txn)? };
                txn.set_root(table.number(), rows.db.into());
            }
            txn.commit()
        });
        begun.map_err(|error| failed("creation of the index", error))?;
        ize_core::disk::replaced(path);
        Ok(Self { path: path.to_owned(), gate: RwLock::new(mapped) })
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is not a whole Sanakirja file with our tables.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        used_bytes(path)?;
        let mapped = guarded(|| Mapped::new(path))?;
        let engine = Self { path: path.to_owned(), gate: RwLock::new(mapped) };
        engine.snapshot()?;
        Ok(engine)
    }

    /// Lengthens the file if changes of so many rows might not find room, by a quarter at most.
    fn make_room(&self, rows: usize) -> Result<()> {
        let mut mapped = self.gate.write();
        let room = mapped.bytes.saturating_sub(used_bytes(&self.path)?);
        let wanted = (rows as u64 * PAGE_BYTES).min((mapped.bytes / 4).max(BYTES_FIRST)).next_multiple_of(PAGE_BYTES);
        if room >= wanted {
            return Ok(());
        }
        lengthen(&self.path, mapped.bytes + wanted)?;
        mapped.renew(&self.path)
    }

    /// Makes a transaction's changes durable.
    fn commit(&self, txn: MutTxn<Arc<Env>>) -> Result<(), ApplyError> {
        let mut mapped = self.gate.write();
        let committed = guarded(|| txn.commit().map_err(|error| failed("commit of the index", error)));
        committed.map_err(ApplyError::Unknown)?;
        ize_core::disk::replaced(&self.path);
        let has_grown = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() != mapped.bytes);
        if has_grown { mapped.renew(&self.path).map_err(ApplyError::Unknown) } else { Ok(()) }
    }
}

/// Makes a file at least this long, with room on the disk: a mapping cannot tell that there is none.
fn lengthen(path: &Path, bytes: u64) -> Result<()> {
    let lengthened = File::options().write(true).open(path).and_then(|file| {
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP) => file.set_len(bytes),
            allocated => Ok(allocated?),
        }
    });
    lengthened.map_err(|error| disk::failed("lengthening the index", error))
}

/// Returns how many bytes of a file are in use. Refuses files that Sanakirja would take for whole and then read beyond
/// their end.
fn used_bytes(path: &Path) -> Result<u64> {
    let mut file = File::open(path).map_err(|error| disk::failed("opening the index", error))?;
    let bytes = file.metadata().map_err(|error| disk::failed("opening the index", error))?.len();
    let mut pages = [0u8; 4096 * VERSIONS];
    file.read_exact(&mut pages).map_err(|_| damaged("the file is too short"))?;
    let mut used = 0;
    for page in pages.chunks(4096) {
        let version = u16::from_le_bytes([page[0], page[1]]);
        let length = u64::from_le_bytes(page[8..16].try_into().expect("the slice has 8 bytes"));
        let is_sound = version == FORMAT
            && usize::from(page[2]) < VERSIONS
            && usize::from(page[3]) == VERSIONS
            && length <= bytes
            && length % PAGE_BYTES == 0;
        if !is_sound {
            return Err(damaged("its first pages are damaged"));
        }
        used = length.max(used);
    }
    Ok(used)
}

impl Engine for SanakirjaEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        guarded(|| {
            let gate = self.gate.read();
            let txn = Env::txn_begin(gate.env()?).map_err(|error| failed("opening the index", error))?;
            let tables = open_tables(&txn)?;
            Ok(Box::new(SanakirjaSnapshot { tables, txn, _gate: gate }) as Box<dyn Snapshot + '_>)
        })
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        self.make_room(changes.count())?;
        let txn = guarded(|| {
            let env = self.gate.read().env()?;
            let txn = Env::mut_txn_begin(env).map_err(|error| failed("a change of the index", error))?;
            put_all(txn, changes)
        })?;
        barrier()?;
        self.commit(txn)
    }

    fn fill(&self, rows: &mut dyn RowSource) -> Result<()> {
        let mut mapped = self.gate.write();
        let bytes = rows.bytes();
        lengthen(&self.path, mapped.bytes + (bytes + bytes / 5).next_multiple_of(PAGE_BYTES))?;
        mapped.renew(&self.path)?;
        let (env, bytes) = (mapped.env()?, mapped.bytes);
        drop(mapped);
        let is_filled = AtomicBool::new(false);
        let txn = std::thread::scope(|scope| {
            scope.spawn(|| load_ahead(&self.path, bytes, &is_filled));
            let filled = guarded(|| {
                let txn = Env::mut_txn_begin(env).map_err(|error| failed("making a new index", error))?;
                fill_all(txn, rows)
            });
            is_filled.store(true, Ordering::Relaxed);
            filled
        })?;
        self.commit(txn).map_err(ApplyError::into_error)
    }
}

/// Has the kernel make the pages of a new file, from the first on, until all are there or nobody wants them: else that takes
/// longer than filling them. Only time is lost if it cannot.
fn load_ahead(path: &Path, bytes: u64, is_filled: &AtomicBool) {
    const STEP: usize = 1 << 20;
    let Ok(file) = File::open(path) else { return };
    for at in (0..bytes).step_by(STEP) {
        let is_wanted = !is_filled.load(Ordering::Relaxed);
        if !is_wanted || fadvise(&file, at, NonZeroU64::new(STEP as u64), Advice::WillNeed).is_err() {
            return;
        }
    }
}

/// Makes each table anew. What they held before is forgotten.
fn fill_all(mut txn: MutTxn<Arc<Env>>, rows: &mut dyn RowSource) -> Result<MutTxn<Arc<Env>>> {
    let mut building: Option<(Table, TreeBuilder)> = None;
    while let Some((table, key, value)) = rows.next()? {
        if building.as_ref().is_none_or(|(at, _)| *at != table) {
            finish_table(&mut txn, building.take())?;
        }
        let (_, tree) = building.get_or_insert_with(|| (table, TreeBuilder::default()));
        tree.push(&mut txn, key, value)?;
    }
    finish_table(&mut txn, building)?;
    Ok(txn)
}

fn finish_table(txn: &mut MutTxn<Arc<Env>>, built: Option<(Table, TreeBuilder)>) -> Result<()> {
    let Some((table, tree)) = built else { return Ok(()) };
    let Some(rows) = tree.finish(txn)? else { return Ok(()) };
    let empty = root_of(txn, table)?;
    txn.set_root(table.number(), rows.db.into());
    // SAFETY: nothing refers to the tree that this table was until now.
    unsafe { btree::drop(txn, empty) }.map_err(|error| failed("making a new index", error))
}

fn put_all(mut txn: MutTxn<Arc<Env>>, changes: &Changes) -> Result<MutTxn<Arc<Env>>> {
    let action = "a change of the index";
    for table in Table::ALL {
        let mut changed = changes.rows(table).peekable();
        if changed.peek().is_none() {
            continue;
        }
        let mut rows = root_of(&txn, table)?;
        for (key, value) in changed {
            if table.is_mutable() {
                btree::del(&mut txn, &mut rows, key, None).map_err(|error| failed(action, error))?;
            }
            if let Some(value) = value {
                btree::put(&mut txn, &mut rows, key, value).map_err(|error| failed(action, error))?;
            }
        }
        txn.set_root(table.number(), rows.db.into());
    }
    Ok(txn)
}

fn open_tables(txn: &Txn<Arc<Env>>) -> Result<Vec<Rows>> {
    Table::ALL.into_iter().map(|table| root_of(txn, table)).collect()
}

fn root_of(txn: &impl RootDb, table: Table) -> Result<Rows> {
    txn.root_db(table.number()).ok_or_else(|| damaged("a table is missing"))
}

struct SanakirjaSnapshot<'a> {
    tables: Vec<Rows>,
    // Dropped before the gate opens.
    txn: Txn<Arc<Env>>,
    _gate: RwLockReadGuard<'a, Mapped>,
}

impl SanakirjaSnapshot<'_> {
    fn rows(&self, table: Table) -> &Rows {
        &self.tables[table.number()]
    }
}

impl Snapshot for SanakirjaSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        guarded(|| {
            let found = btree::get(&self.txn, self.rows(table), key, None);
            let found = found.map_err(|error| failed("reading the index", error))?;
            Ok(found.filter(|(found, _)| *found == key).map(|(_, value)| value.to_vec()))
        })
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut rows = guarded(|| {
            btree::iter(&self.txn, self.rows(table), Some((from, None)))
                .map_err(|error| failed("reading the index", error))
        })?;
        while let Some(row) = guarded(|| Ok(rows.next()))? {
            let (key, value) = row.map_err(|error| failed("reading the index", error))?;
            if key >= from && visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut rows = guarded(|| {
            btree::rev_iter(&self.txn, self.rows(table), Some((from, None)))
                .map_err(|error| failed("reading the index", error))
        })?;
        while let Some(row) = guarded(|| Ok(rows.next()))? {
            let (key, value) = row.map_err(|error| failed("reading the index", error))?;
            if key <= from && visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Runs a call into Sanakirja; a panic there means that a page makes no sense.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the call leaves behind is dropped with the transaction, or not used again.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(damaged("a page of it makes no sense")))
}

fn damaged(why: &str) -> StorageError {
    StorageError::Corrupt(format!("the index: {why}; 'repair' rebuilds it from the packs"))
}

fn failed(action: &str, error: sanakirja::Error) -> StorageError {
    match error {
        sanakirja::Error::IO(error) => disk::failed(action, error),
        sanakirja::Error::Corrupt(at) => damaged(&format!("a reference to page {at} leads nowhere")),
        sanakirja::Error::VersionMismatch | sanakirja::Error::CRC(_) => damaged("its first pages are damaged"),
        error => StorageError::backend(action, error),
    }
}
