//! What we write into every change of ours: which operations of which repository it holds. So the ledger can be made
//! again from the repository alone.

use ize_core::model::{BranchId, OpId};
use uuid::Uuid;

const MAGIC: &[u8; 4] = b"ize1";
const BYTES: usize = 4 + 16 + 4 + 8 + 8;

/// Which operations a change holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Whose change it is: operation ids mean something in one repository only.
    pub(crate) repository: Uuid,
    /// The branch of the operations.
    pub(crate) branch: BranchId,
    /// The first of them.
    pub(crate) first: OpId,
    /// The id at which the last of them takes effect.
    pub(crate) last: OpId,
}

impl Stamp {
    /// Writes it as a change's metadata.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.repository.as_bytes());
        bytes.extend_from_slice(&self.branch.get().to_le_bytes());
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(&self.last.get().to_le_bytes());
        bytes
    }

    /// Reads it; `None` if the metadata is somebody else's.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (repository, rest) = rest.split_first_chunk::<16>()?;
        let (branch, rest) = rest.split_first_chunk::<4>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let last = rest.first_chunk::<8>()?;
        (magic == MAGIC).then(|| Self {
            repository: Uuid::from_bytes(*repository),
            branch: BranchId::new(u32::from_le_bytes(*branch)),
            first: OpId::new(u64::from_le_bytes(*first)),
            last: OpId::new(u64::from_le_bytes(*last)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_nothing_else_is_one() {
        let (branch, first, last) = (BranchId::new(7), OpId::new(3), OpId::new(1 << 40));
        let stamp = Stamp { repository: Uuid::from_bytes([9; 16]), branch, first, last };
        let bytes = stamp.to_bytes();
        assert_eq!(Stamp::from_bytes(&bytes), Some(stamp));
        assert_eq!(Stamp::from_bytes(&bytes[1..]), None);
        assert_eq!(Stamp::from_bytes(&[0; BYTES]), None);
        assert_eq!(Stamp::from_bytes(b""), None);
    }
}
