//! What several writes left in one range of a file without gaps.

use bytes::Bytes;

/// Bytes from `start` to `end`, as pieces of which the later cover the earlier. Every byte is in at least one of them.
#[derive(Debug)]
pub(super) struct Content {
    start: u64,
    end: u64,
    pieces: Vec<(u64, Bytes)>,
}

impl Content {
    /// Begins with one piece; `None` if it would lie beyond the largest file.
    pub(super) fn new(offset: u64, bytes: Bytes) -> Option<Self> {
        let end = offset.checked_add(bytes.len() as u64)?;
        Some(Self { start: offset, end, pieces: vec![(offset, bytes)] })
    }

    pub(super) fn offset(&self) -> u64 {
        self.start
    }

    pub(super) fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Adds what was written later, unless that would leave a gap, or make more than `bytes_max` of what was less.
    pub(super) fn add(&mut self, later: Self, bytes_max: u64) -> bool {
        if later.start <= self.start && self.end <= later.end {
            *self = later;
            return true;
        }
        let (start, end) = (self.start.min(later.start), self.end.max(later.end));
        let touches = later.start <= self.end && self.start <= later.end;
        if !touches || end - start > bytes_max {
            return false;
        }
        (self.start, self.end) = (start, end);
        self.pieces.extend(later.pieces);
        true
    }

    /// Returns the bytes: of a single piece the same buffer, of several a new one.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() == 1 {
            return self.pieces.remove(0).1;
        }
        let mut all = vec![0; index(self.size())];
        for (offset, piece) in &self.pieces {
            let at = index(offset - self.start);
            all[at..at + piece.len()].copy_from_slice(piece);
        }
        all.into()
    }
}

/// Pieces are in memory, so no place within them lies beyond it.
fn index(place: u64) -> usize {
    usize::try_from(place).expect("pieces without gaps fit into memory")
}
