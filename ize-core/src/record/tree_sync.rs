//! How far the tree that is recorded is synced, and when it ought to be synced again.
//!
//! The journal is what brings a tree back that lost unsynced changes in a power cut. So it keeps what was recorded since the
//! tree was last synced, and whoever owns the tree ([`crate::tree::Live`]) syncs it now and then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::journal::{Seq, TreeSyncPoint};
use crate::model::{FileId, OpId};

/// After so many bytes in the journal the tree is synced.
const BYTES_MAX: u64 = 256 << 20;
/// After this long with something that is not synced the tree is synced.
const AGE_MAX: Duration = Duration::from_secs(30);

/// What a journal told, when it was opened, of the tree that it guards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsyncedTree {
    /// The last operation that is known to be synced in the tree, if the journal tells.
    pub synced: Option<OpId>,
    /// Files whose content may have changed in place since then, whether or not an operation tells of it.
    pub dirty: BTreeSet<FileId>,
}

/// Collects an [`UnsyncedTree`] from the records of a journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsynced {
    dirty: Vec<(Seq, FileId)>,
    synced: Option<OpId>,
}

impl Unsynced {
    pub(super) fn note_dirty(&mut self, seq: Seq, file: FileId) {
        self.dirty.push((seq, file));
    }

    pub(super) fn note_synced(&mut self, through: TreeSyncPoint) {
        self.dirty.retain(|(seq, _)| *seq > through.seq);
        self.synced = Some(through.op);
    }

    pub(super) fn finish(self) -> UnsyncedTree {
        UnsyncedTree { synced: self.synced, dirty: self.dirty.into_iter().map(|(_, file)| file).collect() }
    }
}

/// What the owner of the tree is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeSyncDue {
    /// Nothing yet, but something was recorded that is not synced.
    Soon,
    /// The tree ought to be synced.
    Now,
    /// Nothing any more: the recorder is closed.
    Never,
}

#[derive(Debug, Default)]
struct State {
    /// All records up to here are synced in the tree.
    synced: Seq,
    /// The last record that says what the tree is like.
    recorded: Seq,
    bytes: u64,
    /// When the first of what is not synced was recorded.
    since: Option<Instant>,
    /// Somebody waits for room in the journal.
    hurry: bool,
    closed: bool,
}

/// Shared by who records and who syncs the tree.
#[derive(Debug, Default)]
pub(super) struct TreeSync {
    state: Mutex<State>,
    changed: Condvar,
    /// The one who syncs waits for the first record.
    asleep: AtomicBool,
}

impl TreeSync {
    /// Begins with a journal that holds records up to `last`, none of which is known to be synced.
    pub(super) fn new(last: Seq, is_empty: bool) -> Self {
        let synced = if is_empty { last } else { Seq::ZERO };
        let since = (!is_empty).then(Instant::now);
        Self { state: Mutex::new(State { synced, recorded: last, since, ..State::default() }), ..Self::default() }
    }

    /// Notes a record that says what the tree is like.
    pub(super) fn recorded(&self, seq: Seq, bytes: u64) {
        let mut state = self.state.lock();
        state.recorded = seq;
        state.bytes += bytes;
        state.since.get_or_insert_with(Instant::now);
        let wake = state.bytes >= BYTES_MAX || self.asleep.load(Ordering::Relaxed);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Notes that a sync of the tree begins, and returns the last record that it will cover.
    pub(super) fn begin(&self) -> Seq {
        let mut state = self.state.lock();
        state.bytes = 0;
        state.since = None;
        state.hurry = false;
        state.recorded
    }

    pub(super) fn finish(&self, through: Seq) {
        let mut state = self.state.lock();
        state.synced = state.synced.max(through);
    }

    /// Returns up to where the tree is synced.
    pub(super) fn synced(&self) -> Seq {
        self.state.lock().synced
    }

    /// Tells whether the tree is synced as a whole.
    pub(super) fn is_synced(&self) -> bool {
        let state = self.state.lock();
        state.synced >= state.recorded
    }

    /// Asks for a sync soon: the journal cannot be trimmed without it.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        if state.synced < state.recorded {
            state.hurry = true;
            self.changed.notify_all();
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until a sync is due, but no longer than `patience` while something is not synced.
    pub(super) fn wait(&self, patience: Duration) -> TreeSyncDue {
        let mut state = self.state.lock();
        let until = Instant::now() + patience;
        loop {
            if state.closed {
                return TreeSyncDue::Never;
            }
            let too_old = state.since.is_some_and(|since| since.elapsed() >= AGE_MAX);
            if state.hurry || state.bytes >= BYTES_MAX || too_old {
                return TreeSyncDue::Now;
            }
            if state.since.is_none() {
                self.asleep.store(true, Ordering::Relaxed);
                self.changed.wait(&mut state);
                self.asleep.store(false, Ordering::Relaxed);
            } else if self.changed.wait_until(&mut state, until).timed_out() {
                return TreeSyncDue::Soon;
            }
        }
    }
}
