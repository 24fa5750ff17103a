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
//!
//! # Adding an engine
//! With the feature `engine-api` this module is public. Write an [`Engine`] and a [`Constructor`] that makes and opens its
//! file or folder, let `engine_conformance!` check it, and hand the constructor to [`crate::Store::create_with`] and
//! [`crate::Store::open_with`]: that store can run `ize_core::conformance!`, too. The feature follows what this crate
//! needs: a minor version may change it.

mod changes;
#[cfg(any(test, feature = "engine-api"))]
pub mod conformance;
pub(crate) mod memory;
#[cfg(feature = "redb")]
pub(crate) mod redb;
pub(crate) mod sanakirja;

use std::path::Path;

use ize_core::storage::Result;

pub use changes::Changes;
pub(crate) use changes::Key;

/// The tables of the index. Their rows are described in `docs/format.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
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
    pub const ALL: [Self; 14] = [
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
    pub const fn number(self) -> usize {
        self as usize
    }

    /// Returns the table's name, for people and for engines that name their tables.
    pub const fn name(self) -> &'static str {
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
    pub const fn is_mutable(self) -> bool {
        matches!(self, Self::Meta | Self::Landmarks | Self::Timestamps | Self::Refs)
    }

    /// The most bytes that a key and its value have together. Sanakirja 2.0.0-beta.3 panics in deletions of entries of
    /// more than about 200 bytes, and holds about 1,000 at most.
    pub const fn entry_bytes_max(self) -> usize {
        if self.is_mutable() { 200 } else { 400 }
    }
}

/// What a visitor of rows wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next row.
    Next,
    /// No more.
    Stop,
}

/// A visitor of rows: key and value.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Step>;

/// An unchanging view of all tables.
pub trait Snapshot {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`ize_core::storage::StorageError::Corrupt`] if the tables make no sense; what the operating system says.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits rows in ascending order, beginning with the first whose key is at least `from`.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; whatever the visitor answers.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;

    /// Visits rows in descending order, beginning with the last whose key is at most `from`.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    fn scan_back(&self, table: Table, from: &[u8], visit: Visit<'_>) -> Result<()>;
}

/// A file (or memory) with all tables.
pub trait Engine: Send + Sync {
    /// Takes a snapshot of what was applied last.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>>;

    /// Applies changes, all or nothing. `barrier` runs after everything that may fail for want of space and before the
    /// changes become durable. An error before or of the barrier leaves everything as it was; one after it is told by
    /// [`ApplyError::Unknown`].
    ///
    /// # Errors
    /// [`ApplyError`].
    fn apply(&self, changes: &Changes, barrier: &mut dyn FnMut() -> Result<()>) -> Result<(), ApplyError>;

    /// Fills tables that are empty, and makes that durable. If it fails, or is cut off, the file is of no use.
    ///
    /// # Errors
    /// As [`Engine::apply`]; whatever the source answers.
    fn fill(&self, rows: &mut dyn RowSource) -> Result<()> {
        loop {
            let mut changes = Changes::default();
            while changes.count() < FILLED_AT_ONCE {
                let Some((table, key, value)) = rows.next()? else { break };
                changes.set(table, key, Some(value));
            }
            if changes.count() == 0 {
                return Ok(());
            }
            self.apply(&changes, &mut || Ok(())).map_err(ApplyError::into_error)?;
        }
    }
}

/// So many rows go into an engine that has no other way to be filled, in one transaction.
const FILLED_AT_ONCE: usize = 200_000;

/// A row: its table, key and value.
pub type Row<'a> = (Table, &'a [u8], &'a [u8]);

/// Rows in ascending order of tables, and of keys in each.
pub trait RowSource {
    /// Returns the next row.
    ///
    /// # Errors
    /// If it cannot be read, or made.
    fn next(&mut self) -> Result<Option<Row<'_>>>;

    /// Returns how many bytes the rows take, with 8 more for each.
    fn bytes(&self) -> u64;
}

/// Makes and opens what an engine keeps its tables in: a file, or a folder.
///
/// A store has one of them open, once, under its own lock. It makes a new one under a temporary name and moves it, closed,
/// to its place. `FileSystemStorage::repair` opens it there while the one before, which had that name, is still open: an
/// engine that tells what is open by names cannot be repaired so, but with [`crate::Store::rebuild_index`].
pub trait Constructor: std::fmt::Debug + Send + Sync {
    /// Returns the engine's name: one word, which the store writes down.
    fn name(&self) -> &'static str;

    /// Makes empty tables where there is nothing yet.
    ///
    /// # Errors
    /// [`ize_core::storage::StorageError::Full`]; what else the engine says.
    fn create(&self, path: &Path) -> Result<Box<dyn Engine>>;

    /// Opens what was made, and maybe moved, before.
    ///
    /// # Errors
    /// [`ize_core::storage::StorageError::Corrupt`] if it is not what this engine made, or damaged.
    fn open(&self, path: &Path) -> Result<Box<dyn Engine>>;
}

impl Constructor for crate::Engine {
    fn name(&self) -> &'static str {
        (*self).name()
    }

    fn create(&self, path: &Path) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Sanakirja => Box::new(sanakirja::SanakirjaEngine::create(path)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(redb::RedbEngine::create(path)?),
        })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Self::Sanakirja => Box::new(sanakirja::SanakirjaEngine::open(path)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(redb::RedbEngine::open(path)?),
        })
    }
}

/// Why changes were not applied.
#[derive(Debug)]
pub enum ApplyError {
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
