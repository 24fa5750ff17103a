//! What `stat` knows about an inode.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The kind of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link; its target is its content.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    /// Returns the `S_IFMT` bits of `st_mode` for this kind.
    pub const fn type_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// Reads the kind from the `S_IFMT` bits of `st_mode`; `None` if no kind has them.
    pub const fn from_type_bits(st_mode: u32) -> Option<Self> {
        Some(match st_mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "folder",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
        })
    }
}

/// The metadata of one inode, as the host filesystem reported it after an operation.
///
/// An inode with `nlink` 0 has no name left: it is gone from the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileMetadata {
    /// The kind of inode.
    pub kind: FileKind,
    /// Permission bits with set-user-id, set-group-id and sticky: the low twelve bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes; for a symlink the length of its target; for a folder what the host says.
    pub size: u64,
    /// Number of names. For a folder, what the host says while it exists, and 0 once it is removed.
    pub nlink: u32,
    /// Device number of a device inode, as Linux encodes `st_rdev`; else 0.
    pub rdev: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of content or metadata, by the host's clock; it cannot be set, only observed.
    pub ctime: Timestamp,
}

impl FileMetadata {
    /// Returns `st_mode`: the kind's bits and the permission bits.
    pub const fn st_mode(&self) -> u32 {
        self.kind.type_bits() | self.mode
    }

    /// Tells whether the inode still has a name.
    pub const fn is_linked(&self) -> bool {
        self.nlink > 0
    }
}
