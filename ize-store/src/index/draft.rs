//! A change of the index in the making.

use ize_core::model::{OpId, Timestamp};
use ize_core::storage::{Result, StorageError};

use super::{Checked, Lineage, Rows, Sums, bad_row, key, row_hash, seal, unseal};
use crate::engine::{Changes, Key, Snapshot, Step, Table};

/// Changes on top of a snapshot. Reads see both.
pub(crate) struct Draft<'a> {
    snapshot: &'a dyn Snapshot,
    changes: Changes,
    sums: Sums,
    newest_time: Option<Option<(Timestamp, OpId)>>,
}

impl<'a> Draft<'a> {
    /// Begins a change; `sums` are those of the snapshot.
    pub(crate) fn new(snapshot: &'a dyn Snapshot, sums: Sums) -> Self {
        Self { snapshot, changes: Changes::default(), sums, newest_time: None }
    }

    /// Returns the changes and what the tables then add up to.
    pub(crate) fn finish(self) -> (Changes, Sums) {
        (self.changes, self.sums)
    }

    /// Returns the snapshot below.
    pub(crate) fn snapshot(&self) -> &'a dyn Snapshot {
        self.snapshot
    }

    /// Returns how many rows are changed.
    pub(crate) fn len(&self) -> usize {
        self.changes.count()
    }

    /// Sets a row. One of a table that is not mutable must be new, or of this draft.
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Key>, payload: Vec<u8>) -> Result<()> {
        let key = key.into();
        let stored = if table.is_mutable() { self.stored_hash(table, &key)? } else { 0 };
        self.set(table, key, Some(payload), stored)
    }

    /// As [`Draft::put`], for a row that is not stored yet, which saves looking for it in a mutable table.
    pub(crate) fn put_new(&mut self, table: Table, key: impl Into<Key>, payload: Vec<u8>) -> Result<()> {
        self.set(table, key.into(), Some(payload), 0)
    }

    /// Removes a row of a mutable table.
    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) -> Result<()> {
        let stored = self.stored_hash(table, &key)?;
        self.set(table, key.into(), None, stored)
    }

    /// Returns what a row of the snapshot adds to its table's sum, unless this draft has changed it already.
    fn stored_hash(&self, table: Table, key: &[u8]) -> Result<u64> {
        let stored = match self.changes.get(table, key) {
            Some(_) => None,
            None => self.snapshot.get(table, key)?,
        };
        Ok(stored.map_or(0, |value| row_hash(key, &value)))
    }

    /// Sets a row. It comes into the table's sum; `stored`, or what this draft had, goes out of it.
    fn set(&mut self, table: Table, key: Key, payload: Option<Vec<u8>>, stored: u64) -> Result<()> {
        let value = payload.map(|payload| seal(table, &key, payload));
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        if bytes > table.entry_bytes_max() {
            return Err(StorageError::Invalid(format!("a row of {} would have {bytes} bytes", table.name())));
        }
        let added = value.as_ref().map_or(0, |value| row_hash(&key, value));
        let mut removed = stored;
        self.changes.replace(table, key, value.as_deref(), |key, before| {
            removed = before.map_or(0, |value| row_hash(key, value));
        });
        let sum = &mut self.sums[table.number()];
        *sum = sum.wrapping_add(added).wrapping_sub(removed);
        Ok(())
    }

    /// Enters an operation's time: those that it precedes are passed over from now on.
    pub(crate) fn put_time(&mut self, time: Timestamp, op: OpId) -> Result<()> {
        let mut newest = match self.newest_time {
            Some(known) => known,
            None => self.last_time()?,
        };
        while let Some(later) = newest.filter(|(newest, _)| *newest >= time) {
            self.remove(Table::Timestamps, key::time(later.0, later.1).to_vec())?;
            newest = self.last_time()?;
        }
        self.newest_time = Some(Some((time, op)));
        self.put(Table::Timestamps, key::time(time, op).to_vec(), Vec::new())
    }

    fn last_time(&self) -> Result<Option<(Timestamp, OpId)>> {
        let table = Table::Timestamps;
        let end = [255; 24];
        let mut stored = None;
        self.snapshot.scan_back(table, &end, &mut |key, _| {
            let is_removed = self.changes.get(table, key) == Some(None);
            stored = Some(key.to_vec()).filter(|_| !is_removed);
            Ok(if is_removed { Step::Next } else { Step::Stop })
        })?;
        let drafted = self.changes.rows_back(table, &end).find(|(_, value)| value.is_some()).map(|(key, _)| key);
        let Some(last) = drafted.max(stored.as_deref()) else { return Ok(None) };
        key::split_time(last).map(Some).ok_or_else(|| bad_row(table, last))
    }
}

impl Rows for Draft<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(table, key) {
            Some(drafted) => drafted.map(|value| unseal(table, key, value).map(<[u8]>::to_vec)).transpose(),
            None => Checked(self.snapshot).get(table, key),
        }
    }

    /// What is drafted is newer than what is stored.
    fn newest(&self, table: Table, prefix: &[u8], lineage: &Lineage) -> Result<Option<(OpId, Vec<u8>)>> {
        for (branch, until) in lineage.parts() {
            let from = key::version(prefix, branch, until);
            let version = |key: &[u8], value: &[u8]| -> Result<_> {
                match key::split_version(key, prefix) {
                    Some((of, at)) if of == branch => Ok(Some((at, unseal(table, key, value)?.to_vec()))),
                    _ => Ok(None),
                }
            };
            let drafted = self.changes.rows_from(table, &from).next();
            let mut found = match drafted {
                Some((key, Some(value))) => version(key, value)?,
                _ => None,
            };
            if found.is_none() {
                self.snapshot.scan(table, &from, &mut |key, value| {
                    found = version(key, value)?;
                    Ok(Step::Stop)
                })?;
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// For tables that are not mutable: what is drafted there is never a removal.
    fn first_from(&self, table: Table, from: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let stored = Checked(self.snapshot).first_from(table, from)?;
        let drafted = self.changes.rows_from(table, from).find_map(|(key, value)| Some((key, value?)));
        match (drafted, stored) {
            (Some((key, value)), stored) if stored.as_ref().is_none_or(|(stored, _)| key <= stored.as_slice()) => {
                Ok(Some((key.to_vec(), unseal(table, key, value)?.to_vec())))
            }
            (_, stored) => Ok(stored),
        }
    }
}
