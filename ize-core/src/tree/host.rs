//! The host's filesystem through descriptors: no path is ever joined from strings.
//!
//! A descriptor here is mostly an `O_PATH` one, which names an inode without opening it. What such a descriptor cannot
//! do itself (open for I/O, chmod, extended attributes) goes through its link in `/proc/self/fd`, see open(2).

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, Mode, OFlags, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps};
use rustix::io::Errno;

use super::{SetTime, Space};
use crate::disk::{Change, Durable, change};
use crate::model::{FileKind, FileMetadata, Timestamp};

/// The most bytes that the name or value of an extended attribute can have on Linux (`XATTR_SIZE_MAX`).
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// What a host inode is called: enough to tell it from any other while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What the host says of an inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostStat {
    pub(crate) id: HostId,
    pub(crate) metadata: FileMetadata,
    pub(crate) blocks: u64,
    pub(crate) block_size: u32,
}

impl HostStat {
    fn new(raw: &Statx) -> Result<Self, Errno> {
        let st_mode = u32::from(raw.stx_mode);
        let kind = FileKind::from_type_bits(st_mode).ok_or(Errno::NOTSUP)?;
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        Ok(Self {
            id: HostId { device: fs::makedev(raw.stx_dev_major, raw.stx_dev_minor), inode: raw.stx_ino },
            metadata: FileMetadata {
                kind,
                mode: st_mode & 0o7777,
                uid: raw.stx_uid,
                gid: raw.stx_gid,
                size: raw.stx_size,
                nlink: raw.stx_nlink,
                rdev: if is_device { fs::makedev(raw.stx_rdev_major, raw.stx_rdev_minor) } else { 0 },
                atime: timestamp(&raw.stx_atime),
                mtime: timestamp(&raw.stx_mtime),
                ctime: timestamp(&raw.stx_ctime),
            },
            blocks: raw.stx_blocks,
            block_size: raw.stx_blksize,
        })
    }
}

fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp::from_secs_nanos(time.tv_sec, time.tv_nsec)
}

/// Stats the inode that a descriptor names.
pub(crate) fn stat(fd: impl AsFd) -> Result<HostStat, Errno> {
    HostStat::new(&fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?)
}

/// Stats an entry of a folder, not following a symlink.
pub(crate) fn stat_entry(dir: impl AsFd, name: &OsStr) -> Result<HostStat, Errno> {
    HostStat::new(&fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?)
}

/// Names an entry of a folder by an `O_PATH` descriptor, not following a symlink.
pub(crate) fn open_path(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a regular file by its name, not following a symlink.
pub(crate) fn open_file(dir: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    // Whatever else somebody may have put there: it must not be waited for.
    fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the inode that a descriptor names.
pub(crate) fn reopen(fd: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The link in /proc is followed to the inode itself, so NOFOLLOW must not be among the flags.
    fs::openat(fs::CWD, proc_link(fd.as_fd()).as_str(), flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the folder that a descriptor names, for reading its entries.
pub(crate) fn reopen_directory(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn proc_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Reads the target of the symlink that a descriptor names.
pub(crate) fn read_link(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    match fs::readlinkat(fd, c"", Vec::new()) {
        // readlink(2) answers ENOENT for an empty path on something that is no symlink.
        Err(Errno::NOENT) => Err(Errno::INVAL),
        other => other.map(std::ffi::CString::into_bytes),
    }
}

/// Sets permission bits of anything but a symlink.
pub(crate) fn set_mode(fd: impl AsFd, mode: u32) -> Result<(), Errno> {
    change(Change::Inode(fd.as_fd()), || {
        fs::chmodat(fs::CWD, proc_link(fd.as_fd()).as_str(), Mode::from_raw_mode(mode), AtFlags::empty())
    })
}

/// Sets owner and group.
pub(crate) fn set_owner(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let (uid, gid) = (uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw));
    change(Change::Inode(fd.as_fd()), || fs::chownat(&fd, c"", uid, gid, AtFlags::EMPTY_PATH))
}

/// Sets times; `None` leaves one as it is.
pub(crate) fn set_times(fd: impl AsFd, atime: Option<SetTime>, mtime: Option<SetTime>) -> Result<(), Errno> {
    let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
    change(Change::Inode(fd.as_fd()), || fs::utimensat(&fd, c"", &times, AtFlags::EMPTY_PATH))
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Some(SetTime::To(time)) => {
            let (tv_sec, nanos) = time.as_secs_nanos();
            Timespec { tv_sec, tv_nsec: nanos.into() }
        }
    }
}

/// Gives the inode that a descriptor names one more name.
pub(crate) fn link(fd: impl AsFd, dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    change(Change::Entry(dir.as_fd(), name), || {
        fs::linkat(fs::CWD, proc_link(fd.as_fd()).as_str(), &dir, name, AtFlags::SYMLINK_FOLLOW)
    })
}

/// Reads the value of an extended attribute.
pub(crate) fn xattr(fd: impl AsFd, name: &OsStr) -> Result<Vec<u8>, Errno> {
    let link = proc_link(fd.as_fd());
    let mut value = Vec::with_capacity(256);
    match fs::getxattr(link.as_str(), name, rustix::buffer::spare_capacity(&mut value)) {
        Err(Errno::RANGE) => {
            value.reserve(XATTR_BYTES_MAX);
            fs::getxattr(link.as_str(), name, rustix::buffer::spare_capacity(&mut value))?;
        }
        other => {
            other?;
        }
    }
    Ok(value)
}

/// Lists the names of all extended attributes, each followed by a NUL byte.
pub(crate) fn xattr_names(fd: impl AsFd) -> Result<Vec<u8>, Errno> {
    let link = proc_link(fd.as_fd());
    let mut names = Vec::with_capacity(256);
    match fs::listxattr(link.as_str(), rustix::buffer::spare_capacity(&mut names)) {
        Err(Errno::RANGE) => {
            names.reserve(XATTR_BYTES_MAX);
            fs::listxattr(link.as_str(), rustix::buffer::spare_capacity(&mut names))?;
        }
        other => {
            other?;
        }
    }
    Ok(names)
}

/// Sets an extended attribute.
pub(crate) fn set_xattr(fd: impl AsFd, name: &OsStr, value: &[u8], flags: fs::XattrFlags) -> Result<(), Errno> {
    change(Change::Inode(fd.as_fd()), || fs::setxattr(proc_link(fd.as_fd()).as_str(), name, value, flags))
}

/// Removes an extended attribute.
pub(crate) fn remove_xattr(fd: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    change(Change::Inode(fd.as_fd()), || fs::removexattr(proc_link(fd.as_fd()).as_str(), name))
}

/// Reads until `buf` is full or the file ends.
pub(crate) fn read_full(fd: impl AsFd, mut offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buf.len() {
        match rustix::io::pread(&fd, &mut buf[done..], offset) {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                offset += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Writes `data`; answers how much was written, and why the rest was not.
pub(crate) fn write_all(fd: impl AsFd, offset: u64, data: &[u8]) -> (usize, Option<Errno>) {
    let mut done = 0;
    while done < data.len() {
        let (rest, at) = (&data[done..], offset + done as u64);
        #[cfg(feature = "simulation")]
        let rest = crate::disk::simulation::shortened(rest);
        let what = Change::Data(fd.as_fd(), at, rest.len() as u64);
        match change(what, || rustix::io::pwrite(&fd, rest, at)) {
            Ok(0) => return (done, Some(Errno::IO)),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return (done, Some(errno)),
        }
    }
    (done, None)
}

/// Makes a file or folder durable, or only what reading its data takes.
pub(crate) fn sync(fd: impl AsFd, durable: Durable) -> Result<(), Errno> {
    change(Change::Sync(fd.as_fd(), durable), || match durable {
        Durable::All => fs::fsync(&fd),
        Durable::Data => fs::fdatasync(&fd),
    })
}

/// Returns how many descriptors this process may have open.
pub(crate) fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Returns space and inodes of the filesystem that a descriptor is on.
pub(crate) fn space(fd: impl AsFd) -> Result<Space, Errno> {
    let raw = fs::fstatvfs(fd)?;
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Space {
        blocks: raw.f_blocks,
        blocks_free: raw.f_bfree,
        blocks_available: raw.f_bavail,
        files: raw.f_files,
        files_free: raw.f_ffree,
        block_size: narrow(raw.f_bsize),
        fragment_size: narrow(raw.f_frsize),
        name_max: narrow(raw.f_namemax),
    })
}

/// An entry that [`for_each_entry`] found.
pub(crate) struct HostEntry<'a> {
    pub(crate) name: &'a OsStr,
    /// As `d_type` says; `None` where the host leaves it open.
    pub(crate) kind: Option<FileKind>,
    /// Where to go on behind this entry.
    pub(crate) next: u64,
}

/// Hands out the entries of an open folder from its current position, with `.` and `..`, until `take` answers `false`.
pub(crate) fn for_each_entry(
    dir: impl AsFd,
    take: &mut dyn FnMut(HostEntry<'_>) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    let mut buf = [MaybeUninit::uninit(); 32 * 1024];
    let mut entries = fs::RawDir::new(dir, &mut buf);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let found = HostEntry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()),
            kind: FileKind::from_type_bits(entry.file_type().as_raw_mode()),
            next: entry.next_entry_cookie(),
        };
        if !take(found)? {
            break;
        }
    }
    Ok(())
}

/// Returns the names in a folder without `.` and `..`.
pub(crate) fn names_in(dir: impl AsFd) -> Result<Vec<std::ffi::OsString>, Errno> {
    let dir = reopen_directory(dir)?;
    let mut names = Vec::new();
    for_each_entry(&dir, &mut |entry| {
        if entry.name != "." && entry.name != ".." {
            names.push(entry.name.to_os_string());
        }
        Ok(true)
    })?;
    Ok(names)
}
