//! The sync thread: the one place that makes the journal durable, and that calls those back who wait for it.
//!
//! Whoever needs the disk leaves a callback and goes on; the thread takes all callbacks that are there, syncs once, and
//! answers them all. So those who come during one sync share the next, and no lock is held over the system call. In
//! group mode it also syncs soon after something was recorded, though nobody waits.
//!
//! What must always hold: a callback is called exactly once, after a sync that began after it was left here, or with the
//! error; also when the recorder is closed or the thread dies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{DurabilityMode, RecordError, Result};

/// What is called once the outcome of a sync is known.
pub(super) type Then = Box<dyn FnOnce(Result<()>) + Send>;

/// The longest that a sync is put off so that those who were just answered can join it.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// What waits for the sync thread.
pub(super) struct Syncer {
    group: Option<Group>,
    /// Operations that were recorded since the last sync began; counted in group mode only.
    pending: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

/// When a sync is due though nobody waits for it.
#[derive(Debug)]
struct Group {
    delay: Duration,
    pending_max: usize,
}

#[derive(Default)]
struct State {
    waiting: Vec<Then>,
    /// When the first of the pending operations came.
    since: Option<Instant>,
    /// The thread is awake and does not want to be woken before so many wait.
    gathering: Option<usize>,
    closing: bool,
    ended: bool,
}

/// How the last sync went, by which the next one is timed.
#[derive(Default)]
struct Pace {
    waited: usize,
    took: Duration,
}

impl std::fmt::Debug for Syncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syncer").field("group", &self.group).field("waiting", &self.state.lock().waiting.len()).finish()
    }
}

impl Syncer {
    pub(super) fn new(durability: DurabilityMode) -> Self {
        let group = match durability {
            DurabilityMode::GroupCommit { max_delay_ms, max_pending_ops } => {
                Some(Group { delay: Duration::from_millis(max_delay_ms), pending_max: max_pending_ops.max(1) })
            }
            DurabilityMode::Immediate | DurabilityMode::Relaxed => None,
        };
        Self { group, pending: AtomicUsize::new(0), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes note that an operation was appended to the journal.
    pub(super) fn recorded(&self) {
        let Some(group) = &self.group else { return };
        let before = self.pending.fetch_add(1, Ordering::AcqRel);
        if before == 0 || before + 1 == group.pending_max {
            self.state.lock().since.get_or_insert_with(Instant::now);
            self.changed.notify_one();
        }
    }

    /// Leaves a callback for the next sync to begin; gives it back when there will be none.
    pub(super) fn push(&self, then: Then) -> Option<Then> {
        let mut state = self.state.lock();
        if state.ended {
            return Some(then);
        }
        state.waiting.push(then);
        if state.waiting.len() >= state.gathering.unwrap_or(1) {
            self.changed.notify_one();
        }
        None
    }

    /// Answers those who wait until the syncer is closed and nobody waits any more. `sync` makes durable what was
    /// appended before it was called; `error` tells again why it failed.
    pub(super) fn run(&self, mut sync: impl FnMut() -> Result<()>, error: impl Fn() -> RecordError) {
        // A panic drops the callbacks that are on the way, and so tells those who wait.
        let _ending = Ending(self);
        let mut pace = Pace::default();
        while let Some(waiting) = self.next(&pace) {
            let began = Instant::now();
            let is_durable = sync().is_ok();
            pace = Pace { waited: waiting.len(), took: began.elapsed() };
            for then in waiting {
                let outcome = if is_durable { Ok(()) } else { Err(error()) };
                if catch_unwind(AssertUnwindSafe(|| then(outcome))).is_err() {
                    tracing::error!("what was to follow a sync panicked");
                }
            }
        }
    }

    /// Waits until a sync is due and returns who waits for it; `None` if there will be no more.
    fn next(&self, pace: &Pace) -> Option<Vec<Then>> {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() {
                self.gather(&mut state, pace);
                return Some(self.begin(&mut state));
            }
            if state.closing {
                state.ended = true;
                return None;
            }
            match self.due(&state) {
                Some(due) if due <= Instant::now() => return Some(self.begin(&mut state)),
                Some(due) => {
                    self.changed.wait_until(&mut state, due);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    fn due(&self, state: &State) -> Option<Instant> {
        let group = self.group.as_ref()?;
        let since = state.since?;
        Some(if self.pending.load(Ordering::Acquire) >= group.pending_max { since } else { since + group.delay })
    }

    /// Waits a moment for those who waited for the last sync too: they were all answered at once, and the first of them
    /// to come again must not have a sync for itself. Costs a lone writer nothing.
    fn gather(&self, state: &mut MutexGuard<'_, State>, pace: &Pace) {
        let until = Instant::now() + (pace.took / 4).min(GATHER_MAX);
        while state.waiting.len() < pace.waited && !state.closing {
            state.gathering = Some(pace.waited);
            if self.changed.wait_until(state, until).timed_out() {
                break;
            }
        }
        state.gathering = None;
    }

    fn begin(&self, state: &mut State) -> Vec<Then> {
        self.pending.store(0, Ordering::Release);
        state.since = None;
        std::mem::take(&mut state.waiting)
    }

    /// Lets the thread end once it has answered those who wait.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_one();
    }
}

/// Marks the end of the thread, however it comes.
struct Ending<'a>(&'a Syncer);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

/// Hands out a callback and waits until it is called.
pub(super) fn wait(hand_out: impl FnOnce(Then)) -> Result<()> {
    let (sender, outcome) = mpsc::sync_channel(1);
    hand_out(Box::new(move |result| {
        // Whoever handed it out waits for it.
        let _ = sender.send(result);
    }));
    outcome.recv().unwrap_or_else(|_| Err(RecordError::Poisoned("the sync thread died".to_owned())))
}
