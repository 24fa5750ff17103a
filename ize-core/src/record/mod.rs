//! Recording: from an operation that was applied to the tree to one that is in storage.
//!
//! [`Recorder`] gives each operation its place in the log, writes it to the [`crate::journal`], and queues it; a worker
//! ([`OpCodeProcessor`]) merges neighbours ([`OpCodeCoalescer`]) and commits the queue to storage in batches. Who records
//! never waits for a commit: what does not fit into the queue ([`OpCodeQueue`]) is read back from the journal, and only when
//! that is as long as it may be, it is waited for.

mod coalescer;
mod draft;
mod durability;
mod error;
mod line;
mod mark;
mod poison;
mod processor;
mod queue;
mod recorder;
mod recovery;
mod shared;
mod stats;
mod syncer;
#[cfg(test)]
mod tests;
mod tree_sync;

pub use coalescer::OpCodeCoalescer;
pub use draft::OpDraft;
pub use durability::DurabilityMode;
pub use error::RecordError;
pub use processor::{OpCodeProcessor, ProcessorConfig};
pub use queue::{OpCodeQueue, QueueLimits};
pub use recorder::{Recorder, RecorderOptions, RecorderStatus, Reservation};
pub use stats::QueueStats;
pub use tree_sync::{TreeSyncDue, UnsyncedTree};

/// Where the way of each operation is told: `journalled`, `queued` or `spilled`, `marked`, `read back`, `committed`, each with
/// its `op`. Costs nothing while nobody listens at level `TRACE`.
const OP_TARGET: &str = "ize::op";

/// A specialised `Result` for recording.
pub type Result<T, E = RecordError> = std::result::Result<T, E>;
