//! Tables in LMDB, through heed: one database each in a memory-mapped folder.
#![allow(unsafe_code, reason = "mapping a file is unsafe where others might change it")]

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions, RoTxn, WithoutTls};
use ize_core::storage::{Result, StorageError};
use ize_store::engine::{ApplyError, Changes, Constructor, Engine, Snapshot, Step, Table, Visit};

/// Bytes of addresses that are set aside, once and for all.
const MAP_BYTES: usize = 64 << 30;

type Rows = Database<Bytes, Bytes>;

/// LMDB.
#[derive(Clone, Copy, Debug)]
pub struct Heed;

impl Constructor for Heed {
    fn name(&self) -> &'static str {
        "heed"
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Engine>> {
        std::fs::create_dir(path).map_err(|error| StorageError::backend("making the index's folder", error))?;
        let env = environment(path)?;
        let tables = with_tables(&env)?;
        Ok(Box::new(HeedEngine { env, tables }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Engine>> {
        let env = environment(path)?;
        let txn = env.read_txn().map_err(failed)?;
        let open = |table: Table| env.open_database(&txn, Some(table.name())).map_err(failed);
        let opened: Result<Option<Vec<Rows>>> = Table::ALL.into_iter().map(open).collect();
        let tables = opened?.ok_or_else(|| StorageError::Corrupt("a table is missing".to_owned()))?;
        // Databases that were opened for the first time stay open with this.
        txn.commit().map_err(failed)?;
        Ok(Box::new(HeedEngine { env, tables }))
    }
}

fn environment(path: &Path) -> Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES).max_dbs(u32::try_from(Table::ALL.len()).expect("there are few tables"));
    // SAFETY: the store's lock on its folder keeps other processes and other environments away from the file.
    unsafe { options.open(path) }.map_err(failed)
}

fn with_tables(env: &Env<WithoutTls>) -> Result<Vec<Rows>> {
    let mut txn = env.write_txn().map_err(failed)?;
    let create = |table: Table| env.create_database(&mut txn, Some(table.name())).map_err(failed);
    let tables: Result<Vec<Rows>> = Table::ALL.into_iter().map(create).collect();
    let tables = tables?;
    txn.commit().map_err(failed)?;
    Ok(tables)
}

struct HeedEngine {
    env: Env<WithoutTls>,
    tables: Vec<Rows>,
}

impl Engine for HeedEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        let txn = self.env.read_txn().map_err(failed)?;
        Ok(Box::new(HeedSnapshot { txn, tables: &self.tables }))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        let mut txn = self.env.write_txn().map_err(failed)?;
        for (table, rows) in Table::ALL.into_iter().zip(&self.tables) {
            for (key, value) in changes.rows(table) {
                match value {
                    Some(value) => rows.put(&mut txn, key, value),
                    None => rows.delete(&mut txn, key).map(drop),
                }
                .map_err(failed)?;
            }
        }
        barrier()?;
        txn.commit().map_err(|error| ApplyError::Unknown(failed(error)))
    }
}

struct HeedSnapshot<'a> {
    txn: RoTxn<'a, WithoutTls>,
    tables: &'a [Rows],
}

impl Snapshot for HeedSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.tables[table.number()].get(&self.txn, key).map_err(failed)?;
        Ok(found.map(<[u8]>::to_vec))
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Unbounded);
        for row in self.tables[table.number()].range(&self.txn, &range).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            if visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let range = (std::ops::Bound::Unbounded, std::ops::Bound::Included(from));
        for row in self.tables[table.number()].rev_range(&self.txn, &range).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            if visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }
}

fn failed(error: heed::Error) -> StorageError {
    use heed::MdbError as E;
    match error {
        heed::Error::Mdb(
            error @ (E::PageNotFound | E::Corrupted | E::Panic | E::Invalid | E::VersionMismatch | E::Incompatible),
        ) => StorageError::Corrupt(error.to_string()),
        heed::Error::Mdb(E::MapFull) => StorageError::Full,
        error => StorageError::backend("an access to LMDB", error),
    }
}
