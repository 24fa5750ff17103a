//! A plain folder as a [`Tree`], for tests of the adapter alone: every call becomes one system call on the host.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ize_core::model::{FileId, FileKind, FileMetadata, Timestamp};
use ize_core::tree::*;
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FallocateFlags, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

struct Node {
    path: OwnedFd,
    references: u64,
}

struct Listing {
    folder: OwnedFd,
    /// What the folder held when it was read from the start.
    entries: Vec<(OsString, u64, FileKind)>,
}

pub(crate) struct Mirror {
    root: OwnedFd,
    root_inode: u64,
    nodes: Mutex<HashMap<u64, Node>>,
    files: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    listings: Mutex<HashMap<u64, Listing>>,
    next_handle: AtomicU64,
    values_asked: AtomicU64,
}

impl Mirror {
    pub(crate) fn new(folder: &Path) -> Self {
        let root = fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let root_inode = fs::fstat(&root).unwrap().st_ino;
        Self {
            root,
            root_inode,
            nodes: Mutex::default(),
            files: Mutex::default(),
            listings: Mutex::default(),
            next_handle: AtomicU64::new(1),
            values_asked: AtomicU64::new(0),
        }
    }

    /// How often the value of an extended attribute was asked for.
    pub(crate) fn values_asked(&self) -> u64 {
        self.values_asked.load(Ordering::Relaxed)
    }

    /// Lookup references that the kernel still holds.
    pub(crate) fn nodes_held(&self) -> usize {
        self.nodes.lock().len()
    }

    fn path(&self, node: FileId) -> Result<OwnedFd> {
        if node == FileId::ROOT {
            return Ok(self.root.try_clone().unwrap());
        }
        let nodes = self.nodes.lock();
        Ok(nodes.get(&node.get()).ok_or(Errno::STALE)?.path.try_clone().unwrap())
    }

    fn take(&self, parent: FileId, name: &OsStr) -> Result<Stat> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = fs::openat(self.path(parent)?, name, flags, Mode::empty())?;
        let stat = self.stat_of(path.as_fd())?;
        let mut nodes = self.nodes.lock();
        nodes.entry(stat.file.get()).or_insert(Node { path, references: 0 }).references += 1;
        Ok(stat)
    }

    fn stat_of(&self, file: BorrowedFd<'_>) -> Result<Stat> {
        let stat = fs::statat(file, "", AtFlags::EMPTY_PATH)?;
        let time = |secs, nanos: u64| Timestamp::from_secs_nanos(secs, u32::try_from(nanos).unwrap());
        let metadata = FileMetadata {
            kind: FileKind::from_type_bits(stat.st_mode).unwrap(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap(),
            nlink: u32::try_from(stat.st_nlink).unwrap(),
            rdev: stat.st_rdev,
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        };
        let file = if stat.st_ino == self.root_inode { FileId::ROOT } else { FileId::new(stat.st_ino) };
        Ok(Stat { file, metadata, blocks: u64::try_from(stat.st_blocks).unwrap(), block_size: 4096 })
    }

    fn own(&self, caller: Caller, parent: FileId, name: &OsStr) -> Result<Stat> {
        let owner = (Some(Uid::from_raw(caller.uid)), Some(Gid::from_raw(caller.gid)));
        fs::chownat(self.path(parent)?, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        self.take(parent, name)
    }

    fn keep(&self, file: OwnedFd) -> Handle {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.files.lock().insert(handle, Arc::new(file));
        Handle::new(handle)
    }

    fn open_file(&self, handle: Handle) -> Result<Arc<OwnedFd>> {
        Ok(Arc::clone(self.files.lock().get(&handle.get()).ok_or(Errno::BADF)?))
    }
}

/// The path that leads to what a descriptor stands for, symlinks included.
fn reopened(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open_flags(mode: OpenMode) -> OFlags {
    let mut flags = match (mode.read, mode.write) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    };
    flags.set(OFlags::TRUNC, mode.truncate);
    flags.set(OFlags::EXCL, mode.exclusive);
    flags | OFlags::CLOEXEC
}

fn timespec(time: Option<SetTime>) -> fs::Timespec {
    match time {
        None => fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        Some(SetTime::Now) => fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        Some(SetTime::To(time)) => {
            let (tv_sec, nanos) = time.as_secs_nanos();
            fs::Timespec { tv_sec, tv_nsec: nanos.into() }
        }
    }
}

impl Tree for Mirror {
    fn lookup(&self, parent: FileId, name: &OsStr) -> Result<Stat> {
        if name == "panic" {
            panic!("the tree panics on purpose");
        }
        self.take(parent, name)
    }

    fn forget(&self, node: FileId, lookups: u64) {
        let mut nodes = self.nodes.lock();
        let Some(held) = nodes.get_mut(&node.get()) else { return };
        held.references -= lookups;
        if held.references == 0 {
            nodes.remove(&node.get());
        }
    }

    fn stat(&self, node: FileId, _: Option<Handle>) -> Result<Stat> {
        self.stat_of(self.path(node)?.as_fd())
    }

    fn set_attributes(&self, _: Caller, node: FileId, handle: Option<Handle>, set: &SetAttributes) -> Result<Stat> {
        let node = self.path(node)?;
        if let Some(size) = set.size {
            match handle {
                Some(handle) => fs::ftruncate(self.open_file(handle)?, size)?,
                None => {
                    fs::ftruncate(fs::open(reopened(&node), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?, size)?
                }
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            fs::chownat(&node, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = set.mode {
            fs::chmod(reopened(&node), Mode::from_raw_mode(mode))?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: timespec(set.atime), last_modification: timespec(set.mtime) };
            fs::utimensat(fs::CWD, reopened(&node), &times, AtFlags::empty())?;
        }
        self.stat_of(node.as_fd())
    }

    fn read_link(&self, node: FileId) -> Result<Vec<u8>> {
        Ok(fs::readlinkat(self.path(node)?, "", Vec::new())?.into_bytes())
    }

    fn make_node(&self, caller: Caller, parent: FileId, name: &OsStr, node: NewNode) -> Result<Stat> {
        let kind = fs::FileType::from_raw_mode(node.kind.type_bits());
        fs::mknodat(self.path(parent)?, name, kind, Mode::from_raw_mode(node.mode), node.rdev)?;
        self.own(caller, parent, name)
    }

    fn make_directory(&self, caller: Caller, parent: FileId, name: &OsStr, mode: u32) -> Result<Stat> {
        fs::mkdirat(self.path(parent)?, name, Mode::from_raw_mode(mode))?;
        self.own(caller, parent, name)
    }

    fn make_symlink(&self, caller: Caller, parent: FileId, name: &OsStr, target: &[u8]) -> Result<Stat> {
        fs::symlinkat(target, self.path(parent)?, name)?;
        self.own(caller, parent, name)
    }

    fn unlink(&self, _: Caller, parent: FileId, name: &OsStr) -> Result<()> {
        Ok(fs::unlinkat(self.path(parent)?, name, AtFlags::empty())?)
    }

    fn remove_directory(&self, _: Caller, parent: FileId, name: &OsStr) -> Result<()> {
        Ok(fs::unlinkat(self.path(parent)?, name, AtFlags::REMOVEDIR)?)
    }

    fn rename(&self, _: Caller, from: (FileId, &OsStr), to: (FileId, &OsStr), mode: RenameMode) -> Result<()> {
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        Ok(fs::renameat_with(self.path(from.0)?, from.1, self.path(to.0)?, to.1, flags)?)
    }

    fn link(&self, _: Caller, node: FileId, parent: FileId, name: &OsStr) -> Result<Stat> {
        let node = self.path(node)?;
        fs::linkat(fs::CWD, reopened(&node), self.path(parent)?, name, AtFlags::SYMLINK_FOLLOW)?;
        self.take(parent, name)
    }

    fn open(&self, _: Caller, node: FileId, mode: OpenMode) -> Result<Handle> {
        Ok(self.keep(fs::open(reopened(&self.path(node)?), open_flags(mode), Mode::empty())?))
    }

    fn create(
        &self,
        caller: Caller,
        parent: FileId,
        name: &OsStr,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Stat, Handle)> {
        let flags = open_flags(mode) | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = fs::openat(self.path(parent)?, name, flags, Mode::from_raw_mode(permissions))?;
        Ok((self.own(caller, parent, name)?, self.keep(file)))
    }

    fn read(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(rustix::io::pread(self.open_file(handle)?, buf, offset)?)
    }

    fn write(&self, _: Caller, handle: Handle, offset: u64, data: &[u8]) -> Result<usize> {
        if data == b"slow" {
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        Ok(rustix::io::pwrite(self.open_file(handle)?, data, offset)?)
    }

    fn flush(&self, handle: Handle) -> Result<()> {
        self.open_file(handle).map(drop)
    }

    fn release(&self, handle: Handle) {
        self.files.lock().remove(&handle.get());
    }

    fn sync(&self, handle: Handle, _: SyncScope, then: Then) {
        then(self.open_file(handle).map(drop));
    }

    fn open_directory(&self, node: FileId) -> Result<Handle> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::open(reopened(&self.path(node)?), flags, Mode::empty())?;
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.listings.lock().insert(handle, Listing { folder, entries: Vec::new() });
        Ok(Handle::new(handle))
    }

    fn read_directory(&self, handle: Handle, after: i64, take: &mut dyn FnMut(TreeEntry<'_>) -> bool) -> Result<()> {
        let mut listings = self.listings.lock();
        let listing = listings.get_mut(&handle.get()).ok_or(Errno::BADF)?;
        if after == 0 {
            listing.entries.clear();
            for entry in fs::Dir::read_from(&listing.folder)? {
                let entry = entry?;
                let kind = FileKind::from_type_bits(entry.file_type().as_raw_mode()).unwrap();
                let inode = if entry.ino() == self.root_inode { 1 } else { entry.ino() };
                listing.entries.push((OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(), inode, kind));
            }
        }
        for (index, (name, inode, kind)) in listing.entries.iter().enumerate().skip(usize::try_from(after).unwrap()) {
            let next = i64::try_from(index).unwrap() + 1;
            if !take(TreeEntry { name, inode: *inode, kind: *kind, next }) {
                break;
            }
        }
        Ok(())
    }

    fn release_directory(&self, handle: Handle) {
        self.listings.lock().remove(&handle.get());
    }

    fn sync_directory(&self, _: Handle, then: Then) {
        then(Ok(()));
    }

    fn space(&self) -> Result<Space> {
        let space = fs::fstatvfs(&self.root)?;
        Ok(Space {
            blocks: space.f_blocks,
            blocks_free: space.f_bfree,
            blocks_available: space.f_bavail,
            files: space.f_files,
            files_free: space.f_ffree,
            block_size: u32::try_from(space.f_bsize).unwrap(),
            fragment_size: u32::try_from(space.f_frsize).unwrap(),
            name_max: u32::try_from(space.f_namemax).unwrap(),
        })
    }

    fn set_xattr(&self, _: Caller, node: FileId, name: &OsStr, value: &[u8], mode: XattrMode) -> Result<()> {
        let flags = match mode {
            XattrMode::Either => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        Ok(fs::setxattr(reopened(&self.path(node)?), name, value, flags)?)
    }

    fn xattr(&self, node: FileId, name: &OsStr) -> Result<Vec<u8>> {
        self.values_asked.fetch_add(1, Ordering::Relaxed);
        let mut value = vec![0; 65536];
        let size = fs::getxattr(reopened(&self.path(node)?), name, &mut value[..])?;
        value.truncate(size);
        Ok(value)
    }

    fn xattr_names(&self, node: FileId) -> Result<Vec<u8>> {
        let mut names = vec![0; 65536];
        let size = fs::listxattr(reopened(&self.path(node)?), &mut names[..])?;
        names.truncate(size);
        Ok(names)
    }

    fn remove_xattr(&self, _: Caller, node: FileId, name: &OsStr) -> Result<()> {
        Ok(fs::removexattr(reopened(&self.path(node)?), name)?)
    }

    fn allocate(&self, _: Caller, handle: Handle, what: Allocation, offset: u64, len: u64) -> Result<()> {
        let mut flags = match what {
            Allocation::Allocate { .. } => FallocateFlags::empty(),
            Allocation::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Allocation::ZeroRange { .. } => FallocateFlags::ZERO_RANGE,
        };
        if let Allocation::Allocate { keep_size: true } | Allocation::ZeroRange { keep_size: true } = what {
            flags |= FallocateFlags::KEEP_SIZE;
        }
        Ok(fs::fallocate(self.open_file(handle)?, flags, offset, len)?)
    }

    fn seek(&self, handle: Handle, offset: u64, what: SeekFor) -> Result<u64> {
        let from = match what {
            SeekFor::Data => fs::SeekFrom::Data(offset),
            SeekFor::Hole => fs::SeekFrom::Hole(offset),
        };
        Ok(fs::seek(self.open_file(handle)?, from)?)
    }

    fn copy_range(&self, _: Caller, from: (Handle, u64), to: (Handle, u64), len: u64) -> Result<usize> {
        let (mut from_offset, mut to_offset) = (from.1, to.1);
        let (source, target) = (self.open_file(from.0)?, self.open_file(to.0)?);
        let len = usize::try_from(len).unwrap();
        Ok(fs::copy_file_range(source, Some(&mut from_offset), target, Some(&mut to_offset), len)?)
    }
}
