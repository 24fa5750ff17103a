//! Content: which cells an operation changes, and what they are then.

use ize_core::model::{FileId, OpCode};
use ize_core::storage::{Result, StorageError};

use super::{Apply, file_row};
use crate::cell::{CELL_BYTES, Cell, Chunk, PIECES_MAX, Piece, SPILLED_MAX, split};
use crate::content::{copy_out, encode_chunk};
use crate::engine::Table;
use crate::index::{Lineage, Rows, SEAL_BYTES, bad_row, key};
use crate::pack::Place;

/// From where to where a range is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyRanges {
    pub(super) offset: u64,
    pub(super) source: FileId,
    pub(super) source_offset: u64,
    pub(super) size: u64,
}

/// A value of `extents`: the pieces themselves, or the chunk that holds their list.
enum Extents {
    Pieces(Cell),
    Spilled(Chunk),
}

fn decode_extents(value: &[u8]) -> Option<Extents> {
    match value.split_first()? {
        (0, pieces) => Cell::decode(pieces).map(Extents::Pieces),
        (1, rest) => {
            let (place, len) = rest.split_first_chunk::<{ Place::BYTES }>()?;
            let len = u32::from_be_bytes(len.try_into().ok()?);
            Some(Extents::Spilled(Chunk { place: Place::decode(*place), len }))
        }
        _ => None,
    }
}

fn value_of(form: u8, rest: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + rest.len() + SEAL_BYTES);
    value.push(form);
    value.extend_from_slice(rest);
    value
}

/// Decodes a value of `extents`. `list` reads the chunk of a list that is too long for the index.
pub(crate) fn decode_cell(key: &[u8], value: &[u8], list: impl FnOnce(Chunk) -> Result<bytes::Bytes>) -> Result<Cell> {
    let bad = || bad_row(Table::Extents, key);
    match decode_extents(value).ok_or_else(bad)? {
        Extents::Pieces(cell) => Ok(cell),
        Extents::Spilled(chunk) => Cell::decode(&list(chunk)?).ok_or_else(bad),
    }
}

impl Apply<'_, '_> {
    /// Returns where the content ends afterwards, as each of these does.
    pub(super) fn write(
        &mut self,
        op: &OpCode,
        lineage: &Lineage,
        file: FileId,
        offset: u64,
        chunks: &[Chunk],
    ) -> Result<u64> {
        let end = self.content_end(op, lineage, file)?;
        let size = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        for ((number, from, until), chunk) in split(offset, size).zip(chunks) {
            if chunk.len != until - from {
                return Err(StorageError::Corrupt(format!("{} has a chunk of the wrong length", op.id)));
            }
            let piece = Piece { start: from, end: until, chunk: chunk.place, skip: 0 };
            let mut cell = self.cell(op, lineage, file, number)?;
            cell.replace(from, until, &[piece]);
            self.put_cell(op, file, number, cell)?;
        }
        Ok(if size == 0 { end } else { end.max(offset + size) })
    }

    pub(super) fn truncate(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, size: u64) -> Result<u64> {
        let end = self.content_end(op, lineage, file)?;
        self.clear(op, lineage, file, size, end.saturating_sub(size))?;
        Ok(end.min(size))
    }

    pub(super) fn zero(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, offset: u64, size: u64) -> Result<u64> {
        let end = self.content_end(op, lineage, file)?;
        self.clear(op, lineage, file, offset, size.min(end.saturating_sub(offset)))?;
        Ok(end)
    }

    /// Makes the cells of a range holes there, those that hold anything.
    fn clear(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, offset: u64, size: u64) -> Result<()> {
        let end = offset.saturating_add(size);
        let mut from = offset;
        while let Some(number) = self.next_cell(file, from / CELL_BYTES)?.filter(|_| from < end) {
            from = from.max(number.saturating_mul(CELL_BYTES));
            let Some((number, start, until)) = split(from, end.saturating_sub(from)).next() else { break };
            let mut cell = self.cell(op, lineage, file, number)?;
            if cell.pieces.iter().any(|piece| piece.clip(start, until).is_some()) {
                cell.clear(start, until);
                self.put_cell(op, file, number, cell)?;
            }
            from = (number + 1).saturating_mul(CELL_BYTES);
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, ranges: CopyRanges) -> Result<u64> {
        let CopyRanges { offset, source, source_offset, size } = ranges;
        let mut end = self.zero(op, lineage, file, offset, size)?;
        self.known(op, lineage, source)?;
        let source_row = self.file(lineage, source)?;
        let source_end = source_row.map_or(0, |row| row.metadata.size.min(row.content_end));
        let until = source_end.min(source_offset.saturating_add(size));
        let mut from = source_offset;
        // The two ranges do not overlap, so the source can be read while the target is written.
        while let Some(number) = self.next_cell(source, from / CELL_BYTES)?.filter(|_| from < until) {
            from = from.max(number.saturating_mul(CELL_BYTES));
            let Some((number, start, stop)) = split(from, until.saturating_sub(from)).next() else { break };
            let cell = self.cell(op, lineage, source, number)?;
            for piece in cell.pieces.iter().filter_map(|piece| piece.clip(start, stop)) {
                let at = number * CELL_BYTES + u64::from(piece.start) - source_offset + offset;
                self.paste(op, lineage, file, at, piece)?;
                end = end.max(at + u64::from(piece.len()));
            }
            from = (number + 1).saturating_mul(CELL_BYTES);
        }
        Ok(end)
    }

    /// Puts a piece at an offset of a file, where there is a hole.
    fn paste(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, at: u64, piece: Piece) -> Result<()> {
        let mut skip = piece.skip;
        for (number, start, end) in split(at, u64::from(piece.len())) {
            let mut cell = self.cell(op, lineage, file, number)?;
            cell.replace(start, end, &[Piece { start, end, chunk: piece.chunk, skip }]);
            self.put_cell(op, file, number, cell)?;
            skip += end - start;
        }
        Ok(())
    }

    /// Checks that a file exists and returns where its content ends.
    fn content_end(&self, op: &OpCode, lineage: &Lineage, file: FileId) -> Result<u64> {
        self.known(op, lineage, file)?;
        Ok(self.file(lineage, file)?.map_or(0, |row| row.content_end))
    }

    /// Returns the first cell from `number` on that has a version on any branch.
    fn next_cell(&self, file: FileId, number: u64) -> Result<Option<u64>> {
        let found = self.draft.first_from(Table::Extents, &key::cell(file, number))?;
        Ok(found.filter(|(found, _)| found.starts_with(&key::file(file))).and_then(|(found, _)| key::number(&found, 8)))
    }

    fn cell(&mut self, op: &OpCode, lineage: &Lineage, file: FileId, number: u64) -> Result<Cell> {
        let prefix = key::cell(file, number);
        let Some((_, value)) = self.draft.newest(Table::Extents, &prefix, lineage)? else { return Ok(Cell::default()) };
        decode_cell(&prefix, &value, |chunk| match self.derive.list(op.id, chunk)? {
            Some(list) => Ok(list),
            // What follows must not be lost with it.
            None => {
                let end = file_row(self.draft, lineage, file)?.map_or(0, |row| row.content_end);
                let bytes = end.saturating_sub(number.saturating_mul(CELL_BYTES)).min(CELL_BYTES);
                Ok(Cell::lost(u32::try_from(bytes).unwrap_or(u32::MAX)).encode().into())
            }
        })
    }

    /// Stores a version of a cell.
    fn put_cell(&mut self, op: &OpCode, file: FileId, number: u64, mut cell: Cell) -> Result<()> {
        while cell.pieces.len() > PIECES_MAX {
            let Some(run) = cell.cheapest_run() else { break };
            if !self.merge(op, &mut cell, run)? {
                break;
            }
        }
        if cell.pieces.len() > SPILLED_MAX {
            let all = 0..cell.pieces.len();
            self.merge(op, &mut cell, all)?;
        }
        let value = if cell.pieces.len() > PIECES_MAX {
            let list = self.derive.derive(self.draft, op.id, &mut |_| Ok(cell.encode()))?;
            value_of(1, &encode_chunk(list.unwrap_or(Chunk { place: Place::LOST, len: 0 })))
        } else {
            value_of(0, &cell.encode())
        };
        let key = key::version(&key::cell(file, number), op.branch, op.last_id);
        self.draft.put(Table::Extents, key, value)
    }

    /// Replaces some pieces, and holes between them, by one piece of a new chunk. Tells whether it could: not if content of
    /// theirs is damaged.
    fn merge(&mut self, op: &OpCode, cell: &mut Cell, run: std::ops::Range<usize>) -> Result<bool> {
        let (start, end) = (cell.pieces[run.start].start, cell.pieces[run.end - 1].end);
        let chunk = self.derive.derive(self.draft, op.id, &mut |chunks| {
            let mut content = vec![0; (end - start) as usize];
            copy_out(cell, start, &mut content, chunks)?;
            Ok(content)
        })?;
        let Some(chunk) = chunk else { return Ok(false) };
        cell.replace(start, end, &[Piece { start, end, chunk: chunk.place, skip: 0 }]);
        Ok(true)
    }
}
