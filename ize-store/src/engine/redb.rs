//! Tables in a redb file (feature `redb`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ize_core::storage::{Result, StorageError};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use super::{ApplyError, Changes, Engine, Snapshot, Step, Table, Visit};
use crate::disk;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// An engine on one redb file.
pub(crate) struct RedbEngine {
    database: Database,
}

const fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

impl RedbEngine {
    /// Makes a new file with empty tables. The caller gives it its final name.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let database = Database::create(path).map_err(|error| failed("creation of the index", error))?;
        let engine = Self { database };
        let transaction = engine.database.begin_write().map_err(|error| failed("creation of the index", error))?;
        for table in Table::ALL {
            transaction.open_table(definition(table)).map_err(|error| failed("creation of the index", error))?;
        }
        transaction.commit().map_err(|error| failed("creation of the index", error))?;
        Ok(engine)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is not a whole redb file with our tables.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let database = guarded(|| Database::open(path).map_err(|error| failed("opening the index", error)))?;
        let engine = Self { database };
        engine.snapshot()?;
        Ok(engine)
    }
}

impl Engine for RedbEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        guarded(|| {
            let transaction = self.database.begin_read().map_err(|error| failed("reading the index", error))?;
            let open = |table| transaction.open_table(definition(table));
            let tables: Result<Vec<_>, _> = Table::ALL.into_iter().map(open).collect();
            let tables = tables.map_err(|error| failed("reading the index", error))?;
            Ok(Box::new(RedbSnapshot { tables }) as Box<dyn Snapshot + '_>)
        })
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        let action = "a change of the index";
        let transaction = self.database.begin_write().map_err(|error| failed(action, error))?;
        for table in Table::ALL {
            let mut changed = changes.rows(table).peekable();
            if changed.peek().is_none() {
                continue;
            }
            let mut rows = transaction.open_table(definition(table)).map_err(|error| failed(action, error))?;
            for (key, value) in changed {
                match value {
                    Some(value) => rows.insert(key, value).map(drop),
                    None => rows.remove(key).map(drop),
                }
                .map_err(|error| failed(action, error))?;
            }
        }
        barrier()?;
        transaction.commit().map_err(|error| ApplyError::Unknown(failed("commit of the index", error)))
    }
}

struct RedbSnapshot {
    tables: Vec<Rows>,
}

impl Snapshot for RedbSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        guarded(|| {
            let found = self.tables[table.number()].get(key).map_err(|error| failed("reading the index", error))?;
            Ok(found.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let rows = || self.tables[table.number()].range::<&[u8]>(from..);
        let mut rows = guarded(|| rows().map_err(|error| failed("reading the index", error)))?;
        while let Some(row) = guarded(|| Ok(rows.next()))? {
            let (key, value) = row.map_err(|error| failed("reading the index", error))?;
            if visit(key.value(), value.value())? == Step::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let rows = || self.tables[table.number()].range::<&[u8]>(..=from);
        let mut rows = guarded(|| rows().map_err(|error| failed("reading the index", error)))?;
        while let Some(row) = guarded(|| Ok(rows.next_back()))? {
            let (key, value) = row.map_err(|error| failed("reading the index", error))?;
            if visit(key.value(), value.value())? == Step::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Runs a call into redb that reads; a panic there means that a page makes no sense.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the call leaves behind is dropped with the transaction, or not used again.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(damaged("a page of it makes no sense")))
}

fn failed(action: &str, error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => damaged(&error.to_string()),
        redb::Error::Io(error) => disk::failed(action, error),
        redb::Error::Corrupted(why) => damaged(&why),
        error @ (redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
            damaged(&error.to_string())
        }
        redb::Error::DatabaseAlreadyOpen => StorageError::Locked,
        error => StorageError::backend(action, error),
    }
}

fn damaged(why: &str) -> StorageError {
    StorageError::Corrupt(format!("the index: {why}; 'repair' rebuilds it from the packs"))
}
