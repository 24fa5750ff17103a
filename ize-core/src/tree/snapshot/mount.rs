//! A snapshot as a [`Tree`]: a read-only mount of the past.
//!
//! Node ids are those of history and need no references. A file's handle is its id; an open folder keeps where its reader is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{PAGE, Snapshot};
use crate::model::{FileId, FileKind, FileMetadata, Name};
use crate::tree::{
    Allocation, Caller, Handle, NewNode, OpenMode, RenameMode, Result, SeekFor, SetAttributes, Space, Stat, SyncScope,
    Then, Tree, TreeEntry, XattrMode,
};

const BLOCK_SIZE: u32 = 4096;
/// What the offsets of `.` and `..` leave for entries: entry number n is followed by offset n + 3.
const DOTS: i64 = 2;

/// The folders that are open for reading.
#[derive(Default)]
pub(super) struct OpenFolders {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<OpenFolder>>>,
}

/// An open folder. Offsets are the entries' numbers, which hold because a snapshot's pages always come in one order.
struct OpenFolder {
    folder: FileId,
    /// After how many entries each page ended, and with which name: where reading can go on.
    pages: Mutex<Vec<(i64, Name)>>,
}

impl OpenFolder {
    /// Returns the last known page end at or before entry number `entries`: how many entries lie before, and the last one.
    fn known_before(&self, entries: i64) -> (i64, Option<Name>) {
        let pages = self.pages.lock();
        match pages.partition_point(|(end, _)| *end <= entries).checked_sub(1) {
            Some(at) => (pages[at].0, Some(pages[at].1.clone())),
            None => (0, None),
        }
    }

    fn learn(&self, end: i64, last: &Name) {
        let mut pages = self.pages.lock();
        if pages.last().is_none_or(|(known, _)| *known < end) {
            pages.push((end, last.clone()));
        }
    }
}

impl Snapshot {
    fn stat_of(&self, file: FileId) -> Result<Stat> {
        let metadata = self.metadata(file)?;
        Ok(Stat { file, metadata, blocks: self.blocks(file, &metadata)?, block_size: BLOCK_SIZE })
    }

    /// Counts space by the first page of extents; what lies behind counts as data.
    fn blocks(&self, file: FileId, metadata: &FileMetadata) -> Result<u64> {
        let bytes = match metadata.kind {
            FileKind::File if metadata.size > 0 => {
                let extents = self.extents(file, 0, PAGE)?;
                let counted: u64 = extents.iter().map(|extent| extent.len).sum();
                let unseen = match extents.last() {
                    Some(last) if extents.len() == PAGE => metadata.size.saturating_sub(last.end()),
                    _ => 0,
                };
                counted + unseen
            }
            FileKind::Directory => metadata.size,
            _ => 0,
        };
        Ok(bytes.div_ceil(512))
    }

    fn open_folder(&self, handle: Handle) -> Result<Arc<OpenFolder>> {
        Ok(self.folders.open.lock().get(&handle.get()).cloned().ok_or(Errno::BADF)?)
    }

    fn parent_of(&self, folder: FileId) -> Result<FileId> {
        let names = self.storage.names(self.view, folder)?;
        Ok(names.first().map_or(FileId::ROOT, |entry| entry.dir))
    }

    fn hand_out_entries(
        &self,
        open: &OpenFolder,
        skip: i64,
        take: &mut dyn FnMut(TreeEntry<'_>) -> bool,
    ) -> Result<()> {
        let (mut number, mut after) = open.known_before(skip);
        loop {
            let page = self.entries_after(open.folder, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            for entry in &page {
                number += 1;
                let next = number + DOTS;
                let inode = entry.file.get();
                if number > skip && !take(TreeEntry { name: entry.name.as_os_str(), inode, kind: entry.kind, next }) {
                    return Ok(());
                }
            }
            open.learn(number, &last.name);
            after = Some(last.name.clone());
        }
    }
}

fn file_of(handle: Handle) -> FileId {
    FileId::new(handle.get())
}

fn read_only<T>() -> Result<T> {
    Err(Errno::ROFS.into())
}

impl Tree for Snapshot {
    fn lookup(&self, parent: FileId, name: &OsStr) -> Result<Stat> {
        match name.as_encoded_bytes() {
            b"." => self.stat_of(parent),
            b".." => self.stat_of(self.parent_of(parent)?),
            bytes if bytes.len() > Name::BYTES_MAX => Err(Errno::NAMETOOLONG.into()),
            _ => self.stat_of(self.child(parent, &Name::from_os(name).map_err(|_| Errno::NOENT)?)?),
        }
    }

    fn forget(&self, _node: FileId, _lookups: u64) {}

    fn stat(&self, node: FileId, _handle: Option<Handle>) -> Result<Stat> {
        self.stat_of(node)
    }

    fn set_attributes(&self, _: Caller, _: FileId, _: Option<Handle>, _: &SetAttributes) -> Result<Stat> {
        read_only()
    }

    fn read_link(&self, node: FileId) -> Result<Vec<u8>> {
        self.link_target(node)
    }

    fn make_node(&self, _: Caller, _: FileId, _: &OsStr, _: NewNode) -> Result<Stat> {
        read_only()
    }

    fn make_directory(&self, _: Caller, _: FileId, _: &OsStr, _: u32) -> Result<Stat> {
        read_only()
    }

    fn make_symlink(&self, _: Caller, _: FileId, _: &OsStr, _: &[u8]) -> Result<Stat> {
        read_only()
    }

    fn unlink(&self, _: Caller, _: FileId, _: &OsStr) -> Result<()> {
        read_only()
    }

    fn remove_directory(&self, _: Caller, _: FileId, _: &OsStr) -> Result<()> {
        read_only()
    }

    fn rename(&self, _: Caller, _: (FileId, &OsStr), _: (FileId, &OsStr), _: RenameMode) -> Result<()> {
        read_only()
    }

    fn link(&self, _: Caller, _: FileId, _: FileId, _: &OsStr) -> Result<Stat> {
        read_only()
    }

    fn open(&self, _: Caller, node: FileId, mode: OpenMode) -> Result<Handle> {
        if mode.write || mode.append || mode.truncate {
            return read_only();
        }
        match self.metadata(node)?.kind {
            FileKind::File => Ok(Handle::new(node.get())),
            FileKind::Directory => Err(Errno::ISDIR.into()),
            FileKind::Symlink => Err(Errno::LOOP.into()),
            _ => Err(Errno::NXIO.into()),
        }
    }

    fn create(
        &self,
        caller: Caller,
        parent: FileId,
        name: &OsStr,
        _permissions: u32,
        mode: OpenMode,
    ) -> Result<(Stat, Handle)> {
        match self.lookup(parent, name) {
            Ok(_) if mode.exclusive => Err(Errno::EXIST.into()),
            Ok(stat) => Ok((stat, self.open(caller, stat.file, mode)?)),
            Err(error) if error.errno() == Errno::NOENT => read_only(),
            Err(error) => Err(error),
        }
    }

    fn read(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_at(file_of(handle), offset, buf)
    }

    fn write(&self, _: Caller, _: Handle, _: u64, _: &[u8]) -> Result<usize> {
        read_only()
    }

    fn flush(&self, _: Handle) -> Result<()> {
        Ok(())
    }

    fn release(&self, _: Handle) {}

    fn sync(&self, _: Handle, _: SyncScope, then: Then) {
        then(Ok(()));
    }

    fn open_directory(&self, node: FileId) -> Result<Handle> {
        if self.metadata(node)?.kind != FileKind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let handle = self.folders.next.fetch_add(1, Ordering::Relaxed);
        let folder = OpenFolder { folder: node, pages: Mutex::default() };
        self.folders.open.lock().insert(handle, Arc::new(folder));
        Ok(Handle::new(handle))
    }

    fn read_directory(&self, handle: Handle, after: i64, take: &mut dyn FnMut(TreeEntry<'_>) -> bool) -> Result<()> {
        let open = self.open_folder(handle)?;
        let kind = FileKind::Directory;
        if after < 1 && !take(TreeEntry { name: OsStr::new("."), inode: open.folder.get(), kind, next: 1 }) {
            return Ok(());
        }
        if after < DOTS {
            let inode = self.parent_of(open.folder)?.get();
            if !take(TreeEntry { name: OsStr::new(".."), inode, kind, next: DOTS }) {
                return Ok(());
            }
        }
        self.hand_out_entries(&open, (after - DOTS).max(0), take)
    }

    fn release_directory(&self, handle: Handle) {
        self.folders.open.lock().remove(&handle.get());
    }

    fn sync_directory(&self, _: Handle, then: Then) {
        then(Ok(()));
    }

    fn space(&self) -> Result<Space> {
        let name_max = u32::try_from(Name::BYTES_MAX).unwrap_or(u32::MAX);
        Ok(Space { block_size: BLOCK_SIZE, fragment_size: BLOCK_SIZE, name_max, ..Space::default() })
    }

    fn set_xattr(&self, _: Caller, _: FileId, _: &OsStr, _: &[u8], _: XattrMode) -> Result<()> {
        read_only()
    }

    fn xattr(&self, node: FileId, name: &OsStr) -> Result<Vec<u8>> {
        let xattrs = self.xattrs(node)?;
        let found = xattrs.into_iter().find(|xattr| xattr.name.as_bytes() == name.as_encoded_bytes());
        Ok(found.ok_or(Errno::NODATA)?.value.to_vec())
    }

    fn xattr_names(&self, node: FileId) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        for xattr in self.xattrs(node)? {
            names.extend_from_slice(xattr.name.as_bytes());
            names.push(0);
        }
        Ok(names)
    }

    fn remove_xattr(&self, _: Caller, _: FileId, _: &OsStr) -> Result<()> {
        read_only()
    }

    fn allocate(&self, _: Caller, _: Handle, _: Allocation, _: u64, _: u64) -> Result<()> {
        read_only()
    }

    fn seek(&self, handle: Handle, offset: u64, what: SeekFor) -> Result<u64> {
        let file = file_of(handle);
        let size = self.metadata(file)?.size;
        if offset >= size {
            return Err(Errno::NXIO.into());
        }
        match what {
            SeekFor::Data => Ok(self.extents(file, offset, 1)?.first().ok_or(Errno::NXIO)?.offset),
            SeekFor::Hole => self.next_hole(file, offset, size),
        }
    }

    fn copy_range(&self, _: Caller, _: (Handle, u64), _: (Handle, u64), _: u64) -> Result<usize> {
        read_only()
    }
}

impl Snapshot {
    fn next_hole(&self, file: FileId, mut offset: u64, size: u64) -> Result<u64> {
        loop {
            let extents = self.extents(file, offset, PAGE)?;
            let full_page = extents.len() == PAGE;
            for extent in extents {
                if extent.offset > offset {
                    return Ok(offset);
                }
                offset = extent.end();
            }
            if !full_page || offset >= size {
                return Ok(offset.min(size));
            }
        }
    }
}
