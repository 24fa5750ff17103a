//! The records of a journal and their bytes: framing, checksum, payload.
//!
//! A record is a header of 32 bytes, a payload (postcard), and the operation's data as it is. Its checksum covers the
//! segment's salt and the record's place too, so that bytes which merely look like a record (a copy of a journal inside
//! a recorded file) are none.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::model::{Actor, BranchId, FileId, Landmark, OpCode, OpData, OpId, OpType, Timestamp, Touched};

/// The position of a record in the journal: dense over all segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// The first record of a new journal.
    pub const FIRST: Self = Self(1);

    /// Makes a position from its number.
    pub const fn new(seq: u64) -> Self {
        Self(seq)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the position after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the position before this one; the one before [`Seq::ZERO`] is [`Seq::ZERO`].
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// What the journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all records are operations, and none is kept")]
pub enum Record {
    /// An operation with its data.
    Op(OpCode),
    /// An operation turned out to be a landmark.
    Mark {
        /// The operation: this journal's, or one that was committed before.
        op: OpId,
        /// Why.
        landmark: Landmark,
    },
    /// A file that may be changed in place from now on, before any operation tells of it: its content is to be looked at
    /// after a power cut.
    Dirty {
        /// The file.
        file: FileId,
    },
    /// The tree was synced.
    Synced(TreeSyncPoint),
}

/// How far the tree was synced: all that these records and operations did to it is durable there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeSyncPoint {
    /// The last record.
    pub seq: Seq,
    /// The last operation.
    pub op: OpId,
}

/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 32;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The version of the records that this program writes.
const RECORD_VERSION: u8 = 1;
const KIND_OP: u8 = 1;
const KIND_MARK: u8 = 2;
const KIND_DIRTY: u8 = 3;
const KIND_SYNCED: u8 = 4;
/// The record's operation has [`OpData::Inline`], maybe of no bytes.
const FLAG_DATA: u16 = 1;
/// The largest payload without data.
const META_BYTES_MAX: usize = 1 << 20;
/// Up to so much data is copied behind its record's head, so that both are one piece for the checksum and the system.
const SMALL_DATA_BYTES: usize = 4096;

/// Returns how many bytes a record takes up in a segment, padding included.
pub(super) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

#[derive(Serialize)]
struct OpRef<'a> {
    id: OpId,
    branch: BranchId,
    timestamp: Timestamp,
    op_type: &'a OpType,
    touched: &'a [Touched],
    actor: &'a Actor,
    landmark: Option<Landmark>,
    parent: Option<OpId>,
}

#[derive(Deserialize)]
struct OpOwned {
    id: OpId,
    branch: BranchId,
    timestamp: Timestamp,
    op_type: OpType,
    touched: Vec<Touched>,
    actor: Actor,
    landmark: Option<Landmark>,
    parent: Option<OpId>,
}

/// Where a record goes: all that its checksum covers beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u64,
    pub(super) offset: u64,
}

impl Place {
    fn crc(self) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.salt.to_le_bytes());
        place[8..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c(&place)
    }
}

/// A record on its way into the journal. The buffer is kept from record to record.
#[derive(Debug)]
pub(super) struct Encoder {
    buffer: Vec<u8>,
    head_bytes: usize,
    kind: u8,
    flags: u16,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; 4096], head_bytes: 0, kind: 0, flags: 0 }
    }

    /// Takes an operation, all but its data.
    pub(super) fn op(&mut self, op: &OpCode) -> Result<(), JournalError> {
        self.kind = KIND_OP;
        self.flags = match op.data {
            OpData::None => 0,
            OpData::Inline(_) => FLAG_DATA,
            OpData::Reference { .. } => return Err(JournalError::Invalid("its data is only a reference")),
        };
        if op.id != op.last_id {
            return Err(JournalError::Invalid("it was merged"));
        }
        self.payload(&OpRef {
            id: op.id,
            branch: op.branch,
            timestamp: op.timestamp,
            op_type: &op.op_type,
            touched: &op.touched,
            actor: &op.actor,
            landmark: op.landmark,
            parent: op.parent,
        })
    }

    /// Takes a mark.
    pub(super) fn mark(&mut self, op: OpId, landmark: Landmark) -> Result<(), JournalError> {
        self.kind = KIND_MARK;
        self.flags = 0;
        self.payload(&(op, landmark))
    }

    /// Takes the note that a file may change.
    pub(super) fn dirty(&mut self, file: FileId) -> Result<(), JournalError> {
        self.kind = KIND_DIRTY;
        self.flags = 0;
        self.payload(&file)
    }

    /// Takes the note that the tree was synced.
    pub(super) fn synced(&mut self, through: TreeSyncPoint) -> Result<(), JournalError> {
        self.kind = KIND_SYNCED;
        self.flags = 0;
        self.payload(&(through.seq.get(), through.op))
    }

    fn payload(&mut self, payload: &impl Serialize) -> Result<(), JournalError> {
        loop {
            match postcard::to_slice(payload, &mut self.buffer[HEADER_BYTES..]).map(|used| used.len()) {
                Ok(payload_bytes) => {
                    self.head_bytes = HEADER_BYTES + payload_bytes;
                    return Ok(());
                }
                Err(postcard::Error::SerializeBufferFull) if self.buffer.len() < META_BYTES_MAX => {
                    self.buffer.resize(self.buffer.len() * 2, 0);
                }
                Err(_) => return Err(JournalError::Invalid("its description is too long")),
            }
        }
    }

    /// Returns how long the record's header and payload are.
    pub(super) fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Completes the header and returns what is to be written: the record's head, with the data behind it if that is
    /// small, and the rest of the data.
    pub(super) fn seal<'a>(
        &'a mut self,
        place: Place,
        seq: Seq,
        synced: Seq,
        data: &'a [u8],
    ) -> Result<(&'a [u8], &'a [u8]), JournalError> {
        let too_long = |_| JournalError::Invalid("it is too long");
        let payload_bytes = u32::try_from(self.head_bytes - HEADER_BYTES + data.len()).map_err(too_long)?;
        let data_bytes = u32::try_from(data.len()).map_err(too_long)?;
        let (near, far) = if data.len() <= SMALL_DATA_BYTES { (data, &[][..]) } else { (&[][..], data) };
        let end = self.head_bytes + near.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer[self.head_bytes..end].copy_from_slice(near);
        let head = &mut self.buffer[..end];
        head[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        head[8] = self.kind;
        head[9] = RECORD_VERSION;
        head[10..12].copy_from_slice(&self.flags.to_le_bytes());
        head[12..16].copy_from_slice(&data_bytes.to_le_bytes());
        head[16..24].copy_from_slice(&seq.get().to_le_bytes());
        head[24..32].copy_from_slice(&synced.get().to_le_bytes());
        let mut crc = crc32c::crc32c_append(place.crc(), &head[4..]);
        if !far.is_empty() {
            crc = crc32c::crc32c_append(crc, far);
        }
        head[..4].copy_from_slice(&crc.to_le_bytes());
        Ok((head, far))
    }
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    kind: u8,
    version: u8,
    flags: u16,
    /// Where in the segment the bytes begin in which it was found.
    base: u64,
    start: usize,
    data_start: usize,
    data_end: usize,
    /// Its position in the journal.
    pub(super) seq: Seq,
    /// All up to here was durable when it was written.
    pub(super) synced: Seq,
}

impl Frame {
    /// Reads the record at `offset` of a segment; `None` if there is no valid one, or its position is not `wanted`. Nothing
    /// is allocated, and no length is believed before it was compared with what is there.
    pub(super) fn read_if(segment: &[u8], salt: u64, offset: usize, wanted: impl FnOnce(Seq) -> bool) -> Option<Self> {
        Self::read_within(segment, 0, salt, offset, wanted)
    }

    /// Like [`Frame::read_if`], in a part of a segment that begins at `base`; `offset` counts from there.
    pub(super) fn read_within(
        segment: &[u8],
        base: u64,
        salt: u64,
        offset: usize,
        wanted: impl FnOnce(Seq) -> bool,
    ) -> Option<Self> {
        let (header, rest) = segment.get(offset..)?.split_first_chunk::<HEADER_BYTES>()?;
        let payload_bytes = usize::try_from(u32_at(header, 4)).ok()?;
        let data_bytes = usize::try_from(u32_at(header, 12)).ok()?;
        let seq = Seq(u64_at(header, 16));
        if payload_bytes == 0 || payload_bytes > rest.len() || data_bytes > payload_bytes || !wanted(seq) {
            return None;
        }
        let data_end = offset + HEADER_BYTES + payload_bytes;
        let place = Place { salt, offset: base + offset as u64 };
        if crc32c::crc32c_append(place.crc(), &segment[offset + 4..data_end]) != u32_at(header, 0) {
            return None;
        }
        Some(Self {
            kind: header[8],
            version: header[9],
            flags: u16::from_le_bytes([header[10], header[11]]),
            base,
            start: offset,
            data_start: data_end - data_bytes,
            data_end,
            seq,
            synced: Seq(u64_at(header, 24)),
        })
    }

    /// Reads from a header, which was not checked, how long the record is: header, payload and data.
    pub(super) fn claimed_bytes(header: &[u8; HEADER_BYTES]) -> u64 {
        HEADER_BYTES as u64 + u64::from(u32_at(header, 4))
    }

    /// Returns where the record begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Returns where the next record begins.
    pub(super) fn end(&self) -> usize {
        padded(self.data_end)
    }

    /// Takes the record apart. Its data shares the segment's bytes.
    pub(super) fn decode(&self, segment: &Bytes, number: u64) -> Result<Record, JournalError> {
        let is_known = matches!(self.kind, KIND_OP | KIND_MARK | KIND_DIRTY | KIND_SYNCED);
        if self.version != RECORD_VERSION || !is_known || self.flags > FLAG_DATA {
            let found = u32::from(self.version).max(u32::from(RECORD_VERSION) + 1);
            return Err(JournalError::NewerFormat { found, supported: u32::from(RECORD_VERSION) });
        }
        let damaged = |what| JournalError::Damaged { segment: number, offset: self.base + self.start as u64, what };
        let payload = &segment[self.start + HEADER_BYTES..self.data_start];
        match self.kind {
            KIND_MARK => {
                let mark = postcard::from_bytes(payload).map_err(|_| damaged("a mark that cannot be decoded"));
                return mark.map(|(op, landmark)| Record::Mark { op, landmark });
            }
            KIND_DIRTY => {
                let file = postcard::from_bytes(payload).map_err(|_| damaged("a note that cannot be decoded"));
                return file.map(|file| Record::Dirty { file });
            }
            KIND_SYNCED => {
                let through = postcard::from_bytes(payload).map_err(|_| damaged("a note that cannot be decoded"));
                return through.map(|(seq, op)| Record::Synced(TreeSyncPoint { seq: Seq(seq), op }));
            }
            _ => {}
        }
        let op: OpOwned = postcard::from_bytes(payload).map_err(|_| damaged("an operation that cannot be decoded"))?;
        let data = match self.flags & FLAG_DATA {
            0 => OpData::None,
            _ => OpData::Inline(segment.slice(self.data_start..self.data_end)),
        };
        Ok(Record::Op(OpCode {
            id: op.id,
            last_id: op.id,
            branch: op.branch,
            timestamp: op.timestamp,
            op_type: op.op_type,
            data,
            touched: op.touched,
            actor: Arc::new(op.actor),
            landmark: op.landmark,
            parent: op.parent,
        }))
    }
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}
