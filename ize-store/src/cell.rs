//! Cells: content in steps of 64 KiB, each a short list of pieces of chunks.
//!
//! A write changes only the cells that it touches: each gets a new version, a list that refers to the new bytes and to
//! what remains visible of the old ones. Where no piece lies there is a hole.

use crate::pack::Place;

/// Bytes of a cell.
pub(crate) const CELL_BYTES: u64 = 64 * 1024;
/// A list of at most this many pieces is kept in the index. Page-sized writes never need more.
pub(crate) const PIECES_MAX: usize = 16;
/// A list of at most this many pieces is kept as a chunk of its own; a longer one is filled up to one piece, unless content
/// of it is damaged.
pub(crate) const SPILLED_MAX: usize = 512;
const PIECE_BYTES: usize = 18;

/// A chunk of content in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) place: Place,
    /// Bytes of content.
    pub(crate) len: u32,
}

/// A part of a cell that is a part of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins in the cell.
    pub(crate) start: u32,
    /// Where it ends in the cell.
    pub(crate) end: u32,
    /// The chunk.
    pub(crate) chunk: Place,
    /// Where it begins in the chunk.
    pub(crate) skip: u32,
}

impl Piece {
    pub(crate) const fn len(&self) -> u32 {
        self.end - self.start
    }

    /// Returns what of the piece lies in a range of the cell.
    pub(crate) fn clip(&self, start: u32, end: u32) -> Option<Self> {
        let (from, until) = (self.start.max(start), self.end.min(end));
        (from < until).then(|| Self { start: from, end: until, chunk: self.chunk, skip: self.skip + from - self.start })
    }

    fn continues(&self, before: &Self) -> bool {
        before.end == self.start && before.chunk == self.chunk && before.skip + before.len() == self.skip
    }
}

/// The pieces of a cell, in order, without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) pieces: Vec<Piece>,
}

impl Cell {
    /// Returns a cell of which nothing is known but that its first bytes hold content.
    pub(crate) fn lost(bytes: u32) -> Self {
        let piece = Piece { start: 0, end: bytes, chunk: Place::LOST, skip: 0 };
        Self { pieces: if bytes > 0 { vec![piece] } else { Vec::new() } }
    }

    /// Makes a range a hole.
    pub(crate) fn clear(&mut self, start: u32, end: u32) {
        self.replace(start, end, &[]);
    }

    /// Replaces a range by pieces that lie in it.
    pub(crate) fn replace(&mut self, start: u32, end: u32, with: &[Piece]) {
        let before = self.pieces.iter().filter_map(|piece| piece.clip(0, start));
        let after = self.pieces.iter().filter_map(|piece| piece.clip(end, u32::MAX));
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len() + with.len() + 1);
        for piece in before.chain(with.iter().copied()).chain(after) {
            match pieces.last_mut() {
                Some(last) if piece.continues(last) => last.end = piece.end,
                _ => pieces.push(piece),
            }
        }
        self.pieces = pieces;
    }

    /// Returns the run of up to eight pieces without holes between them that is cheapest to merge into one, as indices;
    /// `None` if no four pieces touch.
    pub(crate) fn cheapest_run(&self) -> Option<std::ops::Range<usize>> {
        let mut best: Option<(u32, std::ops::Range<usize>)> = None;
        let touching = |window: &[Piece]| window.windows(2).all(|pair| pair[0].end == pair[1].start);
        for len in [8, 4] {
            for (start, window) in self.pieces.windows(len).enumerate().filter(|(_, window)| touching(window)) {
                let bytes = window[len - 1].end - window[0].start;
                if best.as_ref().is_none_or(|(least, _)| bytes < *least) {
                    best = Some((bytes, start..start + len));
                }
            }
            if best.is_some() {
                break;
            }
        }
        best.map(|(_, run)| run)
    }

    /// Encodes the list.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pieces.len() * PIECE_BYTES);
        for piece in &self.pieces {
            for number in [piece.start, piece.end - 1, piece.skip] {
                bytes.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
            }
            bytes.extend_from_slice(&piece.chunk.encode());
        }
        bytes
    }

    /// Decodes a list; `None` if it makes no sense.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut pieces = Vec::with_capacity(bytes.len() / PIECE_BYTES);
        let mut end = 0;
        for bytes in bytes.chunks(PIECE_BYTES) {
            let (numbers, place) = bytes.split_first_chunk::<6>()?;
            let number = |at: usize| u32::from(u16::from_be_bytes([numbers[at], numbers[at + 1]]));
            let chunk = Place::decode(place.try_into().ok()?);
            let piece = Piece { start: number(0), end: number(2) + 1, skip: number(4), chunk };
            if piece.start < end || piece.start >= piece.end {
                return None;
            }
            end = piece.end;
            pieces.push(piece);
        }
        Some(Self { pieces })
    }
}

/// Splits a range of a file at the borders of cells: (cell, start, end) with start and end within the cell.
pub(crate) fn split(offset: u64, size: u64) -> impl Iterator<Item = (u64, u32, u32)> {
    let end = offset.saturating_add(size);
    let mut at = offset;
    std::iter::from_fn(move || {
        let cell = (at < end).then_some(at / CELL_BYTES)?;
        let start = at % CELL_BYTES;
        let len = (CELL_BYTES - start).min(end - at);
        at += len;
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Some((cell, narrow(start), narrow(start + len)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn byte_of(cell: &Cell, at: u32) -> Option<(u32, u32)> {
        let piece = cell.pieces.iter().find(|piece| (piece.start..piece.end).contains(&at))?;
        Some((piece.chunk.offset, piece.skip + at - piece.start))
    }

    proptest! {
        #[test]
        fn pieces_show_the_last_write_of_every_byte(writes in prop::collection::vec((0u32..64, 1u32..32, any::<bool>()), 1..40)) {
            let mut cell = Cell::default();
            let mut model = [None; 96];
            for (number, (start, len, is_hole)) in (0..).zip(writes) {
                let chunk = Place { pack: 1, offset: number, len: 9 };
                let piece = Piece { start, end: start + len, chunk, skip: 0 };
                cell.replace(start, start + len, if is_hole { &[] } else { std::slice::from_ref(&piece) });
                for at in start..start + len {
                    model[at as usize] = (!is_hole).then_some((number, at - start));
                }
                for at in 0..96 {
                    prop_assert_eq!(byte_of(&cell, at), model[at as usize]);
                }
                let decoded = Cell::decode(&cell.encode());
                prop_assert_eq!(decoded.as_ref(), Some(&cell));
                if let Some(run) = cell.cheapest_run() {
                    let run = &cell.pieces[run];
                    prop_assert!(run.windows(2).all(|pair| pair[0].end == pair[1].start));
                }
            }
        }

        #[test]
        fn ranges_split_at_the_borders_of_cells(offset in 0u64..1 << 40, size in 0u64..1 << 20) {
            let mut at = offset;
            for (cell, start, end) in split(offset, size) {
                prop_assert_eq!(cell * CELL_BYTES + u64::from(start), at);
                prop_assert!(start < end && u64::from(end) <= CELL_BYTES);
                at += u64::from(end - start);
            }
            prop_assert_eq!(at, offset + size);
        }
    }
}
