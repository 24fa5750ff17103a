//! Bringing the repository up to the index: the one way in which changes come into being, in a commit and after a crash.

use std::collections::HashSet;
use std::sync::Arc;

use ize_core::failpoint;
use ize_core::model::{BranchId, OpCode, OpId, View};
use ize_core::storage::{Batch, FileSystemStorage, OpQuery, RefTarget, Result, StorageError};
use libpijul::change::ChangeFile;
use libpijul::output::output_repository_no_pending;
use libpijul::pristine::{ChannelRef, Hash, MutTxnT, TxnT};
use libpijul::{ApplyWorkspace, MutTxnTExt};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::channels::{ChannelOf, Channels};
use crate::error::OrPijul;
use crate::incoming::Pending;
use crate::layout::Layout;
use crate::ledger::{Kind, Ledger, Record};
use crate::nowhere::Nowhere;
use crate::options::PijulOptions;
use crate::piece;
use crate::record::{Affected, Header, record};
use crate::repository::{self, Channel, Repository, Txn};
use crate::stamp::Stamp;

/// How many operations are asked for at a time.
const PAGE_OPS: usize = 256;
/// How many changes go into one transaction.
const TXN_CHANGES_MAX: usize = 512;
/// Anything; the library mixes it into the numbers of files in its table.
pub(crate) const SALT: u64 = 0x69_7a_65;

/// What it takes to write to the repository.
pub(crate) struct Follower<'a> {
    pub(crate) index: &'a Arc<dyn FileSystemStorage>,
    pub(crate) repository: &'a Repository,
    pub(crate) channels: &'a mut Channels,
    pub(crate) ledger: &'a RwLock<Ledger>,
    pub(crate) options: &'a PijulOptions,
    pub(crate) id: Uuid,
    pub(crate) layout: &'a Layout,
    /// What others put into the repository and is not in the tree yet.
    pub(crate) pending: &'a mut Option<Pending>,
}

impl Follower<'_> {
    /// Records what the index has and the repository does not. The batch is what was committed last, if that is known.
    ///
    /// # Errors
    /// If the repository cannot be written. What was recorded until then stays.
    pub(crate) fn follow(&mut self, batch: Option<&Batch>) -> Result<()> {
        let (head, position) = (self.index.head()?.op, self.ledger.read().position());
        if position >= head {
            return Ok(());
        }
        match batch {
            Some(batch) if batch.ops.first().is_some_and(|first| first.id == position.next()) => {
                let landmarks = batch.landmarks.iter().map(|(op, _)| *op).collect();
                self.record(&batch.ops, &landmarks)
            }
            _ => self.catch_up(position, head),
        }
    }

    /// Records operations that the index tells of.
    fn catch_up(&mut self, position: OpId, head: OpId) -> Result<()> {
        tracing::info!(from = position.get(), through = head.get(), "the repository is brought up to history");
        let mut position = position;
        while position < head {
            let page = self.next_ops(position)?;
            let Some(last) = page.last() else { break };
            position = last.last_id;
            self.record(&page, &HashSet::new())?;
        }
        Ok(())
    }

    /// Returns the next operations of the log, of all branches.
    fn next_ops(&self, since: OpId) -> Result<Vec<OpCode>> {
        let mut found = Vec::new();
        // Beyond the last operation of a full page there may be others in between.
        let mut complete_until = OpId::MAX;
        for (branch, _) in self.channels.branches() {
            let query = OpQuery { since, max: PAGE_OPS, ..OpQuery::all(View::latest(branch)) };
            let page = self.index.ops(&query)?;
            if page.len() == PAGE_OPS {
                complete_until = complete_until.min(page[PAGE_OPS - 1].last_id);
            }
            found.extend(page.into_iter().filter(|op| op.branch == branch));
        }
        found.retain(|op| op.last_id <= complete_until);
        found.sort_by_key(|op| op.id);
        Ok(found)
    }

    /// Records operations, piece by piece.
    fn record(&mut self, ops: &[OpCode], landmarks: &HashSet<OpId>) -> Result<()> {
        let pieces = piece::cut(ops, landmarks, self.options.change_per_op);
        for pieces in pieces.chunks(TXN_CHANGES_MAX) {
            self.record_pieces(pieces)?;
        }
        Ok(())
    }

    /// Makes one change of each piece, all in one transaction.
    pub(crate) fn record_pieces(&mut self, pieces: &[&[OpCode]]) -> Result<()> {
        let mut saved = Vec::new();
        let recorded = self.transact(pieces, &mut saved);
        if recorded.is_err() {
            self.repository.forget(&saved);
        }
        recorded
    }

    fn transact(&mut self, pieces: &[&[OpCode]], saved: &mut Vec<Hash>) -> Result<()> {
        let txn = self.repository.begin()?;
        let mut records = Vec::new();
        for piece in pieces {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let stamp = Stamp { repository: self.id, branch: last.branch, first: first.id, last: last.last_id };
            let channel = self.channel(&txn, stamp.branch)?;
            self.use_tree_of(&txn, &channel)?;
            let views = (self.recorded(&records, stamp.branch)?, View::new(stamp.branch, stamp.last));
            let hash = self.record_piece((&txn, &channel), piece, stamp, views)?;
            saved.extend(hash);
            let state = repository::state(&txn, &channel)?;
            let kind = if hash.is_some() { Kind::Own } else { Kind::None };
            let (branch, first, last) = (stamp.branch, stamp.first, stamp.last);
            let hash = hash.map_or_else(String::new, |hash| repository::text_of(&hash));
            records.push(Record { kind, branch, first, last, state, hash });
        }
        if !saved.is_empty() {
            self.repository.commit(txn, saved)?;
        }
        failpoint::pass("vcs-repository-committed");
        let mut ledger = self.ledger.write();
        records.into_iter().try_for_each(|record| ledger.append(record))
    }

    fn record_piece(
        &mut self,
        (txn, channel): (&Txn, &Channel),
        piece: &[OpCode],
        stamp: Stamp,
        views: (View, View),
    ) -> Result<Option<Hash>> {
        let mut affected = Affected::by(piece);
        if views.0.at < stamp.first.prev() {
            // Operations of a parent that lie between where the channel began and where the branch did.
            affected.extend(&self.ops_between(views.0, stamp.first)?);
        }
        let entries = affected.into_entries(&**self.index, views.1)?;
        let entries = self.without_pending(views, entries)?;
        let header = || {
            let header = piece::describe(&**self.index, piece, &self.options.author)?;
            Ok(Header { header, metadata: stamp.to_bytes() })
        };
        record(self.repository, &**self.index, (txn, channel), views, &entries, header)
    }

    /// Returns the operations that a view does not see yet, up to one before another.
    pub(crate) fn ops_between(&self, after: View, until: OpId) -> Result<Vec<OpCode>> {
        let mut found: Vec<OpCode> = Vec::new();
        loop {
            let since = found.last().map_or(after.at, |op| op.last_id);
            let query = OpQuery { since, max: PAGE_OPS, ..OpQuery::all(View::new(after.branch, until.prev())) };
            let page = self.index.ops(&query)?;
            let is_last = page.len() < PAGE_OPS;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Returns the view that a branch's channel holds.
    fn recorded(&self, records: &[Record], branch: BranchId) -> Result<View> {
        let mine = records.iter().rev().find(|record| record.branch == branch).map(|record| record.last);
        let mine = mine.or_else(|| self.ledger.read().newest(branch).map(|record| record.last));
        let at = mine.or_else(|| self.channels.get(branch).map(|channel| channel.forked_at));
        at.map(|at| View::new(branch, at)).ok_or(StorageError::UnknownBranch(branch))
    }

    /// Finds a branch's channel in the repository.
    pub(crate) fn channel(&mut self, txn: &Txn, branch: BranchId) -> Result<Channel> {
        if self.channels.get(branch).is_none() {
            self.open_branches()?;
        }
        let known = self.channels.get(branch).ok_or(StorageError::UnknownBranch(branch))?;
        let found = repository::channel(txn, &known.name)?;
        found.ok_or_else(|| StorageError::Corrupt(format!("the repository has no channel '{}'", known.name)))
    }

    /// Brings the table of the working copy to a channel.
    pub(crate) fn use_tree_of(&self, txn: &Txn, channel: &Channel) -> Result<()> {
        let name = repository::name_of(txn, channel);
        if txn.read().current_channel().is_ok_and(|current| current == name) {
            return Ok(());
        }
        self.output_tree(txn, channel)?;
        txn.write().set_current_channel(&name).or_pijul("changing to another channel")
    }

    /// Makes the table of the working copy what a channel holds.
    pub(crate) fn output_tree(&self, txn: &Txn, channel: &Channel) -> Result<()> {
        let changes = &self.repository.changes;
        output_repository_no_pending(&Nowhere, changes, txn, channel, "", true, None, 1, SALT)
            .or_pijul("changing to another channel")
            .map(drop)
    }

    /// Brings the table of the working copy back to the main channel: the live files are those of the main branch.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub(crate) fn return_to_main(&mut self) -> Result<()> {
        let txn = self.repository.begin()?;
        let main = self.channel(&txn, BranchId::MAIN)?;
        if txn.read().current_channel().is_ok_and(|current| current == libpijul::DEFAULT_CHANNEL) {
            return Ok(());
        }
        self.use_tree_of(&txn, &main)?;
        drop(main);
        self.repository.commit(txn, &[])
    }

    /// Makes a channel for every branch that has none.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub(crate) fn open_branches(&mut self) -> Result<()> {
        let mut missing = Vec::new();
        for known in self.index.refs()? {
            if let RefTarget::Branch { id, parent, base } = known.target
                && self.channels.get(id).is_none()
            {
                missing.push((id, parent, base, known.name));
            }
        }
        // A branch's parent was there before it.
        while let Some(at) = missing.iter().position(|(_, parent, ..)| self.channels.get(*parent).is_some()) {
            let (id, parent, base, name) = missing.swap_remove(at);
            if self.channels.get(id).is_none() {
                self.open_branch(id, parent, base, name.as_str())?;
            }
        }
        Ok(())
    }

    fn open_branch(&mut self, branch: BranchId, parent: BranchId, base: OpId, name: &str) -> Result<()> {
        let (forked_at, forked_changes) = self.fork_point(parent, base)?;
        let txn = self.repository.begin()?;
        let mut name = name.to_owned();
        while self.channels.branch_of(&name).is_some() {
            name.push('\'');
        }
        // One that is there is left from a moment before the list was written.
        txn.write().drop_channel(&*repository::small(&name)?).or_pijul("making a channel")?;
        let from = self.channel(&txn, parent)?;
        if repository::state(&txn, &from)?.changes == forked_changes {
            txn.write().fork(&from, &*repository::small(&name)?).or_pijul("making a channel")?;
        } else {
            self.replay((&txn, &from), &name, forked_changes)?;
        }
        drop(from);
        self.repository.commit(txn, &[])?;
        failpoint::pass("vcs-channel-made");
        self.channels.insert(branch, ChannelOf { name, parent, base, forked_at, forked_changes });
        self.channels.save(self.layout)
    }

    /// Finds the last change of a branch, or of those that it comes from, that is not after an operation.
    fn fork_point(&self, branch: BranchId, base: OpId) -> Result<(OpId, u64)> {
        let ledger = self.ledger.read();
        let mut found = None;
        ledger.each_from(0, |record| {
            if record.branch == branch && record.last <= base {
                found = Some((record.last, record.state.changes));
            }
            true
        })?;
        match (found, self.channels.get(branch)) {
            (Some(found), _) => Ok(found),
            (None, Some(channel)) if branch == BranchId::MAIN || channel.forked_at <= base => {
                Ok((channel.forked_at, channel.forked_changes))
            }
            (None, Some(channel)) => {
                drop(ledger);
                self.fork_point(channel.parent, base.min(channel.base))
            }
            (None, None) => Err(StorageError::UnknownBranch(branch)),
        }
    }

    /// Makes a channel of the first changes of another one.
    fn replay(&self, (txn, from): (&Txn, &Channel), name: &str, changes: u64) -> Result<()> {
        let channel: ChannelRef<_> = repository::channel_or_new(txn, name)?;
        let mut workspace = ApplyWorkspace::new();
        let hashes = repository::log(txn, from, 0)?;
        for (hash, _) in hashes.iter().take(usize::try_from(changes).unwrap_or(usize::MAX)) {
            txn.write()
                .apply_change_ws(&self.repository.changes, &mut *channel.write(), hash, &mut workspace)
                .or_pijul("making a channel")?;
        }
        Ok(())
    }

    /// Adds to the ledger what the repository has and the ledger lost. Answers whether the channel of the main branch
    /// holds anything that is not ours, or lacks what was ours.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub(crate) fn complete_ledger(&mut self) -> Result<()> {
        let txn = self.repository.begin()?;
        let branches: Vec<(BranchId, String)> =
            self.channels.branches().map(|(branch, channel)| (branch, channel.name.clone())).collect();
        let mut found = Vec::new();
        for (branch, name) in branches {
            if let Some(channel) = repository::channel(&txn, &name)? {
                found.extend(self.unknown_changes(&txn, &channel, branch)?);
            }
        }
        found.sort_by_key(|record| record.last);
        let mut ledger = self.ledger.write();
        found.into_iter().try_for_each(|record| ledger.append(record))
    }

    /// Returns our own changes of a channel that the ledger does not know.
    fn unknown_changes(&self, txn: &Txn, channel: &Channel, branch: BranchId) -> Result<Vec<Record>> {
        let ledger = self.ledger.read();
        let from = match ledger.newest(branch) {
            Some(newest) if repository::state_after(txn, channel, newest.state.changes)? == Some(newest.state) => {
                newest.state.changes
            }
            _ => 0,
        };
        let mut found = Vec::new();
        for (hash, state) in repository::log(txn, channel, from)? {
            let Some(stamp) = self.stamp_of(&hash)? else { continue };
            let known = ledger.newest(branch).is_some_and(|newest| stamp.last <= newest.last);
            if stamp.branch == branch && !known {
                let (first, last, hash) = (stamp.first, stamp.last, repository::text_of(&hash));
                found.push(Record { kind: Kind::Own, branch, first, last, state, hash });
            }
        }
        Ok(found)
    }

    /// Reads which operations a change holds; `None` if it is somebody else's.
    pub(crate) fn stamp_of(&self, hash: &Hash) -> Result<Option<Stamp>> {
        let path = self.repository.changes.filename(hash);
        let path = path.to_str().ok_or_else(|| StorageError::Invalid("the project's path is not UTF-8".to_owned()))?;
        let change = ChangeFile::open(*hash, path).or_pijul("reading a change")?;
        Ok(Stamp::from_bytes(&change.hashed().metadata).filter(|stamp| stamp.repository == self.id))
    }
}

/// Makes an empty repository: its main channel, and the root that every tree hangs on.
///
/// # Errors
/// If the disk fails.
pub(crate) fn begin(repository: &Repository) -> Result<()> {
    let txn = repository.begin()?;
    let channel = repository::channel_or_new(&txn, libpijul::DEFAULT_CHANNEL)?;
    txn.write().set_current_channel(libpijul::DEFAULT_CHANNEL).or_pijul("making a repository")?;
    let root = txn
        .write()
        .apply_root_change_if_needed(&repository.changes, &channel, rand::rng())
        .or_pijul("making a repository")?;
    drop(channel);
    let saved: Vec<Hash> = root.into_iter().map(|(hash, ..)| hash).collect();
    repository.commit(txn, &saved)
}
