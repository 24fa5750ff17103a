//! Calls that change what is on the disk: journal, packs and live files alike.
//!
//! Each of them is made inside [`change`], which says what it changes. In a normal build that is all. With the feature
//! `simulation` a test can have every change noted, in one order, and can have any of them fail: from the notes it makes the
//! states that a power cut could leave. What is stored is read inside [`read`], and a test can have ranges that the disk cannot read.

#[cfg(feature = "simulation")]
pub mod simulation;

use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;

/// What a call changes.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// An entry of a folder comes, goes, or names something else.
    Entry(BorrowedFd<'a>, &'a OsStr),
    /// Two entries change at once.
    Entries([(BorrowedFd<'a>, &'a OsStr); 2]),
    /// An entry, by path.
    Path(&'a Path),
    /// Two entries, by path.
    Paths([&'a Path; 2]),
    /// Size, mode, owner, times or extended attributes of a file or folder.
    Inode(BorrowedFd<'a>),
    /// So many bytes of a file from an offset on; its size, too, if they end behind it.
    Data(BorrowedFd<'a>, u64, u64),
    /// A range of a file becomes zeros.
    Zeros(BorrowedFd<'a>, u64, u64),
    /// What was changed in a file or folder becomes durable. Of a file perhaps only what is needed to read its data.
    Sync(BorrowedFd<'a>, Durable),
    /// Everything on the filesystem of a file becomes durable.
    SyncFilesystem(BorrowedFd<'a>),
}

/// What of a file becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Data and metadata: fsync(2).
    All,
    /// Data, and the metadata that reading it takes: fdatasync(2).
    Data,
}

/// Makes a call that changes the disk.
///
/// # Errors
/// Those of the call; in a simulation also those of the simulated disk.
#[inline(always)]
pub fn change<T, E: From<Errno>>(what: Change<'_>, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    #[cfg(feature = "simulation")]
    return simulation::observe(what, call);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = what;
        call()
    }
}

/// Makes a call that reads `bytes` of a file.
///
/// # Errors
/// Those of the call; in a simulation also those of the simulated disk.
#[inline(always)]
pub fn read<T, E: From<Errno>>(
    file: BorrowedFd<'_>,
    bytes: Range<u64>,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    #[cfg(feature = "simulation")]
    simulation::look_at(file, &bytes)?;
    let _ = (file, bytes);
    call()
}

/// Tells a simulation that a file was replaced by other means, durably: an engine's memory-mapped file.
#[inline(always)]
pub fn replaced(path: &Path) {
    #[cfg(feature = "simulation")]
    simulation::note_whole(path);
    #[cfg(not(feature = "simulation"))]
    let _ = path;
}
