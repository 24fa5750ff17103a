//! Tables in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use ize_core::storage::Result;

use super::{Step, Table, Visit};

/// Rows by table.
pub(crate) type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()];

/// As [`Snapshot::scan`](super::Snapshot::scan).
pub(crate) fn scan(tables: &Tables, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
    for (key, value) in tables[table.number()].range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
        if visit(key, value)? == Step::Stop {
            break;
        }
    }
    Ok(())
}

/// As [`Snapshot::scan_back`](super::Snapshot::scan_back).
pub(crate) fn scan_back(tables: &Tables, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
    for (key, value) in tables[table.number()].range::<[u8], _>((Bound::Unbounded, Bound::Included(from))).rev() {
        if visit(key, value)? == Step::Stop {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) use engine::MemoryEngine;

/// An engine for tests.
#[cfg(test)]
mod engine {
    use ize_core::storage::Result;
    use parking_lot::{RwLock, RwLockReadGuard};

    use super::super::{ApplyError, Changes, Engine, Snapshot, Table, Visit};
    use super::Tables;

    /// An engine that forgets everything when it is dropped.
    #[derive(Debug, Default)]
    pub(crate) struct MemoryEngine {
        tables: RwLock<Tables>,
    }

    impl Engine for MemoryEngine {
        fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
            Ok(Box::new(MemorySnapshot(self.tables.read())))
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

    struct MemorySnapshot<'a>(RwLockReadGuard<'a, Tables>);

    impl Snapshot for MemorySnapshot<'_> {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
            Ok(self.0[table.number()].get(key).cloned())
        }

        fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
            super::scan(&self.0, table, from, visit)
        }

        fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
            super::scan_back(&self.0, table, from, visit)
        }
    }
}
