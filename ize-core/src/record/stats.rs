//! What the queue counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went through the queue since the recorder was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Operations that were put in.
    pub total_enqueued: u64,
    /// Operations that were taken out and committed.
    pub total_dequeued: u64,
    /// Operations that are in the queue now, not counting the batch that is being committed.
    pub current_size: u64,
    /// The most operations that ever were in the queue.
    pub peak_size: u64,
    /// Operations that are in the journal only, until the queue has room for them.
    pub spilled: u64,
    /// Operations that ever were in the journal only.
    pub total_spilled: u64,
    /// The most operations that the queue holds.
    pub capacity: u64,
    /// Bytes of data that were committed.
    pub total_bytes_processed: u64,
    /// Operations that are committed per second of committing.
    pub operations_per_second: f64,
    /// Operations per batch, on average.
    pub average_batch_size: f64,
    /// Batches that were committed.
    pub batches: u64,
    /// Seconds that were spent committing.
    pub busy_secs: f64,
}

impl QueueStats {
    /// Returns how full the queue is: 0 empty, 1 full.
    pub fn queue_utilization(&self) -> f64 {
        self.current_size as f64 / self.capacity.max(1) as f64
    }

    /// Returns how many megabytes of data are committed per second of committing; 0 before the first commit.
    pub fn throughput_mbps(&self) -> f64 {
        if self.busy_secs > 0.0 { self.total_bytes_processed as f64 / 1_000_000.0 / self.busy_secs } else { 0.0 }
    }

    pub(super) fn settle(&mut self, ops: u64, bytes: u64, busy: Duration) {
        self.total_dequeued += ops;
        self.total_bytes_processed += bytes;
        self.batches += 1;
        self.busy_secs += busy.as_secs_f64();
        self.average_batch_size = self.total_dequeued as f64 / self.batches as f64;
        self.operations_per_second = self.total_dequeued as f64 / self.busy_secs.max(1e-9);
    }
}
