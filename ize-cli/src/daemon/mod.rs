//! The process behind a mount: opens the project, mounts it, answers on its socket, and when the mount ends, by whatever
//! way, drains and commits what is left.

mod handover;
mod log;
mod serve;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use ize_core::project::{ProjectError, SettingsLayer};

use crate::arguments::{Durability, Granularity};
use crate::failure::Result;

pub(crate) use handover::{Parent, Ready, start};
pub(crate) use serve::serve;

/// How long to wait for a project that another process is just closing.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What is to be mounted, and how.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// Refuse changes.
    pub(crate) read_only: bool,
    /// Let other users in.
    pub(crate) allow_other: bool,
    /// What survives a power cut, if this mount differs from the settings.
    pub(crate) durability: Option<Durability>,
    /// In what pieces changes are recorded, if this mount differs from the settings.
    pub(crate) granularity: Option<Granularity>,
    /// Settings for this mount, as `key=value`.
    pub(crate) set: Vec<String>,
    /// There is a terminal, and nobody waits.
    pub(crate) foreground: bool,
}

impl Request {
    /// Returns what is set by flags, for this mount only.
    ///
    /// # Errors
    /// A setting that there is not, or whose value makes no sense.
    pub(crate) fn settings(&self) -> Result<SettingsLayer> {
        let mut layer = SettingsLayer::default();
        for set in &self.set {
            let (key, value) = set.split_once('=').unwrap_or((set, ""));
            layer.set_toml(key.trim(), value.trim(), "--set").map_err(ProjectError::from)?;
        }
        if let Some(durability) = self.durability {
            layer.durability = Some(durability.layer());
        }
        if let Some(granularity) = self.granularity {
            layer.granularity = Some(granularity.kind());
        }
        Ok(layer)
    }
}
