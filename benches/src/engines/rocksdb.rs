//! Tables in RocksDB: a column family each.

use std::path::Path;

use ize_core::storage::{Result, StorageError};
use ize_store::engine::{ApplyError, Changes, Constructor, Engine, Snapshot, Step, Table, Visit};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, Options, SnapshotWithThreadMode, WriteBatch, WriteOptions};

/// RocksDB.
#[derive(Clone, Copy, Debug)]
pub struct RocksDb;

impl Constructor for RocksDb {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Engine>> {
        opened(path, true)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Engine>> {
        opened(path, false)
    }
}

fn opened(path: &Path, make: bool) -> Result<Box<dyn Engine>> {
    let mut options = Options::default();
    options.create_if_missing(make);
    options.create_missing_column_families(make);
    let database = DB::open_cf(&options, path, Table::ALL.map(Table::name)).map_err(failed)?;
    Ok(Box::new(RocksDbEngine { database }))
}

struct RocksDbEngine {
    database: DB,
}

fn family(database: &DB, table: Table) -> Result<&ColumnFamily> {
    database.cf_handle(table.name()).ok_or_else(|| StorageError::Corrupt("a table is missing".to_owned()))
}

impl Engine for RocksDbEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(RocksDbSnapshot { database: &self.database, snapshot: self.database.snapshot() }))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        let mut batch = WriteBatch::default();
        for table in Table::ALL {
            let family = family(&self.database, table)?;
            for (key, value) in changes.rows(table) {
                match value {
                    Some(value) => batch.put_cf(family, key, value),
                    None => batch.delete_cf(family, key),
                }
            }
        }
        barrier()?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.database.write_opt(batch, &options).map_err(|error| ApplyError::Unknown(failed(error)))
    }
}

struct RocksDbSnapshot<'a> {
    database: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl RocksDbSnapshot<'_> {
    fn visit(&self, table: Table, mode: IteratorMode<'_>, visit: Visit<'_>) -> Result<()> {
        for row in self.snapshot.iterator_cf(family(self.database, table)?, mode) {
            let (key, value) = row.map_err(failed)?;
            if visit(&key, &value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl Snapshot for RocksDbSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot.get_cf(family(self.database, table)?, key).map_err(failed)
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        self.visit(table, IteratorMode::From(from, Direction::Forward), visit)
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        self.visit(table, IteratorMode::From(from, Direction::Reverse), visit)
    }
}

fn failed(error: rocksdb::Error) -> StorageError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StorageError::Corrupt(error.into_string()),
        _ => StorageError::backend("an access to RocksDB", error),
    }
}
