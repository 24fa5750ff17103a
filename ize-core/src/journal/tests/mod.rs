//! The journal on a disk in memory, and what is particular to real folders.

mod cuts;
pub(crate) mod disk;
mod faults;
mod files;
mod read_back;
mod round_trip;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::model::{Actor, BranchId, Entry, FileId, FileKind, FileMetadata, Name, OpType, Timestamp, Touched};
use disk::MemoryMedium;

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 64 << 10, ..JournalOptions::default() }
}

fn open(medium: &MemoryMedium) -> Result<Journal> {
    Journal::open(Arc::new(medium.clone()), options())
}

fn records(journal: &Journal) -> Vec<Record> {
    journal.replay().map(|record| record.unwrap().1).collect()
}

/// An operation with so many bytes of data; several kinds, by its id.
fn op(id: u64, data_bytes: usize) -> OpCode {
    let file = FileId::new(id + 1);
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + i128::from(id));
    let entry = Entry::new(FileId::ROOT, Name::try_from(format!("n{id}").as_str()).unwrap());
    let (op_type, data) = match data_bytes {
        0 if id.is_multiple_of(2) => (OpType::FileDelete { file, entry }, OpData::None),
        0 => (OpType::FileTruncate { file, old_size: id, new_size: 0 }, OpData::None),
        size => {
            let data = Bytes::from(vec![u8::try_from(id % 251).unwrap(); size]);
            (OpType::FileWrite { file, offset: id, size: size as u64 }, OpData::Inline(data))
        }
    };
    let metadata = FileMetadata {
        kind: FileKind::File,
        mode: 0o600,
        uid: 0,
        gid: 0,
        size: id,
        nlink: 1,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
    };
    OpCode {
        id: OpId::new(id),
        last_id: OpId::new(id),
        branch: BranchId::MAIN,
        timestamp: time,
        op_type,
        data,
        touched: vec![Touched { file, metadata }],
        actor: Arc::new(Actor { pid: 7, program: "vi".to_owned(), ..Actor::default() }),
        landmark: None,
        parent: None,
    }
}

/// A journal of operations and marks in one segment, and where each record ends.
fn journal_of(records: u64) -> (MemoryMedium, Vec<u64>) {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    let mut ends = vec![];
    let mut id = 0;
    for n in 0..records {
        if n % 3 == 2 {
            journal.append_mark(OpId::new(id), Landmark::Close).unwrap();
        } else {
            id += 1;
            journal.append_op(&op(id, usize::try_from(n % 20).unwrap())).unwrap();
        }
        ends.push(journal.active.as_ref().unwrap().end);
    }
    assert_eq!(medium.contents().len(), 1, "one segment is enough");
    (medium, ends)
}
