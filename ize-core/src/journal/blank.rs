//! Zeros that are written into a segment ahead of its records.
//!
//! Space that was only set aside becomes data when it is first written to. That is a change of metadata, so fdatasync(2)
//! waits for a transaction of the filesystem (on ext4 3 ms instead of half a millisecond, `docs/performance.md`), and who
//! changes names there meanwhile waits with it. Where zeros were written before, and were synced together with other records,
//! a record only replaces them.

use std::fs::File;
use std::ops::Range;
use std::time::{Duration, Instant};

const PAGE_BYTES: u64 = 4096;
const WINDOW_BYTES: u64 = 256 << 10;
/// A window, the most that is written at once.
pub(super) static BLANK: [u8; 256 << 10] = [0; 256 << 10];

/// Tells whether zeros ahead are any use in a folder: whether its filesystem is known to replace data in place. Elsewhere
/// (btrfs, ZFS) they would use up the space that was set aside.
pub(super) fn pays_off(folder: &File) -> bool {
    // `EXT4_SUPER_MAGIC` and `XFS_SUPER_MAGIC`, see statfs(2).
    const IN_PLACE: [u64; 2] = [0xef53, 0x5846_5342];
    rustix::fs::fstatfs(folder)
        .is_ok_and(|about| u64::try_from(about.f_type).is_ok_and(|kind| IN_PLACE.contains(&kind)))
}

/// How far a segment is blanked.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    until: u64,
    since: Option<Instant>,
}

impl Ahead {
    /// A window that was filled sooner is part of a burst, which writes enough as it is.
    const PAUSE: Duration = Duration::from_millis(20);

    /// Returns what is to be blanked after a write that ended at `end`, behind which nothing was written. At most as much
    /// as [`BLANK`].
    pub(super) fn next(&mut self, end: u64, now: Instant) -> Option<Range<u64>> {
        let is_burst = self.since.is_some_and(|since| now.saturating_duration_since(since) < Self::PAUSE);
        if is_burst || end.saturating_add(WINDOW_BYTES / 4) <= self.until {
            return None;
        }
        let start = end.checked_next_multiple_of(PAGE_BYTES)?;
        let until = start.checked_add(WINDOW_BYTES)?;
        let blank = start.max(self.until)..until;
        (self.until, self.since) = (until, Some(now));
        Some(blank)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn zeros_go_ahead_of_what_was_written_each_place_once(
            writes in vec((1u64..70_000, prop_oneof![Just(0u64), 1u64..50]), 1..200),
        ) {
            let (mut ahead, mut now, mut end, mut blanked) = (Ahead::default(), Instant::now(), 0, 0);
            for (bytes, millis) in writes {
                (end, now) = (end + bytes, now + Duration::from_millis(millis));
                if let Some(range) = ahead.next(end, now) {
                    prop_assert!(range.start >= end && range.start >= blanked, "{range:?} after {end} and {blanked}");
                    prop_assert!(range.start - end.max(blanked) < PAGE_BYTES && range.end > range.start);
                    prop_assert!(range.end - range.start <= BLANK.len() as u64);
                    blanked = range.end;
                }
                prop_assert!(millis < 20 || blanked >= end + WINDOW_BYTES / 4, "{blanked} after {end}");
            }
        }
    }

    #[test]
    fn a_burst_is_left_alone() {
        let (mut ahead, now) = (Ahead::default(), Instant::now());
        assert!(ahead.next(64, now).is_some());
        let soon = now + Ahead::PAUSE - Duration::from_millis(1);
        assert_eq!(ahead.next(1 << 20, soon), None);
        assert!(ahead.next(1 << 20, now + Ahead::PAUSE).is_some());
        assert_eq!(ahead.next(u64::MAX, now + 2 * Ahead::PAUSE), None);
    }
}
