//! Reads the records of a journal back, one segment at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::medium::MediumFile;
use super::record::{Frame, Record, Seq};
use super::segment::{HeaderState, SEGMENT_HEADER_BYTES, SegmentHeader, read_segment};
use super::{JournalError, Result};
use crate::model::OpId;

/// The records of a journal from the oldest on. Operations' data share the bytes of their segment, which stay in memory
/// as long as one of them does.
#[derive(Debug)]
pub struct Replay {
    files: VecDeque<Arc<dyn MediumFile>>,
    current: Option<Current>,
    /// The first position that is not to be read.
    end: Seq,
    last_op: Option<OpId>,
    failed: bool,
}

#[derive(Debug)]
struct Current {
    segment: Bytes,
    header: SegmentHeader,
    offset: usize,
    expected: Seq,
}

impl Replay {
    pub(super) fn new(files: VecDeque<Arc<dyn MediumFile>>, end: Seq) -> Self {
        Self { files, current: None, end, last_op: None, failed: false }
    }

    fn advance(&mut self) -> Result<Option<(Seq, Record)>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(frame) = current.next_frame(self.end) {
                    let record = frame.decode(&current.segment, current.header.number)?;
                    check_order(&mut self.last_op, &record, current, &frame)?;
                    return Ok(Some((frame.seq, record)));
                }
                self.current = None;
            }
            match self.files.pop_front() {
                Some(file) => self.current = Some(Current::read(&*file)?),
                None => return Ok(None),
            }
        }
    }
}

impl Current {
    fn read(file: &dyn MediumFile) -> Result<Self> {
        let segment = read_segment(file, 0)?;
        let HeaderState::Valid(header) = SegmentHeader::decode(&segment) else {
            return Err(JournalError::Damaged { segment: 0, offset: 0, what: "its header changed while it was read" });
        };
        Ok(Self { segment, header, offset: SEGMENT_HEADER_BYTES, expected: header.first_seq })
    }

    fn next_frame(&mut self, end: Seq) -> Option<Frame> {
        let (expected, salt) = (self.expected, self.header.salt);
        let frame = Frame::read_if(&self.segment, salt, self.offset, |seq| seq == expected && seq < end)?;
        self.offset = frame.end();
        self.expected = expected.next();
        Some(frame)
    }
}

/// Operations follow each other, mostly at once: where storage was ahead of the journal after a power cut there is a gap.
fn check_order(last_op: &mut Option<OpId>, record: &Record, current: &Current, frame: &Frame) -> Result<()> {
    let (in_order, last) = match (record, *last_op) {
        (Record::Op(op), Some(last)) => (op.id > last, Some(op.id)),
        (Record::Op(op), None) => (op.id >= current.header.first_op, Some(op.id)),
        (Record::Mark { op, .. }, Some(last)) => (*op <= last, Some(last)),
        (Record::Mark { .. } | Record::Dirty { .. } | Record::Synced(_), last) => (true, last),
    };
    if !in_order {
        return Err(JournalError::Damaged {
            segment: current.header.number,
            offset: frame.start() as u64,
            what: "the record does not follow the one before it",
        });
    }
    *last_op = last;
    Ok(())
}

impl Iterator for Replay {
    type Item = Result<(Seq, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let record = self.advance().transpose();
        self.failed = matches!(record, Some(Err(_)));
        record
    }
}
