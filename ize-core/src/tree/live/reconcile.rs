//! Reconciliation: finding in `working/` what history does not have, and recording it.
//!
//! Runs when a project is opened, before anybody uses the tree. It walks `working/` beside the newest state of history.
//! An inode whose size, times, mode, owner and link count are those in history is taken to be unchanged; any other is
//! compared by content. What is new is matched with what is missing: the same kind, size, modification time and content
//! means that it was renamed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::namespace::removal;
use super::past::{Pairs, Past, Print, is_unchanged};
use super::record_tree::{Arrivals, Steps, push_xattrs};
use super::{Live, Place, named, recording};
use crate::failpoint;
use crate::model::{
    Displaced, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpData, OpId, OpType, RangeKind, RelPath,
    Timestamp, Touched, View,
};
use crate::tree::Result;
use crate::tree::host::{self, HostStat};

/// How to reconcile.
#[non_exhaustive]
pub struct ReconcileOptions<'a> {
    /// The changes were made by somebody else (the usual case): they are recorded as [`OpType::ExternalChange`].
    pub external: bool,
    /// Files that are compared by content even where they look as if nothing had happened to them.
    pub by_content: BTreeSet<FileId>,
    /// Called for each inode that was looked at, with the number so far.
    pub progress: Option<&'a mut dyn FnMut(u64)>,
}

impl Default for ReconcileOptions<'_> {
    fn default() -> Self {
        Self { external: true, by_content: BTreeSet::new(), progress: None }
    }
}

impl fmt::Debug for ReconcileOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconcileOptions").field("external", &self.external).finish_non_exhaustive()
    }
}

/// What reconciliation found and recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Inodes that were looked at.
    pub seen: u64,
    /// New files and folders.
    pub created: u64,
    /// Files and folders with other content or metadata.
    pub changed: u64,
    /// Files and folders with another name.
    pub renamed: u64,
    /// Files and folders that are gone.
    pub removed: u64,
}

impl ReconcileReport {
    /// Tells whether history had everything already.
    pub const fn is_clean(&self) -> bool {
        self.created == 0 && self.changed == 0 && self.renamed == 0 && self.removed == 0
    }
}

impl Live {
    /// Records what is in `working/` and not in history. Nobody else may use the tree meanwhile.
    ///
    /// # Errors
    /// If `working/` or history cannot be read, or the changes cannot be recorded. What was recorded until then stays,
    /// and the next call goes on from there.
    pub fn reconcile(&self, options: ReconcileOptions<'_>) -> Result<ReconcileReport> {
        let mut reconciler = Reconciler::new(self, self.newest_past()?, options);
        failpoint::pass("reconcile");
        reconciler.run()?;
        failpoint::pass("reconciled");
        Ok(reconciler.report)
    }

    /// As [`Live::reconcile`], while the tree is in use: every change waits until it is done. What somebody made in
    /// `working/` beside the tree becomes history; a mount's kernel is to be told of it ([`Live::invalidate_touched`]).
    ///
    /// # Errors
    /// As [`Live::reconcile`].
    pub fn reconcile_in_use(&self, options: ReconcileOptions<'_>) -> Result<ReconcileReport> {
        let _moves = self.folder_moves.lock();
        let _held = self.locks.all();
        let report = self.reconcile(options);
        self.passthrough.forget_all_content();
        report
    }

    /// Returns history as it is now, once storage has all of it.
    fn newest_past(&self) -> Result<Past> {
        let at = self.recorder.recorded();
        self.recorder.wait_committed(at).map_err(recording)?;
        Ok(Past { storage: Arc::clone(self.recorder.storage()), view: View::new(self.recorder.branch(), at) })
    }

    /// Records that what history has at a place is gone, if it has anything: the name was free on the host, so somebody
    /// removed it in `working/` beside the tree. The caller holds the change-lock on the folder, and has made the name.
    pub(super) fn record_vanished(&self, place: &Place) -> Result<()> {
        let step = self.remove_vanished(place);
        self.applied(step)
    }

    fn remove_vanished(&self, place: &Place) -> Result<()> {
        let (Some(entry), Some(file)) = (place.entry(), self.bound(place)?) else { return Ok(()) };
        let mut reconciler = Reconciler::new(self, self.newest_past()?, ReconcileOptions::default());
        reconciler.add_missing(&entry, file)?;
        reconciler.remove(&entry)
    }

    /// Records what a file that history has is like, as somebody else's change. `past` is the newest state of history.
    pub(super) fn record_as_found(&self, past: &Past, file: FileId, fd: &OwnedFd) -> Result<()> {
        Reconciler::new(self, past.clone(), ReconcileOptions::default()).compare(file, fd, &host::stat(fd)?)
    }
}

struct Reconciler<'a, 'p> {
    live: &'a Live,
    /// History as it was before.
    past: Past,
    arrivals: Arrivals<'a>,
    by_content: BTreeSet<FileId>,
    progress: Option<&'p mut dyn FnMut(u64)>,
    missing: Missing,
    fresh: VecDeque<Fresh>,
    pairs: Pairs,
    report: ReconcileReport,
}

/// Entries that history has and `working/` has not.
#[derive(Default)]
struct Missing {
    entries: HashMap<Entry, (FileId, FileMetadata)>,
    by_print: HashMap<Print, Vec<Entry>>,
}

/// An entry that `working/` has and history has not.
struct Fresh {
    parent: Arc<OwnedFd>,
    entry: Entry,
    path: RelPath,
}

/// A folder that is in both.
struct Folder {
    file: FileId,
    path: RelPath,
    fd: Arc<OwnedFd>,
}

/// A folder below one that is in both, still to be opened.
struct Pending {
    file: FileId,
    path: RelPath,
    parent: Arc<OwnedFd>,
    name: Name,
}

impl<'a, 'p> Reconciler<'a, 'p> {
    fn new(live: &'a Live, past: Past, options: ReconcileOptions<'p>) -> Self {
        Self {
            live,
            past,
            arrivals: Arrivals::new(live, options.external),
            by_content: options.by_content,
            progress: options.progress,
            missing: Missing::default(),
            fresh: VecDeque::new(),
            pairs: Pairs::default(),
            report: ReconcileReport::default(),
        }
    }

    fn run(&mut self) -> Result<()> {
        let root = self.live.nodes.get(FileId::ROOT)?;
        let fd = self.live.nodes.fd(&root)?;
        self.compare_root(&fd)?;
        self.walk(Folder { file: FileId::ROOT, path: RelPath::root(), fd })?;
        while let Some(fresh) = self.fresh.pop_front() {
            self.settle(fresh)?;
        }
        while let Some(entry) = self.missing.entries.keys().next().cloned() {
            self.remove(&entry)?;
        }
        Ok(())
    }

    fn seen_one(&mut self) {
        self.report.seen += 1;
        if let Some(progress) = &mut self.progress {
            progress(self.report.seen);
        }
    }

    fn compare_root(&mut self, fd: &OwnedFd) -> Result<()> {
        let found = host::stat(fd)?;
        self.compare(FileId::ROOT, fd, &found)
    }

    /// Compares a folder and all folders below it that are in both.
    fn walk(&mut self, folder: Folder) -> Result<()> {
        let mut pending = self.walk_one(&folder)?;
        while let Some(next) = pending.pop() {
            let fd = Arc::new(host::open_path(&*next.parent, next.name.as_os_str())?);
            pending.extend(self.walk_one(&Folder { file: next.file, path: next.path, fd })?);
        }
        Ok(())
    }

    fn walk_one(&mut self, folder: &Folder) -> Result<Vec<Pending>> {
        let mut known = self.past.entries(folder.file)?;
        let mut below = Vec::new();
        for name in host::names_in(&*folder.fd)? {
            let Ok(name) = Name::from_os(&name) else { continue };
            if self.live.is_reserved(folder.file, name.as_os_str()) {
                continue;
            }
            let found = host::stat_entry(&*folder.fd, name.as_os_str())?;
            if found.id.device != self.live.device {
                continue;
            }
            let entry = Entry::new(folder.file, name.clone());
            let path = folder.path.join(&name);
            let was = known.remove(&name);
            if let Some(file) = was {
                self.missing.entries.remove(&entry);
                let before = self.past.node(file)?;
                if before.is_some_and(|before| self.is_same_inode(file, &before, &found)) {
                    self.seen_one();
                    let looks_same = before.is_some_and(|before| is_unchanged(&before, &found.metadata));
                    if !looks_same || self.by_content.contains(&file) {
                        let fd = host::open_path(&*folder.fd, name.as_os_str())?;
                        self.compare(file, &fd, &found)?;
                    }
                    if found.metadata.kind == FileKind::Directory {
                        below.push(Pending { file, path, parent: Arc::clone(&folder.fd), name });
                    }
                    continue;
                }
                // Something else has this name now.
                self.add_missing(&entry, file)?;
                self.remove(&entry)?;
            }
            if was.is_some() || !self.live.ignore.read().is_ignored(&path, found.metadata.kind == FileKind::Directory) {
                self.fresh.push_back(Fresh { parent: Arc::clone(&folder.fd), entry, path });
            }
        }
        for (name, file) in known {
            self.add_missing(&Entry::new(folder.file, name), file)?;
        }
        Ok(below)
    }

    /// As [`Pairs::pair`]; of a file with several names the others will be hard links.
    fn is_same_inode(&mut self, file: FileId, was: &FileMetadata, found: &HostStat) -> bool {
        let same = self.pairs.pair(file, was, found);
        if same && found.metadata.nlink > 1 && was.kind != FileKind::Directory {
            self.arrivals.note_link(found.id, file);
        }
        same
    }

    /// Tells whether a file that looks as if nothing had happened to it has the content that history has.
    fn has_known_content(&self, file: FileId, fd: &OwnedFd, now: &FileMetadata) -> Result<bool> {
        if now.kind != FileKind::File || !self.by_content.contains(&file) {
            return Ok(true);
        }
        self.past.has_same_content(file, &host::reopen(fd, OFlags::RDONLY)?, now.size)
    }

    /// Records how an inode that history knows differs from what history has.
    fn compare(&mut self, file: FileId, fd: &OwnedFd, found: &HostStat) -> Result<()> {
        let was = self.past.node(file)?;
        let now = found.metadata;
        if was.is_some_and(|was| is_unchanged(&was, &now)) && self.has_known_content(file, fd, &now)? {
            return Ok(());
        }
        let was = was.unwrap_or(FileMetadata { size: 0, ctime: Timestamp::default(), ..now });
        let mut steps = Steps::new(&self.arrivals, file);
        let mut landmark = None;
        if now.kind == FileKind::File && self.compare_content(&mut steps, file, fd, &was, &now)? {
            landmark = Some(Landmark::Close);
        }
        if now.kind == FileKind::Symlink && self.compare_target(&mut steps, file, fd, &now)? {
            landmark = Some(Landmark::Close);
        }
        let known = self.past.storage.xattrs(self.past.view, file)?;
        push_xattrs(&mut steps, file, fd, &known, now)?;
        push_metadata(&mut steps, file, &was, &now)?;
        if file == FileId::ROOT {
            // The root folder is not a thing that a person made: what it is like belongs to the first change below it.
            landmark = None;
        } else if landmark.is_none() && (was.mode != now.mode || was.uid != now.uid || was.gid != now.gid) {
            landmark = Some(Landmark::Namespace);
        }
        if steps.finish(landmark)?.is_some() && file != FileId::ROOT {
            self.report.changed += 1;
        }
        Ok(())
    }

    /// Records differing content; tells whether there was any.
    fn compare_content(
        &self,
        steps: &mut Steps<'_>,
        file: FileId,
        path_fd: &OwnedFd,
        was: &FileMetadata,
        now: &FileMetadata,
    ) -> Result<bool> {
        let fd = host::reopen(path_fd, OFlags::RDONLY)?;
        let mut size = was.size;
        if now.size < size {
            let op_type = OpType::FileTruncate { file, old_size: size, new_size: now.size };
            steps.push_on_file(op_type, OpData::None, *now)?;
            size = now.size;
        }
        let mut differs = was.size != now.size;
        self.past.differences(file, &fd, now.size, &mut |start, ours, _| {
            differs = true;
            size = size.max(start + ours.len() as u64);
            push_block(steps, file, start, ours, FileMetadata { size, ..*now })?;
            Ok(true)
        })?;
        if size != now.size {
            let op_type = OpType::FileTruncate { file, old_size: size, new_size: now.size };
            steps.push_on_file(op_type, OpData::None, *now)?;
        }
        Ok(differs)
    }

    fn compare_target(&self, steps: &mut Steps<'_>, file: FileId, fd: &OwnedFd, now: &FileMetadata) -> Result<bool> {
        if self.past.has_same_target(file, fd)? {
            return Ok(false);
        }
        let target = host::read_link(fd)?;
        let size = target.len() as u64;
        let old_size = self.past.node(file)?.map_or(0, |was| was.size);
        steps.push_on_file(OpType::FileTruncate { file, old_size, new_size: 0 }, OpData::None, *now)?;
        steps.push_on_file(OpType::FileWrite { file, offset: 0, size }, OpData::Inline(target.into()), *now)?;
        Ok(true)
    }

    /// Returns a state for a file that has a name in history although it is gone there: when the last of its other names was
    /// removed, this one had been removed beside the tree.
    fn gone(&self, file: FileId) -> FileMetadata {
        let kind = self.live.nodes.get_history(file).map_or(FileKind::File, |node| node.kind);
        let time = Timestamp::default();
        FileMetadata {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            nlink: 0,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
        }
    }

    /// Notes that an entry is missing, and of a folder everything below it.
    fn add_missing(&mut self, entry: &Entry, file: FileId) -> Result<()> {
        let mut found = vec![(entry.clone(), file)];
        while let Some((entry, file)) = found.pop() {
            let metadata = self.past.node(file)?.unwrap_or_else(|| self.gone(file));
            if metadata.kind == FileKind::Directory {
                let below = self.past.entries(file)?;
                found.extend(below.into_iter().map(|(name, child)| (Entry::new(file, name), child)));
            }
            self.missing.by_print.entry(Print::of(&metadata)).or_default().push(entry.clone());
            self.missing.entries.insert(entry, (file, metadata));
        }
        Ok(())
    }

    /// Records a new entry: as the new name of something missing, or as something new.
    fn settle(&mut self, fresh: Fresh) -> Result<()> {
        let fd = Arc::new(host::open_path(&*fresh.parent, fresh.entry.name.as_os_str())?);
        let found = host::stat(&*fd)?;
        self.seen_one();
        if let Some((from, file)) = self.find_renamed(&fd, &found)? {
            return self.record_renamed(&fresh, from, file, fd, &found);
        }
        let file = self.arrivals.record_one(&fresh.parent, &fresh.entry, &fd)?;
        self.report.created += 1;
        if found.metadata.kind == FileKind::Directory {
            for name in host::names_in(&*fd)? {
                let Ok(name) = Name::from_os(&name) else { continue };
                let path = fresh.path.join(&name);
                let child = host::stat_entry(&*fd, name.as_os_str())?;
                let is_dir = child.metadata.kind == FileKind::Directory;
                if child.id.device == self.live.device && !self.live.ignore.read().is_ignored(&path, is_dir) {
                    self.fresh.push_back(Fresh { parent: Arc::clone(&fd), entry: Entry::new(file, name), path });
                }
            }
        }
        Ok(())
    }

    fn record_renamed(
        &mut self,
        fresh: &Fresh,
        from: Entry,
        file: FileId,
        fd: Arc<OwnedFd>,
        found: &HostStat,
    ) -> Result<()> {
        let mut steps = Steps::new(&self.arrivals, file);
        let to = fresh.entry.clone();
        let op_type = OpType::Rename { file, from: from.clone(), to: to.clone(), displaced: Displaced::Nothing };
        let parent = Touched { file: to.dir, metadata: named(host::stat(&*fresh.parent)?.metadata) };
        steps.push(op_type, OpData::None, vec![Touched { file, metadata: named(found.metadata) }, parent])?;
        let op = steps.finish(Some(Landmark::Namespace))?.unwrap_or(OpId::ZERO);
        self.live.bindings.set(&from, None, op);
        self.live.bindings.set(&to, Some(file), op);
        self.missing.entries.remove(&from);
        self.report.renamed += 1;
        if found.metadata.kind == FileKind::Directory {
            self.walk(Folder { file, path: fresh.path.clone(), fd })?;
        }
        Ok(())
    }

    /// Finds what a new inode was called before.
    fn find_renamed(&mut self, fd: &OwnedFd, found: &HostStat) -> Result<Option<(Entry, FileId)>> {
        let Some(candidates) = self.missing.by_print.get(&Print::of(&found.metadata)) else { return Ok(None) };
        for entry in candidates {
            let Some((file, _)) = self.missing.entries.get(entry) else { continue };
            if self.is_renamed(*file, fd, &found.metadata)? {
                return Ok(Some((entry.clone(), *file)));
            }
        }
        Ok(None)
    }

    fn is_renamed(&self, file: FileId, fd: &OwnedFd, now: &FileMetadata) -> Result<bool> {
        match now.kind {
            FileKind::File if now.size == 0 => Ok(false),
            FileKind::File => self.past.has_same_content(file, &host::reopen(fd, OFlags::RDONLY)?, now.size),
            FileKind::Symlink => self.past.has_same_target(file, fd),
            FileKind::Directory => {
                let known = self.past.entries(file)?;
                let names = host::names_in(fd)?;
                let kept = names.iter().filter_map(|name| Name::from_os(name).ok()).filter(|n| known.contains_key(n));
                Ok(kept.count() * 2 >= known.len().max(names.len()))
            }
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => Ok(false),
        }
    }

    /// Records that a missing entry is gone, and of a folder first everything in it.
    fn remove(&mut self, entry: &Entry) -> Result<()> {
        let Some((file, metadata)) = self.missing.entries.remove(entry) else { return Ok(()) };
        if metadata.kind == FileKind::Directory {
            for name in self.past.entries(file)?.into_keys() {
                self.remove(&Entry::new(file, name))?;
            }
        }
        let nlink = if metadata.kind == FileKind::Directory { 0 } else { self.names_left(file)? };
        let mut steps = Steps::new(&self.arrivals, file);
        let op_type = removal(file, entry.clone(), metadata.kind);
        steps.push_on_file(op_type, OpData::None, FileMetadata { nlink, ..metadata })?;
        let op = steps.finish(Some(Landmark::Namespace))?.unwrap_or(OpId::ZERO);
        self.live.bindings.set(entry, None, op);
        self.report.removed += 1;
        Ok(())
    }

    /// Returns how many names of a file are not missing.
    fn names_left(&self, file: FileId) -> Result<u32> {
        let names = self.past.storage.names(self.past.view, file)?;
        let mut left = 0;
        for name in names {
            if !self.missing.entries.contains_key(&name) && self.live.bindings.get(&name)? == Some(file) {
                left += 1;
            }
        }
        // The entry that is being removed is still bound.
        Ok(u32::try_from(left).unwrap_or(u32::MAX).saturating_sub(1))
    }
}

fn push_block(steps: &mut Steps<'_>, file: FileId, offset: u64, block: &[u8], now: FileMetadata) -> Result<()> {
    let size = block.len() as u64;
    if block.iter().all(|byte| *byte == 0) {
        let op_type = OpType::Range { file, kind: RangeKind::Punch, offset, size };
        return steps.push_on_file(op_type, OpData::None, now);
    }
    let data = OpData::Inline(bytes::Bytes::copy_from_slice(block));
    steps.push_on_file(OpType::FileWrite { file, offset, size }, data, now)
}

/// Adds operations for differing owners, mode and times; the last one also carries what cannot be set.
fn push_metadata(steps: &mut Steps<'_>, file: FileId, was: &FileMetadata, now: &FileMetadata) -> Result<()> {
    if (was.uid, was.gid) != (now.uid, now.gid) {
        let (old_uid, old_gid, new_uid, new_gid) = (was.uid, was.gid, now.uid, now.gid);
        steps.push_on_file(OpType::Chown { file, old_uid, old_gid, new_uid, new_gid }, OpData::None, *now)?;
    }
    if was.mode != now.mode {
        let op_type = OpType::Chmod { file, old_mode: was.mode, new_mode: now.mode };
        steps.push_on_file(op_type, OpData::None, *now)?;
    }
    let op_type =
        OpType::Touch { file, old_atime: was.atime, old_mtime: was.mtime, new_atime: now.atime, new_mtime: now.mtime };
    steps.push_on_file(op_type, OpData::None, *now)
}
