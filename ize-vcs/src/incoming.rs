//! What others put into the repository, and how it comes into the tree.
//!
//! While something is there that the tree does not have yet, the paths at which they differ wait: an operation that makes such
//! a path what the repository has comes from there and needs no change; one that makes it something else is not recorded
//! before the incoming changes are accepted. All other paths are recorded as ever.

use std::collections::{BTreeMap, BTreeSet};

use ize_core::model::{BranchId, ContentHash, Entry, Name, OpId, RelPath, Timestamp, View};
use ize_core::storage::{FileSystemStorageExt, Incoming, IncomingEdit, NativeChange, Result, StorageError};
use libpijul::change::ChangeFile;
use libpijul::pristine::Hash;

use crate::compare::{Difference, compare, is_same, path_of_entry};
use crate::disk;
use crate::error::OrPijul;
use crate::follower::Follower;
use crate::held::held;
use crate::ledger::{Kind, Record};
use crate::name;
use crate::output::{Item, Output};
use crate::piece;
use crate::record::{Header, record};
use crate::repository::{self, Channel, Txn};
use crate::stamp::Stamp;

/// Says that something is waiting, also after a crash.
const MARK: &str = "incoming";

/// What waits to come into the tree.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// All operations up to here were in the repository when it was noticed.
    since: OpId,
    /// What the repository has where it differs from the tree; `None` for nothing.
    paths: BTreeMap<String, Option<Item>>,
}

impl Follower<'_> {
    /// Looks whether the main channel is what we left.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub(crate) fn notice(&mut self) -> Result<Option<Pending>> {
        let txn = self.repository.begin()?;
        let channel = self.main(&txn)?;
        let now = repository::state(&txn, &channel)?;
        let (left, position) = {
            let ledger = self.ledger.read();
            let newest = ledger.newest(BranchId::MAIN).map(|record| record.state);
            (newest, ledger.position())
        };
        let is_ours = match left {
            Some(left) => left == now,
            None => now.changes <= 1,
        };
        let mark = self.layout.ours().join(MARK);
        let since = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse().ok()).map(OpId::new);
        if is_ours && since.is_none() {
            return Ok(None);
        }
        if since.is_none() {
            disk::write_whole(&self.layout.ours(), MARK, format!("{}\n", position.get()).as_bytes())?;
        }
        self.tree_of(&txn)?;
        let output = Output::of(self.repository, self.layout, (&txn, &channel), "")?;
        let is_accepted = is_ours && self.foreign_changes(&txn, &channel)?.is_empty();
        drop(channel);
        self.repository.commit(txn, &[])?;
        let differences = compare(&**self.index, View::new(BranchId::MAIN, position), &output)?;
        if is_accepted && differences.is_empty() {
            disk::remove(&self.layout.ours(), MARK)?;
            return Ok(None);
        }
        let paths = differences.into_iter().map(|difference| (difference.path, difference.repository)).collect();
        Ok(Some(Pending { since: since.unwrap_or(position), paths }))
    }

    /// Takes out of the entries to record those that wait. What has come into the tree waits no longer.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub(crate) fn without_pending(
        &mut self,
        (before, after): (View, View),
        entries: BTreeSet<Entry>,
    ) -> Result<BTreeSet<Entry>> {
        let index = &**self.index;
        let Some(pending) = self.pending.as_mut().filter(|_| after.branch == BranchId::MAIN) else {
            return Ok(entries);
        };
        let mut free = BTreeSet::new();
        for entry in entries {
            let old = path_of_entry(index, before, &entry)?;
            let new = path_of_entry(index, after, &entry)?;
            let Some(path) = new.or(old).filter(|path| pending.paths.contains_key(path)) else {
                free.insert(entry);
                continue;
            };
            let file = index.entry(after, entry.dir, &entry.name)?;
            let held = file.map(|file| held(index, after, file)).transpose()?.flatten();
            if is_same(index, after, held.as_ref(), pending.paths[&path].as_ref())? {
                pending.paths.remove(&path);
            }
        }
        Ok(free)
    }

    /// Tells what came in, and what makes the tree what the repository holds.
    ///
    /// # Errors
    /// If the repository or the index cannot be read.
    pub(crate) fn incoming(&mut self) -> Result<Option<Incoming>> {
        let Some(since) = self.pending.as_ref().map(|pending| pending.since) else { return Ok(None) };
        let txn = self.repository.begin()?;
        let channel = self.main(&txn)?;
        self.tree_of(&txn)?;
        let changes = self.foreign_changes(&txn, &channel)?;
        let output = Output::of(self.repository, self.layout, (&txn, &channel), "")?;
        drop(channel);
        self.repository.commit(txn, &[])?;
        let differences = compare(&**self.index, View::latest(BranchId::MAIN), &output)?;
        let edits = self.edits(&differences, &output)?;
        let conflicts = output.conflicts.iter().filter_map(|path| self.index_path(path, &differences)).collect();
        if let Some(pending) = self.pending.as_mut() {
            let waiting = differences.into_iter().map(|difference| (difference.path, difference.repository));
            pending.paths = waiting.collect();
        }
        Ok(Some(Incoming { since, changes, edits, conflicts }))
    }

    /// Notes that what came in is in the tree. What differs still was changed by the user since, and is recorded.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if these are not the changes that wait; if the repository cannot be written.
    pub(crate) fn accept(&mut self, changes: &[NativeChange]) -> Result<()> {
        let Some(pending) = self.pending.clone() else { return Ok(()) };
        let txn = self.repository.begin()?;
        let channel = self.main(&txn)?;
        let waiting = self.foreign_changes(&txn, &channel)?;
        if waiting != changes {
            return Err(StorageError::Invalid("other changes came into the repository meanwhile".to_owned()));
        }
        self.tree_of(&txn)?;
        let head = self.index.head()?.op;
        let rest = self.record_rest((&txn, &channel), pending.since, head)?;
        let state = repository::state(&txn, &channel)?;
        drop(channel);
        let saved: Vec<Hash> = rest.into_iter().collect();
        self.repository.commit(txn, &saved)?;
        ize_core::failpoint::pass("vcs-incoming-recorded");
        let mut ledger = self.ledger.write();
        let (branch, first) = (BranchId::MAIN, pending.since.next());
        for change in &waiting {
            let hash = change.id.clone();
            ledger.append(Record { kind: Kind::Foreign, branch, first, last: head, state, hash })?;
        }
        let (kind, hash) = match saved.first() {
            Some(hash) => (Kind::Own, repository::text_of(hash)),
            None => (Kind::None, String::new()),
        };
        ledger.append(Record { kind, branch, first, last: head, state, hash })?;
        ledger.sync()?;
        drop(ledger);
        ize_core::failpoint::pass("vcs-incoming-noted");
        disk::remove(&self.layout.ours(), MARK)?;
        *self.pending = None;
        Ok(())
    }

    /// Records what differs between the repository and the head.
    fn record_rest(&self, (txn, channel): (&Txn, &Channel), since: OpId, head: OpId) -> Result<Option<Hash>> {
        let index = &**self.index;
        let after = View::new(BranchId::MAIN, head);
        let before = View::new(BranchId::MAIN, since);
        let output = Output::of(self.repository, self.layout, (txn, channel), "")?;
        let mut entries = BTreeSet::new();
        for difference in compare(index, after, &output)? {
            let Some(path) = self.index_path(&difference.path, &[difference.clone()]) else { continue };
            let Some((folder, name)) = path.split_last() else { continue };
            for view in [after, before] {
                if let Some(dir) = index.resolve(view, &folder)? {
                    entries.insert(Entry::new(dir, name.clone()));
                }
            }
        }
        let stamp = Stamp { repository: self.id, branch: BranchId::MAIN, first: since.next(), last: head };
        let header = || {
            let message = "Changes made while others came in".to_owned();
            let header = piece::describe_as(message, Timestamp::now().as_nanos(), &self.options.author);
            Ok(Header { header, metadata: stamp.to_bytes() })
        };
        record(self.repository, index, (txn, channel), (before, after), &entries, header)
    }

    fn main(&mut self, txn: &Txn) -> Result<Channel> {
        self.channel(txn, BranchId::MAIN)
    }

    fn tree_of(&mut self, txn: &Txn) -> Result<()> {
        let main = self.main(txn)?;
        self.use_tree_of(txn, &main)
    }

    /// Returns the changes of a channel that are not ours and were not accepted, in the channel's order.
    fn foreign_changes(&self, txn: &Txn, channel: &Channel) -> Result<Vec<NativeChange>> {
        let accepted: BTreeSet<String> = self.ledger.read().accepted().map(str::to_owned).collect();
        let mut found = Vec::new();
        // The first one is the root that every tree hangs on.
        for (hash, _) in repository::log(txn, channel, 0)?.iter().skip(1) {
            let id = repository::text_of(hash);
            if self.stamp_of(hash)?.is_none() && !accepted.contains(&id) {
                let path = self.repository.file_of(hash);
                let path = path.to_str().unwrap_or_default();
                let change = ChangeFile::open(*hash, path).or_pijul("reading a change")?;
                found.push(NativeChange { id, message: change.hashed().header.message.clone() });
            }
        }
        Ok(found)
    }

    /// Returns the steps from the tree of the index to that of the repository.
    fn edits(&self, differences: &[Difference], output: &Output) -> Result<Vec<IncomingEdit>> {
        let mut gone: BTreeMap<(ContentHash, u64), Vec<(RelPath, bool)>> = BTreeMap::new();
        let mut removed = Vec::new();
        for difference in differences.iter().rev() {
            let is_replaced = difference.repository.is_some_and(|item| is_other_kind(difference, &item));
            let Some(path) = self.index_path(&difference.path, differences) else { continue };
            if difference.entry.is_some() && (difference.repository.is_none() || is_replaced) {
                if let Some(held) = difference.index.filter(|held| !held.is_dir && held.size > 0) {
                    let mut content = Vec::new();
                    crate::held::read_all(
                        &**self.index,
                        View::latest(BranchId::MAIN),
                        held.file,
                        held.size,
                        &mut content,
                    )?;
                    gone.entry((ContentHash::of(&content), held.size)).or_default().push((path.clone(), held.exec));
                }
                removed.push(path);
            }
        }
        let mut edits = Vec::new();
        let mut written = Vec::new();
        for difference in differences {
            let Some(item) = difference.repository else { continue };
            let Some(path) = self.index_path(&difference.path, differences) else { continue };
            if item.is_dir {
                if difference.index.is_none_or(|held| !held.is_dir) {
                    edits.push(IncomingEdit::MakeDir { path });
                }
                continue;
            }
            let is_new = difference.index.is_none();
            if let Some((from, exec)) = gone.get_mut(&(item.hash, item.size)).filter(|_| is_new).and_then(Vec::pop) {
                removed.retain(|path| *path != from);
                edits.push(IncomingEdit::Rename { from, to: path.clone() });
                if exec == item.exec {
                    continue;
                }
            }
            written.push(IncomingEdit::Write { path, content: output.content(&item)?, executable: item.exec });
        }
        // Folders come before what goes into them, and go after what they held. What goes makes room first where one
        // kind takes another's place.
        let making_room = |path: &RelPath| edits_need(differences, path);
        let (first, last): (Vec<RelPath>, Vec<RelPath>) = removed.into_iter().partition(making_room);
        let mut steps: Vec<IncomingEdit> = first.into_iter().map(|path| IncomingEdit::Remove { path }).collect();
        steps.extend(edits);
        steps.extend(written);
        steps.extend(last.into_iter().map(|path| IncomingEdit::Remove { path }));
        Ok(steps)
    }

    /// Reads a path of the repository.
    fn index_path(&self, path: &str, differences: &[Difference]) -> Option<RelPath> {
        let known = differences.iter().find(|difference| difference.path == path);
        if let Some(found) = known.and_then(|difference| difference.entry.as_ref()) {
            return Some(found.path.clone());
        }
        let mut found = RelPath::root();
        for part in path.split('/') {
            match name::read(part)? {
                name::Read::Name(name) => found = found.join(&name),
                name::Read::Hashed => found = found.join(&self.hashed_name(&found, part)?),
            }
        }
        Some(found)
    }

    /// Finds the name that is too long to be written, among those of its folder.
    fn hashed_name(&self, folder: &RelPath, text: &str) -> Option<Name> {
        let index = &**self.index;
        let view = View::latest(BranchId::MAIN);
        let dir = index.resolve(view, folder).ok()??;
        let mut after = None;
        loop {
            let page = index.entries(view, dir, after.as_ref(), 256).ok()?;
            if let Some(found) = page.iter().find(|entry| name::write(&entry.name) == text) {
                return Some(found.name.clone());
            }
            after = Some(page.last()?.name.clone());
        }
    }
}

/// Tells whether a file takes the place of a folder, or the other way round.
fn is_other_kind(difference: &Difference, item: &Item) -> bool {
    difference.index.is_some_and(|held| held.is_dir != item.is_dir)
}

/// Tells whether a path, or one above it, becomes another kind of thing.
fn edits_need(differences: &[Difference], path: &RelPath) -> bool {
    differences.iter().any(|difference| {
        let replaced = difference.repository.is_some_and(|item| is_other_kind(difference, &item));
        replaced && difference.entry.as_ref().is_some_and(|found| path.starts_with(&found.path))
    })
}
