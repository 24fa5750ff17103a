//! The payload of batch and ref records: operations with references to chunks in place of their data.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ize_core::model::{Actor, BranchId, ContentHash, Landmark, OpCode, OpData, OpId, OpType, Timestamp, Touched};
use ize_core::storage::{RefName, RefTarget, Result, StorageError};
use serde::{Deserialize, Serialize};

use crate::pack::{Kind, Place, Record};
use crate::{varint, zstd_context};

/// The most operations in a group: reading one of them decompresses all.
pub(crate) const GROUP_OPS_MAX: usize = 32;
/// A group is finished once its operations take so many bytes.
const GROUP_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a record before its payload, and of what comes before the first group: the numbers of operations and groups.
const FIRST_GROUP_AT: u32 = 16 + 8;
/// The same in a batch of version 1, before the first operation: their number.
const FIRST_PLAIN_AT: u32 = 16 + 4;
/// Set in the first word of a compressed group, and in that of no operation of version 1, which is its length.
const IS_COMPRESSED: u32 = 1 << 31;
/// What group headers hold: a mark, the crc of the rest, and the length of the operations.
const GROUP_HEADER_BYTES: usize = 12;

/// An operation's data, as a record holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredData {
    /// The operation has no data.
    None,
    /// The data is in chunks, split at the borders of cells.
    Chunks {
        /// Hash of all of it.
        hash: ContentHash,
        /// Its length.
        size: u64,
        /// The chunks' hashes; empty if there is one, whose hash is `hash`, or if there are no bytes.
        chunks: Vec<ContentHash>,
    },
}

impl StoredData {
    /// Returns the hashes of the chunks in order.
    pub(crate) fn chunks(&self) -> &[ContentHash] {
        match self {
            Self::None | Self::Chunks { size: 0, .. } => &[],
            Self::Chunks { hash, chunks, .. } if chunks.is_empty() => std::slice::from_ref(hash),
            Self::Chunks { chunks, .. } => chunks,
        }
    }

    fn to_data(&self) -> OpData {
        match self {
            Self::None => OpData::None,
            Self::Chunks { size: 0, .. } => OpData::Inline(Bytes::new()),
            Self::Chunks { hash, size, .. } => OpData::Reference { hash: *hash, size: *size },
        }
    }
}

/// A chunk that the store made itself while it applied a batch: pieces merged into one, or a long list of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Derived {
    /// The operation that made it necessary.
    pub(crate) op: OpId,
    pub(crate) hash: ContentHash,
}

impl Derived {
    /// Stands for the hash where the chunk was not made, because what it was to be made of was damaged.
    pub(crate) const NOT_MADE: ContentHash = ContentHash::from_bytes([0; 32]);
    /// Says that a list of pieces was damaged when it was needed.
    pub(crate) const LIST_LOST: ContentHash = ContentHash::from_bytes([255; 32]);
}

/// What follows the operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) landmarks: Vec<(OpId, Landmark)>,
    /// In the order in which they were made.
    pub(crate) derived: Vec<Derived>,
}

type Fields =
    (OpId, OpId, BranchId, Timestamp, OpType, StoredData, Vec<Touched>, Actor, Option<Landmark>, Option<OpId>);

/// Operations being encoded.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    payload: Vec<u8>,
    /// The operations of the group at hand.
    plain: Vec<u8>,
    branch: Option<BranchId>,
    count: usize,
    /// How many operations are in finished groups.
    finished: usize,
    /// Of each group where it begins within the record, its length, and its operations.
    groups: Vec<(u32, u32, Range<usize>)>,
}

/// Some operations of a batch, all of one branch.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) place: Place,
    /// Which operations of the batch.
    pub(crate) ops: Range<usize>,
}

impl Encoder {
    /// Adds an operation.
    pub(crate) fn op(&mut self, op: &OpCode, data: &StoredData) -> Result<()> {
        let is_full = self.count >= GROUP_OPS_MAX || self.plain.len() >= GROUP_BYTES_MAX;
        if is_full || self.branch.is_some_and(|branch| branch != op.branch) {
            self.finish_group()?;
        }
        let fields = (
            op.id,
            op.last_id,
            op.branch,
            op.timestamp,
            &op.op_type,
            data,
            &op.touched,
            &*op.actor,
            op.landmark,
            op.parent,
        );
        let start = self.plain.len();
        self.plain.extend_from_slice(&[0; 4]);
        self.plain = postcard::to_extend(&fields, std::mem::take(&mut self.plain)).map_err(encode_failed)?;
        let len = narrow(self.plain.len() - start - 4)?;
        self.plain[start..start + 4].copy_from_slice(&len.to_be_bytes());
        self.branch = Some(op.branch);
        self.count += 1;
        Ok(())
    }

    fn finish_group(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let start = self.payload.len();
        let packed = zstd_context::compress(&self.plain);
        let packed = packed.map_err(|error| StorageError::backend("compressing a batch", error))?;
        self.payload.extend_from_slice(&(IS_COMPRESSED | narrow(packed.len() + 4)?).to_be_bytes());
        self.payload.extend_from_slice(&[0; 4]);
        self.payload.extend_from_slice(&narrow(self.plain.len())?.to_be_bytes());
        self.payload.extend_from_slice(&packed);
        let crc = crc32c::crc32c(&self.payload[start + 8..]);
        self.payload[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
        let len = narrow(self.payload.len() - start)?;
        let ops = self.finished..self.finished + self.count;
        self.finished = ops.end;
        self.groups.push((FIRST_GROUP_AT + narrow(start)?, len, ops));
        self.plain.clear();
        (self.branch, self.count) = (None, 0);
        Ok(())
    }

    /// Returns the parts of the payload: counts, groups, tail.
    pub(crate) fn finish(&mut self, tail: &Tail) -> Result<([u8; 8], &[u8], Vec<u8>)> {
        self.finish_group()?;
        let tail = postcard::to_allocvec(tail).map_err(encode_failed)?;
        let mut counts = [0; 8];
        counts[..4].copy_from_slice(&narrow(self.finished)?.to_be_bytes());
        counts[4..].copy_from_slice(&narrow(self.groups.len())?.to_be_bytes());
        Ok((counts, &self.payload, tail))
    }

    /// Returns where each group lies, given where the record does.
    pub(crate) fn groups(&self, record: Place) -> impl Iterator<Item = Group> {
        self.groups.iter().map(move |(at, len, ops)| {
            let place = Place { pack: record.pack, offset: record.offset + at, len: *len };
            Group { place, ops: ops.clone() }
        })
    }
}

/// A decoded operation.
#[derive(Clone, Debug)]
pub(crate) struct StoredOp {
    /// The operation; its data is a reference.
    pub(crate) op: OpCode,
    pub(crate) data: StoredData,
}

/// A decoded batch record.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) ops: Vec<StoredOp>,
    pub(crate) groups: Vec<Group>,
    pub(crate) tail: Tail,
}

/// Decodes a batch record.
pub(crate) fn decode(record: &Record) -> Result<StoredBatch> {
    let decoded = if record.kind == Kind::PlainBatch { decode_plain(record) } else { decode_grouped(record) };
    decoded.ok_or_else(|| StorageError::Corrupt(format!("the batch at {} cannot be decoded", record.place)))
}

fn decode_grouped(record: &Record) -> Option<StoredBatch> {
    let (counts, mut rest) = record.payload.split_first_chunk::<8>()?;
    let groups_count = u32::from_be_bytes(*counts.last_chunk()?);
    let (mut ops, mut groups, mut at) = (Vec::new(), Vec::new(), FIRST_GROUP_AT);
    for _ in 0..groups_count {
        let len = (u32::from_be_bytes(*rest.first_chunk()?) & !IS_COMPRESSED) + 8;
        let (bytes, behind) = rest.split_at_checked(len as usize)?;
        let place = Place { pack: record.place.pack, offset: record.place.offset + at, len };
        let first = ops.len();
        for body in OpGroup::open(place, bytes).ok()?.bodies() {
            ops.push(decode_body(body?)?);
        }
        groups.push(Group { place, ops: first..ops.len() });
        (at, rest) = (at + len, behind);
    }
    let is_whole = ops.len() == u32::from_be_bytes(*counts.first_chunk()?) as usize;
    is_whole.then_some(StoredBatch { ops, groups, tail: postcard::from_bytes(rest).ok()? })
}

/// Decodes a batch of version 1. Its groups are made up.
fn decode_plain(record: &Record) -> Option<StoredBatch> {
    let (count, mut rest) = record.payload.split_first_chunk::<4>()?;
    let (mut ops, mut groups, mut at): (Vec<StoredOp>, Vec<Group>, u32) = (Vec::new(), Vec::new(), FIRST_PLAIN_AT);
    for number in 0..u32::from_be_bytes(*count) as usize {
        let len = u32::from_be_bytes(*rest.first_chunk()?) + 8;
        let (bytes, behind) = rest.split_at_checked(len as usize)?;
        let place = Place { pack: record.place.pack, offset: record.place.offset + at, len };
        let body = OpGroup::open(place, bytes).ok()?.bodies().next()?.and_then(decode_body)?;
        match groups.last_mut().filter(|group| {
            group.ops.len() < GROUP_OPS_MAX && ops.last().is_some_and(|last| last.op.branch == body.op.branch)
        }) {
            Some(group) => {
                group.ops.end = number + 1;
                group.place.len += len;
            }
            None => groups.push(Group { place, ops: number..number + 1 }),
        }
        ops.push(body);
        (at, rest) = (at + len, behind);
    }
    Some(StoredBatch { ops, groups, tail: postcard::from_bytes(rest).ok()? })
}

/// The bytes of a group's operations.
#[derive(Debug)]
pub(crate) struct OpGroup {
    place: Place,
    plain: Vec<u8>,
    /// Each operation is checked for itself, as version 1 wrote them.
    is_checked_each: bool,
}

impl OpGroup {
    /// Checks and unpacks what was read from a group's place.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it fails its check.
    pub(crate) fn open(place: Place, bytes: &[u8]) -> Result<Self> {
        let first = bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        if first & IS_COMPRESSED == 0 {
            return Ok(Self { place, plain: bytes.to_vec(), is_checked_each: true });
        }
        let unpack = || {
            let (head, packed) = bytes.split_first_chunk::<GROUP_HEADER_BYTES>()?;
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let len = word(8) as usize;
            let is_sound = crc32c::crc32c(&bytes[8..]) == word(4);
            is_sound.then(|| zstd_context::decompress(packed, len).ok())?.filter(|plain| plain.len() == len)
        };
        let plain = unpack().ok_or_else(|| bad_ops(place))?;
        Ok(Self { place, plain, is_checked_each: false })
    }

    /// Returns the operations' bytes; `None` for one that makes no sense, and then no more.
    fn bodies(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = self.plain.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let body = self.split(&mut rest);
            if body.is_none() {
                rest = &[];
            }
            Some(body)
        })
    }

    fn split<'a>(&self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*len) as usize;
        let (crc, behind) = if self.is_checked_each { behind.split_at_checked(4)? } else { behind.split_at(0) };
        let (body, behind) = behind.split_at_checked(len)?;
        *rest = behind;
        (crc.is_empty() || *crc == crc32c::crc32c(body).to_be_bytes()).then_some(body)
    }

    /// Returns the operation that ends at `at`.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is not there.
    pub(crate) fn op(&self, at: OpId) -> Result<OpCode> {
        let ends_at = |mut body: &[u8]| varint::pop(&mut body).and_then(|_| varint::pop(&mut body)) == Some(at.get());
        let found = self.bodies().map_while(|body| body).find(|body| ends_at(body));
        found.and_then(decode_body).map(|stored| stored.op).ok_or_else(|| bad_ops(self.place))
    }
}

fn bad_ops(place: Place) -> StorageError {
    StorageError::Corrupt(format!("the operations at {place} fail their check"))
}

fn decode_body(body: &[u8]) -> Option<StoredOp> {
    let (id, last_id, branch, timestamp, op_type, data, touched, actor, landmark, parent) =
        postcard::from_bytes::<Fields>(body).ok()?;
    let actor = Arc::new(actor);
    let op = OpCode { id, last_id, branch, timestamp, op_type, data: data.to_data(), touched, actor, landmark, parent };
    Some(StoredOp { op, data })
}

/// Encodes a ref record.
pub(crate) fn encode_ref(name: &RefName, target: Option<&RefTarget>) -> Result<Vec<u8>> {
    postcard::to_allocvec(&(name, target)).map_err(encode_failed)
}

/// Decodes a ref record.
pub(crate) fn decode_ref(record: &Record) -> Result<(RefName, Option<RefTarget>)> {
    postcard::from_bytes(&record.payload)
        .map_err(|_| StorageError::Corrupt(format!("the ref at {} cannot be decoded", record.place)))
}

fn encode_failed(error: postcard::Error) -> StorageError {
    StorageError::backend("encoding a batch", error)
}

fn narrow(number: usize) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number < 1 << 30)
        .ok_or_else(|| StorageError::Invalid("a batch is larger than 1 GiB".to_owned()))
}
