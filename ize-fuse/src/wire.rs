//! The kernel's terms and the tree's terms, translated: attributes, times, device numbers, open flags.
//!
//! Pure functions; what is written here must agree with `include/uapi/linux/fuse.h` and with what fuser 0.18 makes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use ize_core::model::{FileId, FileKind, Timestamp};
use ize_core::tree::{Allocation, Caller, OpenMode, RenameMode, SetTime, Stat, XattrMode};
use rustix::fs::{FallocateFlags, OFlags, XattrFlags};

/// The bits of `st_mode` that are permissions.
pub(crate) const PERMISSION_BITS: u32 = 0o7777;

/// Node ids are file ids, and the root is 1 in both.
pub(crate) fn file(node: INodeNo) -> FileId {
    FileId::new(node.0)
}

pub(crate) fn node(file: FileId) -> INodeNo {
    INodeNo(file.get())
}

pub(crate) fn caller(request: &Request) -> Caller {
    Caller { pid: request.pid(), uid: request.uid(), gid: request.gid() }
}

pub(crate) fn attributes(stat: &Stat) -> FileAttr {
    let metadata = &stat.metadata;
    FileAttr {
        ino: node(stat.file),
        size: metadata.size,
        blocks: stat.blocks,
        atime: system_time(metadata.atime),
        mtime: system_time(metadata.mtime),
        ctime: system_time(metadata.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(metadata.kind),
        perm: permissions(metadata.mode),
        nlink: metadata.nlink,
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: device_to_kernel(metadata.rdev),
        blksize: stat.block_size,
        flags: 0,
    }
}

/// What stands for "there is nothing" in an answer to a lookup: node 0, which the kernel may remember.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & PERMISSION_BITS) as u16
}

/// Times outside of what `SystemTime` holds become the epoch; no filesystem stores such times.
fn system_time(time: Timestamp) -> SystemTime {
    let (secs, nanos) = time.as_secs_nanos();
    let whole = Duration::from_secs(secs.unsigned_abs());
    let start = if secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    start.and_then(|start| start.checked_add(Duration::from_nanos(u64::from(nanos)))).unwrap_or(UNIX_EPOCH)
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::To(timestamp(time)),
    }
}

/// Undoes what fuser 0.18 does to times before 1970: it takes the nanoseconds away from the (negative) seconds, where
/// the kernel meant them to be added.
fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            Timestamp::from_secs_nanos(i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos())
        }
        Err(before) => {
            let before = before.duration();
            let secs = 0_i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Timestamp::from_secs_nanos(secs, before.subsec_nanos())
        }
    }
}

/// Encodes a device number as the kernel's `new_encode_dev` does.
fn device_to_kernel(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The reverse of [`device_to_kernel`]: 12 bits of major, 20 of minor.
pub(crate) fn device_from_kernel(device: u32) -> u64 {
    rustix::fs::makedev((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

/// Reads `open(2)` flags.
///
/// `append` stays false. The kernel turns each append into a write at the end of the file, under its lock for the inode,
/// and knows the end because every change passes through it. A handle that appended by itself would be wrong: stores
/// through a shared mapping arrive as writes through any handle of the file, and belong where the mapping has them.
pub(crate) fn open_mode(flags: i32) -> OpenMode {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    let access = flags & OFlags::RWMODE;
    OpenMode {
        read: access == OFlags::RDONLY || access == OFlags::RDWR,
        write: access == OFlags::WRONLY || access == OFlags::RDWR,
        append: false,
        truncate: flags.contains(OFlags::TRUNC),
        exclusive: flags.contains(OFlags::EXCL),
        sync: flags.contains(OFlags::DSYNC),
        direct: flags.contains(OFlags::DIRECT),
    }
}

/// Reads `renameat2(2)` flags; `None` for what no tree does (whiteouts, flags of the future, both at once).
pub(crate) fn rename_mode(flags: fuser::RenameFlags) -> Option<RenameMode> {
    if flags.is_empty() {
        Some(RenameMode::Replace)
    } else if flags == fuser::RenameFlags::RENAME_NOREPLACE {
        Some(RenameMode::NoReplace)
    } else if flags == fuser::RenameFlags::RENAME_EXCHANGE {
        Some(RenameMode::Exchange)
    } else {
        None
    }
}

/// Reads `setxattr(2)` flags; `None` if they make no sense.
pub(crate) fn xattr_mode(flags: i32) -> Option<XattrMode> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    if flags.is_empty() {
        Some(XattrMode::Either)
    } else if flags == XattrFlags::CREATE {
        Some(XattrMode::Create)
    } else if flags == XattrFlags::REPLACE {
        Some(XattrMode::Replace)
    } else {
        None
    }
}

/// Reads `fallocate(2)` modes; `None` for those that move data or that no tree does.
pub(crate) fn allocation(mode: i32) -> Option<Allocation> {
    let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
    let keep_size = mode.contains(FallocateFlags::KEEP_SIZE);
    let what = mode - FallocateFlags::KEEP_SIZE;
    if what.is_empty() {
        Some(Allocation::Allocate { keep_size })
    } else if what == FallocateFlags::PUNCH_HOLE && keep_size {
        Some(Allocation::PunchHole)
    } else if what == FallocateFlags::ZERO_RANGE {
        Some(Allocation::ZeroRange { keep_size })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_the_way_to_the_kernel_and_back() {
        for (major, minor) in [(0, 0), (1, 3), (8, 1), (259, 1), (4095, 0xf_ffff), (13, 300)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(device_from_kernel(device_to_kernel(device)), device, "{major}:{minor}");
        }
        assert_eq!(device_to_kernel(rustix::fs::makedev(1, 3)), 0x103);
    }

    #[test]
    fn times_before_1970_are_read_as_the_kernel_meant_them() {
        // 0.8 s after second -2, as fuser 0.18 decodes it.
        let decoded = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(timestamp(decoded), Timestamp::from_secs_nanos(-2, 800_000_000));
        // What the tree says is handed on unchanged: fuser encodes correctly.
        let shown = system_time(Timestamp::from_secs_nanos(-2, 800_000_000));
        assert_eq!(shown, UNIX_EPOCH - Duration::new(1, 200_000_000));
    }

    #[test]
    fn times_that_no_clock_shows_do_not_panic() {
        for nanos in [i128::MAX, i128::MIN] {
            system_time(Timestamp::from_nanos(nanos));
        }
        system_time(Timestamp::from_secs_nanos(i64::MAX, 999_999_999));
        system_time(Timestamp::from_secs_nanos(i64::MIN, 999_999_999));
    }

    #[test]
    fn open_flags_are_read() {
        let bits = |flags: OFlags| flags.bits().cast_signed();
        let mode = open_mode(bits(OFlags::RDWR | OFlags::APPEND | OFlags::TRUNC | OFlags::SYNC));
        assert!(mode.read && mode.write && mode.truncate && mode.sync);
        assert!(!mode.append && !mode.exclusive && !mode.direct);
        assert!(!open_mode(bits(OFlags::WRONLY)).read);
        assert!(!open_mode(bits(OFlags::RDONLY)).write);
    }

    #[test]
    fn unknown_modes_are_refused() {
        assert_eq!(rename_mode(fuser::RenameFlags::RENAME_WHITEOUT), None);
        assert_eq!(rename_mode(fuser::RenameFlags::all()), None);
        assert_eq!(allocation(FallocateFlags::COLLAPSE_RANGE.bits().cast_signed()), None);
        assert_eq!(allocation(FallocateFlags::PUNCH_HOLE.bits().cast_signed()), None);
        assert_eq!(allocation(0), Some(Allocation::Allocate { keep_size: false }));
        assert_eq!(xattr_mode(3), None);
    }
}
