//! The engine seam: ordered tables of bytes that change atomically.
//!
//! All logic of this crate is written once over [`Engine`]. An engine gives out consistent [`Snapshot`]s and applies
//! sets of [`Changes`], each all or nothing and durable. It decides nothing: no checksums, no encodings, no versions.
//!
//! What holds for every engine and every caller:
//! - Keys and values are never empty, and at most [`Table::entry_bytes_max`] bytes together.
//! - A table that is not [`Table::is_mutable`] only ever gets keys that it does not have.
//! - There is one writer at a time (the store's own lock sees to it); snapshots may be taken at any time, but are held
//!   for a bounded number of steps, because [`Engine::apply`] may have to wait until all of them are gone. A thread never
//!   holds one while it takes another or applies changes.

mod changes;
pub(crate) mod memory;
#[cfg(feature = "redb")]
pub(crate) mod redb;
pub(crate) mod sanakirja;

use ize_core::storage::Result;

pub(crate) use changes::Changes;

/// The tables of the index. Their rows are described in `docs/format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    /// One row about the index itself.
    Meta = 0,
    /// Metadata: (file, branch, moment).
    Files = 1,
    /// Entries of folders: (folder, name's hash, branch, moment).
    Dirents = 2,
    /// Names of files: (file, folder, name's hash, branch, moment).
    Links = 3,
    /// Chunks in the packs: (hash).
    Content = 4,
    /// Content: (file, cell, branch, moment).
    Extents = 5,
    /// Operations: (moment).
    Ops = 6,
    /// Operations about a file: (file, moment).
    History = 7,
    /// Landmarks: (moment).
    Landmarks = 8,
    /// Operations in a folder, those of one batch in few rows: (folder, last moment).
    Below = 9,
    /// Operations that no later one precedes in time: (time, moment).
    Timestamps = 10,
    /// Named moments and branches: (name).
    Refs = 11,
    /// Branches, also those without a name: (branch).
    Branches = 12,
    /// Extended attributes: (file, name's hash, branch, moment).
    Xattrs = 13,
}

impl Table {
    /// Every table, by number.
    pub(crate) const ALL: [Self; 14] = [
        Self::Meta,
        Self::Files,
        Self::Dirents,
        Self::Links,
        Self::Content,
        Self::Extents,
        Self::Ops,
        Self::History,
        Self::Landmarks,
        Self::Below,
        Self::Timestamps,
        Self::Refs,
        Self::Branches,
        Self::Xattrs,
    ];

    /// Returns the table's number.
    pub(crate) const fn number(self) -> usize {
        self as usize
    }

    /// Returns the table's name, for people and for engines that name their tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Files => "files",
            Self::Dirents => "dirents",
            Self::Links => "links",
            Self::Content => "content",
            Self::Extents => "extents",
            Self::Ops => "ops",
            Self::History => "history",
            Self::Landmarks => "landmarks",
            Self::Below => "below",
            Self::Timestamps => "timestamps",
            Self::Refs => "refs",
            Self::Branches => "branches",
            Self::Xattrs => "xattrs",
        }
    }

    /// Tells whether rows are ever replaced or removed.
    pub(crate) const fn is_mutable(self) -> bool {
        matches!(self, Self::Meta | Self::Landmarks | Self::Timestamps | Self::Refs)
    }

    /// The most bytes that a key and its value have together. Sanakirja 2.0.0-beta.3 panics in deletions of entries of
    /// more than about 200 bytes, and holds about 1,000 at most.
    pub(crate) const fn entry_bytes_max(self) -> usize {
        if self.is_mutable() { 200 } else { 400 }
    }
}

/// What a visitor of rows wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next row.
    Next,
    /// No more.
    Stop,
}

/// A visitor of rows: key and value.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Step>;

/// An unchanging view of all tables.
pub(crate) trait Snapshot {
    /// Returns the value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits rows in ascending order, beginning with the first whose key is at least `from`.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;

    /// Visits rows in descending order, beginning with the last whose key is at most `from`.
    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;
}

/// A file (or memory) with all tables.
pub(crate) trait Engine: Send + Sync {
    /// Takes a snapshot of what was applied last.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>>;

    /// Applies changes, all or nothing. `barrier` runs after everything that may fail for want of space and before the
    /// changes become durable. An error before or of the barrier leaves everything as it was; one after it is told by
    /// [`ApplyError::Unknown`].
    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError>;

    /// Fills tables that are empty, and makes that durable. If it fails, or is cut off, the file is of no use.
    fn fill(&self, rows: &mut dyn RowSource) -> Result<()> {
        loop {
            let mut changes = Changes::default();
            while changes.len() < FILLED_AT_ONCE {
                let Some((table, key, value)) = rows.next()? else { break };
                changes.set(table, key.to_vec(), Some(value.to_vec()));
            }
            if changes.len() == 0 {
                return Ok(());
            }
            self.apply(&changes, &mut || Ok(())).map_err(ApplyError::into_error)?;
        }
    }
}

/// So many rows go into an engine that has no other way to be filled, in one transaction.
const FILLED_AT_ONCE: usize = 200_000;

/// A row: its table, key and value.
pub(crate) type Row<'a> = (Table, &'a [u8], &'a [u8]);

/// Rows in ascending order of tables, and of keys in each.
pub(crate) trait RowSource {
    /// Returns the next row.
    fn next(&mut self) -> Result<Option<Row<'_>>>;

    /// Returns how many bytes the rows take, with 8 more for each.
    fn bytes(&self) -> u64;
}

/// Why changes were not applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// Nothing was changed.
    Refused(ize_core::storage::StorageError),
    /// The changes may or may not be durable.
    Unknown(ize_core::storage::StorageError),
}

impl ApplyError {
    /// Returns the reason: for who starts again anyway.
    pub(crate) fn into_error(self) -> ize_core::storage::StorageError {
        let (Self::Refused(error) | Self::Unknown(error)) = self;
        error
    }
}

impl From<ize_core::storage::StorageError> for ApplyError {
    fn from(error: ize_core::storage::StorageError) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests;
