//! A set of changes to tables, in order of their keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use smallvec::SmallVec;

use super::Table;

/// The key of a row in memory: as long as those of our tables are, without an allocation of its own.
pub(crate) type Key = SmallVec<[u8; 44]>;

/// Rows to put and to remove. The last word about a key counts.
#[derive(Debug, Default)]
pub struct Changes {
    tables: [BTreeMap<Key, Value>; Table::ALL.len()],
    /// The values one after the other: one block of memory, not one for each.
    values: Vec<u8>,
    rows: usize,
}

/// Where in the block a value is; none for a row that is to be removed.
type Value = Option<Range<usize>>;

impl Changes {
    /// Sets a row; `None` removes it.
    pub fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) {
        self.replace(table, Key::from_slice(key), value, |_, _| {});
    }

    /// Sets a row, and tells of its key and of what was set before, if anything was.
    pub(crate) fn replace(
        &mut self,
        table: Table,
        key: Key,
        value: Option<&[u8]>,
        replaced: impl FnOnce(&[u8], Option<&[u8]>),
    ) {
        let begin = self.values.len();
        self.values.extend_from_slice(value.unwrap_or_default());
        let value = value.map(|_| begin..self.values.len());
        match self.tables[table.number()].entry(key) {
            Entry::Occupied(mut known) => {
                let before = known.insert(value);
                replaced(known.key(), value_in(&self.values, &before));
            }
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                self.rows += 1;
            }
        }
    }

    /// Returns what is to become of a row, if anything.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables[table.number()].get(key).map(|value| value_in(&self.values, value))
    }

    /// Returns the changes of a table in ascending order of keys.
    pub fn rows(&self, table: Table) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        self.tables[table.number()].iter().map(|row| self.row(row))
    }

    /// Returns the changes of a table in ascending order, from the first whose key is at least `from`.
    pub fn rows_from<'a>(&'a self, table: Table, from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Unbounded);
        self.tables[table.number()].range::<[u8], _>(range).map(|row| self.row(row))
    }

    /// Returns the changes of a table in descending order, from the last whose key is at most `from`.
    pub fn rows_back<'a>(&'a self, table: Table, from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let range = (std::ops::Bound::Unbounded, std::ops::Bound::Included(from));
        self.tables[table.number()].range::<[u8], _>(range).rev().map(|row| self.row(row))
    }

    fn row<'a>(&'a self, (key, value): (&'a Key, &Value)) -> (&'a [u8], Option<&'a [u8]>) {
        (key, value_in(&self.values, value))
    }

    /// Returns how many rows are changed.
    pub fn count(&self) -> usize {
        self.rows
    }
}

fn value_in<'a>(values: &'a [u8], value: &Value) -> Option<&'a [u8]> {
    value.clone().map(|range| &values[range])
}
