//! Where prepared batches wait for the thread that commits them: they leave in the order in which they were taken from
//! the queue, whoever prepared them.

use std::collections::BTreeMap;

use parking_lot::{Condvar, Mutex};

use super::queue::Taken;

#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: Condvar,
    /// How many batches may wait.
    ahead_max: u64,
}

#[derive(Debug)]
struct State {
    ready: BTreeMap<u64, Taken>,
    /// The ticket of the batch that leaves next.
    next: u64,
    /// How many threads still prepare.
    preparing: usize,
    closed: bool,
}

impl Line {
    /// Makes a line for so many threads; the first batch will have the ticket 0.
    pub(super) fn new(preparing: usize) -> Self {
        let state = State { ready: BTreeMap::new(), next: 0, preparing, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ahead_max: preparing as u64 }
    }

    /// Adds a batch, and waits first while it is too far ahead. Answers whether there is any use in preparing more.
    pub(super) fn put(&self, taken: Taken) -> bool {
        let mut state = self.state.lock();
        while taken.ticket >= state.next + self.ahead_max && !state.closed {
            self.changed.wait(&mut state);
        }
        state.ready.insert(taken.ticket, taken);
        self.changed.notify_all();
        !state.closed
    }

    /// Waits for the next batch; `None` if nobody prepares one any more.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = self.state.lock();
        loop {
            let next = state.next;
            if let Some(taken) = state.ready.remove(&next) {
                state.next += 1;
                self.changed.notify_all();
                return Some(taken);
            }
            if state.preparing == 0 {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// One thread prepares no more.
    pub(super) fn leave(&self) {
        self.state.lock().preparing -= 1;
        self.changed.notify_all();
    }

    /// Nothing is going to be committed any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}
