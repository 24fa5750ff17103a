//! The group mode's thread: syncs the journal soon after something was recorded, so that nobody has to wait for it.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// When the next sync is due.
#[derive(Debug)]
pub(super) struct Syncer {
    delay: Duration,
    pending_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: usize,
    /// When the first of the pending operations came.
    since: Option<Instant>,
    closing: bool,
}

impl Syncer {
    pub(super) fn new(delay: Duration, pending_max: usize) -> Self {
        Self { delay, pending_max: pending_max.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes note that an operation was appended to the journal.
    pub(super) fn recorded(&self) {
        let mut state = self.state.lock();
        state.pending += 1;
        state.since.get_or_insert_with(Instant::now);
        if state.pending == 1 || state.pending == self.pending_max {
            self.changed.notify_one();
        }
    }

    /// Syncs whenever it is due, until [`Syncer::close`] or until `sync` answers that it makes no sense any more.
    pub(super) fn run(&self, mut sync: impl FnMut() -> bool) {
        while self.wait() {
            if !sync() {
                return;
            }
        }
    }

    /// Waits until a sync is due; answers `false` if there will be none.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return false;
            }
            match state.since.map(|since| since + self.delay) {
                Some(due) if state.pending >= self.pending_max || due <= Instant::now() => {
                    state.pending = 0;
                    state.since = None;
                    return true;
                }
                Some(due) => {
                    self.changed.wait_until(&mut state, due);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_one();
    }
}
