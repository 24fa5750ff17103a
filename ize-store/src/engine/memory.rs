//! Tables in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use ize_core::storage::Result;
use parking_lot::MappedRwLockReadGuard;
#[cfg(test)]
use parking_lot::RwLock;
#[cfg(test)]
use parking_lot::RwLockReadGuard;

#[cfg(test)]
use super::{ApplyError, Changes, Engine};
use super::{Snapshot, Step, Table, Visit};

/// Rows by table.
pub(crate) type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()];

/// An engine that forgets everything when it is dropped.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct MemoryEngine {
    tables: RwLock<Tables>,
}

#[cfg(test)]
impl Engine for MemoryEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(MemorySnapshot { tables: RwLockReadGuard::map(self.tables.read(), |tables| tables) }))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        barrier()?;
        let mut tables = self.tables.write();
        for table in Table::ALL {
            let rows = &mut tables[table.number()];
            for (key, value) in changes.rows(table) {
                let before = match value {
                    Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                    None => rows.remove(key),
                };
                debug_assert!(table.is_mutable() || before.is_none(), "a row of {} was overwritten", table.name());
            }
        }
        Ok(())
    }
}

/// Reads tables in memory.
pub(crate) struct MemorySnapshot<'a> {
    pub(crate) tables: MappedRwLockReadGuard<'a, Tables>,
}

impl Snapshot for MemorySnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.tables[table.number()].get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        for (key, value) in self.tables[table.number()].range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let range = (Bound::Unbounded, Bound::Included(from));
        for (key, value) in self.tables[table.number()].range::<[u8], _>(range).rev() {
            if visit(key, value)? == Step::Stop {
                break;
            }
        }
        Ok(())
    }
}
