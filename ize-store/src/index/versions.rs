//! The newest versions of things, in the order of a table's rows. Learning one takes one look-up, and not a row for each.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use ize_core::model::OpId;
use ize_core::storage::Result;

use super::key::MOMENT_BYTES;
use super::staging::ROW_BYTES;
use crate::engine::{Key, Step, Visit};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// By the beginning of the key, up to the moment.
    things: BTreeMap<Key, Kept>,
}

/// The versions of a thing on a branch.
#[derive(Debug)]
struct Kept {
    newest: Version,
    /// Those with which branches begin, the newest first.
    older: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    /// The end of the key: the moment, inverted.
    moment: [u8; MOMENT_BYTES],
    value: Vec<u8>,
}

impl Version {
    fn at(&self) -> OpId {
        moment_at(self.moment)
    }
}

fn moment_at(moment: [u8; MOMENT_BYTES]) -> OpId {
    OpId::new(!u64::from_be_bytes(moment))
}

impl Kept {
    fn all(&self) -> impl DoubleEndedIterator<Item = &Version> {
        std::iter::once(&self.newest).chain(&self.older)
    }
}

impl Versions {
    /// Adds a version that is newer than those of its thing that are known. The one before is forgotten, unless a branch
    /// begins with it; `bases` are where branches begin, in ascending order. Returns how many bytes it adds and takes away.
    pub(crate) fn learn(&mut self, key: &[u8], value: &[u8], bases: &[OpId]) -> (usize, usize) {
        let Some((thing, moment)) = key.split_last_chunk::<MOMENT_BYTES>() else { return (0, 0) };
        let added = key.len() + value.len() + ROW_BYTES;
        let version = || Version { moment: *moment, value: value.to_vec() };
        match self.things.entry(Key::from_slice(thing)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Kept { newest: version(), older: Vec::new() });
                (added, 0)
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let base = bases.partition_point(|base| *base < known.newest.at());
                if bases.get(base).is_some_and(|base| *base < moment_at(*moment)) {
                    let before = std::mem::replace(&mut known.newest, version());
                    known.older.insert(0, before);
                    (added, 0)
                } else {
                    // In the memory that the one before had.
                    let taken = key.len() + known.newest.value.len() + ROW_BYTES;
                    known.newest.moment = *moment;
                    known.newest.value.clear();
                    known.newest.value.extend_from_slice(value);
                    (added, taken)
                }
            }
        }
    }

    /// As [`Snapshot::scan`](crate::engine::Snapshot::scan).
    pub(crate) fn scan(&self, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut key = Key::new();
        for (thing, kept) in self.things.range::<[u8], _>((Bound::Included(self.thing_of(from)), Bound::Unbounded)) {
            for version in kept.all() {
                if row(&mut key, thing, version) >= from && visit(&key, &version.value)? == Step::Stop {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// As [`Snapshot::scan_back`](crate::engine::Snapshot::scan_back).
    pub(crate) fn scan_back(&self, from: &[u8], visit: Visit<'_>) -> Result<()> {
        let mut key = Key::new();
        for (thing, kept) in self.things.range::<[u8], _>((Bound::Unbounded, Bound::Included(from))).rev() {
            for version in kept.all().rev() {
                if row(&mut key, thing, version) <= from && visit(&key, &version.value)? == Step::Stop {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns the beginning of a key that no row from `from` on is before: without the moment, if it has one.
    fn thing_of<'a>(&self, from: &'a [u8]) -> &'a [u8] {
        let len = self.things.first_key_value().map_or(0, |(thing, _)| thing.len());
        &from[..from.len().min(len)]
    }
}

/// Puts a row's key together.
fn row<'a>(key: &'a mut Key, thing: &[u8], version: &Version) -> &'a [u8] {
    key.clear();
    key.extend_from_slice(thing);
    key.extend_from_slice(&version.moment);
    key
}
