//! The floor below which a nearly full disk takes no more growth.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::tree::{Result, Space, TreeError, host};

/// How long a reading of the free space is trusted.
const TRUST: Duration = Duration::from_millis(250);
/// How much may be written on the strength of one reading, in bytes.
const TRUST_BYTES: u64 = 8 << 20;

/// The free space where `working/` is.
pub(super) struct Room {
    fd: OwnedFd,
    floor_bytes: u64,
    last: Mutex<Option<Reading>>,
}

struct Reading {
    at: Instant,
    available: u64,
    used_since: u64,
}

impl Room {
    pub(super) fn new(fd: OwnedFd, floor_bytes: u64) -> Self {
        Self { fd, floor_bytes, last: Mutex::default() }
    }

    pub(super) fn space(&self) -> Result<Space> {
        Ok(host::space(&self.fd)?)
    }

    /// Refuses growth by `bytes` if it would go below the floor.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        if self.floor_bytes == 0 {
            return Ok(());
        }
        let mut last = self.last.lock();
        let is_fresh = |reading: &Reading| reading.at.elapsed() < TRUST && reading.used_since < TRUST_BYTES;
        if !last.as_ref().is_some_and(is_fresh) {
            let space = self.space()?;
            let available = space.blocks_available.saturating_mul(u64::from(space.fragment_size));
            *last = Some(Reading { at: Instant::now(), available, used_since: 0 });
        }
        let Some(reading) = last.as_mut() else { return Ok(()) };
        // Each byte is written twice: to the file and to the journal.
        let needed = reading.used_since.saturating_add(bytes).saturating_mul(2);
        if reading.available.saturating_sub(needed) < self.floor_bytes {
            return Err(TreeError::NearlyFull);
        }
        reading.used_since = reading.used_since.saturating_add(bytes);
        Ok(())
    }
}
