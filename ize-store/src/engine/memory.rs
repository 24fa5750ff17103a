//! Tables in memory: what `verify` rebuilds an index into, and what tests run on.

use std::collections::BTreeMap;
use std::ops::Bound;

use ize_core::storage::Result;
use parking_lot::{RwLock, RwLockReadGuard};

use super::{ApplyError, Changes, Engine, Snapshot, Step, Table, Visit};

type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()];

/// An engine that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct MemoryEngine {
    tables: RwLock<Tables>,
}

impl Engine for MemoryEngine {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(MemorySnapshot { tables: self.tables.read() }))
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

struct MemorySnapshot<'a> {
    tables: RwLockReadGuard<'a, Tables>,
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
