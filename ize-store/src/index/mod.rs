//! The index: rows with checksums, versions, and the draft of a change.
//!
//! Every value ends in a crc32c over the table's number, the key and the rest of the value. Every table has a sum over
//! the hashes of its rows; it tells whether the table is whole without comparing it with anything.

mod draft;
pub(crate) mod key;
mod lineage;
pub(crate) mod postings;
mod row;
mod runs;
mod staging;
mod state;
mod versions;

use ize_core::model::OpId;
use ize_core::storage::{Result, StorageError};

use crate::engine::{Snapshot, Step, Table, Visit};

pub(crate) use draft::Draft;
pub(crate) use lineage::{Branches, Lineage, Origin};
pub(crate) use row::{FileRow, GroupRow, decode_landmark, encode_landmark};
pub(crate) use runs::Runs;
pub(crate) use staging::Staging;
pub(crate) use state::{State, Sums};

/// Bytes of the checksum at the end of every value: who makes one leaves room for it.
pub(crate) const SEAL_BYTES: usize = 4;

fn checksum(table: Table, key: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[table as u8]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), payload)
}

/// Appends the checksum to a value.
pub(crate) fn seal(table: Table, key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let crc = checksum(table, key, &payload);
    payload.extend_from_slice(&crc.to_be_bytes());
    payload
}

/// Checks a value and returns it without its checksum.
pub(crate) fn unseal<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Result<&'a [u8]> {
    let split = value.len().checked_sub(SEAL_BYTES).map(|at| value.split_at(at));
    split
        .filter(|(payload, crc)| **crc == checksum(table, key, payload).to_be_bytes())
        .map(|(payload, _)| payload)
        .ok_or_else(|| bad_row(table, key))
}

/// Says that a row makes no sense.
pub(crate) fn bad_row(table: Table, key: &[u8]) -> StorageError {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StorageError::Corrupt(format!("row {key} of the index's table {}; 'repair' rebuilds the index", table.name()))
}

/// Hashes a row for its table's sum: 64 bits that are spread well, not cryptographic.
pub(crate) fn row_hash(key: &[u8], value: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let state = (state ^ word).wrapping_mul(PRIME);
        state ^ (state >> 29)
    };
    let mut state = mix(key.len() as u64, value.len() as u64);
    for part in [key, value] {
        let mut chunks = part.chunks_exact(8);
        for chunk in &mut chunks {
            state = mix(state, u64::from_be_bytes(chunk.try_into().expect("the chunk has 8 bytes")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        state = mix(state, u64::from_be_bytes(last));
    }
    mix(state, PRIME)
}

/// Rows that can be looked up: those of a snapshot, or of a draft.
pub(crate) trait Rows {
    /// Returns a row's value without its checksum.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Returns the first row whose key is at least `from`.
    fn first_from(&self, table: Table, from: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>>;

    /// Returns the newest version of something that a lineage sees, and its moment. `prefix` is the key without branch
    /// and moment.
    fn newest(&self, table: Table, prefix: &[u8], lineage: &Lineage) -> Result<Option<(OpId, Vec<u8>)>> {
        for (branch, until) in lineage.parts() {
            let from = key::version(prefix, branch, until);
            let Some((found, value)) = self.first_from(table, &from)? else { continue };
            if let Some((_, at)) = key::split_version(&found, prefix).filter(|(found, _)| *found == branch) {
                return Ok(Some((at, value)));
            }
        }
        Ok(None)
    }
}

/// The rows of a snapshot, checked as they are read.
pub(crate) struct Checked<'a>(pub(crate) &'a dyn Snapshot);

impl Checked<'_> {
    /// Visits rows in ascending order, their values without checksums.
    pub(crate) fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        self.0.scan(table, from, &mut |key, value| visit(key, unseal(table, key, value)?))
    }

    /// Visits rows in descending order, their values without checksums.
    pub(crate) fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()> {
        self.0.scan_back(table, from, &mut |key, value| visit(key, unseal(table, key, value)?))
    }
}

impl Rows for Checked<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(mut value) = self.0.get(table, key)? else { return Ok(None) };
        let len = unseal(table, key, &value)?.len();
        value.truncate(len);
        Ok(Some(value))
    }

    fn first_from(&self, table: Table, from: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut found = None;
        self.scan(table, from, &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            Ok(Step::Stop)
        })?;
        Ok(found)
    }
}
