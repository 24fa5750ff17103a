//! Modes, owners, times, sizes and extended attributes.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;

use super::namespace::SMALL_OP_BYTES;
use super::{Live, Node, name_errno};
use crate::model::{FileId, FileMetadata, Landmark, OpData, OpType, Touched, XattrName};
use crate::tree::host;
use crate::tree::{Caller, Handle, Result, SetAttributes, Stat, XattrMode};

impl Live {
    pub(super) fn change_attributes(
        &self,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
        attributes: &SetAttributes,
    ) -> Result<Stat> {
        self.check_writable()?;
        let open = handle.and_then(|handle| self.handles.file(handle).ok());
        let node = match &open {
            Some(open) => Arc::clone(&open.node),
            None => self.nodes.get(node)?,
        };
        let fd = self.nodes.fd(&node)?;
        if let Some(size) = attributes.size
            && size > 0
            && size > host::stat(&*fd)?.metadata.size
        {
            self.room.check(0)?;
        }
        let _held = self.locks.change(&[node.lock_id()]);
        if (SetAttributes { size: None, ..*attributes }) != SetAttributes::default() {
            self.catch_up(&node)?;
        }
        self.change_owner(caller, &node, &fd, attributes)?;
        self.change_mode(caller, &node, &fd, attributes)?;
        if let Some(size) = attributes.size {
            let reservation = self.reserve_shrinking()?;
            let actor = self.actors.of(caller);
            match open.as_ref().filter(|open| open.mode.write) {
                Some(open) => {
                    if let Some(op) = self.truncate(reservation, &node, &open.fd, &actor, size)? {
                        open.note_written(op);
                    }
                }
                None => {
                    let fd = host::reopen(&*fd, OFlags::WRONLY)?;
                    // No landmark: this is also how the kernel empties a file that is opened with O_TRUNC, and what is
                    // worth showing is what is written to it then.
                    self.truncate(reservation, &node, &fd, &actor, size)?;
                }
            }
        }
        self.change_times(caller, &node, &fd, attributes)?;
        let found = host::stat(&*fd)?;
        Ok(self.stat_of(&node, &found))
    }

    fn change_owner(&self, caller: Caller, node: &Arc<Node>, fd: &OwnedFd, wanted: &SetAttributes) -> Result<()> {
        if wanted.uid.is_none() && wanted.gid.is_none() {
            return Ok(());
        }
        let change = || host::set_owner(fd, wanted.uid, wanted.gid);
        self.change_inode(caller, node, fd, Some(Landmark::Namespace), change, |file, old, new| OpType::Chown {
            file,
            old_uid: old.uid,
            old_gid: old.gid,
            new_uid: new.uid,
            new_gid: new.gid,
        })
    }

    fn change_mode(&self, caller: Caller, node: &Arc<Node>, fd: &OwnedFd, wanted: &SetAttributes) -> Result<()> {
        let Some(mode) = wanted.mode else { return Ok(()) };
        let change = || host::set_mode(fd, mode & 0o7777);
        self.change_inode(caller, node, fd, Some(Landmark::Namespace), change, |file, old, new| OpType::Chmod {
            file,
            old_mode: old.mode,
            new_mode: new.mode,
        })
    }

    fn change_times(&self, caller: Caller, node: &Arc<Node>, fd: &OwnedFd, wanted: &SetAttributes) -> Result<()> {
        if wanted.atime.is_none() && wanted.mtime.is_none() {
            return Ok(());
        }
        let change = || host::set_times(fd, wanted.atime, wanted.mtime);
        self.change_inode(caller, node, fd, None, change, |file, old, new| OpType::Touch {
            file,
            old_atime: old.atime,
            old_mtime: old.mtime,
            new_atime: new.atime,
            new_mtime: new.mtime,
        })
    }

    /// Applies a change of one inode's metadata and records it. The caller holds the file's lock.
    fn change_inode(
        &self,
        caller: Caller,
        node: &Arc<Node>,
        fd: &OwnedFd,
        landmark: Option<Landmark>,
        change: impl FnOnce() -> Result<(), Errno>,
        op_type: impl FnOnce(FileId, &FileMetadata, &FileMetadata) -> OpType,
    ) -> Result<()> {
        let reservation = self.reserve(SMALL_OP_BYTES)?;
        let old = host::stat(fd)?.metadata;
        change()?;
        self.record_change(reservation, node, fd, |file, metadata| {
            let mut draft = self.draft(caller, op_type(file, &old, &metadata), OpData::None, landmark);
            draft.touched.push(Touched { file, metadata });
            draft
        })?;
        Ok(())
    }

    /// Sets an extended attribute, or removes it where there is no value.
    pub(super) fn change_xattr(
        &self,
        caller: Caller,
        node: FileId,
        name: &OsStr,
        value: Option<(&[u8], XattrMode)>,
    ) -> Result<()> {
        let attribute = XattrName::new(Bytes::copy_from_slice(name.as_bytes())).map_err(name_errno)?;
        let node = self.nodes.get(node)?;
        let fd = self.nodes.fd(&node)?;
        let reservation = match value {
            Some((value, _)) => self.reserve_growth(SMALL_OP_BYTES + value.len() as u64)?,
            None => self.reserve(SMALL_OP_BYTES)?,
        };
        let _held = self.locks.change(&[node.lock_id()]);
        self.catch_up(&node)?;
        match value {
            Some((value, mode)) => {
                node.note_attribute();
                let flags = match mode {
                    XattrMode::Either => XattrFlags::empty(),
                    XattrMode::Create => XattrFlags::CREATE,
                    XattrMode::Replace => XattrFlags::REPLACE,
                };
                host::set_xattr(&*fd, name, value, flags)?;
            }
            None => host::remove_xattr(&*fd, name)?,
        }
        self.record_change(reservation, &node, &*fd, |file, metadata| {
            let (op_type, data) = match value {
                Some((value, _)) => {
                    (OpType::SetXattr { file, name: attribute }, OpData::Inline(Bytes::copy_from_slice(value)))
                }
                None => (OpType::RemoveXattr { file, name: attribute }, OpData::None),
            };
            let mut draft = self.draft(caller, op_type, data, Some(Landmark::Namespace));
            draft.touched.push(Touched { file, metadata });
            draft
        })?;
        Ok(())
    }
}
