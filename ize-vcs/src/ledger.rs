//! Which change of the repository holds which operations: a file of records of one size, in the order of the log.
//!
//! It says nothing that the repository does not say (see [`crate::stamp`]), so it need not be durable when a commit
//! returns: what a crash takes off its end is added again when the repository is opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ize_core::model::{BranchId, OpId};
use ize_core::storage::{Result, StorageError};

use crate::error::failed;
use crate::repository::ChannelState;

/// The length of a record, in bytes.
const RECORD: usize = 128;
const HASH_BYTES: usize = 56;

/// Whose change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody's: up to here nothing was to be recorded.
    None,
    /// Ours: it was made of these operations.
    Own,
    /// Somebody else's: these operations brought it into the tree.
    Foreign,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose change it is.
    pub(crate) kind: Kind,
    /// The branch of the operations.
    pub(crate) branch: BranchId,
    /// The first operation.
    pub(crate) first: OpId,
    /// The id at which the last operation takes effect.
    pub(crate) last: OpId,
    /// The branch's channel afterwards.
    pub(crate) state: ChannelState,
    /// The change, as people name it; empty for [`Kind::None`].
    pub(crate) hash: String,
}

impl Record {
    fn to_bytes(&self) -> [u8; RECORD] {
        let kind: u32 = match self.kind {
            Kind::None => 0,
            Kind::Own => 1,
            Kind::Foreign => 2,
        };
        let mut bytes = [0; RECORD];
        bytes[0..8].copy_from_slice(&self.first.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.last.get().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.branch.get().to_le_bytes());
        bytes[20..24].copy_from_slice(&kind.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.state.changes.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.state.merkle);
        let hash = &self.hash.as_bytes()[..self.hash.len().min(HASH_BYTES)];
        bytes[64..64 + hash.len()].copy_from_slice(hash);
        let crc = crc32c::crc32c(&bytes[..RECORD - 4]);
        bytes[RECORD - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` if it is torn or damaged.
    fn from_bytes(bytes: &[u8; RECORD]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let u64_at = |at: usize| Some(u64::from_le_bytes(*body[at..].first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(*body[at..].first_chunk()?));
        let kind = match u32_at(20)? {
            0 => Kind::None,
            1 => Kind::Own,
            2 => Kind::Foreign,
            _ => return None,
        };
        let hash: Vec<u8> = body[64..64 + HASH_BYTES].iter().copied().take_while(|byte| *byte != 0).collect();
        Some(Self {
            kind,
            branch: BranchId::new(u32_at(16)?),
            first: OpId::new(u64_at(0)?),
            last: OpId::new(u64_at(8)?),
            state: ChannelState { changes: u64_at(24)?, merkle: *body[32..].first_chunk()? },
            hash: String::from_utf8(hash).ok()?,
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    records: u64,
    /// The newest record of each branch.
    newest: HashMap<BranchId, Record>,
    /// All operations up to here are in the repository.
    position: OpId,
    /// The records of other people's changes; there are few.
    foreign: Vec<Record>,
}

impl Ledger {
    /// Opens the file, or makes it. What is torn or damaged ends it: the rest comes from the repository again.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| failed("opening the ledger", error))?;
        let mut ledger = Self { file, records: 0, newest: HashMap::new(), position: OpId::ZERO, foreign: Vec::new() };
        ledger.load()?;
        Ok(ledger)
    }

    fn load(&mut self) -> Result<()> {
        let mut reader = BufReader::with_capacity(64 * RECORD, &self.file);
        let (mut records, mut newest, mut position) = (0, HashMap::new(), OpId::ZERO);
        let mut foreign = Vec::new();
        let mut bytes = [0; RECORD];
        loop {
            match reader.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(failed("reading the ledger", error)),
            }
            let Some(record) = Record::from_bytes(&bytes) else { break };
            records += 1;
            position = position.max(record.last);
            foreign.extend((record.kind == Kind::Foreign).then(|| record.clone()));
            newest.insert(record.branch, record);
        }
        (self.records, self.newest, self.position, self.foreign) = (records, newest, position, foreign);
        let cut = self.file.set_len(records * RECORD as u64);
        cut.map_err(|error| failed("cutting the ledger", error))
    }

    /// All operations up to here are in the repository.
    pub(crate) const fn position(&self) -> OpId {
        self.position
    }

    /// Returns the changes of other people that are in the tree.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &str> {
        self.foreign.iter().map(|record| record.hash.as_str())
    }

    /// Returns the newest record of a branch.
    pub(crate) fn newest(&self, branch: BranchId) -> Option<&Record> {
        self.newest.get(&branch)
    }

    /// Adds a record.
    pub(crate) fn append(&mut self, record: Record) -> Result<()> {
        let written = self.file.write_all_at(&record.to_bytes(), self.records * RECORD as u64);
        written.map_err(|error| failed("writing to the ledger", error))?;
        self.records += 1;
        self.position = self.position.max(record.last);
        self.foreign.extend((record.kind == Kind::Foreign).then(|| record.clone()));
        self.newest.insert(record.branch, record);
        Ok(())
    }

    /// Makes what was added durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| failed("syncing the ledger", error))
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| failed("cutting the ledger", error))?;
        self.load()
    }

    /// Reads a record.
    pub(crate) fn get(&self, at: u64) -> Result<Record> {
        let mut bytes = [0; RECORD];
        let read = self.file.read_exact_at(&mut bytes, at * RECORD as u64);
        read.map_err(|error| failed("reading the ledger", error))?;
        Record::from_bytes(&bytes).ok_or_else(|| StorageError::Corrupt("the ledger is damaged".to_owned()))
    }

    /// Calls `each` with the records from one on, until it answers `false`.
    pub(crate) fn each_from(&self, from: u64, mut each: impl FnMut(Record) -> bool) -> Result<()> {
        for at in from..self.records {
            if !each(self.get(at)?) {
                break;
            }
        }
        Ok(())
    }

    /// Finds the change that holds an operation.
    pub(crate) fn find(&self, op: OpId) -> Result<Option<Record>> {
        let (mut low, mut high) = (0, self.records);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle)?.last < op { low = middle + 1 } else { high = middle }
        }
        let mut found = None;
        self.each_from(low, |record| {
            let is_beyond = record.first > op;
            if record.kind == Kind::Own && !is_beyond {
                found = Some(record);
            }
            found.is_none() && !is_beyond
        })?;
        if found.is_none() {
            // Operations that brought somebody else's changes into the tree, or the last of several changes.
            let of = |record: &&Record| record.first <= op && op <= record.last;
            found = self.foreign.iter().rev().find(of).cloned();
        }
        Ok(found)
    }

    /// Finds at most `max` changes whose names begin so, each with the last operation that it holds, in order of names.
    pub(crate) fn find_hashes(&self, prefix: &str, max: usize) -> Result<Vec<(String, OpId)>> {
        let mut found = std::collections::BTreeMap::new();
        self.each_from(0, |record| {
            if record.kind != Kind::None && record.hash.starts_with(prefix) {
                let last = found.entry(record.hash).or_insert(record.last);
                *last = record.last.max(*last);
            }
            found.len() <= max
        })?;
        Ok(found.into_iter().take(max).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u64, last: u64, hash: &str) -> Record {
        let kind = if hash.is_empty() { Kind::None } else { Kind::Own };
        let state = ChannelState { changes: last, merkle: [3; 32] };
        let (first, last, hash) = (OpId::new(first), OpId::new(last), hash.to_owned());
        Record { kind, branch: BranchId::MAIN, first, last, state, hash }
    }

    #[test]
    fn records_are_found_by_operation_and_by_hash_also_after_reopening_with_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let records = [record(1, 3, "AAB"), record(4, 9, ""), record(10, 10, "AAC"), record(11, 14, "B")];
        let mut ledger = Ledger::open(&path).unwrap();
        records.iter().for_each(|record| ledger.append(record.clone()).unwrap());
        drop(ledger);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(4 * RECORD as u64 - 1).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!((ledger.records, ledger.position()), (3, OpId::new(10)));
        ledger.append(records[3].clone()).unwrap();
        for (op, hash) in [(1, "AAB"), (3, "AAB"), (5, ""), (9, ""), (10, "AAC"), (12, "B"), (15, "")] {
            let found = ledger.find(OpId::new(op)).unwrap().map_or_else(String::new, |record| record.hash);
            assert_eq!(found, hash, "{op}");
        }
        assert_eq!(ledger.find_hashes("AA", 9).unwrap(), [("AAB".into(), OpId::new(3)), ("AAC".into(), OpId::new(10))]);
        assert_eq!(ledger.find_hashes("", 2).unwrap().len(), 2);
        assert_eq!(ledger.find_hashes("C", 2).unwrap(), []);
    }

    #[test]
    fn a_damaged_record_ends_the_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut ledger = Ledger::open(&path).unwrap();
        (1..=3).for_each(|op| ledger.append(record(op, op, "A")).unwrap());
        drop(ledger);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[RECORD + 70] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!((ledger.records, ledger.position()), (1, OpId::new(1)));
    }
}
