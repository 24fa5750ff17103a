//! The queue between those who record and the one who commits: bounded in operations and bytes, in order, and it never
//! drops anything. Who finds it full waits.
//!
//! Room is taken before an operation is applied to the tree ([`OpCodeQueue::reserve`]) and given back when it was
//! committed, so that what a batch in flight holds counts too.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::poison::Poison;
use super::{ProcessorConfig, QueueStats, RecordError};
use crate::journal::Seq;
use crate::model::{Landmark, OpCode, OpId};
use crate::storage::Batch;

/// The bounds of the queue, those who reserved and the batch in flight included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most operations.
    pub ops_max: usize,
    /// The most bytes of data.
    pub bytes_max: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { ops_max: 32 << 10, bytes_max: 64 << 20 }
    }
}

/// What a batch is made of.
pub(super) struct Taken {
    pub(super) batch: Batch,
    /// All records up to here are committed when the batch is.
    pub(super) through: Seq,
    ops: usize,
    bytes: u64,
}

/// What the worker is to do next.
pub(super) enum Work {
    /// Commit this.
    Batch(Taken),
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

#[derive(Debug, Default)]
struct State {
    ops: VecDeque<Queued>,
    /// For operations that are not in `ops` any more.
    marks: BTreeMap<OpId, Landmark>,
    /// Taken room: reserved, queued and in flight.
    room_ops: usize,
    room_bytes: u64,
    queued_bytes: u64,
    in_flight_bytes: u64,
    recorded: OpId,
    committed: OpId,
    last_seq: Seq,
    last_mark: Seq,
    committed_seq: Seq,
    /// When the first of the queued operations came.
    waiting_since: Option<Instant>,
    /// When the last operation becomes a landmark for want of others.
    idle_at: Option<Instant>,
    /// Somebody waits for a commit.
    urgent: usize,
    storage_full: bool,
    closing: bool,
    stopped: bool,
    stats: QueueStats,
}

/// The operations that are recorded but not committed yet.
#[derive(Debug)]
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

    /// Waits for room for one operation with `bytes` of data and takes it.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), RecordError> {
        let mut state = self.state.lock();
        while !self.has_room(&state, bytes) {
            self.poison.check()?;
            if state.closing {
                return Err(RecordError::Closed);
            }
            if state.storage_full {
                return Err(RecordError::Full);
            }
            self.wait_for_progress(&mut state);
        }
        state.room_ops += 1;
        state.room_bytes += bytes;
        Ok(())
    }

    fn has_room(&self, state: &State, bytes: u64) -> bool {
        // While storage is full, what brings no data may exceed the bound a little: it may be what makes space.
        let grace = if state.storage_full && bytes == 0 { self.limits.ops_max / 8 } else { 0 };
        let fits = state.room_ops < self.limits.ops_max + grace
            && state.room_bytes.saturating_add(bytes) <= self.limits.bytes_max;
        // Whatever is larger than the whole queue passes when it is empty.
        fits || state.room_ops == 0
    }

    fn wait_for_progress(&self, state: &mut MutexGuard<'_, State>) {
        state.urgent += 1;
        self.work.notify_one();
        self.progress.wait(state);
        state.urgent -= 1;
    }

    /// Gives room back that was reserved and is not going to be used.
    pub(super) fn release(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.give_back(1, bytes);
        drop(state);
        self.progress.notify_all();
    }

    /// Appends a journalled operation, for which `reserved` bytes of room were taken.
    pub(super) fn push(&self, op: OpCode, seq: Seq, reserved: u64) {
        let bytes = op.data.size();
        let now = Instant::now();
        let mut state = self.state.lock();
        state.room_bytes = state.room_bytes.saturating_sub(reserved).saturating_add(bytes);
        state.queued_bytes += bytes;
        state.recorded = op.id;
        state.last_seq = seq;
        state.idle_at = if op.landmark.is_none() { Some(now + self.idle_gap) } else { None };
        state.ops.push_back(Queued { op, seq });
        state.stats.total_enqueued += 1;
        state.stats.peak_size = state.stats.peak_size.max(state.ops.len() as u64);
        let first = state.waiting_since.is_none();
        state.waiting_since.get_or_insert(now);
        let full_batch = state.has_full_batch(&self.config);
        drop(state);
        if first || full_batch {
            self.work.notify_one();
        }
    }

    /// Makes an operation a landmark, in the queue or by the next batch.
    pub(super) fn mark(&self, op: OpId, landmark: Landmark, seq: Seq) {
        let mut state = self.state.lock();
        state.last_seq = seq;
        state.last_mark = seq;
        if op == state.recorded {
            state.idle_at = None;
        }
        match state.queued_mut(op) {
            Some(queued) => queued.landmark = queued.landmark.max(Some(landmark)),
            None => {
                let kept = state.marks.entry(op).or_insert(landmark);
                *kept = landmark.max(*kept);
                if state.waiting_since.is_none() {
                    state.waiting_since = Some(Instant::now());
                    self.work.notify_one();
                }
            }
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
            let now = Instant::now();
            if let Some(due) = state.batch_due(&self.config) {
                if due <= now {
                    return Work::Batch(state.take(&self.config));
                }
            } else if state.closing {
                return Work::Finished;
            }
            if state.idle_at.is_some_and(|idle_at| idle_at <= now) {
                state.idle_at = None;
                return Work::Idle(state.recorded);
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

    /// Takes note that a batch was committed.
    pub(super) fn settle(&self, taken: &Taken, busy: Duration) {
        let mut state = self.state.lock();
        state.give_back(taken.ops, taken.bytes);
        if let Some(last) = taken.batch.ops.last() {
            state.committed = last.last_id;
        }
        state.in_flight_bytes = 0;
        state.committed_seq = taken.through;
        state.storage_full = false;
        state.stats.settle(taken.ops as u64, taken.bytes, busy);
        drop(state);
        self.progress.notify_all();
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
        while !state.closing && !self.work.wait_until(&mut state, until).timed_out() {}
    }

    /// Ends the work: what is queued is not going to be committed by this process.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.work.notify_all();
        self.progress.notify_all();
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

    /// Returns how much is recorded but not committed: operations and bytes of data.
    pub(super) fn pending(&self) -> (u64, u64) {
        let state = self.state.lock();
        let ops = state.recorded.get().saturating_sub(state.committed.get());
        (ops, state.queued_bytes + state.in_flight_bytes)
    }

    /// Returns the statistics.
    pub fn stats(&self) -> QueueStats {
        let state = self.state.lock();
        QueueStats { current_size: state.ops.len() as u64, ..state.stats.clone() }
    }
}

impl State {
    fn give_back(&mut self, ops: usize, bytes: u64) {
        self.room_ops = self.room_ops.saturating_sub(ops);
        self.room_bytes = self.room_bytes.saturating_sub(bytes);
    }

    fn queued_mut(&mut self, op: OpId) -> Option<&mut OpCode> {
        let first = self.ops.front()?.op.id;
        let index = usize::try_from(op.get().checked_sub(first.get())?).ok()?;
        self.ops.get_mut(index).map(|queued| &mut queued.op)
    }

    /// Returns when the next batch is to be taken; `None` if there is nothing to take.
    fn batch_due(&self, config: &ProcessorConfig) -> Option<Instant> {
        let since = self.waiting_since?;
        let hurry = self.urgent > 0 || self.closing || self.has_full_batch(config);
        Some(if hurry { since } else { since + config.poll_interval })
    }

    fn has_full_batch(&self, config: &ProcessorConfig) -> bool {
        self.ops.len() >= config.max_batch_size || self.queued_bytes >= ProcessorConfig::BATCH_BYTES_MAX
    }

    fn take(&mut self, config: &ProcessorConfig) -> Taken {
        let (ops, bytes) = self.next_batch(config);
        let batch = Batch {
            ops: self.ops.drain(..ops).map(|queued| queued.op).collect(),
            landmarks: std::mem::take(&mut self.marks).into_iter().collect(),
        };
        self.queued_bytes -= bytes;
        self.in_flight_bytes = bytes;
        let through = self.ops.front().map_or(self.last_seq, |queued| queued.seq.prev());
        self.waiting_since = self.ops.front().map(|_| Instant::now());
        Taken { batch, through, ops, bytes }
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
