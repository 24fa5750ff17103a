//! Content and extended attributes.

use bytes::Bytes;
use ize_core::model::{FileId, FileKind, XattrName};
use ize_core::storage::{Extent, Result, Xattr};

use super::Query;
use crate::apply::decode_cell;
use crate::cell::{CELL_BYTES, Cell, Chunk, split};
use crate::content::{Chunks, copy_out, decode_chunk};
use crate::engine::Table;
use crate::index::{Rows, bad_row, key};

/// A read that is longer than this takes a new snapshot for the rest, so that no snapshot is held for long.
const READ_CELLS_MAX: u64 = 64;

/// The cells of a range of a file. Reading their chunks needs no snapshot any more.
#[derive(Debug, Default)]
pub(crate) struct Range {
    /// How many bytes of the range the file has.
    pub(crate) len: usize,
    cells: Vec<(u64, Cell)>,
}

impl Query<'_> {
    /// Returns the size of a file that has content.
    fn size(&self, file: FileId) -> Result<u64> {
        let metadata = self.node(file)?.filter(|node| matches!(node.kind, FileKind::File | FileKind::Symlink));
        Ok(metadata.map_or(0, |metadata| metadata.size))
    }

    /// Finds the cells of a range, up to the end of the file, or fewer: ask again for what follows.
    pub(crate) fn range(&self, file: FileId, offset: u64, len: usize, chunks: &dyn Chunks) -> Result<Range> {
        let size = self.size(file)?;
        let most = READ_CELLS_MAX * CELL_BYTES - offset % CELL_BYTES;
        let len = size.saturating_sub(offset).min(len as u64).min(most);
        let mut range = Range { len: usize::try_from(len).unwrap_or(usize::MAX), cells: Vec::new() };
        for (number, _, _) in split(offset, len) {
            let cell = self.cell(file, number, chunks)?;
            if !cell.pieces.is_empty() {
                range.cells.push((number, cell));
            }
        }
        Ok(range)
    }

    fn cell(&self, file: FileId, number: u64, chunks: &dyn Chunks) -> Result<Cell> {
        let prefix = key::cell(file, number);
        match self.rows.newest(Table::Extents, &prefix, &self.lineage)? {
            Some((_, value)) => decode_cell(&prefix, &value, |chunk| chunks.chunk(chunk.place)),
            None => Ok(Cell::default()),
        }
    }

    /// Returns ranges that hold data.
    pub(crate) fn extents(&self, file: FileId, from: u64, max: usize, chunks: &dyn Chunks) -> Result<Vec<Extent>> {
        let size = self.size(file)?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut next = from / CELL_BYTES;
        while let Some(number) = self.next_cell(file, next)?.filter(|number| number.saturating_mul(CELL_BYTES) < size) {
            let cell = self.cell(file, number, chunks)?;
            for piece in &cell.pieces {
                let start = (number * CELL_BYTES + u64::from(piece.start)).max(from);
                let end = (number * CELL_BYTES + u64::from(piece.end)).min(size);
                if start >= end {
                    continue;
                }
                if let Some(last) = extents.last_mut().filter(|last| last.end() == start) {
                    last.len = end - last.offset;
                } else if extents.len() >= max {
                    return Ok(extents);
                } else {
                    extents.push(Extent { offset: start, len: end - start });
                }
            }
            next = number + 1;
        }
        Ok(extents)
    }

    fn next_cell(&self, file: FileId, number: u64) -> Result<Option<u64>> {
        let found = self.rows.first_from(Table::Extents, &key::cell(file, number))?;
        Ok(found.filter(|(found, _)| found.starts_with(&key::file(file))).and_then(|(found, _)| key::number(&found, 8)))
    }

    /// Returns a file's attributes and where their values are, `None` for an empty one.
    pub(crate) fn xattrs(&self, file: FileId) -> Result<Vec<(XattrName, Option<Chunk>)>> {
        let mut found = Vec::new();
        if self.node(file)?.is_none() {
            return Ok(found);
        }
        let mut from = key::file(file).to_vec();
        loop {
            let row = self.rows.first_from(Table::Xattrs, &from)?;
            let Some((key, _)) = row.filter(|(key, _)| key.starts_with(&key::file(file))) else { break };
            let prefix = key.get(..24).ok_or_else(|| bad_row(Table::Xattrs, &key))?;
            if let Some((_, value)) = self.rows.newest(Table::Xattrs, prefix, &self.lineage)? {
                found.extend(decode_xattr(&value).ok_or_else(|| bad_row(Table::Xattrs, prefix))?);
            }
            match key::after(prefix) {
                Some(next) => from = next,
                None => break,
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}

/// Decodes a row of `xattrs`: the outer `None` if it makes no sense, the inner if the attribute is absent.
#[expect(clippy::option_option, reason = "a row can be wrong, or right and absent")]
fn decode_xattr(value: &[u8]) -> Option<Option<(XattrName, Option<Chunk>)>> {
    let name = |name: &[u8]| XattrName::new(name.to_vec()).ok();
    match value.split_first()? {
        (0, _) => Some(None),
        (1, rest) => Some(Some((name(rest)?, None))),
        (2, rest) => {
            let (chunk, rest) = rest.split_at_checked(16)?;
            Some(Some((name(rest)?, Some(decode_chunk(chunk)?))))
        }
        _ => None,
    }
}

impl Range {
    /// Copies the range, which begins at `offset`, to `buf`.
    pub(crate) fn copy_to(&self, offset: u64, buf: &mut [u8], chunks: &dyn Chunks) -> Result<()> {
        let buf = &mut buf[..self.len];
        buf.fill(0);
        let mut cells = self.cells.iter().peekable();
        let mut at = 0;
        for (number, start, end) in split(offset, self.len as u64) {
            let len = (end - start) as usize;
            if let Some((_, cell)) = cells.next_if(|(found, _)| *found == number) {
                copy_out(cell, start, &mut buf[at..at + len], chunks)?;
            }
            at += len;
        }
        Ok(())
    }
}

/// Reads the values of attributes.
pub(crate) fn load_xattrs(found: Vec<(XattrName, Option<Chunk>)>, chunks: &dyn Chunks) -> Result<Vec<Xattr>> {
    let load = |(name, value): (XattrName, Option<Chunk>)| {
        let value = value.map(|chunk| chunks.chunk(chunk.place)).transpose()?.unwrap_or_else(Bytes::new);
        Ok(Xattr { name, value })
    };
    found.into_iter().map(load).collect()
}
