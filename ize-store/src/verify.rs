//! Checking and rebuilding.

use std::path::Path;

use ize_core::model::OpId;
use ize_core::storage::{Finding, Result, Severity, StorageError};

use crate::content::PackedChunks;
use crate::engine::{self, Snapshot, Step, Table};
use crate::index::{Runs, Staging, State, Sums, row_hash, unseal};
use crate::pack::{Packs, Scanned};
use crate::replay::{ROWS_MAX, Replay, branch_bases};

/// What applying operations asks for may take so many bytes in memory.
const STAGED_BYTES_MAX: usize = 512 << 20;
/// So many changed rows are staged at once: few, so that they stay in the processor's cache.
const STAGED_AT_ONCE: usize = 4_000;

/// Fills an empty index from the packs.
pub(crate) struct Rebuild<'a> {
    pub(crate) index: &'a dyn engine::Engine,
    /// Where more may lie meanwhile than memory holds.
    pub(crate) dir: &'a Path,
    pub(crate) packs: &'a Packs,
    pub(crate) chunks: &'a PackedChunks,
}

impl Rebuild<'_> {
    /// Does it. `entered` hears from time to time through which operation the packs have been read.
    pub(crate) fn run(&self, report: &mut dyn FnMut(Finding), entered: &mut dyn FnMut(OpId)) -> Result<State> {
        self.run_within(STAGED_BYTES_MAX, report, entered)
    }

    fn run_within(
        &self,
        bytes_max: usize,
        report: &mut dyn FnMut(Finding),
        entered: &mut dyn FnMut(OpId),
    ) -> Result<State> {
        let Self { index, dir, packs, chunks } = *self;
        let staging = Staging::new(branch_bases(packs)?).keeping(Runs::new(dir)?, bytes_max);
        let state = stage(&staging, packs, chunks, report, entered)?;
        if let Some(mut rows) = staging.into_rows()? {
            index.fill(&mut rows)?;
        }
        // What was too much to be staged.
        let mut stop = |state: &State| {
            entered(state.head.op);
            false
        };
        Replay { engine: index, packs, chunks, report, rows_max: ROWS_MAX, stop: &mut stop }.run(state)
    }
}

/// Returns what the packs say that the index should be.
fn expected(packs: &Packs, chunks: &PackedChunks) -> Result<State> {
    stage(&Staging::new(branch_bases(packs)?), packs, chunks, &mut |_| {}, &mut |_| {})
}

fn stage(
    staging: &Staging,
    packs: &Packs,
    chunks: &PackedChunks,
    report: &mut dyn FnMut(Finding),
    entered: &mut dyn FnMut(OpId),
) -> Result<State> {
    for number in packs.numbers().into_iter().filter(|number| !packs.has_header(*number)) {
        report(Finding { severity: Severity::Lost, what: format!("pack {number:08} does not begin with its header") });
    }
    let mut stop = |state: &State| {
        entered(state.head.op);
        staging.is_full()
    };
    Replay { engine: staging, packs, chunks, report, rows_max: STAGED_AT_ONCE, stop: &mut stop }.run(State::EMPTY)
}

/// Tells whether every table of an index adds up to what it should.
pub(crate) fn is_index_whole(index: &dyn engine::Engine) -> Result<bool> {
    let snapshot = index.snapshot()?;
    let counted = State::load(&*snapshot).and_then(|state| Ok(sums_of(&*snapshot)? == state.sums));
    match counted {
        Ok(is_whole) => Ok(is_whole),
        Err(StorageError::Corrupt(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds up every table.
fn sums_of(snapshot: &dyn Snapshot) -> Result<Sums> {
    let mut sums = State::EMPTY.sums;
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        sums[table.number()] = sum_of(snapshot, table)?;
    }
    Ok(sums)
}

fn sum_of(snapshot: &dyn Snapshot, table: Table) -> Result<u64> {
    let mut sum = 0u64;
    let mut last: Option<Vec<u8>> = None;
    snapshot.scan(table, &[0], &mut |key, value| {
        unseal(table, key, value)?;
        if last.as_deref().is_some_and(|last| last >= key) {
            return Err(StorageError::Corrupt(format!(
                "the rows of the index's table {} are out of order",
                table.name()
            )));
        }
        last = Some(key.to_vec());
        sum = sum.wrapping_add(row_hash(key, value));
        Ok(Step::Next)
    })?;
    Ok(sum)
}

/// Reads everything and reports what is wrong.
pub(crate) fn verify(
    index: &dyn engine::Engine,
    packs: &Packs,
    chunks: &PackedChunks,
    state: &State,
    report: &mut dyn FnMut(Finding),
) -> Result<()> {
    // What is in memory says nothing about the disk.
    chunks.clear();
    verify_packs(packs, chunks, report)?;
    let mut is_whole = true;
    let mut repairable = |what: String| {
        is_whole = false;
        report(Finding { severity: Severity::Repairable, what });
    };
    let snapshot = index.snapshot()?;
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        match sum_of(&*snapshot, table) {
            Ok(sum) if sum == state.sums[table.number()] => {}
            Ok(_) => repairable(format!("the index's table {} does not add up", table.name())),
            Err(StorageError::Corrupt(what)) => repairable(what),
            Err(error) => return Err(error),
        }
    }
    drop(snapshot);
    let rebuilt = expected(packs, chunks)?;
    for table in Table::ALL.into_iter().filter(|table| rebuilt.sums[table.number()] != state.sums[table.number()]) {
        repairable(format!("the index's table {} is not what the packs say", table.name()));
    }
    if rebuilt.head != state.head {
        repairable(format!("the index is at {}, the packs at {}", state.head.op, rebuilt.head.op));
    }
    Ok(())
}

/// Reads every record, and every content.
fn verify_packs(packs: &Packs, chunks: &PackedChunks, report: &mut dyn FnMut(Finding)) -> Result<()> {
    let mut lost = |what: String| report(Finding { severity: Severity::Lost, what });
    for number in packs.numbers() {
        if !packs.has_header(number) {
            lost(format!("pack {number:08} does not begin with its header"));
        }
        let mut scanner = packs.scan(number, 0)?;
        while let Some(scanned) = scanner.next()? {
            match scanned {
                Scanned::Damage(place) => lost(format!("{} bytes at {place} are damaged", place.len)),
                Scanned::Record(record) if record.kind.is_chunk() => {
                    if let Err(error) = chunks.check(record) {
                        lost(error.to_string());
                    }
                }
                Scanned::Record(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ize_core::conformance::Workload;
    use ize_core::model::BranchId;
    use ize_core::storage::{Batch, FileSystemStorage, RefName, RefTarget};

    use super::*;
    use crate::engine::sanakirja::SanakirjaEngine;
    use crate::{Store, StoreOptions};

    fn commit(store: &Store, workload: &mut Workload) {
        (0..15).for_each(|_| workload.step());
        store.commit(&Batch { ops: workload.log().take(), landmarks: Vec::new() }).unwrap();
    }

    /// However much of it was staged, and applied afterwards.
    #[test]
    fn a_rebuilt_index_has_the_rows_of_one_that_grew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store"), &StoreOptions::default()).unwrap();
        let mut workload = Workload::new(11);
        (0..3).for_each(|_| commit(&store, &mut workload));
        let base = ize_core::model::OpId::new(store.head().unwrap().op.get() / 2);
        let branch = RefTarget::Branch { id: BranchId::new(1), parent: BranchId::MAIN, base };
        store.set_ref(&RefName::new("topic").unwrap(), Some(&branch)).unwrap();
        (0..60).for_each(|_| commit(&store, &mut workload));
        drop(store);
        let grown = SanakirjaEngine::open(&dir.path().join("store/index")).unwrap();
        let packs = Arc::new(Packs::open(&dir.path().join("store/packs")).unwrap());
        let chunks = PackedChunks::new(Arc::clone(&packs));
        for bytes_max in [0, 100_000, usize::MAX] {
            let fresh = SanakirjaEngine::create(&dir.path().join(format!("index-{bytes_max}"))).unwrap();
            let mut report = |finding| panic!("{finding:?}");
            let rebuild = Rebuild { index: &fresh, dir: dir.path(), packs: &packs, chunks: &chunks };
            rebuild.run_within(bytes_max, &mut report, &mut |_| {}).unwrap();
            for table in Table::ALL {
                assert!(rows(&fresh, table) == rows(&grown, table), "{} at {bytes_max}", table.name());
            }
        }
    }

    fn rows(engine: &dyn engine::Engine, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(Step::Next)
        };
        engine.snapshot().unwrap().scan(table, &[0], &mut visit).unwrap();
        rows
    }
}
