//! The queue between those who record and the one who commits: in order, and it never drops anything.
//!
//! Memory is bounded in operations and bytes, what is being committed included. What does not fit stays in the journal
//! only, from some position on ([`Spill`]), and is read back in order when there is room again. So nobody waits for the
//! queue; only the journal's own limit holds writers up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::poison::Poison;
use super::syncer::Then;
use super::{OP_TARGET, ProcessorConfig, QueueStats, RecordError};
use crate::journal::{Budget, Position, ReadBack, Record, Seq};
use crate::model::{Landmark, OpCode, OpId};
use crate::storage::Batch;

/// What the queue holds in memory at most, the batches in flight included. More is read back from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most operations.
    pub ops_max: usize,
    /// The most bytes of data.
    pub bytes_max: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { ops_max: 8 << 10, bytes_max: 16 << 20 }
    }
}

/// What a batch is made of.
#[derive(Debug)]
pub(super) struct Taken {
    /// Batches are numbered in the order in which they were taken, from 0 on.
    pub(super) ticket: u64,
    pub(super) batch: Batch,
    /// All records up to here are committed when the batch is.
    pub(super) through: Seq,
    /// Operations that were recorded, merged or not, and their data.
    pub(super) ops: usize,
    bytes: u64,
}

/// What the worker is to do next.
pub(super) enum Work {
    /// Commit this.
    Batch(Taken),
    /// Read this back from the journal, for [`OpCodeQueue::refill`].
    ReadBack {
        /// Where to begin.
        from: Position,
        /// The last record that is certainly there.
        through: Seq,
        /// How much there is room for.
        budget: Budget,
    },
    /// Nothing was recorded for a while since this operation, which is no landmark yet.
    Idle(OpId),
    /// Nothing: the queue is closed and empty, or the recorder is poisoned by its storage.
    Finished,
}

#[derive(Debug)]
struct Queued {
    op: OpCode,
    seq: Seq,
}

/// What is in the journal only.
#[derive(Clone, Copy, Debug)]
struct Spill {
    /// The first record of it. Everything behind is read from the journal, marks too.
    next: Position,
    ops: u64,
    bytes: u64,
    /// Somebody reads it back right now.
    reading: bool,
}

#[derive(Default)]
struct State {
    ops: VecDeque<Queued>,
    spill: Option<Spill>,
    /// For operations that are not in `ops` any more.
    marks: BTreeMap<OpId, Landmark>,
    /// In memory: queued and in flight.
    held_ops: usize,
    held_bytes: u64,
    queued_bytes: u64,
    recorded: OpId,
    committed: OpId,
    last_seq: Seq,
    last_mark: Seq,
    committed_seq: Seq,
    /// How many batches were taken.
    tickets: u64,
    /// When the first of the queued operations came.
    waiting_since: Option<Instant>,
    /// When the last operation becomes a landmark for want of others.
    idle_at: Option<Instant>,
    /// Somebody waits for a commit.
    urgent: usize,
    /// Who is called back once an operation is committed.
    callbacks: Vec<(OpId, Then)>,
    storage_full: bool,
    closing: bool,
    stopped: bool,
    stats: QueueStats,
}

impl QueueLimits {
    /// Tells whether one more operation fits. What is larger than the whole queue fits when it is empty.
    fn have_room(&self, state: &State, op: &OpCode) -> bool {
        let fits = state.held_ops < self.ops_max && state.held_bytes.saturating_add(op.data.size()) <= self.bytes_max;
        fits || state.held_ops == 0
    }

    /// Returns what is free, if at least half is.
    fn free(&self, state: &State) -> Option<Budget> {
        let ops = self.ops_max.saturating_sub(state.held_ops);
        let bytes = self.bytes_max.saturating_sub(state.held_bytes);
        (ops * 2 >= self.ops_max && bytes >= self.bytes_max / 2).then_some(Budget { ops, bytes })
    }
}

/// See [`OpCodeQueue::urge`].
pub(super) struct Urge<'a>(&'a OpCodeQueue);

impl Drop for Urge<'_> {
    fn drop(&mut self) {
        self.0.state.lock().urgent -= 1;
    }
}

/// The operations that are recorded but not committed yet.
pub struct OpCodeQueue {
    limits: QueueLimits,
    config: ProcessorConfig,
    idle_gap: Duration,
    state: Mutex<State>,
    /// There may be work for the worker.
    work: Condvar,
    /// There may be room, or a commit was made.
    progress: Condvar,
    poison: Poison,
}

impl std::fmt::Debug for OpCodeQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pending_ops, pending_bytes) = self.pending();
        f.debug_struct("OpCodeQueue")
            .field("limits", &self.limits)
            .field("pending_ops", &pending_ops)
            .field("pending_bytes", &pending_bytes)
            .finish_non_exhaustive()
    }
}

impl OpCodeQueue {
    pub(super) fn new(
        limits: QueueLimits,
        config: ProcessorConfig,
        idle_gap: Duration,
        head: OpId,
        last_seq: Seq,
        poison: Poison,
    ) -> Self {
        let stats = QueueStats { capacity: limits.ops_max as u64, ..QueueStats::default() };
        let state =
            State { recorded: head, committed: head, last_seq, committed_seq: last_seq, stats, ..State::default() };
        Self {
            limits,
            config,
            idle_gap,
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            poison,
        }
    }

    fn wait_for_progress(&self, state: &mut MutexGuard<'_, State>) {
        state.urgent += 1;
        self.work.notify_one();
        self.progress.wait(state);
        state.urgent -= 1;
    }

    /// Asks for commits without delay as long as the answer lives: somebody waits for the journal to become shorter.
    pub(super) fn urge(&self) -> Urge<'_> {
        self.state.lock().urgent += 1;
        self.work.notify_one();
        Urge(self)
    }

    /// Appends a journalled operation; its record is `seq`, at `place`.
    pub(super) fn push(&self, op: OpCode, seq: Seq, place: Position) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.recorded = op.id;
        state.last_seq = seq;
        state.idle_at = if op.landmark.is_none() { Some(now + self.idle_gap) } else { None };
        state.stats.total_enqueued += 1;
        let first = state.waiting_since.is_none();
        state.waiting_since.get_or_insert(now);
        if state.spill.is_none() && self.limits.have_room(&state, &op) {
            tracing::trace!(target: OP_TARGET, op = op.id.get(), "queued");
            state.hold(op, seq);
        } else {
            tracing::trace!(target: OP_TARGET, op = op.id.get(), "spilled");
            state.spill_over(&op, place);
        }
        let full_batch = state.has_full_batch(&self.config);
        drop(state);
        if first || full_batch {
            self.work.notify_one();
        }
    }

    /// Takes what was read back from the journal.
    pub(super) fn refill(&self, back: ReadBack) {
        let mut state = self.state.lock();
        for (seq, record) in back.records {
            match record {
                Record::Op(op) => {
                    tracing::trace!(target: OP_TARGET, op = op.id.get(), "read back");
                    state.unspill(&op);
                    state.hold(op, seq);
                }
                Record::Mark { op, landmark } => state.apply_mark(op, landmark),
                // For recovery only.
                Record::Dirty { .. } | Record::Synced(_) => {}
            }
        }
        let last_seq = state.last_seq;
        if let Some(spill) = &mut state.spill {
            spill.next = back.next;
            spill.reading = false;
        }
        // From here on everything goes through memory again.
        state.spill.take_if(|spill| spill.next.seq > last_seq);
        state.waiting_since.get_or_insert_with(Instant::now);
        drop(state);
        self.work.notify_all();
    }

    /// Makes an operation a landmark, in the queue or by the next batch.
    pub(super) fn mark(&self, op: OpId, landmark: Landmark, seq: Seq) {
        let mut state = self.state.lock();
        state.last_seq = seq;
        state.last_mark = seq;
        if op == state.recorded {
            state.idle_at = None;
        }
        if state.spill.is_some() {
            // Is read back with what it is about, or behind it. What is still in memory better knows it in time.
            if let Some(queued) = state.queued_mut(op) {
                queued.landmark = queued.landmark.max(Some(landmark));
            }
            return;
        }
        state.apply_mark(op, landmark);
        if state.waiting_since.is_none() {
            state.waiting_since = Some(Instant::now());
            self.work.notify_one();
        }
    }

    /// Lets the last operation become a landmark when nothing follows it for a while.
    pub(super) fn expect_idle(&self) {
        self.state.lock().idle_at = Some(Instant::now() + self.idle_gap);
        self.work.notify_one();
    }

    /// Waits for the next thing to do.
    pub(super) fn next_work(&self) -> Work {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return Work::Finished;
            }
            if let Some(work) = self.work_now(&mut state, Instant::now()) {
                return work;
            }
            let wake_at = state.batch_due(&self.config).into_iter().chain(state.idle_at).min();
            match wake_at {
                Some(wake_at) => {
                    self.work.wait_until(&mut state, wake_at);
                }
                None => self.work.wait(&mut state),
            }
        }
    }

    fn work_now(&self, state: &mut State, now: Instant) -> Option<Work> {
        if let Some(work) = self.read_back(state) {
            return Some(work);
        }
        match state.batch_due(&self.config) {
            Some(due) if due <= now => return Some(Work::Batch(state.take(&self.config))),
            None if state.closing && state.spill.is_none() => return Some(Work::Finished),
            Some(_) | None => {}
        }
        state.idle_at.take_if(|idle_at| *idle_at <= now).map(|_| Work::Idle(state.recorded))
    }

    /// Begins to read back what is in the journal only, when half of the memory is free.
    fn read_back(&self, state: &mut State) -> Option<Work> {
        let budget = self.limits.free(state)?;
        let through = state.last_seq;
        let spill = state.spill.as_mut().filter(|spill| !spill.reading)?;
        spill.reading = true;
        Some(Work::ReadBack { from: spill.next, through, budget })
    }

    /// Takes note that a batch was committed. Batches are committed in the order in which they were taken.
    pub(super) fn settle(&self, taken: &Taken, busy: Duration) {
        let mut state = self.state.lock();
        state.held_ops -= taken.ops;
        state.held_bytes -= taken.bytes;
        if let Some(last) = taken.batch.ops.last() {
            state.committed = last.last_id;
        }
        state.committed_seq = taken.through;
        state.storage_full = false;
        state.stats.settle(taken.ops as u64, taken.bytes, busy);
        let is_spilled = state.spill.is_some();
        let committed = state.committed;
        let done: Vec<_> = state.callbacks.extract_if(.., |(op, _)| *op <= committed).collect();
        drop(state);
        self.progress.notify_all();
        done.into_iter().for_each(|(_, then)| then(Ok(())));
        if is_spilled {
            self.work.notify_all();
        }
    }

    /// Storage is full: whoever wants room is told instead of waiting. Waits a while, or until the queue is closed.
    pub(super) fn wait_while_full(&self, pause: Duration) {
        self.state.lock().storage_full = true;
        self.progress.notify_all();
        self.pause(pause);
    }

    /// Waits a while, or until the queue is closed.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.closing && !self.progress.wait_until(&mut state, until).timed_out() {}
    }

    /// Ends the work: what is queued is not going to be committed by this process.
    pub(super) fn stop(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.callbacks)
        };
        self.work.notify_all();
        self.progress.notify_all();
        waiting.into_iter().for_each(|(_, then)| then(Err(self.poison.error())));
    }

    /// Lets the worker finish when all is committed.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Tells those who wait for room to look again.
    pub(super) fn wake(&self) {
        // Taken so that nobody is between looking and waiting.
        drop(self.state.lock());
        self.progress.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Tells whether the last commit failed for want of space.
    pub(super) fn is_storage_full(&self) -> bool {
        self.state.lock().storage_full
    }

    /// Tells whether all that was recorded is committed.
    pub(super) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        state.committed_seq == state.last_seq
    }

    pub(super) fn committed(&self) -> OpId {
        self.state.lock().committed
    }

    /// Waits until `op` and all marks that were made before this call are committed.
    pub(super) fn wait_committed(&self, op: OpId) -> Result<(), RecordError> {
        let mut state = self.state.lock();
        if op > state.recorded {
            return Err(RecordError::UnknownOp(op));
        }
        let marks = state.last_mark;
        while state.committed < op || state.committed_seq < marks {
            if state.stopped {
                return Err(self.poison.error());
            }
            self.wait_for_progress(&mut state);
        }
        Ok(())
    }

    /// Calls back once `op` is committed: at once if it is, else without delay from the thread that commits; with an error
    /// if it is not going to be.
    pub(super) fn on_committed(&self, op: OpId, then: Then) {
        let mut state = self.state.lock();
        if state.committed < op && !state.stopped {
            state.callbacks.push((op, then));
            self.work.notify_one();
            return;
        }
        let outcome = if state.committed < op { Err(self.poison.error()) } else { Ok(()) };
        drop(state);
        then(outcome);
    }

    /// Returns how much is recorded but not committed: operations and bytes of data.
    pub(super) fn pending(&self) -> (u64, u64) {
        let state = self.state.lock();
        let ops = state.recorded.get().saturating_sub(state.committed.get());
        (ops, state.held_bytes + state.spill.map_or(0, |spill| spill.bytes))
    }

    /// Returns the statistics.
    pub fn stats(&self) -> QueueStats {
        let state = self.state.lock();
        let spilled = state.spill.map_or(0, |spill| spill.ops);
        QueueStats { current_size: state.ops.len() as u64, spilled, ..state.stats.clone() }
    }
}

impl State {
    /// Puts an operation into memory.
    fn hold(&mut self, op: OpCode, seq: Seq) {
        let bytes = op.data.size();
        self.held_ops += 1;
        self.held_bytes += bytes;
        self.queued_bytes += bytes;
        self.ops.push_back(Queued { op, seq });
        self.stats.peak_size = self.stats.peak_size.max(self.ops.len() as u64);
    }

    /// Leaves an operation in the journal only.
    fn spill_over(&mut self, op: &OpCode, place: Position) {
        let spill = self.spill.get_or_insert(Spill { next: place, ops: 0, bytes: 0, reading: false });
        spill.ops += 1;
        spill.bytes += op.data.size();
        self.stats.total_spilled += 1;
    }

    fn unspill(&mut self, op: &OpCode) {
        if let Some(spill) = &mut self.spill {
            spill.ops -= 1;
            spill.bytes -= op.data.size();
        }
    }

    fn apply_mark(&mut self, op: OpId, landmark: Landmark) {
        if let Some(queued) = self.queued_mut(op) {
            queued.landmark = queued.landmark.max(Some(landmark));
        } else {
            let kept = self.marks.entry(op).or_insert(landmark);
            *kept = landmark.max(*kept);
        }
    }

    fn queued_mut(&mut self, op: OpId) -> Option<&mut OpCode> {
        let first = self.ops.front()?.op.id;
        let index = usize::try_from(op.get().checked_sub(first.get())?).ok()?;
        self.ops.get_mut(index).map(|queued| &mut queued.op)
    }

    /// Returns when the next batch is to be taken; `None` if there is nothing to take.
    fn batch_due(&self, config: &ProcessorConfig) -> Option<Instant> {
        let since = self.waiting_since.filter(|_| !self.ops.is_empty() || !self.marks.is_empty())?;
        let hurry = self.urgent > 0 || !self.callbacks.is_empty() || self.closing || self.has_full_batch(config);
        Some(if hurry { since } else { since + config.poll_interval })
    }

    fn has_full_batch(&self, config: &ProcessorConfig) -> bool {
        self.spill.is_some()
            || self.ops.len() >= config.max_batch_size
            || self.queued_bytes >= ProcessorConfig::BATCH_BYTES_MAX
    }

    fn take(&mut self, config: &ProcessorConfig) -> Taken {
        let (ops, bytes) = self.next_batch(config);
        let batch = Batch {
            ops: self.ops.drain(..ops).map(|queued| queued.op).collect(),
            landmarks: std::mem::take(&mut self.marks).into_iter().collect(),
        };
        self.queued_bytes -= bytes;
        let next = self.ops.front().map(|queued| queued.seq).or(self.spill.map(|spill| spill.next.seq));
        self.waiting_since = next.map(|_| Instant::now());
        let ticket = self.tickets;
        self.tickets += 1;
        Taken { ticket, batch, through: next.map_or(self.last_seq, Seq::prev), ops, bytes }
    }

    /// Returns how many operations the next batch has, and how many bytes: at least one operation, if there is any.
    fn next_batch(&self, config: &ProcessorConfig) -> (usize, u64) {
        let (mut ops, mut bytes) = (0, 0);
        for queued in self.ops.iter().take(config.max_batch_size.max(1)) {
            let size = queued.op.data.size();
            if ops > 0 && bytes + size > ProcessorConfig::BATCH_BYTES_MAX {
                break;
            }
            ops += 1;
            bytes += size;
        }
        (ops, bytes)
    }
}
