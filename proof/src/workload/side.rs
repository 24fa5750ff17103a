//! One side of a workload: a folder in which a thread's calls are carried out.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, Uid,
};
use rustix::io::Errno;

use super::call::{Answer, Call, Outcome, SetTime, Slot, StatAnswer};
use super::mapping;

/// A folder and a thread's open files in it.
#[derive(Debug)]
pub(super) struct Side {
    path: PathBuf,
    root: OwnedFd,
    slots: [Option<OwnedFd>; Slot::COUNT],
}

impl Side {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_owned(),
            root: rustix::fs::open(path, flags, Mode::empty())?,
            slots: std::array::from_fn(|_| None),
        })
    }

    fn slot(&self, slot: Slot) -> Result<&OwnedFd, Errno> {
        self.slots[slot.0].as_ref().ok_or(Errno::BADF)
    }

    /// Carries out one call.
    pub(super) fn perform(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Open { slot, path, flags, mode } => {
                self.slots[slot.0] = None;
                // A fifo without a peer would block.
                let flags = *flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(*mode))?;
                let answer = stat_answer(&rustix::fs::fstat(&file)?);
                self.slots[slot.0] = Some(file);
                Ok(Answer::Stat(answer))
            }
            Call::Close { slot } => self.slots[slot.0].take().map(|_| Answer::Done).ok_or(Errno::BADF),
            Call::Write { .. }
            | Call::Pwrite { .. }
            | Call::Read { .. }
            | Call::Pread { .. }
            | Call::Map { .. }
            | Call::Ftruncate { .. }
            | Call::Fallocate { .. }
            | Call::SeekData { .. }
            | Call::SeekHole { .. }
            | Call::SeekEnd { .. }
            | Call::CopyRange { .. }
            | Call::Fsync { .. }
            | Call::Fstat { .. }
            | Call::Fchmod { .. } => self.perform_on_slot(call),
            _ => self.perform_on_path(call),
        }
    }

    fn perform_on_slot(&self, call: &Call) -> Outcome {
        let done = |()| Answer::Done;
        match call {
            Call::Write { slot, fill } => number(rustix::io::write(self.slot(*slot)?, &fill.bytes())?),
            Call::Pwrite { slot, offset, fill } => {
                number(rustix::io::pwrite(self.slot(*slot)?, &fill.bytes(), *offset)?)
            }
            Call::Read { slot, len } => {
                let mut buf = vec![0; *len];
                let got = rustix::io::read(self.slot(*slot)?, &mut buf[..])?;
                Ok(Answer::bytes(&buf[..got]))
            }
            Call::Pread { slot, offset, len } => {
                let mut buf = vec![0; *len];
                let got = rustix::io::pread(self.slot(*slot)?, &mut buf[..], *offset)?;
                Ok(Answer::bytes(&buf[..got]))
            }
            Call::Map { slot, page, len, store } => self.map(*slot, *page, *len, store.map(super::call::Fill::bytes)),
            Call::Ftruncate { slot, len } => rustix::fs::ftruncate(self.slot(*slot)?, *len).map(done),
            Call::Fallocate { slot, mode, offset, len } => {
                rustix::fs::fallocate(self.slot(*slot)?, *mode, *offset, *len).map(done)
            }
            Call::SeekData { slot, offset } => self.seek(*slot, SeekFrom::Data(*offset)),
            Call::SeekHole { slot, offset } => self.seek(*slot, SeekFrom::Hole(*offset)),
            Call::SeekEnd { slot } => self.seek(*slot, SeekFrom::End(0)),
            Call::CopyRange { from, from_offset, to, to_offset, len } => {
                let (mut from_offset, mut to_offset) = (*from_offset, *to_offset);
                let (from, to) = (self.slot(*from)?, self.slot(*to)?);
                number(rustix::fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), *len)?)
            }
            Call::Fsync { slot, data_only: true } => rustix::fs::fdatasync(self.slot(*slot)?).map(done),
            Call::Fsync { slot, data_only: false } => rustix::fs::fsync(self.slot(*slot)?).map(done),
            Call::Fstat { slot } => Ok(Answer::Stat(stat_answer(&rustix::fs::fstat(self.slot(*slot)?)?))),
            Call::Fchmod { slot, mode } => rustix::fs::fchmod(self.slot(*slot)?, Mode::from_raw_mode(*mode)).map(done),
            other => unreachable!("{other} is not about an open file"),
        }
    }

    /// `lseek`, but not on folders: there offsets are the filesystem's own business.
    fn seek(&self, slot: Slot, to: SeekFrom) -> Outcome {
        let file = self.slot(slot)?;
        if FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        rustix::fs::seek(file, to).map(Answer::Number)
    }

    fn map(&self, slot: Slot, page: u64, len: usize, store: Option<Vec<u8>>) -> Outcome {
        let file = self.slot(slot)?;
        let stat = rustix::fs::fstat(file)?;
        let size = u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?;
        let offset = page * 4096;
        let len = len.min(usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX));
        mapping::load_and_store(file, offset, len, store.as_deref()).map(|bytes| Answer::bytes(&bytes))
    }

    fn perform_on_path(&self, call: &Call) -> Outcome {
        let done = |()| Answer::Done;
        let root = self.root.as_fd();
        match call {
            Call::Mkdir { path, mode } => rustix::fs::mkdirat(root, path, Mode::from_raw_mode(*mode)).map(done),
            Call::Rmdir { path } => rustix::fs::unlinkat(root, path, AtFlags::REMOVEDIR).map(done),
            Call::Unlink { path } => rustix::fs::unlinkat(root, path, AtFlags::empty()).map(done),
            Call::Rename { from, to, flags } if *flags == RenameFlags::empty() => {
                rustix::fs::renameat(root, from, root, to).map(done)
            }
            Call::Rename { from, to, flags } => rustix::fs::renameat_with(root, from, root, to, *flags).map(done),
            Call::Link { from, to } => rustix::fs::linkat(root, from, root, to, AtFlags::empty()).map(done),
            Call::Symlink { target, path } => rustix::fs::symlinkat(target, root, path).map(done),
            Call::Readlink { path } => {
                let target = rustix::fs::readlinkat(root, path, Vec::new())?;
                Ok(Answer::Target(OsString::from_vec(target.into_bytes())))
            }
            Call::Mknod { path, kind, mode } => {
                rustix::fs::mknodat(root, path, *kind, Mode::from_raw_mode(*mode), 0).map(done)
            }
            Call::Chmod { path, mode } => {
                rustix::fs::chmodat(root, path, Mode::from_raw_mode(*mode), AtFlags::empty()).map(done)
            }
            Call::Lchown { path, uid, gid } => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(root, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map(done)
            }
            Call::Utimens { path, atime, mtime, follow } => self.utimens(path, *atime, *mtime, *follow),
            Call::Truncate { path, len } => self.truncate(path, *len).map(done),
            Call::Stat { path, follow } => {
                let flags = if *follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                Ok(Answer::Stat(stat_answer(&rustix::fs::statat(root, path, flags)?)))
            }
            Call::Readdir { path, prefix } => self.readdir(path, prefix),
            Call::SetXattr { path, name, fill, flags } => {
                rustix::fs::lsetxattr(self.path.join(path), name.as_str(), &fill.bytes(), *flags).map(done)
            }
            Call::GetXattr { path, name } => {
                let mut value = vec![0; 64 * 1024];
                let size = rustix::fs::lgetxattr(self.path.join(path), name.as_str(), &mut value[..])?;
                Ok(Answer::bytes(&value[..size]))
            }
            Call::ListXattr { path } => self.list_xattrs(path),
            Call::RemoveXattr { path, name } => rustix::fs::lremovexattr(self.path.join(path), name.as_str()).map(done),
            other => unreachable!("{other} is about an open file"),
        }
    }

    fn utimens(&self, path: &Path, atime: SetTime, mtime: SetTime, follow: bool) -> Outcome {
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let spec = |time| match time {
            SetTime::Omit => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            SetTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            SetTime::To(tv_sec, tv_nsec) => Timespec { tv_sec, tv_nsec },
        };
        let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
        rustix::fs::utimensat(&self.root, path, &times, flags)?;
        let stat = rustix::fs::statat(&self.root, path, flags)?;
        let mut answer = stat_answer(&stat);
        if matches!(atime, SetTime::To(..)) {
            answer.set_times.push((stat.st_atime, stat.st_atime_nsec));
        }
        if matches!(mtime, SetTime::To(..)) {
            answer.set_times.push((stat.st_mtime, stat.st_mtime_nsec));
        }
        Ok(Answer::Stat(answer))
    }

    /// `truncate(2)`, which rustix does not have: the standard library's is `open` and `ftruncate`, and so is this.
    fn truncate(&self, path: &Path, len: u64) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.root, path, flags, Mode::empty())?;
        rustix::fs::ftruncate(file, len)
    }

    fn readdir(&self, path: &Path, prefix: &str) -> Outcome {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.root, path, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(prefix.as_bytes()) {
                names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
            }
        }
        names.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(Answer::Names(names))
    }

    fn list_xattrs(&self, path: &Path) -> Outcome {
        let mut list = vec![0; 64 * 1024];
        let size = rustix::fs::llistxattr(self.path.join(path), &mut list[..])?;
        let names = list[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<_> = names.map(|name| (OsStr::from_bytes(name).to_owned(), FileType::Unknown)).collect();
        names.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(Answer::Names(names))
    }
}

fn number(count: usize) -> Outcome {
    Ok(Answer::Number(count as u64))
}

fn stat_answer(stat: &Stat) -> StatAnswer {
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    StatAnswer {
        mode: stat.st_mode,
        nlink: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        size: (!is_folder).then_some(stat.st_size),
        set_times: Vec::new(),
    }
}
