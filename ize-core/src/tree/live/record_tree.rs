//! Recording what is there already: files that come into history, or leave it, otherwise than by a call that made or
//! removed them (found in `working/`, or renamed from or to an ignored name).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::content::WRITE_BYTES_MAX;
use super::namespace::{SMALL_OP_BYTES, creation, removal};
use super::{Live, Place, named};
use crate::failpoint;
use crate::model::{
    Actor, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpData, OpId, OpType, Timestamp, Touched, XattrName,
};
use crate::record::OpDraft;
use crate::tree::host::{self, HostId, HostStat};
use crate::tree::{Caller, Result};

/// Records files as they are on the host, one after the other.
pub(super) struct Arrivals<'a> {
    live: &'a Live,
    actor: Arc<Actor>,
    /// The changes were found, not seen.
    external: bool,
    /// Files with several names that were met: their other names are hard links.
    links: HashMap<HostId, FileId>,
}

/// Operations of one file: the last of them is held back until it is known to be the last.
///
/// Only the last one says when the file changed. If the process ends before it, reconciliation finds that the file is not
/// what history has; else it would take the size and times of an earlier one for those of all of it.
pub(super) struct Steps<'a> {
    live: &'a Live,
    actor: Arc<Actor>,
    external: bool,
    file: FileId,
    held: Option<OpDraft>,
    last: Option<OpId>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(arrivals: &Arrivals<'a>, file: FileId) -> Self {
        let actor = Arc::clone(&arrivals.actor);
        Self { live: arrivals.live, actor, external: arrivals.external, file, held: None, last: None }
    }

    /// Begins operations that somebody made.
    pub(super) fn by(live: &'a Live, actor: Arc<Actor>, file: FileId) -> Self {
        Self { live, actor, external: false, file, held: None, last: None }
    }

    /// Adds an operation; `touched` is the state after it.
    pub(super) fn push(&mut self, op_type: OpType, data: OpData, touched: Vec<Touched>) -> Result<()> {
        self.flush()?;
        let op_type = if self.external { OpType::ExternalChange(Box::new(op_type)) } else { op_type };
        let actor = Arc::clone(&self.actor);
        self.held = Some(OpDraft { op_type, data, touched, actor, landmark: None, parent: None });
        Ok(())
    }

    pub(super) fn push_on_file(&mut self, op_type: OpType, data: OpData, metadata: FileMetadata) -> Result<()> {
        self.push(op_type, data, vec![Touched { file: self.file, metadata }])
    }

    /// Records what is held back, which is not the last.
    fn flush(&mut self) -> Result<()> {
        let Some(mut draft) = self.held.take() else { return Ok(()) };
        for touched in draft.touched.iter_mut().filter(|touched| touched.file == self.file) {
            touched.metadata.ctime = Timestamp::from_nanos(touched.metadata.ctime.as_nanos() - 1);
        }
        self.record(draft)?;
        failpoint::pass("piece");
        Ok(())
    }

    fn record(&mut self, draft: OpDraft) -> Result<()> {
        let reservation = self.live.reserve(SMALL_OP_BYTES + draft.data.size())?;
        self.last = Some(self.live.record(reservation, draft)?);
        Ok(())
    }

    /// Records what is held back, with its landmark, and returns the last operation, if there was any.
    pub(super) fn finish(mut self, landmark: Option<Landmark>) -> Result<Option<OpId>> {
        if let Some(mut draft) = self.held.take() {
            draft.landmark = landmark;
            self.record(draft)?;
        }
        Ok(self.last)
    }
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(live: &'a Live, external: bool) -> Self {
        let actor = Arc::new(Actor { program: "ize".into(), ..Actor::default() });
        Self { live, actor, external, links: HashMap::new() }
    }

    /// Notes that a file with several names is known by this id.
    pub(super) fn note_link(&mut self, host: HostId, file: FileId) {
        self.links.insert(host, file);
    }

    /// Records one inode as the new occupant of an entry; of a folder, not what is in it. `parent` is the folder.
    pub(super) fn record_one(&mut self, parent: &OwnedFd, entry: &Entry, fd: &OwnedFd) -> Result<FileId> {
        let mut found = host::stat(fd)?;
        found.metadata = named(found.metadata);
        let known = self.links.get(&found.id).copied().filter(|_| found.metadata.nlink > 1);
        let file = known.unwrap_or_else(|| self.live.recorder.allocate_file());
        let mut steps = Steps::new(self, file);
        let parent = Touched { file: entry.dir, metadata: named(host::stat(parent)?.metadata) };
        let op = if known.is_some() {
            let op_type = OpType::Hardlink { file, entry: entry.clone() };
            steps.push(op_type, OpData::None, vec![Touched { file, metadata: found.metadata }, parent])?;
            steps.finish(Some(Landmark::Namespace))?
        } else {
            if found.metadata.nlink > 1 && found.metadata.kind != FileKind::Directory {
                self.links.insert(found.id, file);
            }
            push_creation(&mut steps, file, entry, parent, &found, fd)?;
            push_xattrs(&mut steps, file, fd, &[], found.metadata)?;
            if found.metadata.kind == FileKind::File {
                push_content(&mut steps, file, fd, found.metadata)?;
            }
            steps.finish(Some(if found.metadata.size > 0 { Landmark::Close } else { Landmark::Namespace }))?
        };
        self.live.bindings.set(entry, Some(file), op.unwrap_or(OpId::ZERO));
        if found.metadata.kind == FileKind::Directory {
            self.live.bindings.made_folder(file);
        }
        if let Some(node) = self.live.nodes.get_unrecorded(found.id) {
            self.live.nodes.set_history(&node, Some(file));
            self.live.passthrough.forget_content(&node);
        }
        Ok(file)
    }

    /// Records an inode and, of a folder, everything in it that is not ignored.
    pub(super) fn record_all(&mut self, parent: &OwnedFd, place: &Spot, fd: &OwnedFd) -> Result<FileId> {
        let file = self.record_one(parent, &place.entry, fd)?;
        if host::stat(fd)?.metadata.kind != FileKind::Directory {
            return Ok(file);
        }
        for name in host::names_in(fd)? {
            let Ok(name) = Name::from_os(&name) else { continue };
            let child = host::open_path(fd, name.as_os_str())?;
            let found = host::stat(&child)?;
            let path = place.path.join(&name);
            let is_dir = found.metadata.kind == FileKind::Directory;
            if found.id.device != self.live.device || self.live.ignore.read().is_ignored(&path, is_dir) {
                continue;
            }
            self.record_all(fd, &Spot { entry: Entry::new(file, name), path }, &child)?;
        }
        Ok(file)
    }
}

/// An entry in history, and its path for the ignore rules.
pub(super) struct Spot {
    pub(super) entry: Entry,
    pub(super) path: crate::model::RelPath,
}

fn push_creation(
    steps: &mut Steps<'_>,
    file: FileId,
    entry: &Entry,
    parent: Touched,
    found: &HostStat,
    fd: &OwnedFd,
) -> Result<()> {
    let data = match found.metadata.kind {
        FileKind::Symlink => OpData::Inline(host::read_link(fd)?.into()),
        _ => OpData::None,
    };
    let is_file = found.metadata.kind == FileKind::File;
    let metadata = FileMetadata { size: if is_file { 0 } else { found.metadata.size }, ..found.metadata };
    steps.push(creation(file, entry.clone(), found), data, vec![Touched { file, metadata }, parent])
}

/// Adds operations that make the extended attributes those on the host, where `known` are those in history.
pub(super) fn push_xattrs(
    steps: &mut Steps<'_>,
    file: FileId,
    fd: &OwnedFd,
    known: &[crate::storage::Xattr],
    metadata: FileMetadata,
) -> Result<()> {
    let names = match host::xattr_names(fd) {
        Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => return Ok(()),
        other => other?,
    };
    let is_file = metadata.kind == FileKind::File && known.is_empty();
    let metadata = FileMetadata { size: if is_file { 0 } else { metadata.size }, ..metadata };
    let mut present = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = XattrName::new(Bytes::copy_from_slice(name)) else { continue };
        let os_name = std::os::unix::ffi::OsStrExt::from_bytes(name.as_bytes());
        let value = match host::xattr(fd, os_name) {
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => continue,
            other => other?,
        };
        if !known.iter().any(|xattr| xattr.name == name && xattr.value == value) {
            steps.push_on_file(
                OpType::SetXattr { file, name: name.clone() },
                OpData::Inline(value.into()),
                metadata,
            )?;
        }
        present.push(name);
    }
    for gone in known.iter().filter(|xattr| !present.contains(&xattr.name)) {
        steps.push_on_file(OpType::RemoveXattr { file, name: gone.name.clone() }, OpData::None, metadata)?;
    }
    Ok(())
}

/// Adds writes for all data of a file, and its size where that ends in a hole.
fn push_content(steps: &mut Steps<'_>, file: FileId, path_fd: &OwnedFd, metadata: FileMetadata) -> Result<()> {
    let fd = host::reopen(path_fd, OFlags::RDONLY)?;
    let mut end = 0;
    let mut offset = 0;
    while let Some((start, stop)) = next_data(&fd, offset, metadata.size)? {
        let mut at = start;
        while at < stop {
            let want = usize::try_from(stop - at).unwrap_or(WRITE_BYTES_MAX).min(WRITE_BYTES_MAX);
            let mut buf = vec![0; want];
            let read = host::read_full(&fd, at, &mut buf)?;
            if read == 0 {
                break;
            }
            buf.truncate(read);
            end = at + read as u64;
            let op_type = OpType::FileWrite { file, offset: at, size: read as u64 };
            steps.push_on_file(op_type, OpData::Inline(buf.into()), FileMetadata { size: end, ..metadata })?;
            at = end;
        }
        offset = stop;
    }
    if end != metadata.size {
        let op_type = OpType::FileTruncate { file, old_size: end, new_size: metadata.size };
        steps.push_on_file(op_type, OpData::None, metadata)?;
    }
    Ok(())
}

/// Returns the next range of data at or behind an offset, below `size`.
pub(super) fn next_data(fd: &OwnedFd, offset: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(fd, SeekFrom::Data(offset)) {
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok(Some((offset, size))),
        other => other?,
    };
    let stop = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
        Err(Errno::NXIO | Errno::INVAL) => size,
        other => other?,
    };
    Ok((start < size).then_some((start, stop.min(size))))
}

impl Live {
    /// Records a file that somebody put into `working/` directly. The caller holds the change-lock on the folder.
    pub(super) fn adopt(&self, place: &Place) -> Result<()> {
        self.record_occupant(place, true)
    }

    /// Records a file that came to a recorded name otherwise than by being made there. If it is a folder that somebody may
    /// use already, the caller holds all change-locks.
    pub(super) fn record_arrival(&self, place: &Place) -> Result<()> {
        let step = self.record_occupant(place, false);
        self.applied(step)
    }

    fn record_occupant(&self, place: &Place, external: bool) -> Result<()> {
        let Some(entry) = place.entry() else { return Ok(()) };
        let fd = host::open_path(&place.dir, place.name.as_os_str())?;
        let is_dir = host::stat(&fd)?.metadata.kind == FileKind::Directory;
        if self.bound(place)?.is_some() || !self.is_recordable(place, is_dir) {
            return Ok(());
        }
        let path = place.parent.path().unwrap_or_default().join(&place.name);
        Arrivals::new(self, external).record_all(&place.dir, &Spot { entry, path }, &fd)?;
        Ok(())
    }

    /// Records that a file, or a folder with all that is in it, left history: it was renamed to a name that is ignored.
    /// `place` is where it was; `fd` names the inode, wherever it is now. If it is a folder, the caller holds all change-locks.
    pub(super) fn record_departure(
        &self,
        caller: Caller,
        place: &Place,
        file: FileId,
        fd: &Arc<OwnedFd>,
    ) -> Result<()> {
        let Some(entry) = place.entry() else { return Ok(()) };
        let step = self.departs(caller, &place.dir, &entry, file, fd);
        self.applied(step)
    }

    fn departs(&self, caller: Caller, parent: &OwnedFd, entry: &Entry, file: FileId, fd: &OwnedFd) -> Result<()> {
        let mut found = host::stat(fd)?;
        if found.metadata.kind == FileKind::Directory {
            let names = match host::names_in(fd) {
                // The host removed it, so it was empty: another folder was renamed over it.
                Err(Errno::NOENT) => Vec::new(),
                names => names?,
            };
            for name in names {
                let Ok(name) = Name::from_os(&name) else { continue };
                let child_entry = Entry::new(file, name);
                if let Some(child) = self.bindings.get(&child_entry)? {
                    let child_fd = host::open_path(fd, child_entry.name.as_os_str())?;
                    self.departs(caller, fd, &child_entry, child, &child_fd)?;
                }
            }
            found.metadata.nlink = 0;
        } else {
            // The name that is still there does not count any more.
            found.metadata.nlink = found.metadata.nlink.saturating_sub(1);
        }
        let op_type = removal(file, entry.clone(), found.metadata.kind);
        let mut draft = self.draft(caller, op_type, OpData::None, Some(Landmark::Namespace));
        draft.touched.push(Touched { file, metadata: found.metadata });
        draft.touched.push(Touched { file: entry.dir, metadata: named(host::stat(parent)?.metadata) });
        let op = self.record(self.reserve(SMALL_OP_BYTES)?, draft)?;
        self.bindings.set(entry, None, op);
        if let Some(node) = self.nodes.get_history(file) {
            self.nodes.set_history(&node, None);
            self.passthrough.forget_content(&node);
        }
        Ok(())
    }
}
