//! The tree of files: [`Tree`] is what a mount (or a test) works with.
//!
//! `Live` is the tree in `working/`, whose every change is recorded; `Snapshot` is one [`crate::model::View`], read-only.
//! An adapter such as `ize-fuse` decodes a request, calls one method, and encodes the reply; it decides nothing.
//!
//! Nodes are named by [`FileId`]. The adapter holds a *lookup reference* for each time that a method returned a node's
//! [`Stat`] from `lookup`, `make_*`, `link` or `create`, and gives references back with [`Tree::forget`]; the root needs none.

mod descent;
mod disk_threads;
mod error;
mod host;
mod ignore;
mod incoming;
mod live;
mod materialise;
mod restore;
mod snapshot;
mod source;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{FileId, FileKind, FileMetadata, Timestamp};

pub use self::ignore::IgnoreRules;
pub use disk_threads::DiskThreads;
pub use error::TreeError;
pub use incoming::{IncomingError, Incorporated, IncorporatedReport, Obstacle, incorporate};
pub use live::{Invalidator, Live, LiveOptions, MendReport, PowerCut, ReconcileOptions, ReconcileReport};
pub use materialise::{CopyError, CopyOptions, CopyProgress, CopyReport, Omission, export, import, materialise};
pub use restore::{RestoreError, RestoreOptions, RestoreReport, Restored, restore};
pub use snapshot::Snapshot;
pub use source::{HostSource, SnapshotSource, Source, SourceId, SourceNode};

/// A specialised `Result` for calls on a tree.
pub type Result<T, E = TreeError> = std::result::Result<T, E>;

/// What is to happen once the disk has answered; an adapter sends its reply from here. It may run on another thread, must
/// be quick, and must not call the tree.
pub type Then = Box<dyn FnOnce(Result<()>) + Send>;

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Process id; 0 where the kernel does not say.
    pub pid: u32,
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
}

impl Caller {
    /// No process has this id.
    const INCOMING_PID: u32 = u32::MAX;

    /// Stands for whoever put a change into a backend's own repository. What it does through a live tree is recorded as
    /// an external change, by [`crate::model::Actor::INCOMING`].
    pub const fn incoming(uid: u32, gid: u32) -> Self {
        Self { pid: Self::INCOMING_PID, uid, gid }
    }

    pub(in crate::tree) const fn is_incoming(self) -> bool {
        self.pid == Self::INCOMING_PID
    }
}

/// What `stat(2)` reports of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The node.
    pub file: FileId,
    /// Its metadata.
    pub metadata: FileMetadata,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Preferred size of I/O in bytes.
    pub block_size: u32,
}

/// A number that stands for an open file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    /// Makes a handle from its number.
    pub const fn new(handle: u64) -> Self {
        Self(handle)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The host's clock at the moment of the call.
    Now,
    /// This time.
    To(Timestamp),
}

/// Attributes to set; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits (low twelve bits).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}

/// A file, fifo, socket or device to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Its kind: anything but a folder or a symlink.
    pub kind: FileKind,
    /// Permission bits, umask already applied.
    pub mode: u32,
    /// Device number, as Linux encodes `st_rdev`.
    pub rdev: u64,
}

/// What a rename does with an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Refuses (`RENAME_NOREPLACE`).
    NoReplace,
    /// Exchanges the two (`RENAME_EXCHANGE`).
    Exchange,
}

/// Whether setting an attribute may create or replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Either.
    Either,
    /// Only create (`XATTR_CREATE`).
    Create,
    /// Only replace (`XATTR_REPLACE`).
    Replace,
}

/// What `fallocate(2)` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Reserve space.
    Allocate {
        /// Leave the size as it is.
        keep_size: bool,
    },
    /// Make a hole.
    PunchHole,
    /// Make zeros.
    ZeroRange {
        /// Leave the size as it is.
        keep_size: bool,
    },
}

/// What to look for from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFor {
    /// The next data (`SEEK_DATA`).
    Data,
    /// The next hole (`SEEK_HOLE`).
    Hole,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Reading is allowed.
    pub read: bool,
    /// Writing is allowed.
    pub write: bool,
    /// Every write goes to the end of the file.
    pub append: bool,
    /// The file is emptied.
    pub truncate: bool,
    /// The file must not exist yet (only with `create`).
    pub exclusive: bool,
    /// Each write is durable when it returns (`O_SYNC`, `O_DSYNC`).
    pub sync: bool,
    /// The caller wants no caching (`O_DIRECT`).
    pub direct: bool,
}

/// In what pieces a mount's changes of content are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Granularity {
    /// Each write, as it is made.
    #[default]
    Write,
    /// What a file holds when it is closed or synced: the kernel reads and writes the files itself meanwhile, where this
    /// process may let it.
    Close,
}

impl Granularity {
    /// Returns the name that settings have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Close => "close",
        }
    }
}

/// What a program asked to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// A file with all its metadata (`fsync(2)`).
    File,
    /// A file's content, and what is needed to read it (`fdatasync(2)`).
    Data,
    /// What was just written through a descriptor that waits for the disk (`O_SYNC`, `O_DSYNC`, `RWF_DSYNC`).
    Write,
}

/// An entry that [`Tree::read_directory`] hands out.
#[derive(Clone, Copy, Debug)]
pub struct TreeEntry<'a> {
    /// The name; `.` and `..` occur.
    pub name: &'a OsStr,
    /// The inode number to show in `d_ino`; not a node reference.
    pub inode: u64,
    /// The kind.
    pub kind: FileKind,
    /// Where to go on behind this entry. Stable while entries come and go.
    pub next: i64,
}

/// Space and inodes, as `statvfs(3)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Blocks of `fragment_size` bytes.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for unprivileged users.
    pub blocks_available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Preferred size of I/O in bytes.
    pub block_size: u32,
    /// Unit of the block counts in bytes.
    pub fragment_size: u32,
    /// Longest name in bytes.
    pub name_max: u32,
}

/// A tree of files, in the terms of a kernel's requests.
///
/// Every method may be called from several threads at once. Changes answer `EROFS` where the tree is read-only. A change that
/// was made is to be acknowledged only from [`Tree::settle`]. No method waits for the disk to sync, but for a change in place that must be
/// announced first: [`Tree::write`] ([`Tree::may_wait`] tells), and cutting, punching and copying over what is there.
/// Permissions are the caller's concern (a mount leaves them to the kernel: `default_permissions`).
pub trait Tree: Send + Sync + 'static {
    /// Finds an entry and takes a lookup reference on what it names.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENAMETOOLONG`.
    fn lookup(&self, parent: FileId, name: &OsStr) -> Result<Stat>;

    /// Gives back `lookups` references on a node.
    fn forget(&self, node: FileId, lookups: u64);

    /// Returns a node's metadata.
    ///
    /// # Errors
    /// `ENOENT` if the node is gone (`ESTALE` if it was exchanged underneath).
    fn stat(&self, node: FileId, handle: Option<Handle>) -> Result<Stat>;

    /// Sets attributes, all in one operation as far as the host allows, and returns the result.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn set_attributes(
        &self,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
        attributes: &SetAttributes,
    ) -> Result<Stat>;

    /// Returns a symlink's target.
    ///
    /// # Errors
    /// `EINVAL` if the node is no symlink.
    fn read_link(&self, node: FileId) -> Result<Vec<u8>>;

    /// Makes a file, fifo, socket or device, and takes a lookup reference on it.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn make_node(&self, caller: Caller, parent: FileId, name: &OsStr, node: NewNode) -> Result<Stat>;

    /// Makes a folder with the given permission bits, and takes a lookup reference on it.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn make_directory(&self, caller: Caller, parent: FileId, name: &OsStr, mode: u32) -> Result<Stat>;

    /// Makes a symlink, and takes a lookup reference on it.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn make_symlink(&self, caller: Caller, parent: FileId, name: &OsStr, target: &[u8]) -> Result<Stat>;

    /// Removes a name of anything but a folder.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn unlink(&self, caller: Caller, parent: FileId, name: &OsStr) -> Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn remove_directory(&self, caller: Caller, parent: FileId, name: &OsStr) -> Result<()>;

    /// Renames an entry; `from` and `to` are folder and name.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn rename(&self, caller: Caller, from: (FileId, &OsStr), to: (FileId, &OsStr), mode: RenameMode) -> Result<()>;

    /// Gives a file one more name, and takes a lookup reference on it.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn link(&self, caller: Caller, node: FileId, parent: FileId, name: &OsStr) -> Result<Stat>;

    /// Opens a regular file.
    ///
    /// # Errors
    /// What the host says; `EROFS` for writing where the tree is read-only.
    fn open(&self, caller: Caller, node: FileId, mode: OpenMode) -> Result<Handle>;

    /// Makes a regular file (or opens the existing one, unless `mode.exclusive`) and takes a lookup reference on it.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn create(
        &self,
        caller: Caller,
        parent: FileId,
        name: &OsStr,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Stat, Handle)>;

    /// Reads into `buf` and returns how many bytes; fewer than asked only at the end of the file.
    ///
    /// # Errors
    /// What the host says; `EBADF`.
    fn read(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Writes all of `data` at `offset`, or at the end of the file if the handle appends; returns how many bytes.
    ///
    /// # Errors
    /// What the host says; `ENOSPC` also when the disk is nearly full; `EIO` when the change cannot be recorded any more.
    fn write(&self, caller: Caller, handle: Handle, offset: u64, data: &[u8]) -> Result<usize>;

    /// Tells whether a write there may have to wait for the disk before it can be made. Then an adapter makes it on a thread
    /// that serves nobody else ([`DiskThreads`]).
    fn may_wait(&self, _handle: Handle, _offset: u64) -> bool {
        false
    }

    /// Notes that one of the handle's descriptors is closed: where something was written, a landmark.
    ///
    /// # Errors
    /// `EBADF`.
    fn flush(&self, handle: Handle) -> Result<()>;

    /// Closes a handle.
    fn release(&self, handle: Handle);

    /// Makes a file without a name where the tree's files are, for the kernel to try whether it can read and write them
    /// itself.
    ///
    /// # Errors
    /// What the host says; `EOPNOTSUPP` where reads and writes must come here.
    fn unnamed_file(&self) -> Result<OwnedFd> {
        Err(rustix::io::Errno::OPNOTSUPP.into())
    }

    /// Notes that from now on the kernel reads and writes opened files itself ([`Tree::hand_over`]).
    fn begin_passthrough(&self) {}

    /// Hands the file behind a handle to the kernel, after [`Tree::begin_passthrough`]: reads and writes do not come here any
    /// more, and what changed is found when the handle is flushed or synced. `None` where they are to come here.
    ///
    /// # Errors
    /// What the host says; `EBADF`; `EIO` when changes cannot be recorded any more.
    fn hand_over(&self, _handle: Handle) -> Result<Option<Arc<OwnedFd>>> {
        Ok(None)
    }

    /// As [`Tree::may_wait`], for [`Tree::hand_over`] of a file that is opened now.
    fn open_may_wait(&self, _node: FileId, _mode: OpenMode) -> bool {
        false
    }

    /// Calls back once the changes that were made before this call are as durable as the tree promises of a change that
    /// is acknowledged. At once where there is nothing to wait for.
    ///
    /// The callback gets `EIO` if they are not.
    fn settle(&self, then: Then) {
        then(Ok(()));
    }

    /// Makes everything that was changed so far durable, in history, and calls back; [`SyncScope::File`] and
    /// [`SyncScope::Data`] are landmarks of the file.
    ///
    /// The callback gets `EIO` if it could not be made durable.
    fn sync(&self, handle: Handle, scope: SyncScope, then: Then);

    /// Opens a folder for reading.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn open_directory(&self, node: FileId) -> Result<Handle>;

    /// Hands out entries behind `after` (0: from the start) until there are no more or `take` answers `false`; an
    /// entry that was answered with `false` comes again.
    ///
    /// # Errors
    /// What the host says; `EBADF`.
    fn read_directory(&self, handle: Handle, after: i64, take: &mut dyn FnMut(TreeEntry<'_>) -> bool) -> Result<()>;

    /// Closes a folder.
    fn release_directory(&self, handle: Handle);

    /// As [`Tree::sync`], for a folder.
    fn sync_directory(&self, handle: Handle, then: Then);

    /// Returns space and inodes.
    ///
    /// # Errors
    /// What the host says.
    fn space(&self) -> Result<Space>;

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// What the host says; `EROFS`.
    fn set_xattr(&self, caller: Caller, node: FileId, name: &OsStr, value: &[u8], mode: XattrMode) -> Result<()>;

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; what the host says.
    fn xattr(&self, node: FileId, name: &OsStr) -> Result<Vec<u8>>;

    /// Returns the names of all extended attributes, each followed by a NUL byte, as `listxattr(2)` does.
    ///
    /// # Errors
    /// What the host says.
    fn xattr_names(&self, node: FileId) -> Result<Vec<u8>>;

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; what the host says; `EROFS`.
    fn remove_xattr(&self, caller: Caller, node: FileId, name: &OsStr) -> Result<()>;

    /// Allocates, punches or zeroes a range.
    ///
    /// # Errors
    /// What the host says; `EROFS`, `ENOSPC`.
    fn allocate(&self, caller: Caller, handle: Handle, what: Allocation, offset: u64, len: u64) -> Result<()>;

    /// Returns where the next data or hole begins, at or behind `offset`.
    ///
    /// # Errors
    /// `ENXIO` behind the end of the file.
    fn seek(&self, handle: Handle, offset: u64, what: SeekFor) -> Result<u64>;

    /// Copies a range between two open files and returns how many bytes.
    ///
    /// # Errors
    /// What the host says; `EROFS`, `ENOSPC`.
    fn copy_range(&self, caller: Caller, from: (Handle, u64), to: (Handle, u64), len: u64) -> Result<usize>;
}
