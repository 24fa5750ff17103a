//! Tables in fjall: a keyspace each, log-structured trees with one journal.

use std::path::Path;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use ize_core::storage::{Result, StorageError};
use ize_store::engine::{ApplyError, Changes, Constructor, Engine, Snapshot, Step, Table, Visit};

/// fjall.
#[derive(Clone, Copy, Debug)]
pub struct Fjall;

impl Constructor for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Engine>> {
        let engine = opened(path)?;
        engine.database.persist(PersistMode::SyncAll).map_err(failed)?;
        Ok(Box::new(engine))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(opened(path)?))
    }
}

fn opened(path: &Path) -> Result<FjallEngine> {
    let database = Database::builder(path).open().map_err(failed)?;
    let open = |table: Table| database.keyspace(table.name(), KeyspaceCreateOptions::default).map_err(failed);
    let tables: Result<Vec<Keyspace>> = Table::ALL.into_iter().map(open).collect();
    Ok(FjallEngine { tables: tables?, database })
}

struct FjallEngine {
    tables: Vec<Keyspace>,
    database: Database,
}

impl Engine for FjallEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(FjallSnapshot { tables: &self.tables, snapshot: self.database.snapshot() }))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (table, keyspace) in Table::ALL.into_iter().zip(&self.tables) {
            for (key, value) in changes.rows(table) {
                match value {
                    Some(value) => batch.insert(keyspace, key, value),
                    None => batch.remove(keyspace, key),
                }
            }
        }
        barrier()?;
        batch.commit().map_err(|error| ApplyError::Unknown(failed(error)))
    }
}

struct FjallSnapshot<'a> {
    tables: &'a [Keyspace],
    snapshot: fjall::Snapshot,
}

impl Snapshot for FjallSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.snapshot.get(&self.tables[table.number()], key).map_err(failed)?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        visit_all(self.snapshot.range(&self.tables[table.number()], from..), visit)
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        visit_all(self.snapshot.range(&self.tables[table.number()], ..=from).rev(), visit)
    }
}

fn visit_all(rows: impl Iterator<Item = Guard>, visit: Visit<'_>) -> Result<()> {
    for row in rows {
        let (key, value) = row.into_inner().map_err(failed)?;
        if visit(&key, &value)? == Step::Stop {
            break;
        }
    }
    Ok(())
}

fn failed(error: fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) => StorageError::backend("an access to fjall", error),
        fjall::Error::Locked => StorageError::Locked,
        error => StorageError::Corrupt(error.to_string()),
    }
}
