//! The log: which operations a query asks for, and the operations themselves.

use ize_core::model::{OpCode, OpId};
use ize_core::storage::{Direction, OpQuery, Result};

use super::Query;
use crate::batch::decode_op;
use crate::engine::{Step, Table};
use crate::index::{LandmarkRow, OpRow, Rows, bad_row, key};
use crate::pack::{Packs, Place};

/// Bytes that are read at once for operations that lie close to each other.
const WINDOW_BYTES: u32 = 64 * 1024;

/// An operation that a query asks for.
pub(crate) struct Found {
    at: OpId,
    row: OpRow,
    landmark: Option<LandmarkRow>,
}

impl Query<'_> {
    /// Finds a page of operations.
    pub(crate) fn ops(&self, query: &OpQuery) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let until = self.lineage.at();
        if query.max == 0 || query.since >= until {
            return Ok(found);
        }
        let table = match (query.file.is_some(), query.landmarks_only) {
            (false, false) => Table::Ops,
            (false, true) => Table::Landmarks,
            (true, false) => Table::History,
            (true, true) => Table::FileLandmarks,
        };
        let prefix = query.file.map(key::file);
        let prefix = prefix.as_ref().map_or(&[][..], |prefix| prefix.as_slice());
        let mut visit = |key: &[u8], value: &[u8]| {
            let Some(at) = key.strip_prefix(prefix).and_then(|_| key::number(key, prefix.len())).map(OpId::new) else {
                return Ok(Step::Stop);
            };
            if at <= query.since || at > until {
                return Ok(Step::Stop);
            }
            let row = row_of(table, value).ok_or_else(|| bad_row(table, key))?;
            if self.lineage.sees(row.branch, at) {
                found.push(Found { at, row, landmark: None });
            }
            Ok(if found.len() < query.max { Step::Next } else { Step::Stop })
        };
        let bound = |op: OpId| [prefix, &key::op(op)].concat();
        match query.direction {
            Direction::OldestFirst => self.rows.scan(table, &bound(query.since.next()), &mut visit)?,
            Direction::NewestFirst => self.rows.scan_back(table, &bound(until), &mut visit)?,
        }
        for found in &mut found {
            let mark = key::op(found.at);
            let value = self.rows.get(Table::Landmarks, &mark)?;
            let decode = |value: Vec<u8>| LandmarkRow::decode(&value).ok_or_else(|| bad_row(Table::Landmarks, &mark));
            found.landmark = value.map(decode).transpose()?;
        }
        Ok(found)
    }
}

fn row_of(table: Table, value: &[u8]) -> Option<OpRow> {
    match table {
        Table::Landmarks => LandmarkRow::decode(value).map(|row| row.op),
        _ => OpRow::decode(value),
    }
}

/// Reads operations that were found. Needs no snapshot any more.
pub(crate) fn load(packs: &Packs, found: &[Found]) -> Result<Vec<OpCode>> {
    let mut window = Window { packs, place: Place::LOST, bytes: Vec::new() };
    found
        .iter()
        .map(|found| {
            let mut op = decode_op(found.row.place, window.bytes(found.row.place)?)?.op;
            op.landmark = found.landmark.map(|row| row.landmark);
            Ok(op)
        })
        .collect()
}

/// Some bytes of a pack.
struct Window<'a> {
    packs: &'a Packs,
    place: Place,
    bytes: Vec<u8>,
}

impl Window<'_> {
    fn bytes(&mut self, wanted: Place) -> Result<&[u8]> {
        let is_inside =
            wanted.pack == self.place.pack && wanted.offset >= self.place.offset && wanted.end() <= self.place.end();
        if !is_inside {
            self.place = self.around(wanted)?;
            self.bytes = self.packs.read(self.place)?;
        }
        let start = (wanted.offset - self.place.offset) as usize;
        Ok(&self.bytes[start..start + wanted.len as usize])
    }

    /// Returns a window with room before and behind, for either direction.
    fn around(&self, wanted: Place) -> Result<Place> {
        let offset = wanted.offset.saturating_sub(WINDOW_BYTES / 2);
        let end = self.packs.len(wanted.pack)?.min(wanted.end() + u64::from(WINDOW_BYTES / 2));
        // Where the pack is too short for what is wanted, reading it says so.
        let end = u32::try_from(end.max(wanted.end())).unwrap_or(u32::MAX);
        Ok(Place { pack: wanted.pack, offset, len: end - offset })
    }
}
