//! The calls of a workload and what they answer.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, FileType, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

/// A place for an open file; each thread has [`Slot::COUNT`] of them on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub usize);

impl Slot {
    /// How many files a thread holds open at most.
    pub const COUNT: usize = 6;
}

/// Bytes that a call writes, told by a number instead of listing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// How many bytes.
    pub len: usize,
    /// What they are; 0 for zeros.
    pub seed: u64,
}

impl Fill {
    /// Makes the bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        if self.seed != 0 {
            fastrand::Rng::with_seed(self.seed).fill(&mut bytes);
        }
        bytes
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// `UTIME_OMIT`.
    Omit,
    /// `UTIME_NOW`.
    Now,
    /// Seconds and nanoseconds.
    To(i64, i64),
}

/// One call. Paths are relative to the root of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the system call of that name with its arguments")]
pub enum Call {
    Open {
        slot: Slot,
        path: PathBuf,
        flags: OFlags,
        mode: u32,
    },
    Close {
        slot: Slot,
    },
    Write {
        slot: Slot,
        fill: Fill,
    },
    Pwrite {
        slot: Slot,
        offset: u64,
        fill: Fill,
    },
    Read {
        slot: Slot,
        len: usize,
    },
    Pread {
        slot: Slot,
        offset: u64,
        len: usize,
    },
    /// `mmap` shared, read the range, store into it if there is a fill, `msync`, `munmap`. Clipped to the file's size.
    Map {
        slot: Slot,
        page: u64,
        len: usize,
        store: Option<Fill>,
    },
    Ftruncate {
        slot: Slot,
        len: u64,
    },
    Fallocate {
        slot: Slot,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    },
    SeekData {
        slot: Slot,
        offset: u64,
    },
    SeekHole {
        slot: Slot,
        offset: u64,
    },
    SeekEnd {
        slot: Slot,
    },
    CopyRange {
        from: Slot,
        from_offset: u64,
        to: Slot,
        to_offset: u64,
        len: usize,
    },
    Fsync {
        slot: Slot,
        data_only: bool,
    },
    Fstat {
        slot: Slot,
    },
    Fchmod {
        slot: Slot,
        mode: u32,
    },
    Mkdir {
        path: PathBuf,
        mode: u32,
    },
    Rmdir {
        path: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        flags: RenameFlags,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Symlink {
        target: OsString,
        path: PathBuf,
    },
    Readlink {
        path: PathBuf,
    },
    Mknod {
        path: PathBuf,
        kind: FileType,
        mode: u32,
    },
    Chmod {
        path: PathBuf,
        mode: u32,
    },
    Lchown {
        path: PathBuf,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Utimens {
        path: PathBuf,
        atime: SetTime,
        mtime: SetTime,
        follow: bool,
    },
    Truncate {
        path: PathBuf,
        len: u64,
    },
    SetXattr {
        path: PathBuf,
        name: String,
        fill: Fill,
        flags: XattrFlags,
    },
    GetXattr {
        path: PathBuf,
        name: String,
    },
    ListXattr {
        path: PathBuf,
    },
    RemoveXattr {
        path: PathBuf,
        name: String,
    },
    Stat {
        path: PathBuf,
        follow: bool,
    },
    /// Lists a folder, but only names that begin with `prefix`.
    Readdir {
        path: PathBuf,
        prefix: String,
    },
}

impl Call {
    /// Returns the name of the call without its arguments.
    pub fn name(&self) -> String {
        format!("{self:?}").split(' ').next().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What both sides must agree about after `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of struct stat")]
pub struct StatAnswer {
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    /// `None` for folders, whose size is the filesystem's own business.
    pub size: Option<i64>,
    /// Times that the call has just set.
    pub set_times: Vec<(i64, u64)>,
}

/// What a call answers when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but success.
    Done,
    /// A number: bytes written or copied, or an offset.
    Number(u64),
    /// Bytes, by length and hash.
    Bytes(usize, blake3::Hash),
    /// A symlink's target.
    Target(OsString),
    /// Attributes.
    Stat(StatAnswer),
    /// Names and their kinds, ordered.
    Names(Vec<(OsString, FileType)>),
}

impl Answer {
    /// Bytes that were read.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.len(), blake3::hash(bytes))
    }
}

/// What a call answers, or the error it fails with.
pub type Outcome = Result<Answer, Errno>;
