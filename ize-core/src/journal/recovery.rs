//! Finds where a journal ends: the longest prefix of valid records, and whether what is missing behind it may be missing.
//!
//! A process that is killed leaves everything that it wrote. A power cut may lose anything that was not synced, in any
//! order, so that valid records can follow a hole. A hole is *damage* if the system was never restarted, or if a later
//! record says that the missing one was synced; then nothing is touched, and the error names the place. Otherwise it is
//! what a power cut may do, and the journal ends there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::JournalError;
use super::medium::{Medium, MediumFile};
use super::record::Seq;
use super::segment::{
    HeaderState, SEGMENT_HEADER_BYTES, SegmentHeader, frames, frames_behind, read_segment, written_bytes,
};

/// What opening a journal found beside its valid records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Valid records in the journal.
    pub records: u64,
    /// Bytes of a torn record, or of other things that are none, that were cleared at the end.
    pub torn_bytes: u64,
    /// Valid records behind a hole that a power cut left. None of them, nor any that is missing, had been synced.
    pub unsynced_records_dropped: u64,
}

/// A segment that holds valid records, or could.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn MediumFile>,
    /// The length of the file.
    pub(super) bytes: u64,
    /// Where its valid records end; the padding of the last one may be missing in the file.
    pub(super) end: u64,
    /// The position of its last valid record; the one before its first if there is none.
    pub(super) last_seq: Seq,
}

/// What is left of a journal.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// The segments with the longest valid prefix, in order.
    pub(super) segments: VecDeque<Found>,
    /// Segments that hold nothing of it.
    pub(super) surplus: Vec<u64>,
    /// The highest number of any segment.
    pub(super) number_max: u64,
    pub(super) report: RecoveryReport,
}

/// Where the prefix ends although something may have followed.
#[derive(Clone, Copy, Debug)]
struct Hole {
    segment: u64,
    offset: u64,
    /// The position of the missing record, if any record before it is known.
    expected: Option<Seq>,
    what: &'static str,
}

impl Hole {
    fn damage(self) -> JournalError {
        JournalError::Damaged { segment: self.segment, offset: self.offset, what: self.what }
    }
}

#[derive(Debug, Default)]
struct Scan {
    recovered: Recovered,
    hole: Option<Hole>,
    /// The furthest that any record behind the hole says was synced.
    synced_behind: Seq,
    /// Something was found behind the hole that can only be there because records were written before it.
    followed: bool,
}

/// Reads the whole journal and finds its longest valid prefix. Changes nothing on disk.
pub(super) fn recover(medium: &dyn Medium) -> Result<Recovered, JournalError> {
    let numbers = medium.segments().map_err(JournalError::io("listing the journal"))?;
    let mut scan = Scan::default();
    let mut previous = None;
    for number in numbers {
        if let Some(missing) = previous.map(|previous: u64| previous + 1).filter(|missing| *missing != number) {
            return Err(JournalError::Damaged { segment: missing, offset: 0, what: "the segment is missing" });
        }
        previous = Some(number);
        scan.recovered.number_max = number;
        let file = medium.open(number).map_err(JournalError::io("opening a journal segment"))?;
        scan.segment(number, file)?;
    }
    scan.judge(medium.same_session())
}

/// Tells whether anything was ever written behind a segment's header.
fn has_records(segment: &[u8]) -> bool {
    segment[..written_bytes(segment)].iter().skip(SEGMENT_HEADER_BYTES).any(|byte| *byte != 0)
}

impl Scan {
    fn segment(&mut self, number: u64, file: Arc<dyn MediumFile>) -> Result<(), JournalError> {
        let segment = read_segment(&*file, number)?;
        match SegmentHeader::decode(&segment) {
            HeaderState::Valid(header) if header.number == number => self.used_segment(header, file, &segment),
            HeaderState::Newer(found) => {
                return Err(JournalError::NewerFormat { found, supported: super::FORMAT_VERSION });
            }
            HeaderState::Zero => self.blank_segment(number, &segment),
            // The header itself was torn: no record can follow.
            HeaderState::Damaged if !has_records(&segment) => self.blank_segment(number, &segment),
            HeaderState::Valid(_) | HeaderState::Damaged => {
                return Err(JournalError::Damaged { segment: number, offset: 0, what: "its header is damaged" });
            }
        }
        Ok(())
    }

    /// A segment without a header: set aside and never used, or its header never reached the disk.
    fn blank_segment(&mut self, number: u64, segment: &[u8]) {
        self.recovered.surplus.push(number);
        let expected = self.expected();
        self.hole.get_or_insert(Hole {
            segment: number,
            offset: 0,
            expected,
            what: "its header is gone, but records follow",
        });
        self.followed |= has_records(segment);
    }

    fn used_segment(&mut self, header: SegmentHeader, file: Arc<dyn MediumFile>, segment: &[u8]) {
        if self.hole.is_none()
            && let Some(last) = self.recovered.segments.back()
            && header.first_seq != last.last_seq.next()
        {
            self.hole = Some(Hole {
                segment: last.header.number,
                offset: last.end,
                expected: Some(last.last_seq.next()),
                what: "a record is gone, but records follow in later segments",
            });
        }
        if self.hole.is_some() {
            // Its header was written after all the records before it.
            self.followed = true;
            self.recovered.surplus.push(header.number);
            self.behind(header, segment, SEGMENT_HEADER_BYTES - super::record::ALIGNMENT, header.first_seq);
            return;
        }
        let mut found = Found {
            header,
            file,
            bytes: segment.len() as u64,
            end: SEGMENT_HEADER_BYTES as u64,
            last_seq: header.first_seq.prev(),
        };
        for frame in frames(segment, header) {
            found.end = frame.end() as u64;
            found.last_seq = frame.seq;
            self.recovered.report.records += 1;
        }
        let (end, missing) = (found.end, found.last_seq.next());
        self.recovered.segments.push_back(found);
        self.hole_within(header, segment, end, missing);
    }

    /// Looks for valid records behind the end of the valid ones.
    fn hole_within(&mut self, header: SegmentHeader, segment: &[u8], end: u64, missing: Seq) {
        let Ok(offset) = usize::try_from(end) else { return };
        let dropped_before = self.recovered.report.unsynced_records_dropped;
        self.behind(header, segment, offset, missing);
        if self.recovered.report.unsynced_records_dropped > dropped_before {
            self.followed = true;
            self.hole = Some(Hole {
                segment: header.number,
                offset: end,
                expected: Some(missing),
                what: "the record is damaged, but records follow",
            });
        }
    }

    fn behind(&mut self, header: SegmentHeader, segment: &[u8], offset: usize, expected: Seq) {
        for frame in frames_behind(segment, header, offset, expected) {
            self.recovered.report.unsynced_records_dropped += 1;
            self.synced_behind = self.synced_behind.max(frame.synced);
        }
    }

    fn expected(&self) -> Option<Seq> {
        self.recovered.segments.back().map(|last| last.last_seq.next())
    }

    fn judge(self, same_session: bool) -> Result<Recovered, JournalError> {
        if let Some(hole) = self.hole.filter(|_| self.followed) {
            // A journal whose very beginning is missing has no position to compare; any sync then covered it.
            let was_synced = self.synced_behind >= hole.expected.unwrap_or(Seq::FIRST);
            if same_session || was_synced {
                return Err(hole.damage());
            }
        }
        Ok(self.recovered)
    }
}
