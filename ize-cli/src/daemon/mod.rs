//! The process behind a mount: opens the project, mounts it, answers on its socket, and when the mount ends, by whatever
//! way, drains and commits what is left.

mod handover;
mod log;
mod serve;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use crate::arguments::Durability;

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
    /// There is a terminal, and nobody waits.
    pub(crate) foreground: bool,
}
