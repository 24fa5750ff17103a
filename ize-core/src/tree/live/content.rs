//! Opening files and changing what is in them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::handles::OpenFile;
use super::namespace::SMALL_OP_BYTES;
use super::writeback::Epoch;
use super::{Live, Node, recording};
use crate::disk::{Change, change};
use crate::model::{Actor, FileId, FileKind, FileMetadata, Landmark, OpData, OpId, OpType, RangeKind, Touched};
use crate::record::{OpDraft, Reservation};
use crate::tree::host;
use crate::tree::{Allocation, Caller, Handle, OpenMode, Result};

/// The most bytes that one recorded write carries; longer writes become several.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;
/// No filesystem keeps less than this together.
const PAGE_BYTES: u64 = 4096;

fn access_flags(mode: OpenMode) -> OFlags {
    match (mode.read, mode.write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    }
}

impl Live {
    /// As the caller wants it; but what the kernel writes to itself is read here.
    pub(super) fn access_flags(&self, mode: OpenMode) -> OFlags {
        if mode.write && self.passthrough.is_on() { OFlags::RDWR } else { access_flags(mode) }
    }

    pub(super) fn open_file(&self, caller: Caller, node: FileId, mode: OpenMode) -> Result<Handle> {
        if mode.write || mode.truncate {
            self.check_writable()?;
        }
        let node = self.nodes.get(node)?;
        match node.kind {
            FileKind::File => {}
            FileKind::Directory => return Err(Errno::ISDIR.into()),
            // The kernel opens these itself; opening one here could wait for a peer for ever.
            _ => return Err(Errno::NXIO.into()),
        }
        let fd = self.nodes.open(&node, self.access_flags(mode))?;
        let open = OpenFile::new(node, fd, mode, self.actors.of(caller));
        if mode.truncate {
            let reservation = self.reserve_shrinking()?;
            let _held = self.locks.change(&[open.node.lock_id()]);
            if let Some(op) = self.truncate(reservation, &open.node, &open.fd, &open.actor, 0)? {
                open.note_written(op);
            }
        }
        Ok(self.handles.add_file(open))
    }

    /// Sets a file's size and records it. The caller holds the file's lock.
    pub(super) fn truncate(
        &self,
        reservation: Reservation<'_>,
        node: &Arc<Node>,
        fd: &OwnedFd,
        actor: &Arc<Actor>,
        new_size: u64,
    ) -> Result<Option<OpId>> {
        if self.is_handed_over(node) {
            change(Change::Inode(fd.as_fd()), || rustix::fs::ftruncate(fd, new_size))?;
            return Ok(None);
        }
        self.catch_up(node)?;
        let old_size = host::stat(fd)?.metadata.size;
        // To cut within a page changes that page in place.
        let in_place = new_size < old_size && !new_size.is_multiple_of(PAGE_BYTES);
        let epoch = if in_place { self.announce(node)? } else { self.writeback.epoch() };
        change(Change::Inode(fd.as_fd()), || rustix::fs::ftruncate(fd, new_size))?;
        if new_size == 0 {
            node.cover(*epoch);
        }
        drop(epoch);
        let change = |file| OpType::FileTruncate { file, old_size, new_size };
        self.record_content_change(reservation, node, fd, actor, OpData::None, change)
    }

    /// Records a change of a file's content. What made it worth showing comes later: the file is closed or synced.
    fn record_content_change(
        &self,
        reservation: Reservation<'_>,
        node: &Arc<Node>,
        fd: &OwnedFd,
        actor: &Arc<Actor>,
        data: OpData,
        change: impl FnOnce(FileId) -> OpType,
    ) -> Result<Option<OpId>> {
        let recorded = self.record_change(reservation, node, fd, |file, metadata| OpDraft {
            op_type: change(file),
            data,
            touched: vec![Touched { file, metadata }],
            actor: Arc::clone(actor),
            landmark: None,
            parent: None,
        })?;
        self.passthrough.forget_content(node);
        Ok(recorded)
    }

    /// Records a change of a file's content that was made through a handle.
    fn record_through(
        &self,
        reservation: Reservation<'_>,
        open: &OpenFile,
        data: OpData,
        change: impl FnOnce(FileId) -> OpType,
    ) -> Result<()> {
        let fd = open.fd.as_ref();
        let recorded = self.record_content_change(reservation, &open.node, fd, &open.actor, data, change)?;
        if let Some(op) = recorded {
            open.note_written(op);
        }
        Ok(())
    }

    /// Records a change that was applied to one inode, unless history does not know it or it has no name left.
    pub(super) fn record_change(
        &self,
        reservation: Reservation<'_>,
        node: &Arc<Node>,
        fd: impl AsFd,
        draft: impl FnOnce(FileId, FileMetadata) -> OpDraft,
    ) -> Result<Option<OpId>> {
        let Some(file) = node.history() else { return Ok(None) };
        let metadata = self.applied(host::stat(fd))?.metadata;
        if !metadata.is_linked() {
            return Ok(None);
        }
        let op = self.record(reservation, draft(file, metadata))?;
        self.note_recorded(node, &metadata);
        Ok(Some(op))
    }

    pub(super) fn write_file(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<usize> {
        let open = self.handles.file(handle)?;
        let mut done = 0;
        for piece in data.chunks(WRITE_BYTES_MAX) {
            match self.write_piece(&open, offset + done as u64, piece) {
                Ok(written) => {
                    done += written;
                    if written < piece.len() {
                        break;
                    }
                }
                // What was written before is acknowledged; the caller meets the refusal at the next call.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_piece(&self, open: &Arc<OpenFile>, offset: u64, data: &[u8]) -> Result<usize> {
        let reservation = self.reserve_growth(SMALL_OP_BYTES + data.len() as u64)?;
        if !open.mode.append && self.is_to_announce(open, offset) {
            // Before the lock, which others may need; under it this is nearly always found to be done.
            drop(self.announce(&open.node)?);
        }
        let _held = self.locks.change(&[open.node.lock_id()]);
        self.catch_up(&open.node)?;
        let offset = if open.mode.append { host::stat(&open.fd)?.metadata.size } else { offset };
        let epoch = self.announce_from(open, offset)?;
        let (written, refusal) = host::write_all(&open.fd, offset, data);
        drop(epoch);
        if let (0, Some(errno)) = (written, refusal) {
            return Err(errno.into());
        }
        let bytes = OpData::Inline(Bytes::copy_from_slice(&data[..written]));
        let change = |file| OpType::FileWrite { file, offset, size: written as u64 };
        self.record_through(reservation, open, bytes, change)?;
        self.writeback.wrote(open, offset, written as u64);
        Ok(written)
    }

    /// Holds the epoch for a change of a file's content at an offset, announced if there is anything there to overwrite.
    fn announce_from(&self, open: &OpenFile, offset: u64) -> Result<Epoch<'_>> {
        let epoch = self.writeback.epoch();
        if open.node.is_covered(*epoch) || offset >= host::stat(&open.fd)?.metadata.size {
            return Ok(epoch);
        }
        drop(epoch);
        self.announce(&open.node)
    }

    /// Tells whether a write would have to be announced, which waits for the disk.
    pub(super) fn is_to_announce(&self, open: &OpenFile, offset: u64) -> bool {
        let is_covered = open.node.is_covered(*self.writeback.epoch());
        !is_covered
            && open.node.history().is_some()
            && host::stat(&open.fd).is_ok_and(|stat| offset < stat.metadata.size)
    }

    /// Holds the epoch for a change of a file's content in place, which was announced in it. See [`super::writeback`].
    pub(super) fn announce(&self, node: &Node) -> Result<Epoch<'_>> {
        loop {
            let epoch = self.writeback.epoch();
            let Some(file) = node.history().filter(|_| !node.is_covered(*epoch)) else { return Ok(epoch) };
            let number = *epoch;
            // It waits for the disk; the epoch may end meanwhile.
            drop(epoch);
            self.recorder.note_dirty(file).map_err(recording)?;
            node.cover(number);
        }
    }

    /// Makes the last write through a handle a landmark, and tells whether there was one since the last time.
    pub(super) fn mark_written(&self, open: &OpenFile, landmark: Landmark) -> Result<bool> {
        match open.take_unmarked() {
            Some(op) => self.recorder.mark(op, landmark).map(|()| true).map_err(recording),
            None => Ok(false),
        }
    }

    pub(super) fn allocate_range(&self, handle: Handle, what: Allocation, offset: u64, len: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        let (flags, kind) = match what {
            Allocation::Allocate { keep_size: false } => (FallocateFlags::empty(), RangeKind::Allocate),
            Allocation::Allocate { keep_size: true } => (FallocateFlags::KEEP_SIZE, RangeKind::Allocate),
            Allocation::PunchHole => (FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, RangeKind::Punch),
            Allocation::ZeroRange { keep_size: false } => (FallocateFlags::ZERO_RANGE, RangeKind::Zero),
            Allocation::ZeroRange { keep_size: true } => {
                (FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, RangeKind::Zero)
            }
        };
        let reservation = match kind {
            RangeKind::Punch => self.reserve_shrinking()?,
            RangeKind::Allocate | RangeKind::Zero => {
                self.room.check(len)?;
                self.reserve_growth(SMALL_OP_BYTES)?
            }
        };
        let _held = self.locks.change(&[open.node.lock_id()]);
        if !open.is_handed_over() {
            self.catch_up(&open.node)?;
        }
        let epoch = match kind {
            RangeKind::Allocate => self.writeback.epoch(),
            RangeKind::Punch | RangeKind::Zero => self.announce_from(&open, offset)?,
        };
        let range = match kind {
            RangeKind::Allocate => Change::Inode(open.fd.as_fd()),
            RangeKind::Punch | RangeKind::Zero => Change::Zeros(open.fd.as_fd(), offset, len),
        };
        change(range, || rustix::fs::fallocate(&open.fd, flags, offset, len))?;
        drop(epoch);
        if open.is_handed_over() {
            return Ok(());
        }
        let change = |file| OpType::Range { file, kind, offset, size: len };
        self.record_through(reservation, &open, OpData::None, change)
    }

    pub(super) fn copy_between(&self, from: (Handle, u64), to: (Handle, u64), len: u64) -> Result<usize> {
        let source = self.handles.file(from.0)?;
        let target = self.handles.file(to.0)?;
        let reservation = self.reserve_growth(SMALL_OP_BYTES)?;
        let _held = self.locks.change(&[source.node.lock_id(), target.node.lock_id()]);
        if !target.is_handed_over() {
            self.catch_up(&source.node)?;
            self.catch_up(&target.node)?;
        }
        let epoch = self.announce_from(&target, to.1)?;
        let (mut source_offset, mut offset) = (from.1, to.1);
        let asked = usize::try_from(len).unwrap_or(usize::MAX);
        let copied = change(Change::Data(target.fd.as_fd(), to.1, len), || {
            rustix::fs::copy_file_range(&source.fd, Some(&mut source_offset), &target.fd, Some(&mut offset), asked)
        })?;
        // Before anything that may have to wait for the end of the epoch.
        drop(epoch);
        if copied == 0 || target.is_handed_over() {
            return Ok(copied);
        }
        let size = copied as u64;
        self.writeback.wrote(&target, to.1, size);
        match self.recorded_source(&source)? {
            Some(source) => {
                let change = |file| OpType::CopyRange { file, offset: to.1, source, source_offset: from.1, size };
                self.record_through(reservation, &target, OpData::None, change)?;
            }
            None => {
                drop(reservation);
                self.record_content(&target, to.1, size)?;
            }
        }
        Ok(copied)
    }

    /// Returns how history calls a file that is copied from, if its content is in history.
    fn recorded_source(&self, source: &OpenFile) -> Result<Option<FileId>> {
        let linked = self.applied(host::stat(&source.fd))?.metadata.is_linked();
        Ok(source.node.history().filter(|_| linked))
    }

    /// Records as written what is now in a range of a file. The caller holds the file's lock.
    fn record_content(&self, open: &OpenFile, mut offset: u64, len: u64) -> Result<()> {
        let end = offset + len;
        let fd = self.applied(self.nodes.open(&open.node, OFlags::RDONLY))?;
        let mut buf = vec![0; WRITE_BYTES_MAX];
        while offset < end {
            let want = usize::try_from(end - offset).unwrap_or(WRITE_BYTES_MAX).min(WRITE_BYTES_MAX);
            let read = self.applied(host::read_full(&fd, offset, &mut buf[..want]))?;
            if read == 0 {
                return self.applied(Err(Errno::IO));
            }
            let reservation = self.reserve(SMALL_OP_BYTES + read as u64)?;
            let bytes = OpData::Inline(Bytes::copy_from_slice(&buf[..read]));
            let change = |file| OpType::FileWrite { file, offset, size: read as u64 };
            self.record_through(reservation, open, bytes, change)?;
            offset += read as u64;
        }
        Ok(())
    }
}
