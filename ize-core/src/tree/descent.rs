//! A way down a host tree, of any depth, with a bounded number of descriptors.
//!
//! Only the top and the deepest folders are open. On the way back a folder that was closed is opened again through `..`
//! and must be the one that it was.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::host::{self, HostId};

/// How many folders below the top are open at most.
const OPEN_MAX: usize = 24;

/// The folders from a top down to where the work is.
pub(super) struct Descent {
    top: Level,
    below: Vec<Level>,
}

struct Level {
    id: HostId,
    /// Closed while the work is far below.
    fd: Option<OwnedFd>,
}

impl Level {
    fn new(fd: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { id: host::stat(&fd)?.id, fd: Some(fd) })
    }
}

impl Descent {
    /// Begins at an open folder.
    pub(super) fn new(top: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { top: Level::new(top)?, below: Vec::new() })
    }

    /// Returns the folder where the work is.
    pub(super) fn current(&self) -> Result<BorrowedFd<'_>, Errno> {
        let level = self.below.last().unwrap_or(&self.top);
        level.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::STALE)
    }

    /// Returns the folder where it began.
    pub(super) fn top(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.top.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::STALE)
    }

    pub(super) fn top_id(&self) -> HostId {
        self.top.id
    }

    /// Goes down into a folder of the current one.
    pub(super) fn enter(&mut self, name: &OsStr) -> Result<(), Errno> {
        let fd = open_folder(self.current()?, name)?;
        self.enter_open(fd)
    }

    /// Goes down into a folder of the current one, which is already open.
    pub(super) fn enter_open(&mut self, fd: OwnedFd) -> Result<(), Errno> {
        self.below.push(Level::new(fd)?);
        if let Some(far) = self.below.len().checked_sub(OPEN_MAX + 1) {
            self.below[far].fd = None;
        }
        Ok(())
    }

    /// Goes back up.
    pub(super) fn leave(&mut self) -> Result<(), Errno> {
        let Some(left) = self.below.pop() else { return Err(Errno::INVAL) };
        let Some(level) = self.below.last_mut().filter(|level| level.fd.is_none()) else { return Ok(()) };
        let fd = open_folder(left.fd.as_ref().ok_or(Errno::STALE)?, OsStr::new(".."))?;
        if host::stat(&fd)?.id != level.id {
            return Err(Errno::STALE);
        }
        level.fd = Some(fd);
        Ok(())
    }
}

fn open_folder(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
