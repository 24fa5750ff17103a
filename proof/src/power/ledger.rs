//! When calls began and returned, and which of them were kept.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Failure;

/// One order of all moments of all workers.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A call: when it began, and when it returned, if it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begun: u64,
    pub(super) returned: Option<u64>,
}

/// What was kept of one worker's calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// When the last call that must be among them began.
    pub(super) last_begun: Option<u64>,
    /// When the first call that cannot be among them returned.
    pub(super) missing_returned: Option<u64>,
}

impl Kept {
    /// Checks that no worker kept a call that began after a lost call of another one had returned.
    pub(super) fn is_one_cut(all: &[Self]) -> Result<(), Failure> {
        let lost = all.iter().filter_map(|kept| kept.missing_returned).min();
        let last = all.iter().filter_map(|kept| kept.last_begun).max();
        match (lost, last) {
            (Some(lost), Some(last)) if lost < last => {
                Err(format!("a call that began at {last} was kept, one that had returned at {lost} was not: {all:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_through_two_workers_is_told_from_a_state_that_never_was() {
        let kept = |last_begun, missing_returned| Kept { last_begun, missing_returned };
        Kept::is_one_cut(&[kept(Some(4), Some(9)), kept(Some(8), None)]).unwrap();
        Kept::is_one_cut(&[kept(Some(4), Some(7)), kept(Some(8), None)]).unwrap_err();
    }
}
