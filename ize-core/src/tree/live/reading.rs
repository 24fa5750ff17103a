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
            if !self.is_stray(&place)? {
                let (node, found) = self.enter(&place)?;
                return Ok(self.stat_of(&node, &found));
            }
        }
        let _held = self.locks.change(&[place.parent.id]);
        if self.is_stray(&place)? {
            self.adopt(&place)?;
        }
        let (node, found) = self.enter(&place)?;
        Ok(self.stat_of(&node, &found))
    }

    /// Tells whether somebody put a file into `working/` directly: history should know it, but does not.
    fn is_stray(&self, place: &Place) -> Result<bool> {
        if place.entry.is_none() || self.read_only || self.bound(place)?.is_some() {
            return Ok(false);
        }
        let found = match host::stat_entry(&place.dir, place.name.as_os_str()) {
            // A negative lookup ends here, before any rule is asked.
            Err(Errno::NOENT) => return Ok(false),
            other => other?,
        };
        Ok(found.id.device == self.device && self.is_recordable(place, found.metadata.kind == FileKind::Directory))
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
        Ok(host::stat(&*self.nodes.fd(node)?)?)
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
        let known = match (parent.history(), Name::from_os(found.name)) {
            (Some(history), Ok(name)) => {
                let _look = self.locks.look(parent.id);
                self.bindings.get(&Entry::new(history, name))?
            }
            _ => None,
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
