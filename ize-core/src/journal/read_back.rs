//! Reading back what was just appended, from a position on, while others append behind it.
//!
//! Everything up to the last position that was acknowledged is known to be there, so whatever is not is damage. Memory
//! is bounded: a window of a segment is read at a time, and the operations' data share its bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::medium::MediumFile;
use super::record::{Frame, HEADER_BYTES, Record, Seq};
use super::segment::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{JournalError, Result};
use crate::model::OpCode;

/// How much of a segment is read at a time, unless a record is longer.
const WINDOW_BYTES: u64 = 256 << 10;

/// The place of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The number of the segment.
    pub(crate) segment: u64,
    /// Where in it; or in a later one, if that is where the record begins.
    pub(crate) offset: u64,
    pub(crate) seq: Seq,
}

/// How much may be read: one operation in any case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) ops: usize,
    pub(crate) bytes: u64,
}

impl Budget {
    fn take(&mut self, op: &OpCode) {
        self.ops = self.ops.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(op.data.size());
    }

    fn is_spent(&self) -> bool {
        self.ops == 0 || self.bytes == 0
    }
}

/// What was read, and where to go on.
#[derive(Debug)]
pub(crate) struct ReadBack {
    pub(crate) records: Vec<(Seq, Record)>,
    pub(crate) next: Position,
}

/// Segments, in order, whose records up to some position are not going to change.
#[derive(Debug)]
pub(crate) struct Sealed {
    segments: Vec<(SegmentHeader, Arc<dyn MediumFile>)>,
}

impl Sealed {
    /// So many segments are looked at together.
    pub(super) const SEGMENTS_MAX: usize = 8;

    pub(super) fn new(segments: Vec<(SegmentHeader, Arc<dyn MediumFile>)>) -> Self {
        Self { segments }
    }

    /// Reads the records from `from` up to `through`, as many as the budget and the segments allow.
    pub(crate) fn read(&self, from: Position, through: Seq, mut budget: Budget) -> Result<ReadBack> {
        let mut back = ReadBack { records: Vec::new(), next: from };
        let mut window = Window::default();
        while back.next.seq <= through && !budget.is_spent() {
            let next = &mut back.next;
            let Some((header, file)) = self.segment_of(next.seq) else { break };
            if header.number != next.segment {
                *next = Position { segment: header.number, offset: SEGMENT_HEADER_BYTES as u64, seq: next.seq };
                window = Window::default();
            }
            let frame = window.frame(&**file, *header, *next)?;
            let record = frame.decode(&window.bytes, header.number)?;
            if let Record::Op(op) = &record {
                budget.take(op);
            }
            back.records.push((next.seq, record));
            next.offset = window.start + frame.end() as u64;
            next.seq = next.seq.next();
        }
        Ok(back)
    }

    /// Returns the segment that holds a record, or would if there was one.
    fn segment_of(&self, seq: Seq) -> Option<&(SegmentHeader, Arc<dyn MediumFile>)> {
        let after = self.segments.partition_point(|(header, _)| header.first_seq <= seq);
        // The last one that was listed may be followed by others, which begin with this record.
        let is_known = after < self.segments.len() || self.segments.len() < Self::SEGMENTS_MAX;
        self.segments[..after].last().filter(|_| is_known)
    }
}

/// A part of a segment.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn frame(&mut self, file: &dyn MediumFile, header: SegmentHeader, at: Position) -> Result<Frame> {
        let damaged = JournalError::Damaged {
            segment: header.number,
            offset: at.offset,
            what: "a record that was just written is not there",
        };
        self.cover(file, at.offset, HEADER_BYTES as u64)?;
        let index = usize::try_from(at.offset - self.start).unwrap_or(usize::MAX);
        let record = self.bytes.get(index..).and_then(<[u8]>::first_chunk);
        let Some(record_bytes) = record.map(Frame::claimed_bytes).filter(|bytes| *bytes <= SEGMENT_BYTES_MAX) else {
            return Err(damaged);
        };
        self.cover(file, at.offset, record_bytes)?;
        let index = usize::try_from(at.offset - self.start).unwrap_or(usize::MAX);
        Frame::read_within(&self.bytes, self.start, header.salt, index, |seq| seq == at.seq).ok_or(damaged)
    }

    /// Makes the window hold so many bytes from an offset on, as far as the file goes.
    fn cover(&mut self, file: &dyn MediumFile, offset: u64, bytes: u64) -> Result<()> {
        if self.start <= offset && offset + bytes <= self.start + self.bytes.len() as u64 {
            return Ok(());
        }
        let read = JournalError::io("reading the journal back");
        let file_bytes = match file.bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Err(read(error)),
        };
        let wanted = file_bytes.saturating_sub(offset).min(bytes.max(WINDOW_BYTES));
        let mut part = vec![0; usize::try_from(wanted).map_err(|_| JournalError::Invalid("a record is too long"))?];
        file.read_at(&mut part, offset).map_err(read)?;
        *self = Self { start: offset, bytes: part.into() };
        Ok(())
    }
}
