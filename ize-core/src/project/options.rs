//! How a project is opened.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{BackendOptions, Clock, Settings};
use crate::journal::JournalOptions;
use crate::record::{DurabilityMode, ProcessorConfig, RecorderOptions};
use crate::tree::CopyProgress;

/// How far the opening of a project is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A tree is being copied in.
    Importing(CopyProgress),
    /// Files that were compared with history so far.
    Reconciling(u64),
}

/// How a project is opened.
#[non_exhaustive]
pub struct ProjectOptions {
    /// The settings, those of the project included: see [`Settings::overlaid`].
    pub settings: Settings,
    /// How long to wait for another process that has the project open.
    pub lock_wait: Duration,
    /// Nothing can be changed, and what changed while nobody looked is not recorded.
    pub read_only: bool,
    /// New files belong to the caller who made them; see [`crate::tree::LiveOptions::own_new_files`].
    pub own_new_files: bool,
    /// The folder of the live files, where it was opened before a mount covered it.
    pub working: Option<OwnedFd>,
    /// By which times are understood.
    pub clock: Clock,
    /// Is told how far the opening is.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl ProjectOptions {
    /// Opens for reading and writing, without waiting, times in UTC.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            lock_wait: Duration::ZERO,
            read_only: false,
            own_new_files: false,
            working: None,
            clock: Clock::utc(),
            progress: None,
        }
    }

    pub(super) fn backend(&self, engine: Option<&str>) -> BackendOptions {
        BackendOptions {
            engine: engine.map(ToOwned::to_owned),
            compress: self.settings.compress.unwrap_or(true),
            author: self.settings.author.clone(),
            change_per_op: self.settings.durability == DurabilityMode::Immediate,
        }
    }

    pub(super) fn recorder(&self) -> RecorderOptions {
        let layer = &self.settings.processor;
        let built_in = ProcessorConfig::default();
        RecorderOptions {
            durability: self.settings.durability,
            processor: ProcessorConfig {
                poll_interval: layer.poll_interval.unwrap_or(built_in.poll_interval),
                max_batch_size: layer.max_batch_size.unwrap_or(built_in.max_batch_size),
                worker_threads: layer.worker_threads.unwrap_or(built_in.worker_threads),
                enable_compression: layer.enable_compression.unwrap_or(built_in.enable_compression),
            },
            journal: JournalOptions { bytes_max: self.settings.journal_bytes_max, ..JournalOptions::default() },
            guards_tree: true,
            ..RecorderOptions::default()
        }
    }

    pub(super) fn tell(&self, progress: Progress) {
        if let Some(tell) = &self.progress {
            tell(progress);
        }
    }
}

impl fmt::Debug for ProjectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectOptions")
            .field("settings", &self.settings)
            .field("lock_wait", &self.lock_wait)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
