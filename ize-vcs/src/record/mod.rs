//! Making one Pijul change of what differs between two views of the index.

mod affected;
mod plan;
mod staged;
mod tree;

use std::collections::{BTreeSet, HashMap};

use ize_core::model::{Entry, View};
use ize_core::storage::{FileSystemStorage, Result, StorageError};
use libpijul::change::{Atom, ChangeHeader, Hunk, NewVertex};
use libpijul::changestore::filesystem::Error as ChangeStoreError;
use libpijul::changestore::{ChangeStore, FileMetadata};
use libpijul::pristine::{ChangeId, ChangePosition, EdgeFlags, Hash, Inode, Position, TreeTxnT};
use libpijul::record::{Algorithm, Builder, InodeUpdate, Recorded};
use libpijul::{DEFAULT_SEPARATOR, MutTxnTExt};

pub(crate) use affected::Affected;

use crate::error::OrPijul;
use crate::held::read_all;
use crate::repository::{Channel, Repository, Txn};
use staged::{Staged, encoding_of};
use tree::{Added, Placed, Tree};

/// What a change says about itself.
pub(crate) struct Header {
    /// Message, description, time and author.
    pub(crate) header: ChangeHeader,
    /// What we add for ourselves.
    pub(crate) metadata: Vec<u8>,
}

/// Records what differs at some entries between two views and applies it to a channel, whose tree the table of the
/// working copy holds. Answers `None` if nothing differs for Pijul.
///
/// # Errors
/// If the index cannot be read or the repository cannot be written. The transaction is then to be dropped.
pub(crate) fn record(
    repository: &Repository,
    index: &dyn FileSystemStorage,
    (txn, channel): (&Txn, &Channel),
    (before, after): (View, View),
    entries: &BTreeSet<Entry>,
    header: impl FnOnce() -> Result<Header>,
) -> Result<Option<Hash>> {
    let steps = plan::plan(index, (before, after), entries)?;
    if steps.is_empty() {
        return Ok(None);
    }
    let placed = Tree::new(index, txn, (before, after)).place(&steps)?;
    let staged = Staged::new(index, after, placed.staged.clone());
    let mut recorded = build(repository, (txn, channel), &staged, &placed)?;
    let mut additions = Additions::new(txn, &recorded)?;
    for added in &placed.added {
        additions.add(index, after, &mut recorded, added)?;
    }
    let hash = if recorded.actions.is_empty() {
        None
    } else {
        Some(apply(repository, (txn, channel), recorded, &placed, header()?)?)
    };
    forget(txn, &placed)?;
    Ok(hash)
}

/// Has the library compare what stays, moves and goes.
fn build(
    repository: &Repository,
    (txn, channel): (&Txn, &Channel),
    staged: &Staged<'_>,
    placed: &Placed,
) -> Result<Recorded> {
    let mut builder = Builder::new();
    builder.force_rediff = true;
    builder.ignore_missing = true;
    builder.shallow = true;
    for path in &placed.paths {
        builder
            .record_single_thread(
                txn.clone(),
                Algorithm::ImaraHistogram,
                false,
                &DEFAULT_SEPARATOR,
                channel.clone(),
                staged,
                &repository.changes,
                path,
            )
            .or_pijul("comparing with the repository")?;
    }
    Ok(builder.finish())
}

/// Saves a change and applies it.
fn apply(
    repository: &Repository,
    (txn, channel): (&Txn, &Channel),
    mut recorded: Recorded,
    placed: &Placed,
    header: Header,
) -> Result<Hash> {
    for action in &mut recorded.actions {
        if let Hunk::FileDel { path, .. } = action
            && let Some(was) = path_before(placed, path)
        {
            *path = was;
        }
    }
    let updates = recorded.take_updatables();
    let mut change = recorded.into_change(&*txn.read(), channel, header.header).or_pijul("making a change")?;
    change.hashed.metadata = header.metadata;
    let saved = repository.changes.save_change(&mut change, |_, _| Ok::<_, ChangeStoreError>(()));
    let hash = saved.or_pijul("saving a change")?;
    ize_core::failpoint::pass("vcs-change-saved");
    txn.write().apply_local_change(channel, &change, &hash, &updates).or_pijul("applying a change")?;
    Ok(hash)
}

/// Returns the path that something had before it made room.
fn path_before(placed: &Placed, path: &str) -> Option<String> {
    placed.renamed.iter().find_map(|(aside, was)| match path.strip_prefix(aside.as_str())? {
        "" => Some(was.clone()),
        below if below.starts_with('/') => Some(format!("{was}{below}")),
        _ => None,
    })
}

/// Takes what went out of the table, where applying the change did not.
fn forget(txn: &Txn, placed: &Placed) -> Result<()> {
    let mut txn = txn.write();
    for inode in &placed.deleted {
        let path = libpijul::fs::inode_filename(&*txn, *inode).or_pijul("reading the repository's tree")?;
        if let Some(path) = path {
            txn.remove_file(&path).or_pijul("changing the repository's tree")?;
        }
    }
    Ok(())
}

/// Adds what is new to a change. The library would look at all entries of a folder for each new one.
struct Additions<'a> {
    txn: &'a Txn,
    /// Where folders lie that this change brings.
    new: HashMap<Inode, ChangePosition>,
}

impl<'a> Additions<'a> {
    fn new(txn: &'a Txn, recorded: &Recorded) -> Result<Self> {
        let new = recorded.updatables.values().filter_map(|update| match update {
            InodeUpdate::Add { inode, pos } => Some((*inode, *pos)),
            InodeUpdate::Deleted { .. } => None,
        });
        Ok(Self { txn, new: new.collect() })
    }

    fn add(
        &mut self,
        index: &dyn FileSystemStorage,
        after: View,
        recorded: &mut Recorded,
        added: &Added,
    ) -> Result<()> {
        if self.new.contains_key(&added.inode) {
            return Ok(());
        }
        let parent = self.position(added.parent)?;
        let mut contents = recorded.contents.lock();
        contents.push(0);
        let inode = position(&contents);
        contents.push(0);
        let (content, encoding) = if added.held.is_dir {
            (None, None)
        } else {
            let start = position(&contents);
            read_all(index, after, added.held.file, added.held.size, &mut contents)?;
            let end = position(&contents);
            let encoding = encoding_of(&contents[start.0.as_usize()..]);
            contents.push(0);
            let vertex = || vertex(here(inode), start, end, EdgeFlags::BLOCK, here(inode));
            ((start != end).then(vertex), encoding)
        };
        let start = position(&contents);
        let metadata = added.held.metadata();
        FileMetadata { metadata, basename: &added.name, encoding: encoding.clone() }.write(&mut contents);
        let end = position(&contents);
        contents.push(0);
        drop(contents);
        let folder = EdgeFlags::FOLDER | EdgeFlags::BLOCK;
        recorded.actions.push(Hunk::FileAdd {
            add_name: vertex(parent, start, end, folder, parent),
            add_inode: vertex(here(end), inode, inode, folder, parent),
            contents: content,
            path: added.path.clone(),
            encoding,
        });
        let update = InodeUpdate::Add { inode: added.inode, pos: inode };
        recorded.updatables.insert(recorded.actions.len(), update);
        self.new.insert(added.inode, inode);
        Ok(())
    }

    /// Returns where a folder lies in the graph of changes.
    fn position(&self, folder: Inode) -> Result<Position<Option<ChangeId>>> {
        if let Some(pos) = self.new.get(&folder) {
            return Ok(here(*pos));
        }
        let found = self.txn.read().get_inodes(&folder, None).or_pijul("reading the repository's tree")?.copied();
        let found =
            found.ok_or_else(|| StorageError::Corrupt("a folder is not in the repository's graph".to_owned()))?;
        Ok(found.to_option())
    }
}

fn position(contents: &[u8]) -> ChangePosition {
    ChangePosition(contents.len().into())
}

/// A position in the change that is being made.
fn here(pos: ChangePosition) -> Position<Option<ChangeId>> {
    Position { change: None, pos }
}

fn vertex(
    above: Position<Option<ChangeId>>,
    start: ChangePosition,
    end: ChangePosition,
    flag: EdgeFlags,
    inode: Position<Option<ChangeId>>,
) -> Atom<Option<ChangeId>> {
    Atom::NewVertex(NewVertex { up_context: vec![above], down_context: Vec::new(), start, end, flag, inode })
}
