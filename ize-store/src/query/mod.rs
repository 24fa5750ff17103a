//! Reads: each takes one snapshot, and answers one page.

mod content;
mod log;
mod names;

pub(crate) use content::load_xattrs;
pub(crate) use log::{at_time as ops_at_time, load as load_ops};

use ize_core::model::{FileId, FileKind, FileMetadata, Timestamp, View};
use ize_core::storage::{Ref, RefName, Result};

use crate::apply::file_row;
use crate::engine::{Snapshot, Step, Table};
use crate::index::{Branches, Checked, Lineage, Rows, bad_row};

/// One read.
pub(crate) struct Query<'a> {
    pub(crate) rows: Checked<'a>,
    pub(crate) lineage: Lineage,
}

impl<'a> Query<'a> {
    /// Begins a read of a view.
    ///
    /// # Errors
    /// [`ize_core::storage::StorageError::UnknownBranch`].
    pub(crate) fn new(snapshot: &'a dyn Snapshot, branches: &Branches, view: View) -> Result<Self> {
        Ok(Self { rows: Checked(snapshot), lineage: branches.lineage(view)? })
    }

    /// Returns a file's metadata, if it exists.
    pub(crate) fn node(&self, file: FileId) -> Result<Option<FileMetadata>> {
        let row = file_row(&self.rows, &self.lineage, file)?;
        let metadata = row.map(|row| row.metadata).or_else(|| (file == FileId::ROOT).then(first_root));
        Ok(metadata.filter(FileMetadata::is_linked))
    }
}

/// The root folder before an operation touched it.
fn first_root() -> FileMetadata {
    let epoch = Timestamp::from_nanos(0);
    FileMetadata {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        nlink: 2,
        rdev: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
    }
}

/// Returns all refs, ordered by name.
pub(crate) fn refs(snapshot: &dyn Snapshot) -> Result<Vec<Ref>> {
    let mut refs = Vec::new();
    Checked(snapshot).scan(Table::Refs, &[0], &mut |key, value| {
        let name = std::str::from_utf8(key).ok().and_then(RefName::new);
        let known = name.zip(postcard::from_bytes(value).ok()).ok_or_else(|| bad_row(Table::Refs, key))?;
        refs.push(Ref { name: known.0, target: known.1 });
        Ok(Step::Next)
    })?;
    Ok(refs)
}

/// Returns what a name stands for.
pub(crate) fn target(snapshot: &dyn Snapshot, name: &RefName) -> Result<Option<ize_core::storage::RefTarget>> {
    let key = name.as_str().as_bytes();
    let Some(value) = Checked(snapshot).get(Table::Refs, key)? else { return Ok(None) };
    postcard::from_bytes(&value).map(Some).map_err(|_| bad_row(Table::Refs, key))
}
