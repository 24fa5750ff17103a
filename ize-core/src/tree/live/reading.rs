//! Looking: lookups, metadata and folder entries.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Live, Node, Place};
use crate::model::{Entry, FileId, FileKind, Name};
use crate::tree::host::{self, HostEntry, HostStat};
use crate::tree::{Handle, Result, Stat, TreeEntry};

impl Live {
    pub(super) fn look_up(&self, parent: FileId, name: &OsStr) -> Result<Stat> {
        if self.is_reserved(parent, name) {
            return Err(Errno::NOENT.into());
        }
        let place = self.place(parent, name)?;
        {
            let _look = self.locks.look(place.parent.id);
            let (found, history) = self.find(&place)?;
            if !self.is_stray(&place, &found, history) {
                return Ok(self.stat_of(&self.enter(&place, &found, history), &found));
            }
        }
        let _held = self.locks.change(&[place.parent.id]);
        self.adopt(&place)?;
        let (found, history) = self.find(&place)?;
        Ok(self.stat_of(&self.enter(&place, &found, history), &found))
    }

    /// Returns what the host and history have at a place. The caller holds a lock on the folder.
    fn find(&self, place: &Place) -> Result<(HostStat, Option<FileId>)> {
        let found = host::stat_entry(&place.dir, place.name.as_os_str())?;
        if found.id.device != self.device {
            return Err(Errno::XDEV.into());
        }
        Ok((found, self.bound(place)?))
    }

    /// Tells whether somebody put a file into `working/` directly: history should know it, but does not.
    fn is_stray(&self, place: &Place, found: &HostStat, history: Option<FileId>) -> bool {
        let is_directory = found.metadata.kind == FileKind::Directory;
        history.is_none() && !self.read_only && self.is_recordable(place, is_directory)
    }

    pub(super) fn stat_node(&self, node: FileId, handle: Option<Handle>) -> Result<Stat> {
        if let Some(open) = handle.and_then(|handle| self.handles.file(handle).ok()) {
            return Ok(self.stat_of(&open.node, &host::stat(&open.fd)?));
        }
        let node = self.nodes.get(node)?;
        let found = self.host_stat(&node)?;
        Ok(self.stat_of(&node, &found))
    }

    pub(super) fn host_stat(&self, node: &Arc<Node>) -> Result<HostStat> {
        Ok(self.nodes.stat(node)?)
    }

    pub(super) fn read_entries(
        &self,
        handle: Handle,
        after: i64,
        take: &mut dyn FnMut(TreeEntry<'_>) -> bool,
    ) -> Result<()> {
        let open = self.handles.directory(handle)?;
        let fd = open.fd.lock();
        rustix::fs::seek(&*fd, SeekFrom::Start(u64::try_from(after).map_err(|_| Errno::INVAL)?))?;
        let mut failed = None;
        host::for_each_entry(&*fd, &mut |found| {
            if self.is_reserved(open.node.id, found.name) {
                return Ok(true);
            }
            match self.entry_of(&open.node, &*fd, &found) {
                Ok(Some(entry)) => Ok(take(entry)),
                Ok(None) => Ok(true),
                Err(error) => {
                    failed = Some(error);
                    Ok(false)
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Makes an entry to hand out of one that the host has; `None` if it vanished meanwhile.
    fn entry_of<'a>(
        &self,
        parent: &Arc<Node>,
        dir: impl std::os::fd::AsFd,
        found: &HostEntry<'a>,
    ) -> Result<Option<TreeEntry<'a>>> {
        let next = i64::try_from(found.next).unwrap_or(i64::MAX);
        if found.name == "." || found.name == ".." {
            let inode = parent.id.get();
            return Ok(Some(TreeEntry { name: found.name, inode, kind: FileKind::Directory, next }));
        }
        let known = match Name::from_os(found.name) {
            Ok(name) => {
                let _look = self.locks.look(parent.id);
                parent.history().map(|dir| self.bindings.get(&Entry::new(dir, name))).transpose()?.flatten()
            }
            Err(_) => None,
        };
        if let (Some(file), Some(kind)) = (known, found.kind) {
            return Ok(Some(TreeEntry { name: found.name, inode: file.get(), kind, next }));
        }
        let stat = match host::stat_entry(dir, found.name) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let inode = known.map_or(FileId::UNRECORDED_BASE.get() | stat.id.inode, FileId::get);
        Ok(Some(TreeEntry { name: found.name, inode, kind: stat.metadata.kind, next }))
    }
}
