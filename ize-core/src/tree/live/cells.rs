//! What is known of the content that history has of a file, without asking storage: a hash for each cell of it.

use std::os::fd::OwnedFd;

use super::record_tree::next_data;
use crate::tree::Result;
use crate::tree::host;

/// The smallest cell: no filesystem keeps less than this together.
const CELL_BYTES_MIN: u64 = 4096;
/// The largest cell, and how much is read at a time.
const CELL_BYTES_MAX: u64 = 1 << 20;
/// Beyond this many cells they are made larger.
const CELLS_MAX: u64 = 1 << 16;

/// 128 bits of the hash of a cell's bytes, zeros up to the end of the cell included.
type Hash = [u8; 16];

/// Of a cell of zeros, or a hole.
const ZEROS: Hash = [0; 16];
/// Of a cell of which nothing is known: equal to no other's.
const UNKNOWN: Hash = [0xff; 16];

/// The hashes of a file's cells. What lies behind the last one is zeros.
#[derive(Debug)]
pub(super) struct Cells {
    cell_bytes: u64,
    hashes: Vec<Hash>,
}

/// A range that differs from what was known: what is there now.
pub(super) enum Changed<'a> {
    Data(&'a [u8]),
    Zeros(u64),
}

/// Is told of each range that differs, in order, with its offset.
pub(super) type Visit<'a> = dyn FnMut(u64, Changed<'_>) -> Result<()> + 'a;

impl Cells {
    /// Returns the cells of an empty file that is to become so long.
    pub(super) const fn empty(size: u64) -> Self {
        Self { cell_bytes: cell_bytes(size), hashes: Vec::new() }
    }

    /// Tells whether the cells are large enough for a file of this size.
    pub(super) const fn suit(&self, size: u64) -> bool {
        self.cell_bytes >= cell_bytes(size)
    }

    pub(super) fn count(&self) -> usize {
        self.hashes.len()
    }

    pub(super) const fn bytes_of_one(&self) -> u64 {
        self.cell_bytes
    }

    /// Notes the content of whole cells from an offset on, the last of them perhaps cut short.
    pub(super) fn learn(&mut self, offset: u64, content: &[u8]) {
        for (nth, cell) in content.chunks(self.step()).enumerate() {
            let hash = self.hash(cell);
            *self.at(offset + (nth * self.step()) as u64) = hash;
        }
    }

    /// Notes that the file was cut.
    pub(super) fn truncate(&mut self, size: u64) {
        self.hashes.truncate(usize::try_from(size.div_ceil(self.cell_bytes)).unwrap_or(usize::MAX));
        if !size.is_multiple_of(self.cell_bytes) && size.div_ceil(self.cell_bytes) == self.hashes.len() as u64 {
            *self.at(size) = UNKNOWN;
        }
    }

    /// Compares a file of `size` bytes with what is known, and knows it then. Holes are passed over.
    pub(super) fn update(&mut self, fd: &OwnedFd, size: u64, visit: &mut Visit<'_>) -> Result<()> {
        let mut offset = 0;
        while let Some((start, stop)) = next_data(fd, offset, size)? {
            let start = (start - start % self.cell_bytes).max(offset);
            let stop = stop.next_multiple_of(self.cell_bytes);
            self.update_hole(offset, start, visit)?;
            self.update_data(fd, start, stop.min(size), visit)?;
            offset = stop;
        }
        self.update_hole(offset, size, visit)
    }

    fn update_hole(&mut self, mut offset: u64, end: u64, visit: &mut Visit<'_>) -> Result<()> {
        let known = self.hashes.len() as u64 * self.cell_bytes;
        let mut run = Run::default();
        while offset < end.min(known) {
            let hash = self.at(offset);
            if *hash == ZEROS {
                run.end(&[], visit)?;
            } else {
                *hash = ZEROS;
                run.extend(offset, self.cell_bytes.min(end - offset), true, &[], visit)?;
            }
            offset += self.cell_bytes;
        }
        run.end(&[], visit)
    }

    fn update_data(&mut self, fd: &OwnedFd, mut offset: u64, end: u64, visit: &mut Visit<'_>) -> Result<()> {
        let mut buf = vec![0; length(CELL_BYTES_MAX.min(end.saturating_sub(offset)))];
        while offset < end {
            let want = buf.len().min(length(end - offset));
            let read = host::read_full(fd, offset, &mut buf[..want])?;
            // It was cut meanwhile; the next look will tell.
            buf[read..want].fill(0);
            self.compare(offset, &buf[..want], visit)?;
            offset += want as u64;
        }
        Ok(())
    }

    fn compare(&mut self, offset: u64, content: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let mut run = Run { base: offset, ..Run::default() };
        for (nth, cell) in content.chunks(self.step()).enumerate() {
            let place = offset + (nth * self.step()) as u64;
            let hash = self.hash(cell);
            let known = self.at(place);
            if *known == hash {
                run.end(content, visit)?;
            } else {
                *known = hash;
                // Of a large cell, what is zeros stays a hole.
                for (nth, block) in cell.chunks(length(CELL_BYTES_MIN)).enumerate() {
                    let place = place + nth as u64 * CELL_BYTES_MIN;
                    let are_zeros = block.iter().all(|byte| *byte == 0);
                    run.extend(place, block.len() as u64, are_zeros, content, visit)?;
                }
            }
        }
        run.end(content, visit)
    }

    fn at(&mut self, offset: u64) -> &mut Hash {
        let index = length(offset / self.cell_bytes);
        if index >= self.hashes.len() {
            self.hashes.resize(index + 1, ZEROS);
        }
        &mut self.hashes[index]
    }

    fn step(&self) -> usize {
        length(self.cell_bytes)
    }

    fn hash(&self, cell: &[u8]) -> Hash {
        // What ends within the cell is followed by zeros, and these are left out, so that a file can grow by a hole.
        let end = cell.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if end == 0 {
            return ZEROS;
        }
        let mut hash = ZEROS;
        hash.copy_from_slice(&blake3::hash(&cell[..end]).as_bytes()[..16]);
        hash
    }
}

/// Neighbouring cells that differ.
#[derive(Default)]
struct Run {
    /// The offset of the content that `end` is given.
    base: u64,
    start: u64,
    bytes: u64,
    are_zeros: bool,
}

impl Run {
    fn extend(&mut self, place: u64, bytes: u64, are_zeros: bool, content: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if self.bytes > 0 && self.are_zeros != are_zeros {
            self.end(content, visit)?;
        }
        if self.bytes == 0 {
            (self.start, self.are_zeros) = (place, are_zeros);
        }
        self.bytes += bytes;
        Ok(())
    }

    fn end(&mut self, content: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return Ok(());
        }
        if self.are_zeros {
            return visit(self.start, Changed::Zeros(bytes));
        }
        let from = length(self.start - self.base);
        visit(self.start, Changed::Data(&content[from..from + length(bytes)]))
    }
}

const fn cell_bytes(size: u64) -> u64 {
    let mut bytes = CELL_BYTES_MIN;
    while bytes < CELL_BYTES_MAX && size / bytes > CELLS_MAX {
        bytes *= 2;
    }
    bytes
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// What is told of, applied to a copy of what was there before.
    fn follow(cells: &mut Cells, file: &OwnedFd, size: usize, copy: &mut Vec<u8>) -> u64 {
        let mut told = 0;
        copy.resize(size, 0);
        cells
            .update(file, size as u64, &mut |offset, changed| {
                let start = length(offset);
                match changed {
                    Changed::Data(bytes) => {
                        copy[start..start + bytes.len()].copy_from_slice(bytes);
                        told += bytes.len() as u64;
                    }
                    Changed::Zeros(bytes) => {
                        copy[start..start + length(bytes)].fill(0);
                        told += bytes;
                    }
                }
                Ok(())
            })
            .unwrap();
        told
    }

    #[test]
    fn what_is_told_makes_the_old_content_the_new_one_and_is_little() {
        let mut state = 7_u64;
        // Knuth's linear congruential generator; its upper bits are good enough here.
        let mut dice = |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % sides
        };
        let file = tempfile::tempfile().unwrap();
        let (mut content, mut copy) = (Vec::new(), Vec::new());
        let mut cells = Cells::empty(0);
        for _ in 0..300 {
            let at = dice(3 << 20);
            let bytes =
                vec![if dice(4) == 0 { 0 } else { u8::try_from(dice(255)).unwrap() + 1 }; length(dice(20_000) + 1)];
            let mut changed = bytes.len() as u64;
            if dice(5) == 0 {
                let size = dice(3 << 20);
                file.set_len(size).unwrap();
                content.resize(length(size), 0);
                cells.truncate(size);
                copy.truncate(length(size));
                changed = 1;
            } else {
                file.write_all_at(&bytes, at).unwrap();
                content.resize(content.len().max(length(at) + bytes.len()), 0);
                content[length(at)..length(at) + bytes.len()].copy_from_slice(&bytes);
            }
            let told = follow(&mut cells, &File::try_clone(&file).unwrap().into(), content.len(), &mut copy);
            assert!(copy == content);
            assert!(told <= changed + 2 * CELL_BYTES_MIN, "{told} bytes told of {changed}");
        }
    }

    #[test]
    fn what_is_zeros_in_a_large_cell_stays_a_hole() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(12 << 30).unwrap();
        file.write_all_at(&[7; 4096], 116 << 10).unwrap();
        let mut told = Vec::new();
        let mut visit = |offset, changed: Changed<'_>| {
            if let Changed::Data(bytes) = changed {
                told.push((offset, bytes.len()));
            }
            Ok(())
        };
        Cells::empty(12 << 30).update(&file.into(), 12 << 30, &mut visit).unwrap();
        assert_eq!(told, [(116 << 10, 4096)]);
    }

    #[test]
    fn the_number_of_cells_is_bounded() {
        for size in [0, 1, 1 << 20, 1 << 30, 1 << 36] {
            assert!(size / Cells::empty(size).cell_bytes <= CELLS_MAX, "{size}");
        }
        assert!(!Cells::empty(1 << 20).suit(1 << 30));
    }
}
