//! [`Adapter`]: one kernel request in, one call on the tree, one reply out.
//!
//! It decides nothing that a tree could decide. What it does decide is how much the kernel may remember, which follows
//! from one fact: every change of a mounted tree passes through the mount, or is announced through [`crate::KernelCaches`].
//! Nothing here may panic, because that ends a serving thread; a panic inside the tree becomes `EIO`.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr,
    ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use ize_core::model::FileKind;
use ize_core::tree::{
    Caller, DiskThreads, Handle, NewNode, OpenMode, SeekFor, SetAttributes, SyncScope, Tree, TreeError,
};

use crate::answer::{
    GENERATION, REMEMBER, answer_attributes, answer_empty, answer_entry, answer_value, answer_written,
};
use crate::calls::{Calls, Write};
use crate::passthrough::Passthrough;
use crate::wire;

/// The largest write, and (by way of the kernel's `max_pages`) the largest read: 256 pages, the kernel's own limit.
const REQUEST_BYTES_MAX: u32 = 1024 * 1024;

/// Read-ahead and other background requests that the kernel may have under way. Its default, 12 of 16, starves parallel readers.
const BACKGROUND_REQUESTS_MAX: u16 = 64;

/// Entries that are taken from the tree at a time for a listing with attributes; a reply seldom holds more.
const LISTING_BATCH: usize = 64;

/// The longest copy that one reply can acknowledge (its count has 32 bits), in whole pages.
const COPY_BYTES_MAX: u64 = 0xffff_f000;

/// The most writes that wait for the disk before they are made; more wait their turn.
const WAITING_WRITES_MAX: usize = 16;

thread_local! {
    /// Where this thread reads file content into; grows to at most [`REQUEST_BYTES_MAX`].
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Serves a [`Tree`] to the kernel.
pub(crate) struct Adapter {
    calls: Calls,
    /// For writes that may wait for the disk, which no serving thread does.
    waiting: DiskThreads,
    passthrough: Arc<Passthrough>,
}

impl Adapter {
    pub(crate) fn new(tree: Arc<dyn Tree>, passthrough: Arc<Passthrough>) -> Self {
        Self { calls: Calls::new(tree), waiting: DiskThreads::new(WAITING_WRITES_MAX), passthrough }
    }

    fn call<T>(&self, what: &'static str, call: impl FnOnce(&dyn Tree) -> Result<T, TreeError>) -> Result<T, Errno> {
        self.calls.call(what, call)
    }

    fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&dyn Tree) -> Result<T, TreeError>,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        self.calls.change(what, change, answer);
    }

    /// Gives lookup references back. There is no reply that could carry an error.
    fn give_back(&self, node: INodeNo, lookups: u64) {
        let _ = self.call("forget", |tree| {
            tree.forget(wire::file(node), lookups);
            Ok(())
        });
    }

    /// Replies with as much of a listing with attributes as fits. Every entry that the reply holds carries a lookup
    /// reference, except `.` and `..`, which the kernel does not take into its cache.
    fn list_with_attributes(
        &self,
        handle: Handle,
        mut after: i64,
        reply: &mut ReplyDirectoryPlus,
        folder: INodeNo,
    ) -> Result<(), Errno> {
        loop {
            let batch = self.batch(handle, after)?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = last.next;
            for entry in &batch {
                if self.add_with_attributes(folder, entry, reply)? {
                    return Ok(());
                }
            }
        }
    }

    /// Takes some entries out of the tree first, so that none of its locks is held while each is looked up.
    fn batch(&self, handle: Handle, after: i64) -> Result<Vec<Listed>, Errno> {
        let mut batch = Vec::with_capacity(LISTING_BATCH);
        self.call("readdirplus", |tree| {
            tree.read_directory(handle, after, &mut |entry| {
                if batch.len() == LISTING_BATCH {
                    return false;
                }
                batch.push(Listed {
                    name: entry.name.to_owned(),
                    inode: entry.inode,
                    kind: entry.kind,
                    next: entry.next,
                });
                true
            })
        })?;
        Ok(batch)
    }

    /// Adds one entry and tells whether the reply was already full.
    fn add_with_attributes(
        &self,
        folder: INodeNo,
        entry: &Listed,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<bool, Errno> {
        let next = entry.next.cast_unsigned();
        if matches!(entry.name.as_bytes(), b"." | b"..") {
            let attributes = fuser::FileAttr {
                ino: INodeNo(entry.inode.max(1)),
                kind: wire::file_type(entry.kind),
                ..wire::absent()
            };
            return Ok(reply.add(attributes.ino, next, &entry.name, &Duration::ZERO, &attributes, GENERATION));
        }
        match self.call("lookup", |tree| tree.lookup(wire::file(folder), &entry.name)) {
            Ok(stat) => {
                let attributes = wire::attributes(&stat);
                let full = reply.add(attributes.ino, next, &entry.name, &REMEMBER, &attributes, GENERATION);
                if full {
                    self.give_back(attributes.ino, 1);
                }
                Ok(full)
            }
            // It went away since it was listed, or it cannot be shown: the listing goes on without it.
            Err(errno) => {
                tracing::debug!(name = ?entry.name, ?errno, "an entry is left out of a listing");
                Ok(false)
            }
        }
    }
}

/// An entry that waits for its attributes.
struct Listed {
    name: OsString,
    inode: u64,
    kind: FileKind,
    next: i64,
}

/// Pages in the kernel's cache stay true when a file is opened again. A handle that cannot write has nothing to flush.
fn open_flags(mode: OpenMode) -> FopenFlags {
    if mode.write { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH }
}

/// A file that the kernel reads and writes itself has no pages to keep.
fn passed_flags(mode: OpenMode) -> FopenFlags {
    open_flags(mode) - FopenFlags::FOPEN_KEEP_CACHE
}

/// Opens a file that the kernel then reads and writes itself.
fn open_passed(
    calls: &Calls,
    passthrough: &Passthrough,
    caller: Caller,
    node: INodeNo,
    mode: OpenMode,
    reply: ReplyOpen,
) {
    let opened = calls.call("open", |tree| {
        if mode.write {
            // The kernel leaves the bits where they are when it writes itself.
            calls.drop_set_id_of_others(tree, caller, wire::file(node), None)?;
        }
        tree.open(caller, wire::file(node), mode)
    });
    let opened = opened.and_then(|handle| {
        let id = calls.hand_over(passthrough, node, handle, |file| reply.open_backing(file))?;
        Ok((handle, id))
    });
    match opened {
        Ok((handle, id)) => reply.opened_passthrough(FileHandle(handle.get()), passed_flags(mode), &id),
        Err(errno) => reply.error(errno),
    }
}

/// Access control lists are not offered: the kernel would keep them without asking them (`default_permissions` without
/// `FUSE_POSIX_ACL`), and setting one changes permission bits that the kernel then does not see.
fn is_access_list(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"system.posix_acl_")
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Left out on purpose: WRITEBACK_CACHE (acknowledges what only the kernel has), POSIX_LOCKS and FLOCK_LOCKS (locks
        // work in the kernel), DONT_MASK, POSIX_ACL, NO_OPEN_SUPPORT;
        // and ATOMIC_O_TRUNC: the open would empty a program that is being executed before the kernel answers ETXTBSY, and
        // keep its set-user-id bit. Without it the kernel checks first, and then sends the truncation by itself.
        let wanted = InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_CACHE_SYMLINKS
            // Otherwise the kernel asks for an extended attribute before each write. See `set_id`.
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            // Tells an aborted connection, which ends the session with an error, from an unmount.
            | InitFlags::FUSE_ABORT_ERROR
            // Otherwise the kernel drops a file's pages when it sees a new size or time that we set ourselves.
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        self.passthrough.negotiate(config);
        for flag in wanted.iter() {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!(?flag, "the kernel does not offer this");
            }
        }
        // Neither number is out of range; an older kernel cuts them down by itself.
        let _ = config.set_max_write(REQUEST_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_REQUESTS_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.call("lookup", |tree| tree.lookup(wire::file(parent), name)) {
            // The kernel remembers this too, until it makes or renames something there itself.
            Err(Errno::ENOENT) => reply.entry(&REMEMBER, &wire::absent(), GENERATION),
            result => answer_entry(reply, result),
        }
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.give_back(node, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(reply, self.call("getattr", |tree| tree.stat(wire::file(node), handle.map(open_handle))));
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut attributes = SetAttributes {
            mode: mode.map(|mode| mode & wire::PERMISSION_BITS),
            uid,
            gid,
            size,
            atime: atime.map(wire::set_time),
            mtime: mtime.map(wire::set_time),
        };
        let (caller, node, handle) = (wire::caller(request), wire::file(node), handle.map(open_handle));
        let change = |tree: &dyn Tree| {
            attributes.mode = self.calls.mode_without_set_id(tree, caller, node, handle, &attributes)?;
            tree.set_attributes(caller, node, handle, &attributes)
        };
        self.change("setattr", change, |result| answer_attributes(reply, result));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.call("readlink", |tree| tree.read_link(wire::file(node))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = match FileKind::from_type_bits(mode) {
            None | Some(FileKind::Directory | FileKind::Symlink) => return reply.error(Errno::EINVAL),
            Some(kind) => kind,
        };
        let node = NewNode { kind, mode: mode & wire::PERMISSION_BITS, rdev: wire::device_from_kernel(rdev) };
        let caller = wire::caller(request);
        let make = |tree: &dyn Tree| tree.make_node(caller, wire::file(parent), name, node);
        self.change("mknod", make, |result| answer_entry(reply, result));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let make = |tree: &dyn Tree| {
            tree.make_directory(wire::caller(request), wire::file(parent), name, mode & wire::PERMISSION_BITS)
        };
        self.change("mkdir", make, |result| answer_entry(reply, result));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &dyn Tree| tree.unlink(wire::caller(request), wire::file(parent), name);
        self.change("unlink", remove, |result| answer_empty(reply, result));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &dyn Tree| tree.remove_directory(wire::caller(request), wire::file(parent), name);
        self.change("rmdir", remove, |result| answer_empty(reply, result));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let make = |tree: &dyn Tree| {
            tree.make_symlink(wire::caller(request), wire::file(parent), name, target.as_os_str().as_bytes())
        };
        self.change("symlink", make, |result| answer_entry(reply, result));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = wire::rename_mode(flags) else { return reply.error(Errno::EINVAL) };
        let (from, to) = ((wire::file(parent), name), (wire::file(new_parent), new_name));
        let rename = |tree: &dyn Tree| tree.rename(wire::caller(request), from, to, mode);
        self.change("rename", rename, |result| answer_empty(reply, result));
    }

    fn link(&self, request: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let link =
            |tree: &dyn Tree| tree.link(wire::caller(request), wire::file(node), wire::file(new_parent), new_name);
        self.change("link", link, |result| answer_entry(reply, result));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mode = wire::open_mode(flags.0);
        let caller = wire::caller(request);
        if !self.passthrough.is_on() {
            return match self.call("open", |tree| tree.open(caller, wire::file(node), mode)) {
                Ok(handle) => reply.opened(FileHandle(handle.get()), open_flags(mode)),
                Err(errno) => reply.error(errno),
            };
        }
        let (calls, passthrough) = (self.calls.clone(), Arc::clone(&self.passthrough));
        if !calls.open_may_wait(wire::file(node), mode) {
            return open_passed(&calls, &passthrough, caller, node, mode, reply);
        }
        self.waiting.run(move || open_passed(&calls, &passthrough, caller, node, mode, reply));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let open = wire::open_mode(flags);
        let create = |tree: &dyn Tree| {
            tree.create(wire::caller(request), wire::file(parent), name, mode & wire::PERMISSION_BITS, open)
        };
        let (calls, passthrough) = (self.calls.clone(), Arc::clone(&self.passthrough));
        self.change("create", create, move |result| match result {
            Ok((stat, handle)) if passthrough.is_on() => {
                let attributes = wire::attributes(&stat);
                match calls.hand_over(&passthrough, attributes.ino, handle, |file| reply.open_backing(file)) {
                    Ok(id) => {
                        let (handle, flags) = (FileHandle(handle.get()), passed_flags(open));
                        reply.created_passthrough(&REMEMBER, &attributes, GENERATION, handle, flags, &id);
                    }
                    Err(errno) => reply.error(errno),
                }
            }
            Ok((stat, handle)) => {
                let handle = FileHandle(handle.get());
                reply.created(&REMEMBER, &wire::attributes(&stat), GENERATION, handle, open_flags(open));
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn read(
        &self,
        _: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The kernel asks for no more; a shorter answer would mean the end of the file.
        let Ok(size) = usize::try_from(size.min(REQUEST_BYTES_MAX)) else { return reply.error(Errno::EINVAL) };
        READ_BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.call("read", |tree| tree.read(open_handle(handle), offset, &mut buffer[..size])) {
                Ok(bytes) => reply.data(&buffer[..bytes.min(size)]),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // These are the flags of this one write: `RWF_DSYNC` is among them.
        let is_synced = wire::open_mode(flags.0).sync;
        let write = Write {
            caller: wire::caller(request),
            node: wire::file(node),
            handle: open_handle(handle),
            offset,
            is_synced,
            drops_set_id: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
        };
        if !self.calls.may_wait(&write) {
            return self.calls.write(&write, data, reply);
        }
        let (calls, data) = (self.calls.clone(), data.to_vec());
        self.waiting.run(move || calls.write(&write, &data, reply));
    }

    fn flush(&self, _: &Request, _node: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        let flush = |tree: &dyn Tree| tree.flush(open_handle(handle));
        if self.passthrough.is_on() {
            // This is the change that is acknowledged: the kernel asked about none of the writes.
            self.change("flush", flush, |result| answer_empty(reply, result));
        } else {
            answer_empty(reply, self.call("flush", flush));
        }
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.passthrough.release(node);
        let result = self.call("release", |tree| {
            tree.release(open_handle(handle));
            Ok(())
        });
        answer_empty(reply, result);
    }

    fn fsync(&self, _: &Request, _node: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let scope = if data_only { SyncScope::Data } else { SyncScope::File };
        let sync = |tree: &dyn Tree, then| tree.sync(open_handle(handle), scope, then);
        self.calls.later("fsync", sync, |outcome| answer_empty(reply, outcome));
    }

    fn opendir(&self, _: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.call("opendir", |tree| tree.open_directory(wire::file(node))) {
            // The kernel keeps whole listings, and drops one by itself when it changes the folder.
            Ok(handle) => {
                reply.opened(FileHandle(handle.get()), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, _node: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let result = self.call("readdir", |tree| {
            tree.read_directory(open_handle(handle), offset.cast_signed(), &mut |entry| {
                let next = entry.next.cast_unsigned();
                !reply.add(INodeNo(entry.inode), next, wire::file_type(entry.kind), entry.name)
            })
        });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(&self, _: &Request, node: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        match self.list_with_attributes(open_handle(handle), offset.cast_signed(), &mut reply, node) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _node: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        let result = self.call("releasedir", |tree| {
            tree.release_directory(open_handle(handle));
            Ok(())
        });
        answer_empty(reply, result);
    }

    fn fsyncdir(&self, _: &Request, _node: INodeNo, handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        let sync = |tree: &dyn Tree, then| tree.sync_directory(open_handle(handle), then);
        self.calls.later("fsyncdir", sync, |outcome| answer_empty(reply, outcome));
    }

    fn statfs(&self, _: &Request, _node: INodeNo, reply: ReplyStatfs) {
        match self.call("statfs", |tree| tree.space()) {
            Ok(space) => reply.statfs(
                space.blocks,
                space.blocks_free,
                space.blocks_available,
                space.files,
                space.files_free,
                space.block_size,
                space.name_max,
                space.fragment_size,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        if is_access_list(name) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let Some(mode) = wire::xattr_mode(flags) else { return reply.error(Errno::EINVAL) };
        let caller = wire::caller(request);
        let set = |tree: &dyn Tree| tree.set_xattr(caller, wire::file(node), name, value, mode);
        self.change("setxattr", set, |result| answer_empty(reply, result));
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer_value(reply, size, self.call("getxattr", |tree| tree.xattr(wire::file(node), name)));
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        answer_value(reply, size, self.call("listxattr", |tree| tree.xattr_names(wire::file(node))));
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let caller = wire::caller(request);
        let remove = |tree: &dyn Tree| tree.remove_xattr(caller, wire::file(node), name);
        self.change("removexattr", remove, |result| answer_empty(reply, result));
    }

    /// Never asked: the kernel checks permissions itself (`default_permissions`).
    fn access(&self, _: &Request, _node: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    /// There are none; programs ask whether a file is a terminal.
    fn ioctl(
        &self,
        _: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    /// Files are always ready, which is what the kernel makes of `ENOSYS`.
    fn poll(
        &self,
        _: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    /// There is no block device underneath.
    fn bmap(&self, _: &Request, _node: INodeNo, _block_size: u32, _block: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(what) = wire::allocation(mode) else { return reply.error(Errno::EOPNOTSUPP) };
        let (caller, node, handle) = (wire::caller(request), wire::file(node), open_handle(handle));
        let allocate = |tree: &dyn Tree| {
            self.calls.drop_set_id_of_others(tree, caller, node, Some(handle))?;
            tree.allocate(caller, handle, what, offset, length)
        };
        self.change("fallocate", allocate, |result| answer_empty(reply, result));
    }

    fn lseek(&self, _: &Request, _node: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        // `SEEK_DATA` and `SEEK_HOLE`; the kernel does the others itself.
        let what = match whence {
            3 => SeekFor::Data,
            4 => SeekFor::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        match self.call("lseek", |tree| tree.seek(open_handle(handle), offset, what)).map(i64::try_from) {
            Ok(Ok(offset)) => reply.offset(offset),
            Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        to_node: INodeNo,
        to_handle: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = ((open_handle(handle), offset), (open_handle(to_handle), to_offset));
        let length = length.min(COPY_BYTES_MAX);
        let (caller, to_node) = (wire::caller(request), wire::file(to_node));
        let copy = |tree: &dyn Tree| {
            self.calls.drop_set_id_of_others(tree, caller, to_node, Some(to.0))?;
            tree.copy_range(caller, from, to, length)
        };
        self.change("copy_file_range", copy, |result| answer_written(reply, result));
    }
}

fn open_handle(handle: FileHandle) -> Handle {
    Handle::new(handle.0)
}
