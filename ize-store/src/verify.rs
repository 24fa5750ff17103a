//! Checking and rebuilding.

use std::path::Path;

use ize_core::storage::{Finding, Result, Severity, StorageError};

use crate::content::PackedChunks;
use crate::engine::{self, Snapshot, Step, Table};
use crate::index::{Runs, Staging, State, Sums, row_hash, unseal};
use crate::pack::{Packs, Scanned};
use crate::replay::{ROWS_MAX, Replay, branch_bases};

/// So many changed rows are staged at once: few, so that they stay in the processor's cache.
const STAGED_AT_ONCE: usize = 8_000;

/// Fills an empty index from the packs. `dir` is where more may lie meanwhile than memory holds.
pub(crate) fn rebuild(
    index: &dyn engine::Engine,
    dir: &Path,
    packs: &Packs,
    chunks: &PackedChunks,
    report: &mut dyn FnMut(Finding),
) -> Result<State> {
    let staging = Staging::new(Some(Runs::new(dir)?), branch_bases(packs)?);
    let state = stage(&staging, packs, chunks, report)?;
    if let Some(mut rows) = staging.into_rows()? {
        index.fill(&mut rows)?;
    }
    // What was too much to be staged.
    Replay { engine: index, packs, chunks, report, rows_max: ROWS_MAX, stop: &|| false }.run(state)
}

/// Returns what the packs say that the index should be.
fn expected(packs: &Packs, chunks: &PackedChunks) -> Result<State> {
    stage(&Staging::new(None, branch_bases(packs)?), packs, chunks, &mut |_| {})
}

fn stage(staging: &Staging, packs: &Packs, chunks: &PackedChunks, report: &mut dyn FnMut(Finding)) -> Result<State> {
    for number in packs.numbers().into_iter().filter(|number| !packs.has_header(*number)) {
        report(Finding { severity: Severity::Lost, what: format!("pack {number:08} does not begin with its header") });
    }
    let stop = || staging.is_full();
    Replay { engine: staging, packs, chunks, report, rows_max: STAGED_AT_ONCE, stop: &stop }.run(State::EMPTY)
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
