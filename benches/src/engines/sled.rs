//! Tables in sled: a tree each, in one log.
//!
//! sled has transactions over trees, but no snapshot of them. So a snapshot here is a lock: it keeps changes waiting as long
//! as it is held, and reads what is there. Readers hold theirs for a page of an answer.

use std::path::Path;
use std::time::{Duration, Instant};

use ize_core::storage::{Result, StorageError};
use ize_store::engine::{ApplyError, Changes, Constructor, Engine, Snapshot, Step, Table, Visit};
use parking_lot::{RwLock, RwLockReadGuard};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use sled::{Config, Db, IVec, Tree};

const LOCK_WAIT: Duration = Duration::from_secs(5);

/// sled.
#[derive(Clone, Copy, Debug)]
pub struct Sled;

impl Constructor for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Engine>> {
        let engine = opened(path)?;
        engine.database.flush().map_err(failed)?;
        Ok(Box::new(engine))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(opened(path)?))
    }
}

fn opened(path: &Path) -> Result<SledEngine> {
    let database = unlocked(path)?;
    let open = |table: Table| database.open_tree(table.name()).map_err(failed);
    let tables: Result<Vec<Tree>> = Table::ALL.into_iter().map(open).collect();
    Ok(SledEngine { tables: RwLock::new(tables?), database })
}

/// Opens a database. One that was just dropped is locked a little longer, until sled's own threads let go of it.
fn unlocked(path: &Path) -> Result<Db> {
    // Every change is flushed when it is made.
    let config = Config::new().path(path).flush_every_ms(None);
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.map_err(failed),
        }
    }
}

struct SledEngine {
    tables: RwLock<Vec<Tree>>,
    database: Db,
}

impl Engine for SledEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(SledSnapshot { tables: self.tables.read() }))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        barrier()?;
        let tables = self.tables.write();
        let made = tables.as_slice().transaction(|trees| {
            for (table, tree) in Table::ALL.into_iter().zip(trees) {
                for (key, value) in changes.rows(table) {
                    match value {
                        Some(value) => tree.insert(key, value)?,
                        None => tree.remove(key)?,
                    };
                }
            }
            Ok::<(), ConflictableTransactionError<StorageError>>(())
        });
        made.map_err(|error| match error {
            TransactionError::Abort(error) => ApplyError::Unknown(error),
            TransactionError::Storage(error) => ApplyError::Unknown(failed(error)),
        })?;
        self.database.flush().map(drop).map_err(|error| ApplyError::Unknown(failed(error)))
    }
}

struct SledSnapshot<'a> {
    tables: RwLockReadGuard<'a, Vec<Tree>>,
}

impl Snapshot for SledSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.tables[table.number()].get(key).map_err(failed)?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        visit_all(self.tables[table.number()].range(from..), visit)
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        visit_all(self.tables[table.number()].range(..=from).rev(), visit)
    }
}

fn visit_all(rows: impl Iterator<Item = sled::Result<(IVec, IVec)>>, visit: Visit<'_>) -> Result<()> {
    for row in rows {
        let (key, value) = row.map_err(failed)?;
        if visit(&key, &value)? == Step::Stop {
            break;
        }
    }
    Ok(())
}

fn failed(error: sled::Error) -> StorageError {
    match error {
        sled::Error::Io(error) => StorageError::backend("an access to sled", error),
        error => StorageError::Corrupt(error.to_string()),
    }
}
