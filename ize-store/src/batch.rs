//! The payload of batch and ref records: operations with references to chunks in place of their data.

use std::sync::Arc;

use bytes::Bytes;
use ize_core::model::{Actor, BranchId, ContentHash, Landmark, OpCode, OpData, OpId, OpType, Timestamp, Touched};
use ize_core::storage::{RefName, RefTarget, Result, StorageError};
use serde::{Deserialize, Serialize};

use crate::pack::{Place, Record};

/// Bytes before each operation: length and crc32c.
const OP_HEADER_BYTES: usize = 8;
/// Bytes of a record before its payload, and of the count before the first operation.
const FIRST_OP_AT: u32 = 16 + 4;

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
    /// Of each operation where it begins within the record, and its length.
    ops: Vec<(u32, u32)>,
}

impl Encoder {
    /// Adds an operation.
    pub(crate) fn op(&mut self, op: &OpCode, data: &StoredData) -> Result<()> {
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
        let start = self.payload.len();
        self.payload.extend_from_slice(&[0; OP_HEADER_BYTES]);
        self.payload = postcard::to_extend(&fields, std::mem::take(&mut self.payload)).map_err(encode_failed)?;
        let body = &self.payload[start + OP_HEADER_BYTES..];
        let (len, crc) = (narrow(body.len())?, crc32c::crc32c(body));
        self.payload[start..start + 4].copy_from_slice(&len.to_be_bytes());
        self.payload[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
        self.ops.push((FIRST_OP_AT + narrow(start)?, narrow(self.payload.len() - start)?));
        Ok(())
    }

    /// Returns the parts of the payload: count, operations, tail.
    pub(crate) fn finish(&self, tail: &Tail) -> Result<([u8; 4], &[u8], Vec<u8>)> {
        let tail = postcard::to_allocvec(tail).map_err(encode_failed)?;
        Ok((narrow(self.ops.len())?.to_be_bytes(), &self.payload, tail))
    }

    /// Returns where each operation lies, given where the record does.
    pub(crate) fn places(&self, record: Place) -> impl Iterator<Item = Place> {
        self.ops.iter().map(move |(at, len)| Place { pack: record.pack, offset: record.offset + at, len: *len })
    }
}

/// A decoded operation and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct StoredOp {
    /// The operation; its data is a reference.
    pub(crate) op: OpCode,
    pub(crate) data: StoredData,
    pub(crate) place: Place,
}

/// A decoded batch record.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) ops: Vec<StoredOp>,
    pub(crate) tail: Tail,
}

/// Decodes a batch record.
pub(crate) fn decode(record: &Record) -> Result<StoredBatch> {
    decode_parts(record)
        .ok_or_else(|| StorageError::Corrupt(format!("the batch at {} cannot be decoded", record.place)))
}

fn decode_parts(record: &Record) -> Option<StoredBatch> {
    let (count, mut rest) = record.payload.split_first_chunk::<4>()?;
    let mut ops = Vec::new();
    let mut at = FIRST_OP_AT;
    for _ in 0..u32::from_be_bytes(*count) {
        let len = u32::from_be_bytes(*rest.first_chunk::<4>()?) + 8;
        let (bytes, behind) = rest.split_at_checked(len as usize)?;
        let place = Place { pack: record.place.pack, offset: record.place.offset + at, len };
        ops.push(decode_op(place, bytes).ok()?);
        (at, rest) = (at + len, behind);
    }
    Some(StoredBatch { ops, tail: postcard::from_bytes(rest).ok()? })
}

/// Decodes one operation of a batch record.
///
/// # Errors
/// [`StorageError::Corrupt`] if it fails its check.
pub(crate) fn decode_op(place: Place, bytes: &[u8]) -> Result<StoredOp> {
    let checked = bytes.split_first_chunk::<OP_HEADER_BYTES>().and_then(|(head, body)| {
        let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        (crc32c::crc32c(body) == crc).then_some(body)
    });
    let fields = checked.and_then(|body| postcard::from_bytes::<Fields>(body).ok());
    let fields = fields.ok_or_else(|| StorageError::Corrupt(format!("the operation at {place} fails its check")))?;
    let (id, last_id, branch, timestamp, op_type, data, touched, actor, landmark, parent) = fields;
    let actor = Arc::new(actor);
    let op = OpCode { id, last_id, branch, timestamp, op_type, data: data.to_data(), touched, actor, landmark, parent };
    Ok(StoredOp { op, data, place })
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
