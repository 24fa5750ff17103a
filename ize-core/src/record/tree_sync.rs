//! How far the tree that is recorded is synced, and when it ought to be synced again.
//!
//! The journal is what brings a tree back that lost unsynced changes in a power cut. So it keeps what was recorded since the
//! tree was last synced, and whoever owns the tree ([`crate::tree::Live`]) syncs it now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::journal::Seq;
use crate::model::{FileId, OpCode, OpId};

/// After so many bytes in the journal the tree is synced.
const BYTES_MAX: u64 = 256 << 20;
/// After this long with something that is not synced the tree is synced.
const AGE_MAX: Duration = Duration::from_secs(30);

/// Files that the tree may hold in another state than history after a power cut: what the journal tells of them since the
/// tree was last synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsyncedFiles {
    files: HashMap<FileId, Vec<(Seq, OpId)>>,
}

impl UnsyncedFiles {
    pub(super) fn note_op(&mut self, seq: Seq, op: &OpCode) {
        self.files.entry(op.op_type.file()).or_default().push((seq, op.id));
    }

    pub(super) fn note_dirty(&mut self, seq: Seq, file: FileId) {
        self.files.entry(file).or_default().push((seq, OpId::ZERO));
    }

    pub(super) fn synced(&mut self, through: Seq) {
        self.files.retain(|_, notes| {
            notes.retain(|(seq, _)| *seq > through);
            !notes.is_empty()
        });
    }

    /// Tells whether a file is among them.
    pub fn contains(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Returns the operations on a file since the tree was last synced, in order.
    pub fn ops(&self, file: FileId) -> impl DoubleEndedIterator<Item = OpId> {
        let notes = self.files.get(&file).map(Vec::as_slice).unwrap_or_default();
        notes.iter().map(|(_, op)| *op).filter(|op| *op != OpId::ZERO)
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
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
