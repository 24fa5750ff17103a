//! `working/` compared with history at one moment.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::record_tree::next_data;
use crate::model::{FileId, FileKind, FileMetadata, Name, RelPath, Timestamp, View};
use crate::storage::FileSystemStorage;
use crate::tree::Result;
use crate::tree::host::{self, HostId, HostStat};

/// Content is compared in blocks of this many bytes.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// How many entries are read from history at a time.
const PAGE: usize = 1000;

/// History at one moment.
#[derive(Clone)]
pub(super) struct Past {
    pub(super) storage: Arc<dyn FileSystemStorage>,
    pub(super) view: View,
}

/// Is told of a block that differs: its offset, what the file has there and what history has. Answers whether to go on.
pub(super) type Visit<'a> = dyn FnMut(u64, &[u8], &[u8]) -> Result<bool> + 'a;

/// What an inode keeps when it is renamed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print {
    kind: FileKind,
    size: u64,
    mtime: Timestamp,
}

impl Print {
    pub(super) fn of(metadata: &FileMetadata) -> Self {
        // The size of a folder is the host's business and differs between hosts.
        let size = if metadata.kind == FileKind::Directory { 0 } else { metadata.size };
        Self { kind: metadata.kind, size, mtime: metadata.mtime }
    }
}

/// Which inode of the host stands for which file of history, where several names could be told apart in several ways.
#[derive(Default)]
pub(super) struct Pairs {
    inode_of: HashMap<FileId, HostId>,
    file_of: HashMap<HostId, FileId>,
}

impl Pairs {
    /// Tells whether what the host has can be the file that history has under the same name, and keeps to it.
    pub(super) fn pair(&mut self, file: FileId, was: &FileMetadata, found: &HostStat) -> bool {
        if was.kind != found.metadata.kind || was.rdev != found.metadata.rdev {
            return false;
        }
        if was.kind == FileKind::Directory || (was.nlink <= 1 && found.metadata.nlink <= 1) {
            return true;
        }
        // One file with several names must be one inode, and one inode one file.
        let inode = *self.inode_of.entry(file).or_insert(found.id);
        let stands_for = *self.file_of.entry(found.id).or_insert(file);
        inode == found.id && stands_for == file
    }
}

impl Past {
    pub(super) fn node(&self, file: FileId) -> Result<Option<FileMetadata>> {
        Ok(self.storage.node(self.view, file)?)
    }

    /// Returns what a path names, or `None`.
    pub(super) fn resolve(&self, path: &RelPath) -> Result<Option<FileId>> {
        let mut file = FileId::ROOT;
        for name in path.names() {
            match self.storage.entry(self.view, file, &name)? {
                Some(next) => file = next,
                None => return Ok(None),
            }
        }
        Ok(Some(file))
    }

    /// Returns what is in a folder.
    pub(super) fn entries(&self, dir: FileId) -> Result<HashMap<Name, FileId>> {
        let mut known = HashMap::new();
        let mut after: Option<Name> = None;
        loop {
            let page = self.storage.entries(self.view, dir, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(known) };
            after = Some(last.name.clone());
            known.extend(page.into_iter().map(|entry| (entry.name, entry.file)));
        }
    }

    /// Hands out the blocks below `end` in which an open file and history differ, with zeros where there is nothing. Holes
    /// are passed over.
    pub(super) fn differences(&self, file: FileId, fd: &OwnedFd, end: u64, visit: &mut Visit<'_>) -> Result<()> {
        let (mut ours, mut theirs) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
        let mut offset = 0;
        while let Some(next) = self.next_content(fd, file, offset, end)? {
            let start = next - next % BLOCK_BYTES as u64;
            let want = usize::try_from(end - start).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = host::read_full(fd, start, &mut ours[..want])?;
            ours[read..want].fill(0);
            let read = self.storage.read(self.view, file, start, &mut theirs[..want])?;
            theirs[read..want].fill(0);
            if ours[..want] != theirs[..want] && !visit(start, &ours[..want], &theirs[..want])? {
                return Ok(());
            }
            offset = start + want as u64;
        }
        Ok(())
    }

    /// Hands out what a file holds below `end`, in blocks that begin and, but for the last, end at multiples of `step`. Holes
    /// are passed over.
    pub(super) fn each_block(
        &self,
        file: FileId,
        end: u64,
        step: u64,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<()> {
        let mut buf = vec![0; BLOCK_BYTES.max(usize::try_from(step).unwrap_or(BLOCK_BYTES))];
        let mut offset = 0;
        while offset < end {
            let Some(extent) = self.storage.extents(self.view, file, offset, 1)?.into_iter().next() else { break };
            let start = extent.offset.max(offset);
            if start >= end {
                break;
            }
            let start = start - start % step;
            let want = usize::try_from(end - start).unwrap_or(buf.len()).min(buf.len());
            let read = self.storage.read(self.view, file, start, &mut buf[..want])?;
            buf[read..want].fill(0);
            visit(start, &buf[..want]);
            offset = start + want as u64;
        }
        Ok(())
    }

    /// Tells whether an open file and history differ below `end`.
    pub(super) fn has_same_content(&self, file: FileId, fd: &OwnedFd, end: u64) -> Result<bool> {
        let mut same = true;
        self.differences(file, fd, end, &mut |_, _, _| {
            same = false;
            Ok(false)
        })?;
        Ok(same)
    }

    /// Tells whether a symlink's target is that in history.
    pub(super) fn has_same_target(&self, file: FileId, fd: &OwnedFd) -> Result<bool> {
        let target = host::read_link(fd)?;
        let mut was = vec![0; target.len() + 1];
        let read = self.storage.read(self.view, file, 0, &mut was)?;
        Ok(was[..read] == target[..])
    }

    /// Returns where the next data is, in the file or in history.
    fn next_content(&self, fd: &OwnedFd, file: FileId, offset: u64, end: u64) -> Result<Option<u64>> {
        if offset >= end {
            return Ok(None);
        }
        let ours = next_data(fd, offset, end)?.map(|(start, _)| start);
        let theirs = self.storage.extents(self.view, file, offset, 1)?.first().map(|extent| extent.offset);
        let next = ours.into_iter().chain(theirs.filter(|start| *start < end)).min();
        Ok(next.map(|start| start.max(offset)))
    }
}

/// Tells whether an inode looks as if nothing had happened to it.
pub(super) fn is_unchanged(was: &FileMetadata, now: &FileMetadata) -> bool {
    let same_size = was.size == now.size || now.kind == FileKind::Directory;
    same_size
        && was.ctime == now.ctime
        && was.mtime == now.mtime
        && was.mode == now.mode
        && was.uid == now.uid
        && was.gid == now.gid
        && (was.nlink == now.nlink || now.kind == FileKind::Directory)
}
