//! Sorted runs of rows in a file without a name, and all of them merged: how more rows than memory holds come into order.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;

use ize_core::disk::{Change, change};
use ize_core::storage::{Result, StorageError};

use crate::disk;
use crate::engine::{self, RowSource, Table};

/// The file's name until it has none.
const FILE_NAME: &str = "index.rows";
/// So many bytes of a run are read at once.
const READ_BYTES: usize = 128 << 10;
/// Table, length of the key, length of the value.
const HEAD_BYTES: usize = 5;

/// Rows are sorted in portions of so many bytes.
const PORTION_BYTES: usize = 16 << 20;

/// Takes rows in any order. A thread sorts and writes them in portions.
#[derive(Debug)]
pub(crate) struct Runs {
    portion: Portion,
    portions: SyncSender<Portion>,
    /// Portions that were written, to be filled again: memory that is there already.
    spare: Receiver<Portion>,
    sorter: JoinHandle<Result<Sorted>>,
}

/// Rows that are not sorted yet.
#[derive(Debug, Default)]
struct Portion {
    bytes: Vec<u8>,
    rows: Vec<Unsorted>,
}

/// Where a row is in a portion.
#[derive(Clone, Copy, Debug)]
struct Unsorted {
    /// The table's number and the first 15 bytes of the key.
    order: u128,
    at: usize,
}

/// All runs.
#[derive(Debug)]
struct Sorted {
    file: BufWriter<File>,
    /// Where each run ends.
    ends: Vec<u64>,
    rows: u64,
}

impl Runs {
    /// Begins without any. The file is in the given folder, and gone when it is closed.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = change(Change::Path(&path), || options.open(&path)).map_err(failed)?;
        disk::remove(&path).map_err(failed)?;
        let mut sorted = Sorted { file: BufWriter::with_capacity(1 << 20, file), ends: Vec::new(), rows: 0 };
        let (portions, received) = std::sync::mpsc::sync_channel::<Portion>(1);
        let (written, spare) = std::sync::mpsc::channel();
        let sort = move || {
            for mut portion in received {
                sorted.add(&mut portion)?;
                portion.clear();
                // At the end nobody wants it any more.
                let _ = written.send(portion);
            }
            Ok(sorted)
        };
        let sorter = std::thread::Builder::new().name("ize-sort".to_owned()).spawn(sort).map_err(failed)?;
        Ok(Self { portion: Portion::default(), portions, spare, sorter })
    }

    /// Adds a row whose table has none of this key yet.
    pub(crate) fn push(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.portion.push(table, key, value);
        if self.portion.bytes.len() >= PORTION_BYTES {
            let fresh = self.spare.try_recv().unwrap_or_default();
            // If nobody takes it, merging says why.
            let _ = self.portions.send(std::mem::replace(&mut self.portion, fresh));
        }
    }

    /// Returns all rows in order.
    pub(crate) fn merge(self) -> Result<Merge> {
        let Self { portion, portions, sorter, .. } = self;
        let _ = portions.send(portion);
        drop(portions);
        let panicked = |_| StorageError::backend("sorting the index", "a thread of it ended");
        sorter.join().map_err(panicked)??.merge()
    }
}

impl Portion {
    fn push(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let len = |part: &[u8]| u16::try_from(part.len()).expect("rows of every table are shorter");
        let [key_len, value_len] = [len(key), len(value)].map(u16::to_le_bytes);
        let mut order = [0; 16];
        order[0] = table as u8;
        let known = key.len().min(15);
        order[1..=known].copy_from_slice(&key[..known]);
        self.rows.push(Unsorted { order: u128::from_be_bytes(order), at: self.bytes.len() });
        self.bytes.extend_from_slice(&[table as u8, key_len[0], key_len[1], value_len[0], value_len[1]]);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |row: &Unsorted| &bytes[row.at + HEAD_BYTES..row.at + HEAD_BYTES + key_len(&bytes[row.at..])];
        self.rows.sort_unstable_by(|a, b| a.order.cmp(&b.order).then_with(|| key(a).cmp(key(b))));
    }
}

fn key_len(row: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([row[1], row[2]]))
}

fn value_len(row: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([row[3], row[4]]))
}

impl Sorted {
    fn add(&mut self, portion: &mut Portion) -> Result<()> {
        portion.sort();
        for row in &portion.rows {
            let row = &portion.bytes[row.at..];
            self.file.write_all(&row[..HEAD_BYTES + key_len(row) + value_len(row)]).map_err(failed)?;
        }
        self.rows += portion.rows.len() as u64;
        self.ends.push(self.bytes() + portion.bytes.len() as u64);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn merge(self) -> Result<Merge> {
        let bytes = self.bytes() + 3 * self.rows;
        let file = Arc::new(self.file.into_inner().map_err(|error| failed(error.into_error()))?);
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let run = |(at, end)| Run { file: Arc::clone(&file), at, end, buffer: Vec::new(), read: 0 };
        let mut runs: Vec<Run> = begins.zip(self.ends.iter().copied()).map(run).collect();
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            let mut row = Row { run: number, ..Row::default() };
            if run.next(&mut row)? {
                heap.push(row);
            }
        }
        Ok(Merge { runs, heap, row: Row::default(), bytes })
    }
}

/// The rows of all runs in order.
#[derive(Debug)]
pub(crate) struct Merge {
    runs: Vec<Run>,
    /// The next row of each run, the least on top.
    heap: BinaryHeap<Row>,
    row: Row,
    bytes: u64,
}

impl RowSource for Merge {
    fn next(&mut self) -> Result<Option<engine::Row<'_>>> {
        let Some(mut top) = self.heap.peek_mut() else { return Ok(None) };
        std::mem::swap(&mut self.row, &mut *top);
        top.run = self.row.run;
        if !self.runs[self.row.run].next(&mut top)? {
            PeekMut::pop(top);
        }
        let Row { key, value, .. } = &self.row;
        Ok(Some((Table::ALL[usize::from(key[0])], &key[1..], value)))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A row; the greatest in the sense of a heap is the one that comes first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// The table's number, and the key.
    key: Vec<u8>,
    value: Vec<u8>,
    run: usize,
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A run being read.
#[derive(Debug)]
struct Run {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is used up.
    read: usize,
}

impl Run {
    /// Reads the next row; tells whether there is one.
    fn next(&mut self, row: &mut Row) -> Result<bool> {
        if self.read == self.buffer.len() && self.at == self.end {
            return Ok(false);
        }
        let head = self.bytes(HEAD_BYTES)?;
        let (table, key_len, value_len) = (head[0], key_len(head), value_len(head));
        row.key.clear();
        row.key.push(table);
        row.key.extend_from_slice(self.bytes(key_len)?);
        row.value.clear();
        row.value.extend_from_slice(self.bytes(value_len)?);
        Ok(true)
    }

    fn bytes(&mut self, len: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.read < len {
            self.buffer.drain(..self.read);
            self.read = 0;
            let kept = self.buffer.len();
            let more = usize::try_from(self.end - self.at).unwrap_or(READ_BYTES).min(READ_BYTES);
            self.buffer.resize(kept + more, 0);
            self.file.read_exact_at(&mut self.buffer[kept..], self.at).map_err(failed)?;
            self.at += more as u64;
        }
        self.read += len;
        let range = self.read - len..self.read;
        self.buffer.get(range).ok_or_else(|| StorageError::backend("sorting the index", "a run ends within a row"))
    }
}

fn failed(error: std::io::Error) -> StorageError {
    disk::failed("sorting the index", error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_merge_into_one_order(rows in prop::collection::btree_map((0u8..14, 1u32..), 0usize..3, 0..500)) {
            let dir = tempfile::tempdir().unwrap();
            let mut runs = Runs::new(dir.path()).unwrap();
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            for run in 0..3 {
                for ((table, key), _) in rows.iter().rev().filter(|(_, of)| **of == run) {
                    let value = vec![*table; usize::try_from(key % 300).unwrap()];
                    runs.push(Table::ALL[usize::from(*table)], &key.to_be_bytes(), &value);
                }
                let _ = runs.portions.send(std::mem::take(&mut runs.portion));
            }
            let mut merged = runs.merge().unwrap();
            for (table, key) in rows.keys() {
                let (found, at, value) = merged.next().unwrap().unwrap();
                prop_assert_eq!((found as u8, at), (*table, &key.to_be_bytes()[..]));
                prop_assert_eq!(value.len(), usize::try_from(key % 300).unwrap());
            }
            prop_assert!(merged.next().unwrap().is_none());
        }
    }
}
