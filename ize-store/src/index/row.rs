//! What the values of some tables hold.

use ize_core::model::{BranchId, FileKind, FileMetadata, Landmark, OpId, Timestamp};
use ize_core::storage::Result;

use super::{Rows, SEAL_BYTES, bad_row, key, postings};
use crate::engine::Table;
use crate::pack::Place;

/// A row of `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRow {
    /// What `stat` says.
    pub(crate) metadata: FileMetadata,
    /// No cell holds content from this byte on.
    pub(crate) content_end: u64,
}

/// What is stored of a row of `files`: kind, mode, owner, group, link count, device, size, how much further the content
/// ends than that, the time of modification, and how much later the times of change and access are.
type FileFields = (FileKind, u32, u32, u32, u32, u64, u64, i64, i128, i128, i128);

/// As many as [`FileFields`] usually take.
const FIELDS_BYTES: usize = 44;

impl FileRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let FileMetadata { kind, mode, uid, gid, size, nlink, rdev, atime, mtime, ctime } = self.metadata;
        let end = self.content_end.wrapping_sub(size).cast_signed();
        let times = [atime, mtime, ctime].map(Timestamp::as_nanos);
        let (changed, accessed) = (times[2].wrapping_sub(times[1]), times[0].wrapping_sub(times[1]));
        let fields: FileFields = (kind, mode, uid, gid, nlink, rdev, size, end, times[1], changed, accessed);
        postcard::to_extend(&fields, Vec::with_capacity(FIELDS_BYTES + SEAL_BYTES)).expect("numbers can be encoded")
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (kind, mode, uid, gid, nlink, rdev, size, end, modified, changed, accessed): FileFields =
            postcard::from_bytes(value).ok()?;
        let mtime = Timestamp::from_nanos(modified);
        let ctime = Timestamp::from_nanos(modified.wrapping_add(changed));
        let atime = Timestamp::from_nanos(modified.wrapping_add(accessed));
        let metadata = FileMetadata { kind, mode, uid, gid, size, nlink, rdev, atime, mtime, ctime };
        Some(Self { metadata, content_end: size.wrapping_add(end.cast_unsigned()) })
    }
}

/// A row of `ops`: a group of operations of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRow {
    pub(crate) branch: BranchId,
    /// Where the group lies within its batch's record.
    pub(crate) place: Place,
    /// What its operations end at, the newest first.
    pub(crate) ops: Vec<OpId>,
}

impl GroupRow {
    /// Returns the key and the value for a group; `ops` are in ascending order.
    pub(crate) fn encode(branch: BranchId, place: Place, ops: &[OpId]) -> Option<([u8; 8], Vec<u8>)> {
        let key = key::op(*ops.last()?);
        let mut value = branch.get().to_be_bytes().to_vec();
        value.extend_from_slice(&place.encode());
        value.extend_from_slice(&postings::steps(ops));
        Some((key, value))
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (branch, rest) = value.split_first_chunk::<4>()?;
        let (place, steps) = rest.split_first_chunk::<{ Place::BYTES }>()?;
        let ops = postings::decode(OpId::new(key::number(key, 0)?), steps)?;
        Some(Self { branch: BranchId::new(u32::from_be_bytes(*branch)), place: Place::decode(*place), ops })
    }

    /// Finds the group of the operation that ends at `at`.
    pub(crate) fn find(rows: &impl Rows, at: OpId) -> Result<Option<Self>> {
        let Some((key, value)) = rows.first_from(Table::Ops, &key::op(at))? else { return Ok(None) };
        let row = Self::decode(&key, &value).ok_or_else(|| bad_row(Table::Ops, &key))?;
        Ok(Some(row).filter(|row| row.ops.contains(&at)))
    }
}

const LANDMARKS: [Landmark; 6] =
    [Landmark::Namespace, Landmark::Replace, Landmark::Close, Landmark::Sync, Landmark::Idle, Landmark::Barrier];

/// Encodes a row of `landmarks`.
pub(crate) fn encode_landmark(landmark: Landmark) -> Vec<u8> {
    let number = match landmark {
        Landmark::Namespace => 0,
        Landmark::Replace => 1,
        Landmark::Close => 2,
        Landmark::Sync => 3,
        Landmark::Idle => 4,
        Landmark::Barrier => 5,
    };
    vec![number]
}

/// Decodes a row of `landmarks`.
pub(crate) fn decode_landmark(value: &[u8]) -> Option<Landmark> {
    let [number] = value else { return None };
    LANDMARKS.get(usize::from(*number)).copied()
}
