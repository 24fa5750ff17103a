//! What the values of some tables hold.

use ize_core::model::{BranchId, FileMetadata, Landmark};
use serde::{Deserialize, Serialize};

use crate::pack::Place;

/// A row of `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRow {
    /// What `stat` says.
    pub(crate) metadata: FileMetadata,
    /// No cell holds content from this byte on.
    pub(crate) content_end: u64,
}

impl FileRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers can be encoded")
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        postcard::from_bytes(value).ok()
    }
}

/// A row of `ops`, `history` or `file_landmarks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpRow {
    pub(crate) branch: BranchId,
    /// Where the operation lies within its batch's record.
    pub(crate) place: Place,
}

impl OpRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut value = self.branch.get().to_be_bytes().to_vec();
        value.extend_from_slice(&self.place.encode());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (branch, place) = value.split_first_chunk::<4>()?;
        let place = Place::decode(place.try_into().ok()?);
        Some(Self { branch: BranchId::new(u32::from_be_bytes(*branch)), place })
    }
}

/// A row of `landmarks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LandmarkRow {
    pub(crate) landmark: Landmark,
    pub(crate) op: OpRow,
}

const LANDMARKS: [Landmark; 6] =
    [Landmark::Namespace, Landmark::Replace, Landmark::Close, Landmark::Sync, Landmark::Idle, Landmark::Barrier];

impl LandmarkRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let number = match self.landmark {
            Landmark::Namespace => 0,
            Landmark::Replace => 1,
            Landmark::Close => 2,
            Landmark::Sync => 3,
            Landmark::Idle => 4,
            Landmark::Barrier => 5,
        };
        let mut value = vec![number];
        value.extend_from_slice(&self.op.encode());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (number, op) = value.split_first()?;
        Some(Self { landmark: *LANDMARKS.get(usize::from(*number))?, op: OpRow::decode(op)? })
    }
}
