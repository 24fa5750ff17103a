//! Turning the saves of any storage into a Pijul repository with its working copy.

use std::collections::HashSet;
use std::path::Path;

use ize_core::model::{OpCode, OpId, View};
use ize_core::storage::{FileSystemStorage, OpQuery, Result, StorageError};
use libpijul::DEFAULT_CHANNEL;
use libpijul::output::output_repository_no_pending;
use libpijul::pristine::Hash;
use libpijul::working_copy::FileSystem;

use crate::error::{OrPijul, failed};
use crate::follower::{SALT, begin};
use crate::layout::Layout;
use crate::options::PijulOptions;
use crate::record::{Affected, Header, record};
use crate::repository::{self, Repository};
use crate::{disk, piece};

/// How many operations are asked for at a time, and at most held.
const PAGE_OPS: usize = 1024;
/// The most operations of one change: what has no landmark for that long is cut.
const PIECE_OPS_MAX: usize = 16 * PAGE_OPS;

/// Makes a Pijul repository of everything that a view sees, a change for every save, in a folder that is empty or not there,
/// and writes the newest tree into that folder. `progress` is told up to which operation it has come. Returns how many
/// changes there are.
///
/// Of the tree, the repository has what [`crate::PijulStorage`] would put into one.
///
/// # Errors
/// [`StorageError::Invalid`] if the folder is not empty; if the source cannot be read or the disk fails. What was written
/// until then stays.
pub fn export(
    source: &dyn FileSystemStorage,
    view: View,
    folder: impl AsRef<Path>,
    options: &PijulOptions,
    progress: &mut dyn FnMut(OpId),
) -> Result<u64> {
    let folder = folder.as_ref();
    make_empty(folder)?;
    let layout = Layout::new(folder);
    let lock = layout.create()?;
    let repository = Repository::open(&layout)?;
    begin(&repository)?;
    let mut export =
        Export { source, repository: &repository, options, branch_view: view, done: OpId::ZERO, changes: 0 };
    export.run(progress)?;
    write_tree(&repository, folder)?;
    let changes = export.changes;
    drop(repository);
    // What we keep beside a repository of ours is of no use here.
    drop(lock);
    std::fs::remove_dir_all(layout.ours()).map_err(|error| failed("finishing the repository", error))?;
    disk::sync_filesystem(&layout.dot_pijul())?;
    Ok(changes)
}

fn make_empty(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| failed("making the folder", error))?;
    let mut entries = std::fs::read_dir(folder).map_err(|error| failed("reading the folder", error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(StorageError::Invalid(format!("{} is not empty", folder.display()))),
    }
}

/// An export on its way.
struct Export<'a> {
    source: &'a dyn FileSystemStorage,
    repository: &'a Repository,
    options: &'a PijulOptions,
    branch_view: View,
    done: OpId,
    changes: u64,
}

impl Export<'_> {
    fn run(&mut self, progress: &mut dyn FnMut(OpId)) -> Result<()> {
        let mut held: Vec<OpCode> = Vec::new();
        loop {
            let since = held.last().map_or(self.done, |op| op.last_id);
            let page = self.source.ops(&OpQuery { since, max: PAGE_OPS, ..OpQuery::all(self.branch_view) })?;
            let is_last = page.len() < PAGE_OPS;
            held.extend(page);
            let end = if is_last || held.len() >= PIECE_OPS_MAX { held.len() } else { end_of_saves(&held) };
            if end > 0 {
                let rest = held.split_off(end);
                self.record(&held)?;
                held = rest;
                progress(self.done);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Records operations, a change for each save, in one transaction.
    fn record(&mut self, ops: &[OpCode]) -> Result<()> {
        let txn = self.repository.begin()?;
        let channel = repository::channel_or_new(&txn, DEFAULT_CHANNEL)?;
        let mut saved: Vec<Hash> = Vec::new();
        // The operations of a branch go on where those of its parent end: for the repository there is one line.
        for piece in piece::cut(ops, &HashSet::new(), self.options.change_per_op) {
            let Some(last) = piece.last() else { continue };
            let views = (View { at: self.done, ..self.branch_view }, View { at: last.last_id, ..self.branch_view });
            let entries = Affected::by(piece).into_entries(self.source, views.1)?;
            let header = || {
                let header = piece::describe(self.source, piece, &self.options.author)?;
                Ok(Header { header, metadata: Vec::new() })
            };
            saved.extend(record(self.repository, self.source, (&txn, &channel), views, &entries, header)?);
            self.done = last.last_id;
        }
        drop(channel);
        self.changes += saved.len() as u64;
        self.repository.commit(txn, &saved)
    }
}

/// Returns how many operations there are up to the last landmark.
fn end_of_saves(ops: &[OpCode]) -> usize {
    ops.iter().rposition(|op| op.landmark.is_some()).map_or(0, |at| at + 1)
}

/// Writes the newest tree as Pijul's own command would.
fn write_tree(repository: &Repository, folder: &Path) -> Result<()> {
    let txn = repository.begin()?;
    let channel = repository::channel_or_new(&txn, DEFAULT_CHANNEL)?;
    let files = FileSystem::from_root(folder);
    output_repository_no_pending(&files, &repository.changes, &txn, &channel, "", true, None, 1, SALT)
        .or_pijul("writing the tree")?;
    drop(channel);
    repository.commit(txn, &[])
}
