//! A set of changes to tables, in order of their keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use smallvec::SmallVec;

use super::Table;

/// The key of a row in memory: as long as those of our tables are, without an allocation of its own.
pub(crate) type Key = SmallVec<[u8; 44]>;

/// Rows to put and to remove. The last word about a key counts.
#[derive(Debug, Default)]
pub struct Changes {
    tables: [BTreeMap<Key, Option<Vec<u8>>>; Table::ALL.len()],
    rows: usize,
}

impl Changes {
    /// Sets a row; `None` removes it.
    pub fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.replace(table, key.into(), value, |_, _| {});
    }

    /// Sets a row, and tells of its key and of what was set before, if anything was.
    pub(crate) fn replace(
        &mut self,
        table: Table,
        key: Key,
        value: Option<Vec<u8>>,
        replaced: impl FnOnce(&[u8], Option<&[u8]>),
    ) {
        match self.tables[table.number()].entry(key) {
            Entry::Occupied(mut known) => {
                let before = known.insert(value);
                replaced(known.key(), before.as_deref());
            }
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                self.rows += 1;
            }
        }
    }

    /// Returns what is to become of a row, if anything.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables[table.number()].get(key).map(|value| value.as_deref())
    }

    /// Returns the changes of a table in ascending order of keys.
    pub fn rows(&self, table: Table) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        self.tables[table.number()].iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Returns the changes of a table in ascending order, from the first whose key is at least `from`.
    pub fn rows_from<'a>(&'a self, table: Table, from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Unbounded);
        self.tables[table.number()].range::<[u8], _>(range).map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Returns the changes of a table in descending order, from the last whose key is at most `from`.
    pub fn rows_back<'a>(&'a self, table: Table, from: &[u8]) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let range = (std::ops::Bound::Unbounded, std::ops::Bound::Included(from));
        self.tables[table.number()].range::<[u8], _>(range).rev().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Returns how many rows are changed.
    pub fn count(&self) -> usize {
        self.rows
    }
}
