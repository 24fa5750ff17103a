//! The log: which operations a query asks for, and the operations themselves.

use ize_core::model::{FileId, Landmark, OpCode, OpId, Timestamp};
use ize_core::storage::{Direction, OpQuery, Result};

use super::Query;
use crate::batch::OpGroup;
use crate::engine::{Snapshot, Step, Table};
use crate::index::{Checked, GroupRow, Rows, bad_row, decode_landmark, key, postings};
use crate::pack::{Packs, Place};

/// An operation that a query asks for.
pub(crate) struct Found {
    at: OpId,
    /// Where its group lies.
    place: Place,
    landmark: Option<Landmark>,
}

/// A page of operations being filled.
struct Page<'q, 'a> {
    query: &'q Query<'a>,
    asked: &'q OpQuery,
    /// A folder in which the operations must have been made, beyond what the table says.
    below: Option<FileId>,
    /// The group of the operation that was taken last: the next one is often in it, too.
    group: Option<GroupRow>,
    found: Vec<Found>,
}

impl Page<'_, '_> {
    /// Takes an operation.
    fn take(&mut self, at: OpId) -> Result<Step> {
        if at <= self.asked.since || at > self.query.lineage.at() {
            return Ok(Step::Stop);
        }
        let known = self.group.take().filter(|group| group.ops.contains(&at));
        let group = match known {
            Some(group) => group,
            None => GroupRow::find(&self.query.rows, at)?.ok_or_else(|| bad_row(Table::Ops, &key::op(at)))?,
        };
        let (is_seen, place) = (self.query.lineage.sees(group.branch, at), group.place);
        self.group = Some(group);
        if is_seen && self.below.map_or(Ok(true), |folder| self.query.is_below(folder, at))? {
            let landmark = self.query.landmark(at)?;
            if landmark.is_some() || !self.asked.landmarks_only {
                self.found.push(Found { at, place, landmark });
            }
        }
        Ok(if self.found.len() < self.asked.max { Step::Next } else { Step::Stop })
    }

    fn take_each(&mut self, ops: impl Iterator<Item = OpId>) -> Result<Step> {
        for op in ops {
            if self.take(op)? == Step::Stop {
                return Ok(Step::Stop);
            }
        }
        Ok(Step::Next)
    }
}

impl Query<'_> {
    /// Finds a page of operations.
    pub(crate) fn ops(&self, query: &OpQuery) -> Result<Vec<Found>> {
        if query.max == 0 || query.since >= self.lineage.at() {
            return Ok(Vec::new());
        }
        let below = query.below.filter(|folder| *folder != FileId::ROOT);
        let mut page = Page { query: self, asked: query, below, group: None, found: Vec::new() };
        match (query.file, below) {
            (None, Some(folder)) => {
                page.below = None;
                self.walk(Table::Below, &key::file(folder), &mut page)?;
            }
            (Some(file), _) => self.walk(Table::History, &key::file(file), &mut page)?,
            (None, None) if query.landmarks_only => self.walk(Table::Landmarks, &[], &mut page)?,
            (None, None) => self.walk(Table::Ops, &[], &mut page)?,
        }
        Ok(page.found)
    }

    /// Fills a page from the rows that begin with `prefix`.
    fn walk(&self, table: Table, prefix: &[u8], page: &mut Page<'_, '_>) -> Result<()> {
        let (direction, since, until) = (page.asked.direction, page.asked.since, self.lineage.at());
        let bound = |op: OpId| [prefix, &key::op(op)].concat();
        if direction == Direction::OldestFirst {
            return self.rows.scan(table, &bound(since.next()), &mut |key, value| {
                let Some(ops) = ops_of(table, prefix, key, value)? else { return Ok(Step::Stop) };
                page.take_each(ops.into_iter().rev().filter(|op| *op > since))
            });
        }
        // A row that ends later can hold what came before.
        let bound = bound(until);
        let later = self.rows.first_from(table, &bound)?.filter(|(key, _)| *key > bound);
        if let Some((key, value)) = later
            && let Some(ops) = ops_of(table, prefix, &key, &value)?
            && page.take_each(ops.into_iter().filter(|op| *op <= until))? == Step::Stop
        {
            return Ok(());
        }
        self.rows.scan_back(table, &bound, &mut |key, value| match ops_of(table, prefix, key, value)? {
            Some(ops) => page.take_each(ops.into_iter()),
            None => Ok(Step::Stop),
        })
    }

    /// Tells whether an operation was made in a folder.
    fn is_below(&self, folder: FileId, at: OpId) -> Result<bool> {
        let Some((key, value)) = self.rows.first_from(Table::Below, &key::file_op(folder, at))? else {
            return Ok(false);
        };
        let ops = ops_of(Table::Below, &key::file(folder), &key, &value)?;
        Ok(ops.is_some_and(|ops| ops.contains(&at)))
    }

    fn landmark(&self, at: OpId) -> Result<Option<Landmark>> {
        let mark = key::op(at);
        let value = self.rows.get(Table::Landmarks, &mark)?;
        let decode = |value: Vec<u8>| decode_landmark(&value).ok_or_else(|| bad_row(Table::Landmarks, &mark));
        value.map(decode).transpose()
    }
}

/// Returns the operations of a row, the newest first; `None` if its key does not begin with `prefix`.
fn ops_of(table: Table, prefix: &[u8], key: &[u8], value: &[u8]) -> Result<Option<Vec<OpId>>> {
    let bad = || bad_row(table, key);
    if !key.starts_with(prefix) {
        return Ok(None);
    }
    let last = OpId::new(key::number(key, prefix.len()).ok_or_else(bad)?);
    let ops = match table {
        Table::Ops => GroupRow::decode(key, value).map(|row| row.ops),
        Table::Landmarks => Some(vec![last]),
        _ => postings::decode(last, value),
    };
    ops.map(Some).ok_or_else(bad)
}

/// Returns the operations among which is the last one whose time is at most `time`, the newest first.
pub(crate) fn at_time(snapshot: &dyn Snapshot, time: Timestamp) -> Result<Vec<Found>> {
    let rows = Checked(snapshot);
    let mut last = None;
    rows.scan_back(Table::Timestamps, &key::time(time, OpId::MAX), &mut |key, _| {
        last = Some(key::split_time(key).ok_or_else(|| bad_row(Table::Timestamps, key))?.1);
        Ok(Step::Stop)
    })?;
    let Some(last) = last else { return Ok(Vec::new()) };
    let group = GroupRow::find(&rows, last)?.ok_or_else(|| bad_row(Table::Ops, &key::op(last)))?;
    Ok(group.ops.iter().map(|at| Found { at: *at, place: group.place, landmark: None }).collect())
}

/// Reads operations that were found. Needs no snapshot any more.
pub(crate) fn load(packs: &Packs, found: &[Found]) -> Result<Vec<OpCode>> {
    let mut group: Option<(Place, OpGroup)> = None;
    let mut ops = Vec::with_capacity(found.len());
    for Found { at, place, landmark } in found {
        let (_, opened) = match group.take_if(|(known, _)| known == place) {
            Some(known) => group.insert(known),
            None => group.insert((*place, OpGroup::open(*place, &packs.read(*place)?)?)),
        };
        ops.push(OpCode { landmark: *landmark, ..opened.op(*at)? });
    }
    Ok(ops)
}
