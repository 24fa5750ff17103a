//! What those who record share with the recorder's threads: the end of the log, and what keeps the journal durable and
//! short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::error::chain;
use super::poison::Poison;
use super::processor::Upkeep;
use super::syncer::{self, Syncer, Then};
use super::tree_sync::TreeSync;
use super::{OP_TARGET, OpCodeQueue, RecordError, Result};
use crate::journal::{Budget, Journal, JournalError, Position, ReadBack, Seq, TreeSyncPoint};
use crate::model::{FileId, Landmark, OpId};

/// The end of the log. Whoever holds its lock decides what comes next.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) journal: Journal,
    pub(super) recorded: OpId,
    /// Whether the last operation is a landmark.
    pub(super) marked: bool,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Mutex<Log>,
    /// With `log`: the journal may have room again.
    pub(super) room: Condvar,
    pub(super) queue: Arc<OpCodeQueue>,
    pub(super) poison: Poison,
    pub(super) recorded: AtomicU64,
    /// The journal's position of the last operation, or note of a file, that has to be durable.
    pub(super) appended: AtomicU64,
    /// The journal's position up to which everything is durable.
    pub(super) synced: AtomicU64,
    pub(super) syncer: Syncer,
    /// Where the journal also stands for what a tree may lose.
    pub(super) tree: Option<TreeSync>,
    /// All records up to here are in storage.
    pub(super) stored: Mutex<Seq>,
}

impl Shared {
    const LIMIT_PAUSE: Duration = Duration::from_millis(100);

    /// Locks the end of the log for writing.
    pub(super) fn log(&self) -> Result<MutexGuard<'_, Log>> {
        self.poison.check()?;
        let log = self.log.lock();
        if log.closed { Err(RecordError::Closed) } else { Ok(log) }
    }

    /// Keeps room in the journal for one operation; while it is as long as it may be, waits for commits.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        let mut log = self.log()?;
        let mut urge = None;
        loop {
            let outcome = log.journal.reserve(bytes);
            if outcome.is_ok() {
                return Ok(());
            }
            // Where only an unsynced tree keeps the journal long, there is room after its next sync.
            self.tree.iter().for_each(TreeSync::hurry);
            match outcome {
                Err(JournalError::AtLimit) => {}
                outcome => return Ok(outcome?),
            }
            if self.queue.is_storage_full() {
                return Err(RecordError::Full);
            }
            urge.get_or_insert_with(|| self.queue.urge());
            // Looks again from time to time: not everything that can have happened is told.
            self.room.wait_for(&mut log, Self::LIMIT_PAUSE);
            self.poison.check()?;
            if log.closed {
                return Err(RecordError::Closed);
            }
        }
    }

    /// Gives back what was kept.
    pub(super) fn release(&self, bytes: u64) {
        self.log.lock().journal.release(bytes);
        self.room.notify_all();
    }

    pub(super) fn mark(&self, mut log: MutexGuard<'_, Log>, op: OpId, landmark: Landmark) -> Result<()> {
        if op == OpId::ZERO || op > log.recorded {
            return Err(RecordError::UnknownOp(op));
        }
        let seq = match log.journal.append_mark(op, landmark) {
            Ok(seq) => seq,
            // Nothing was written, and no change is lost.
            Err(JournalError::Full) => return Err(RecordError::Full),
            Err(error) => {
                drop(log);
                return Err(self.fail("a landmark could not be journalled", &error));
            }
        };
        tracing::trace!(target: OP_TARGET, op = op.get(), ?landmark, "marked");
        log.marked |= op == log.recorded;
        self.queue.mark(op, landmark, seq);
        Ok(())
    }

    /// Calls back once every operation that was recorded so far is durable: at once, or from the sync thread.
    pub(super) fn on_durable(&self, then: Then) {
        if let Err(error) = self.poison.check() {
            return then(Err(error));
        }
        if self.synced.load(Ordering::Acquire) >= self.appended.load(Ordering::Acquire) {
            return then(Ok(()));
        }
        if let Some(then) = self.syncer.push(then) {
            then(Err(self.poison.check().err().unwrap_or(RecordError::Closed)));
        }
    }

    /// Makes the journal durable. Only the sync thread does that.
    fn sync(&self) -> Result<()> {
        // A failed sync is never tried again.
        self.poison.check()?;
        let point = {
            let log = self.log.lock();
            if log.journal.synced() >= log.journal.last_seq() {
                return Ok(());
            }
            log.journal.sync_point()
        };
        let outcome = point.sync();
        let finished = self.log.lock().journal.finish_sync(&point, outcome);
        finished.map_err(|error| self.fail("the journal could not be synced", &error))?;
        self.synced.store(point.seq().get(), Ordering::Release);
        Ok(())
    }

    /// The sync thread, from start to end.
    pub(super) fn run_syncer(&self) {
        let sync = || {
            let outcome = self.sync();
            if let Err(error) = &outcome {
                tracing::error!(error = %chain(error), "recording stops");
            }
            outcome
        };
        self.syncer.run(sync, || self.poison.error());
    }

    /// Removes the segments of the journal that nobody needs any more: storage holds what is in them, and so does the
    /// tree's disk.
    pub(super) fn trim(&self) {
        // Held until they are removed: that happens in order.
        let stored = self.stored.lock();
        let synced = self.tree.as_ref().map_or(*stored, TreeSync::synced);
        let mut trimmed = self.log.lock().journal.trimmable(synced.min(*stored));
        if trimmed.is_empty() {
            return;
        }
        // Removing files may take a while: not under the log's lock.
        if let Err(error) = trimmed.remove() {
            tracing::warn!(error = %chain(&error), "trimming the journal");
        }
        self.log.lock().journal.finish_trim(&trimmed);
        self.room.notify_all();
        drop(stored);
        // Closing a removed file is what frees its space: milliseconds for each, under no lock.
        drop(trimmed);
    }

    /// Makes it durable that a file may change before an operation tells of it.
    pub(super) fn note_dirty(&self, file: FileId) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let seq = self.append_dirty(file)?;
        tree.recorded(seq, 0);
        syncer::wait(|then| self.on_durable(then))
    }

    /// As [`Shared::note_dirty`], for many files, and the tree counts as synced in spite of them.
    pub(super) fn note_all_dirty(&self, files: &[FileId]) -> Result<()> {
        if self.tree.is_none() || files.is_empty() {
            return Ok(());
        }
        for file in files {
            self.append_dirty(*file)?;
        }
        syncer::wait(|then| self.on_durable(then))
    }

    pub(super) fn note_suspect(&self, file: FileId) -> Result<()> {
        if self.tree.is_some() {
            self.append_dirty(file)?;
        }
        Ok(())
    }

    fn append_dirty(&self, file: FileId) -> Result<Seq> {
        let mut log = self.log()?;
        let next = log.recorded.next();
        match log.journal.append_dirty(file, next) {
            Ok(seq) => {
                self.appended.store(seq.get(), Ordering::Release);
                Ok(seq)
            }
            Err(JournalError::Full) => Err(RecordError::Full),
            Err(error) => {
                drop(log);
                Err(self.fail("a file could not be noted in the journal", &error))
            }
        }
    }

    /// Notes that the tree was synced.
    pub(super) fn tree_was_synced(&self, through: TreeSyncPoint) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        {
            let mut log = self.log()?;
            let next = log.recorded.next();
            match log.journal.append_synced(through, next) {
                // Without the note more is looked at after a power cut, and that is all.
                Ok(_) | Err(JournalError::Full) => {}
                Err(error) => {
                    drop(log);
                    return Err(self.fail("the journal could not be written", &error));
                }
            }
        }
        tree.finish(through.seq);
        self.trim();
        Ok(())
    }

    pub(super) fn fail(&self, what: &str, error: &JournalError) -> RecordError {
        self.poison.set(format!("{what}: {}", chain(error)));
        self.queue.wake();
        self.poison.error()
    }
}

/// What the recorder does on the worker's thread.
pub(super) struct Caretaker(pub(super) Arc<Shared>);

impl Upkeep for Caretaker {
    fn read_back(&self, from: Position, through: Seq, budget: Budget) -> Result<ReadBack, JournalError> {
        // Reading does not need the lock.
        let sealed = self.0.log.lock().journal.sealed_from(from);
        sealed.read(from, through, budget)
    }

    fn committed(&self, through: Seq) {
        {
            let mut stored = self.0.stored.lock();
            *stored = through.max(*stored);
        }
        self.0.trim();
    }

    fn idle(&self, op: OpId) {
        let Ok(log) = self.0.log() else { return };
        if log.recorded != op || log.marked {
            return;
        }
        if let Err(error) = self.0.mark(log, op, Landmark::Idle) {
            tracing::warn!(error = %chain(&error), "marking an idle gap");
        }
    }
}
