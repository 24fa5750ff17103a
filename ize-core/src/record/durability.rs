//! What an operation that returned survives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a returned operation survives. A killed process loses nothing in any mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DurabilityMode {
    /// A power cut: each operation is synced before it returns. Those who wait at one time share one sync.
    Immediate,
    /// A power cut, but for what returned since the last completed sync; the next one begins after so much at the latest.
    /// Nobody waits for it.
    GroupCommit {
        /// The longest that a recorded operation waits for its sync to begin.
        max_delay_ms: u64,
        /// The most operations that wait for it.
        max_pending_ops: usize,
    },
    /// A power cut, but for what was recorded since the last `fsync` in the mount, `ize sync`, or commit.
    Relaxed,
}

impl DurabilityMode {
    /// What group mode means where nobody said more.
    pub const GROUP_DEFAULT: Self = Self::GroupCommit { max_delay_ms: 5, max_pending_ops: 100 };

    /// Returns the mode as settings call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::GroupCommit { .. } => "group",
            Self::Relaxed => "relaxed",
        }
    }
}

impl Default for DurabilityMode {
    fn default() -> Self {
        Self::GROUP_DEFAULT
    }
}

impl fmt::Display for DurabilityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupCommit { max_delay_ms, max_pending_ops } => {
                write!(f, "group ({max_delay_ms} ms, {max_pending_ops} operations)")
            }
            Self::Immediate | Self::Relaxed => f.write_str(self.name()),
        }
    }
}
