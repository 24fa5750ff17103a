//! The header of a segment, and reading a whole segment.

use bytes::Bytes;

use super::medium::MediumFile;
use super::record::{ALIGNMENT, Frame, HEADER_BYTES, Seq};
use super::{FORMAT_VERSION, JournalError};
use crate::model::OpId;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// No segment is longer, so that reading one is bounded.
pub(super) const SEGMENT_BYTES_MAX: u64 = 256 << 20;
const MAGIC: [u8; 8] = *b"IzeJrnl\n";

/// What a segment says about itself. It is written when the first record comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its number: dense, in the order of writing.
    pub(super) number: u64,
    /// Random; part of the checksum of each record.
    pub(super) salt: u64,
    /// The position of its first record.
    pub(super) first_seq: Seq,
    /// The first operation that it may hold.
    pub(super) first_op: OpId,
}

/// What stands where a header should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeaderState {
    /// Nothing: the segment was never used, or the header never reached the disk.
    Zero,
    /// A header.
    Valid(SegmentHeader),
    /// A header of a later version.
    Newer(u32),
    /// Something else.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_seq.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_op.get().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(segment: &[u8]) -> HeaderState {
        let Some(bytes) = segment.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            // A file that was cut this short holds no record.
            return HeaderState::Zero;
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return HeaderState::Zero;
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(60) {
            return HeaderState::Damaged;
        }
        match u32_at(8) {
            FORMAT_VERSION => HeaderState::Valid(Self {
                number: u64_at(16),
                salt: u64_at(24),
                first_seq: Seq::new(u64_at(32)),
                first_op: OpId::new(u64_at(40)),
            }),
            version => HeaderState::Newer(version),
        }
    }
}

/// Reads a whole segment into memory.
pub(super) fn read_segment(file: &dyn MediumFile, number: u64) -> Result<Bytes, JournalError> {
    let bytes = file.bytes().map_err(JournalError::io("reading a journal segment"))?;
    if bytes > SEGMENT_BYTES_MAX {
        return Err(JournalError::Damaged { segment: number, offset: 0, what: "the segment is too long" });
    }
    let len = usize::try_from(bytes).map_err(|_| JournalError::Invalid("the segment does not fit into memory"))?;
    let mut segment = vec![0; len];
    file.read_at(&mut segment, 0).map_err(JournalError::io("reading a journal segment"))?;
    Ok(segment.into())
}

/// Returns up to where anything but zeros was written to a segment, in whole pages: most of one is often still blank.
pub(super) fn written_bytes(segment: &[u8]) -> usize {
    const BLANK: [u8; 4096] = [0; 4096];
    let is_written = |page: &[u8]| page != &BLANK[..page.len()];
    let last = segment.chunks(BLANK.len()).rposition(is_written);
    last.map_or(0, |last| ((last + 1) * BLANK.len()).min(segment.len()))
}

/// Returns the records of a segment one after the other, as long as they are valid and their positions dense.
pub(super) fn frames(segment: &[u8], header: SegmentHeader) -> impl Iterator<Item = Frame> + '_ {
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut expected = header.first_seq;
    std::iter::from_fn(move || {
        let frame = Frame::read_if(segment, header.salt, offset, |seq| seq == expected)?;
        offset = frame.end();
        expected = expected.next();
        Some(frame)
    })
}

/// Looks for valid records anywhere behind `offset`, where there is none: those whose position is `expected` or later.
pub(super) fn frames_behind(
    segment: &[u8],
    header: SegmentHeader,
    offset: usize,
    expected: Seq,
) -> impl Iterator<Item = Frame> + '_ {
    let mut offset = offset + ALIGNMENT;
    // Zeros are no record's beginning.
    let end = written_bytes(segment);
    // A segment holds fewer records than this; what claims to be further away is no record.
    let limit = expected.get().saturating_add((segment.len() / HEADER_BYTES) as u64);
    std::iter::from_fn(move || {
        while offset < end && offset + HEADER_BYTES <= segment.len() {
            let wanted = |seq: Seq| seq >= expected && seq.get() <= limit;
            if let Some(frame) = Frame::read_if(segment, header.salt, offset, wanted) {
                offset = frame.end();
                return Some(frame);
            }
            offset += ALIGNMENT;
        }
        None
    })
}
