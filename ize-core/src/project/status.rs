//! How far a project is recorded, and what it takes on disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ProjectInfo, Result};
use crate::model::{OpId, ProjectId};
use crate::record::{DurabilityMode, QueueStats, Recorder};
use crate::storage::SizeOf;
use crate::tree::Granularity;

/// The state of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: ProjectId,
    /// Its storage.
    pub backend: String,
    /// The storage's engine, where there are several.
    pub engine: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<PathBuf>,
    /// The process that has it open.
    pub pid: u32,
    /// The last operation that was acknowledged.
    pub recorded: OpId,
    /// The last operation that is in storage.
    pub committed: OpId,
    /// Operations that are recorded but not committed.
    pub pending_ops: u64,
    /// The bytes of data that these brought.
    pub pending_bytes: u64,
    /// What the journal takes on disk.
    pub journal_bytes: u64,
    /// The most that the journal takes; then recording waits.
    pub journal_bytes_max: u64,
    /// What went through the queue since the project was opened.
    pub queue: QueueStats,
    /// What an acknowledged operation survives.
    pub durability: DurabilityMode,
    /// In what pieces changes of content are recorded, if it is mounted.
    pub granularity: Option<Granularity>,
    /// Why nothing can be recorded any more, if so.
    pub poisoned: Option<String>,
    /// What the storage takes.
    pub sizes: Vec<SizeOf>,
}

impl Status {
    pub(super) fn of(info: &ProjectInfo, recorder: &Recorder, mounted: Option<(PathBuf, Granularity)>) -> Result<Self> {
        let storage = recorder.storage().info()?;
        let status = recorder.status();
        let (mount_point, granularity) = mounted.unzip();
        Ok(Self {
            name: info.name().to_owned(),
            id: info.paths.id,
            backend: storage.backend,
            engine: storage.engine,
            mount_point,
            pid: std::process::id(),
            recorded: status.recorded,
            committed: status.committed,
            pending_ops: status.pending_ops,
            pending_bytes: status.pending_bytes,
            journal_bytes: status.journal_bytes,
            journal_bytes_max: status.journal_bytes_max,
            queue: status.queue,
            durability: recorder.durability(),
            granularity,
            poisoned: status.poisoned,
            sizes: storage.sizes,
        })
    }
}
