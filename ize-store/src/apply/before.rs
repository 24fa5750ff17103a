//! What a file held before it was rewritten: new content is stored as its difference to that.
//!
//! A guess is enough, since any chunk will do: a good one makes the pack small. Programs rewrite a file in place after
//! emptying it, remove it and make it again, or make another one and rename it over the old one; all are found.

use std::collections::HashMap;

use ize_core::model::{Displaced, Entry, FileId, OpCode, OpType};
use ize_core::storage::Result;

use super::content::decode_cell;
use super::names::DirentRow;
use crate::cell::Piece;
use crate::engine::Table;
use crate::index::{Draft, Lineage, Rows, bad_row, key};
use crate::pack::Place;

/// So many files are remembered.
const KNOWN_MAX: usize = 16_384;
/// So many versions of a cell or of an entry are looked at.
const VERSIONS_MAX: usize = 4;

/// Which files came in the place of which.
#[derive(Debug, Default)]
pub(crate) struct Before {
    files: HashMap<FileId, FileId>,
}

impl Before {
    /// Learns from the operations of a batch before they are applied.
    pub(crate) fn learn(&mut self, ops: &[OpCode]) {
        if self.files.len() > KNOWN_MAX {
            self.files.clear();
        }
        for op in ops {
            if let OpType::Rename { file, displaced: Displaced::Replaced(victim), .. } = op.op_type.change() {
                self.files.entry(*file).or_insert(*victim);
            }
        }
    }

    /// Learns from an operation that is about to be applied what its entry named before.
    pub(crate) fn learn_entry(&mut self, draft: &Draft<'_>, lineage: &Lineage, op: &OpCode) -> Result<()> {
        if let OpType::FileCreate { file, entry, .. } = op.op_type.change()
            && !self.files.contains_key(file)
            && let Some(before) = last_of(draft, lineage, entry)?
        {
            self.files.insert(*file, before);
        }
        Ok(())
    }

    /// Returns a chunk of what a range of a file held last, or else its cell; or of the file in whose place it came.
    pub(crate) fn chunk(
        &self,
        draft: &Draft<'_>,
        lineage: &Lineage,
        file: FileId,
        range: CellRange,
    ) -> Result<Option<Place>> {
        match (last_chunk(draft, lineage, file, range)?, self.files.get(&file)) {
            (None, Some(before)) => last_chunk(draft, lineage, *before, range),
            (found, _) => Ok(found),
        }
    }
}

/// A part of a cell of a file: its first byte, and the one behind its last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellRange {
    pub(crate) cell: u64,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Returns the file that an entry named last.
fn last_of(draft: &Draft<'_>, lineage: &Lineage, entry: &Entry) -> Result<Option<FileId>> {
    let prefix = key::entry(entry.dir, &key::name_hash(&entry.name));
    versions(draft, lineage, Table::Dirents, &prefix, |value| {
        let row = DirentRow::decode(value).ok_or_else(|| bad_row(Table::Dirents, &prefix))?;
        Ok(row.target.map(|(file, _)| file))
    })
}

/// Returns the chunk that most of a range was in the last version of its cell that held anything; where that held nothing in
/// the range, its largest chunk.
fn last_chunk(draft: &Draft<'_>, lineage: &Lineage, file: FileId, range: CellRange) -> Result<Option<Place>> {
    let CellRange { cell, start, end } = range;
    let prefix = key::cell(file, cell);
    versions(draft, lineage, Table::Extents, &prefix, |value| {
        // A list that is too long for the index has no large piece.
        let cell = decode_cell(&prefix, value, |_| Ok(bytes::Bytes::new()))?;
        let within = |piece: &Piece| piece.clip(start, end).map_or(0, |piece| piece.len());
        let best = cell.pieces.iter().max_by_key(|piece| (within(piece), piece.len()));
        Ok(best.map(|piece| piece.chunk).filter(|chunk| !chunk.is_lost()))
    })
}

/// Returns what is found in the newest of a few versions of something on a branch.
fn versions<T>(
    draft: &Draft<'_>,
    lineage: &Lineage,
    table: Table,
    prefix: &[u8],
    mut find: impl FnMut(&[u8]) -> Result<Option<T>>,
) -> Result<Option<T>> {
    for (branch, until) in lineage.parts() {
        let mut from = key::version(prefix, branch, until);
        for _ in 0..VERSIONS_MAX {
            let Some((found, value)) = draft.first_from(table, &from)? else { break };
            let Some((_, at)) = key::split_version(&found, prefix).filter(|(of, _)| *of == branch) else { break };
            if let Some(found) = find(&value)? {
                return Ok(Some(found));
            }
            from = key::version(prefix, branch, at.prev());
        }
    }
    Ok(None)
}
