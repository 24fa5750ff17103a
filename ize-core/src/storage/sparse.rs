//! Sparse content in memory: pieces of bytes with holes between them.
//!
//! Pieces never overlap, are never empty, and end at or before `u64::MAX`. A size is not kept here: it belongs to the
//! file's metadata. Pieces share the buffers that they came in; cutting and copying moves no bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::Extent;

/// Content with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pieces: BTreeMap<u64, Bytes>,
}

impl SparseMap {
    /// Puts `data` at `offset`. What would lie beyond `u64::MAX` is dropped.
    pub(crate) fn write(&mut self, offset: u64, mut data: Bytes) {
        let room = u64::MAX - offset;
        data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if data.is_empty() {
            return;
        }
        self.zero(offset, data.len() as u64);
        self.pieces.insert(offset, data);
    }

    /// Makes a hole.
    pub(crate) fn zero(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        if offset == end {
            return;
        }
        self.split(offset);
        self.split(end);
        let gone: Vec<u64> = self.pieces.range(offset..end).map(|(start, _)| *start).collect();
        for start in gone {
            self.pieces.remove(&start);
        }
    }

    /// Drops everything from `size` on.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.split(size);
        self.pieces.split_off(&size);
    }

    /// Fills `buf` with the content from `offset` on, holes as zeros.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) {
        buf.fill(0);
        let end = offset.saturating_add(buf.len() as u64);
        for (start, piece) in self.pieces_in(offset..end) {
            let at = index(start - offset);
            buf[at..at + piece.len()].copy_from_slice(&piece);
        }
    }

    /// Returns the pieces inside a range, cut to it.
    pub(crate) fn pieces_in(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let first = self.piece_at(range.start).map_or(range.start, |(start, _)| start);
        let Range { start, end } = range;
        self.pieces.range(first..end.max(first)).filter_map(move |(at, piece)| {
            let from = (*at).max(start);
            let until = (at + piece.len() as u64).min(end);
            (from < until).then(|| (from, piece.slice(index(from - at)..index(until - at))))
        })
    }

    /// Returns at most `max` ranges of data in `range`, in order; neighbours are joined.
    pub(crate) fn extents(&self, range: Range<u64>, max: usize) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, piece) in self.pieces_in(range) {
            let len = piece.len() as u64;
            let full = extents.len() == max;
            match extents.last_mut() {
                Some(last) if last.end() == offset => last.len += len,
                _ if full => break,
                _ => extents.push(Extent { offset, len }),
            }
        }
        extents
    }

    /// Splits the piece that contains `offset` there, so that none reaches across it.
    fn split(&mut self, offset: u64) {
        let Some((start, piece)) = self.piece_at(offset).filter(|(start, _)| *start < offset) else { return };
        let at = index(offset - start);
        let (head, tail) = (piece.slice(..at), piece.slice(at..));
        self.pieces.insert(start, head);
        self.pieces.insert(offset, tail);
    }

    fn piece_at(&self, offset: u64) -> Option<(u64, &Bytes)> {
        let (start, piece) = self.pieces.range(..=offset).next_back()?;
        (offset - start < piece.len() as u64).then_some((*start, piece))
    }
}

/// Makes an index into a buffer of a distance inside of it.
fn index(distance: u64) -> usize {
    usize::try_from(distance).expect("a distance inside a buffer fits in memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACE: usize = 64;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        Zero(usize, usize),
        Truncate(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..SPACE, proptest::collection::vec(1u8.., 0..20)).prop_map(|(at, data)| Step::Write(at, data)),
            (0..SPACE, 0..20usize).prop_map(|(at, len)| Step::Zero(at, len)),
            (0..SPACE).prop_map(Step::Truncate),
        ]
    }

    /// The obvious model: one byte per position, 0 for a hole (the steps write no zeros).
    fn apply(model: &mut [u8], map: &mut SparseMap, step: Step) {
        match step {
            Step::Write(at, data) => {
                model[at..at + data.len()].copy_from_slice(&data);
                map.write(at as u64, data.into());
            }
            Step::Zero(at, len) => {
                model[at..at + len].fill(0);
                map.zero(at as u64, len as u64);
            }
            Step::Truncate(at) => {
                model[at..].fill(0);
                map.truncate(at as u64);
            }
        }
    }

    fn extents_of(model: &[u8]) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for offset in (0..model.len()).filter(|at| model[*at] != 0) {
            match extents.last_mut() {
                Some(last) if last.end() == offset as u64 => last.len += 1,
                _ => extents.push(Extent { offset: offset as u64, len: 1 }),
            }
        }
        extents
    }

    proptest! {
        #[test]
        fn a_map_reads_like_an_array_of_bytes(steps in proptest::collection::vec(step(), 0..40), from in 0..SPACE, len in 0..SPACE) {
            let (mut model, mut map) = (vec![0u8; 2 * SPACE], SparseMap::default());
            for step in steps {
                apply(&mut model, &mut map, step);
            }
            let mut buf = vec![0xee; len];
            map.read(from as u64, &mut buf);
            prop_assert_eq!(&buf, &model[from..from + len]);
            prop_assert_eq!(map.extents(0..u64::MAX, usize::MAX), extents_of(&model));
            prop_assert_eq!(map.extents(0..u64::MAX, 2), extents_of(&model).into_iter().take(2).collect::<Vec<_>>());
        }

        #[test]
        fn the_pieces_of_a_range_rebuild_it(steps in proptest::collection::vec(step(), 0..40), from in 0..SPACE, len in 0..SPACE) {
            let (mut model, mut map) = (vec![0u8; 2 * SPACE], SparseMap::default());
            for step in steps {
                apply(&mut model, &mut map, step);
            }
            let mut copy = vec![0; len];
            for (at, piece) in map.pieces_in(from as u64..(from + len) as u64) {
                let at = usize::try_from(at).unwrap() - from;
                copy[at..at + piece.len()].copy_from_slice(&piece);
            }
            prop_assert_eq!(&copy, &model[from..from + len]);
        }
    }

    #[test]
    fn the_far_end_of_the_number_line_is_harmless() {
        let mut map = SparseMap::default();
        map.write(u64::MAX - 2, Bytes::from_static(b"abcd"));
        map.zero(u64::MAX - 1, u64::MAX);
        map.truncate(u64::MAX);
        assert_eq!(map.extents(0..u64::MAX, 9), [Extent { offset: u64::MAX - 2, len: 1 }]);
    }
}
