//! Why a mount did not begin or did not end.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// An error of mounting or unmounting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point is missing, is no folder, or cannot be reached.
    #[error("{} cannot be a mount point", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mount point holds something, and was not to be covered.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The mount point.
        path: PathBuf,
    },
    /// A project is mounted there already.
    #[error("{} is mounted on {} already", name, path.display())]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
        /// The source in the mount table, `ize:<name>`.
        name: String,
    },
    /// The daemon of an earlier mount is gone, and its mount was left behind: see [`crate::clear_dead_mount`].
    #[error("a dead mount was left on {}", path.display())]
    DeadMount {
        /// The mount point.
        path: PathBuf,
    },
    /// `/dev/fuse` cannot be opened: the kernel has no FUSE, or the container does not hand it in.
    #[error("/dev/fuse cannot be opened")]
    Device {
        /// Why.
        #[source]
        source: Errno,
    },
    /// Without privileges, mounting needs the command `fusermount3` of the package `fuse3`.
    #[error("fusermount3 cannot be run")]
    HelperMissing {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `fusermount3` refused.
    #[error("fusermount3 refused: {message}")]
    Helper {
        /// What it said.
        message: String,
    },
    /// The kernel refused to mount.
    #[error("the kernel refused to mount on {}", path.display())]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A program works in the mount.
    #[error("{} is in use", path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// The kernel refused to unmount.
    #[error("the kernel refused to unmount {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The mount table cannot be read.
    #[error("/proc/self/mountinfo cannot be read")]
    Table {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The conversation with the kernel did not start, or broke.
    #[error("the conversation with the kernel broke")]
    Session {
        /// Why.
        #[source]
        source: io::Error,
    },
}
