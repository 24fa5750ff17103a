//! The one row about the index itself.

use ize_core::model::{FileId, OpId};
use ize_core::storage::{Head, Result, StorageError};

use super::{bad_row, seal, unseal};
use crate::FORMAT_VERSION;
use crate::engine::{Changes, Engine, Snapshot, Table};
use crate::pack::Position;

/// Per table the wrapping sum of the hashes of its rows; [`Table::Meta`] has none.
pub(crate) type Sums = [u64; Table::ALL.len()];

const KEY: &[u8] = b"state";

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The last operation, and the highest file.
    pub(crate) head: Head,
    /// Everything in the packs up to here is in the index.
    pub(crate) position: Position,
    /// What the tables add up to.
    pub(crate) sums: Sums,
}

impl State {
    /// The state of an empty index.
    pub(crate) const EMPTY: Self = Self {
        head: Head { op: OpId::ZERO, file: FileId::ROOT },
        position: Position::START,
        sums: [0; Table::ALL.len()],
    };

    /// Reads the state.
    pub(crate) fn load(snapshot: &dyn Snapshot) -> Result<Self> {
        let Some(value) = snapshot.get(Table::Meta, KEY)? else { return Ok(Self::EMPTY) };
        let payload = unseal(Table::Meta, KEY, &value)?;
        let found = payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match found {
            Some(found) if found > FORMAT_VERSION => {
                Err(StorageError::NewerFormat { found, supported: FORMAT_VERSION })
            }
            _ => Self::decode(payload).ok_or_else(|| bad_row(Table::Meta, KEY)),
        }
    }

    /// Tells whether an index is of this version's format. One that cannot be read is not told from one that is.
    pub(crate) fn is_current(index: &dyn Engine) -> bool {
        let version = || {
            let value = index.snapshot().ok()?.get(Table::Meta, KEY).ok()??;
            value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
        };
        version().is_none_or(|version| version >= FORMAT_VERSION)
    }

    /// Puts the state into a set of changes.
    pub(crate) fn save(&self, changes: &mut Changes) {
        let mut payload = FORMAT_VERSION.to_be_bytes().to_vec();
        payload.extend_from_slice(&self.head.op.get().to_be_bytes());
        payload.extend_from_slice(&self.head.file.get().to_be_bytes());
        payload.extend_from_slice(&self.position.pack.to_be_bytes());
        payload.extend_from_slice(&self.position.offset.to_be_bytes());
        self.sums.iter().for_each(|sum| payload.extend_from_slice(&sum.to_be_bytes()));
        changes.set(Table::Meta, KEY, Some(&seal(Table::Meta, KEY, payload)));
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        let pack = u32::from_be_bytes(payload.get(20..24)?.try_into().ok()?);
        let mut sums = [0; Table::ALL.len()];
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = word(32 + 8 * at)?;
        }
        let head = Head { op: OpId::new(word(4)?), file: FileId::new(word(12)?) };
        Some(Self { head, position: Position { pack, offset: word(24)? }, sums })
    }
}
