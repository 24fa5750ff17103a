//! An index in the making. Its rows go into sorted runs, from which an engine is filled in one pass; in memory stays what
//! applying further operations asks for: of everything that has versions the newest, and what a branch begins with.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use ize_core::model::OpId;
use ize_core::storage::Result;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use smallvec::SmallVec;

use super::runs::{Merge, Runs};
use super::versions::Versions;
use crate::engine::memory::{self, Tables};
use crate::engine::{ApplyError, Changes, Engine, Key, Snapshot, Step, Table, Visit};

/// What a row in memory takes beyond its key and its value.
pub(super) const ROW_BYTES: usize = 80;
/// What a row of [`Table::Content`] holds, so long that it needs no memory of its own.
const CHUNK_BYTES: usize = 24;

/// See the module.
pub(crate) struct Staging {
    known: RwLock<Known>,
    /// None where only the sums are wanted.
    runs: Option<Mutex<Runs>>,
    bytes_max: usize,
}

#[derive(Default)]
struct Known {
    /// The tables that are mutable, and the log's.
    tables: Tables,
    /// Those that have versions.
    versions: [Versions; Table::ALL.len()],
    /// [`Table::Content`], which is never asked for in order.
    content: HashMap<Key, SmallVec<[u8; CHUNK_BYTES]>, BuildHasherDefault<FirstBytes>>,
    bytes: usize,
    /// Where branches begin, in ascending order.
    bases: Vec<OpId>,
}

impl Staging {
    /// Begins with nothing. `bases` are the operations after which branches will begin.
    pub(crate) fn new(mut bases: Vec<OpId>) -> Self {
        bases.sort_unstable();
        Self { known: RwLock::new(Known { bases, ..Known::default() }), runs: None, bytes_max: usize::MAX }
    }

    /// Keeps all rows, and is full once those in memory take so many bytes.
    pub(crate) fn keeping(self, runs: Runs, bytes_max: usize) -> Self {
        Self { runs: Some(Mutex::new(runs)), bytes_max, ..self }
    }

    /// Tells whether no more should be kept in memory.
    pub(crate) fn is_full(&self) -> bool {
        self.known.read().bytes > self.bytes_max
    }

    /// Returns all rows in order; `None` if they were not kept.
    pub(crate) fn into_rows(self) -> Result<Option<Merge>> {
        let Some(runs) = self.runs else { return Ok(None) };
        let mut runs = runs.into_inner();
        let known = self.known.into_inner();
        for table in Table::ALL.into_iter().filter(|table| table.is_mutable()) {
            for (key, value) in &known.tables[table.number()] {
                runs.push(table, key, value);
            }
        }
        runs.merge().map(Some)
    }
}

impl Engine for Staging {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        Ok(Box::new(StagingSnapshot(self.known.read())))
    }

    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError> {
        barrier()?;
        let mut known = self.known.write();
        let mut runs = self.runs.as_ref().map(Mutex::lock);
        for table in Table::ALL {
            // So that a thing's versions come in the order in which they were made.
            for (key, value) in changes.rows(table).rev() {
                if let (Some(runs), Some(value), false) = (&mut runs, value, table.is_mutable()) {
                    runs.push(table, key, value);
                }
                if is_asked_for(table) {
                    known.learn(table, key, value);
                }
            }
        }
        Ok(())
    }
}

struct StagingSnapshot<'a>(RwLockReadGuard<'a, Known>);

impl Snapshot for StagingSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let known = &*self.0;
        Ok(match table {
            Table::Content => known.content.get(key).map(|value| value.to_vec()),
            _ if has_versions(table) => {
                let mut found = None;
                self.scan(table, key, &mut |row, value| {
                    found = Some(value.to_vec()).filter(|_| row == key);
                    Ok(Step::Stop)
                })?;
                found
            }
            _ => known.tables[table.number()].get(key).cloned(),
        })
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        if has_versions(table) {
            self.0.versions[table.number()].scan(from, visit)
        } else {
            memory::scan(&self.0.tables, table, from, visit)
        }
    }

    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        if has_versions(table) {
            self.0.versions[table.number()].scan_back(from, visit)
        } else {
            memory::scan_back(&self.0.tables, table, from, visit)
        }
    }
}

impl Known {
    fn learn(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) {
        if table == Table::Content {
            return self.learn_content(key, value);
        }
        if let (true, Some(value)) = (has_versions(table), value) {
            let (added, taken) = self.versions[table.number()].learn(key, value, &self.bases);
            self.bytes = self.bytes + added - taken;
            return;
        }
        let rows = &mut self.tables[table.number()];
        let size = |value: &[u8]| key.len() + value.len() + ROW_BYTES;
        let before = match value {
            Some(value) => rows.insert(key.to_vec(), value.to_vec()),
            None => rows.remove(key),
        };
        self.bytes += value.map_or(0, size);
        self.bytes -= before.as_deref().map_or(0, size);
    }

    fn learn_content(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(value) = value else { return };
        if self.content.insert(Key::from_slice(key), SmallVec::from_slice(value)).is_none() {
            self.bytes += key.len() + value.len() + ROW_BYTES;
        }
    }
}

/// Takes the first bytes of what is a hash already.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(self.0, |first| u64::from_le_bytes(*first));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tells whether applying operations reads rows of a table.
const fn is_asked_for(table: Table) -> bool {
    !matches!(table, Table::History | Table::Below | Table::Xattrs)
}

const fn has_versions(table: Table) -> bool {
    matches!(table, Table::Files | Table::Dirents | Table::Links | Table::Extents)
}

#[cfg(test)]
mod tests {
    use ize_core::model::BranchId;
    use proptest::prelude::*;

    use super::super::{Branches, Checked, Origin, Rows, key, seal};
    use super::*;
    use crate::engine::memory::MemoryEngine;
    use ize_core::model::View;

    proptest! {
        /// Whatever is asked at the end of a branch is answered as if nothing had been left out.
        #[test]
        fn the_newest_versions_are_those_of_a_whole_index(
            base in 0u64..40,
            rounds in prop::collection::vec(prop::collection::vec((0u8..4, any::<bool>()), 0..8), 0..8),
        ) {
            let (whole, staging) = (MemoryEngine::default(), Staging::new(vec![OpId::new(base)]));
            let branch = BranchId::new(1);
            let mut branches = Branches::default();
            branches.insert(branch, Origin { parent: BranchId::MAIN, base: OpId::new(base) });
            let mut at = 0;
            for round in rounds {
                let mut changes = Changes::default();
                for (thing, is_branched) in round {
                    at += 1;
                    let on = if is_branched && at > base { branch } else { BranchId::MAIN };
                    let key = key::version(&[thing; 16], on, OpId::new(at));
                    let value = seal(Table::Extents, &key, vec![thing; 3]);
                    changes.set(Table::Extents, &key, Some(&value));
                }
                for engine in [&whole as &dyn Engine, &staging] {
                    engine.apply(&changes, &mut || Ok(())).unwrap();
                }
                for on in [BranchId::MAIN, branch].into_iter().filter(|on| *on == BranchId::MAIN || at >= base) {
                    let lineage = branches.lineage(View::latest(on)).unwrap();
                    for thing in 0u8..4 {
                        let newest = |engine: &dyn Engine| {
                            let snapshot = engine.snapshot().unwrap();
                            Checked(&*snapshot).newest(Table::Extents, &[thing; 16], &lineage).unwrap()
                        };
                        prop_assert_eq!(newest(&staging), newest(&whole));
                    }
                }
            }
        }
    }
}
