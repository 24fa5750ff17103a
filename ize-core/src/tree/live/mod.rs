//! The live tree: the files in `working/`, whose every change is recorded.
//!
//! A change is carried out in four steps: room is reserved with the recorder (here a writer may have to wait); under the
//! locks of all files that it touches, it is applied to `working/` and then recorded; the locks are released; the caller
//! gets its answer, where the durability mode must sync first from the recorder's sync thread ([`Tree::settle`]). What the host refused is in neither place. Where recording fails after the host agreed, the recorder
//! is poisoned: from then on changes answer `EIO`, reads go on, and the next open of the project finds what is there.
//!
//! Files that the ignore rules name work like any other, but nothing of them is recorded. Rules apply to *new* names: an
//! entry that history knows stays recorded.

mod actors;
mod attributes;
mod bindings;
mod cells;
mod content;
mod durable;
mod handles;
mod locks;
mod mend;
mod namespace;
mod nodes;
mod passthrough;
mod past;
mod reading;
mod reconcile;
mod record_tree;
mod room;
mod rules;
mod writeback;

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use self::actors::Actors;
use self::bindings::Bindings;
use self::handles::Handles;
use self::locks::Locks;
use self::nodes::{NewEntry, Node, Nodes};
use self::passthrough::Passthrough;
use self::room::Room;
use self::writeback::{Writeback, WritebackThread};
use super::host::{self, HostStat};
use super::{
    Allocation, Caller, DiskThreads, Handle, IgnoreRules, NewNode, OpenMode, RenameMode, Result, SeekFor,
    SetAttributes, Space, Stat, SyncScope, Then, Tree, TreeEntry, TreeError, XattrMode,
};
use crate::failpoint;
use crate::model::{Effect, Entry, FileId, FileMetadata, Landmark, Name, OpCode, OpData, OpId, OpType, Touched, View};
use crate::record::{OpDraft, Recorder, Reservation};

pub use self::mend::{MendReport, PowerCut};
pub use self::reconcile::{ReconcileOptions, ReconcileReport};

/// The name at the root of every project that is kept for Ize itself.
pub(crate) const RESERVED_NAME: &str = ".ize";

/// How many files in `working/` are synced at a time; more wait their turn.
const SYNC_THREADS: usize = 4;

/// How a live tree behaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct LiveOptions {
    /// Changes answer `EROFS`.
    pub read_only: bool,
    /// New files belong to the caller who made them. This takes the privilege to change owners; without it they belong
    /// to whoever runs this process.
    pub own_new_files: bool,
    /// Which new names are not recorded.
    pub ignore: IgnoreRules,
    /// Names at the root, beside Ize's own, that the tree neither shows nor records nor touches.
    pub reserved: Vec<Name>,
    /// Growing is refused (`ENOSPC`) while less than this is free where `working/` is, in bytes. Removing always works.
    pub floor_bytes: u64,
    /// `fsync(2)` also syncs the file or folder in `working/`, as people expect of a folder that was adopted where it is.
    pub sync_working: bool,
    /// The most `O_PATH` descriptors to keep open for inodes in use, at least 64. By default half of what the process
    /// may open (`RLIMIT_NOFILE`), at most 16,384.
    pub descriptors_max: usize,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            own_new_files: false,
            ignore: IgnoreRules::none(),
            reserved: Vec::new(),
            floor_bytes: 64 << 20,
            sync_working: false,
            descriptors_max: host::descriptor_limit() / 2,
        }
    }
}

/// Somebody who caches what the tree said, and must be told when the tree changes by other ways than theirs.
pub trait Invalidator: Send + Sync {
    /// An entry may name something else now.
    fn entry(&self, dir: FileId, name: &Name);
    /// Content or metadata of a file may be different now.
    fn inode(&self, file: FileId);
}

/// The files in `working/`, recorded. See the module's documentation.
pub struct Live {
    recorder: Arc<Recorder>,
    nodes: Nodes,
    locks: Locks,
    bindings: Bindings,
    handles: Handles,
    actors: Actors,
    room: Room,
    /// Held while a folder changes its parent, so that no two such renames can make a loop.
    folder_moves: Mutex<()>,
    ignore: RwLock<IgnoreRules>,
    reserved: Vec<Name>,
    read_only: bool,
    own_new_files: bool,
    /// What `fsync(2)` is to do with files in `working/`.
    sync_working: bool,
    /// Syncs files in `working/`.
    disk: DiskThreads,
    passthrough: Arc<Passthrough>,
    device: u64,
    writeback: Arc<Writeback>,
    writeback_thread: Mutex<Option<WritebackThread>>,
    invalidator: RwLock<Option<Box<dyn Invalidator>>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("read_only", &self.read_only).finish_non_exhaustive()
    }
}

/// An entry of a folder that is about to change.
struct Place {
    parent: Arc<Node>,
    dir: Arc<OwnedFd>,
    name: Name,
}

impl Place {
    /// Returns the entry in history, if the folder is recorded. Whoever does not hold the folder's lock gets an answer that may
    /// be over: the folder can enter history or leave it.
    fn entry(&self) -> Option<Entry> {
        self.parent.history().map(|dir| Entry::new(dir, self.name.clone()))
    }
}

impl Live {
    /// Opens the tree in a folder; `working` is a descriptor of it.
    ///
    /// # Errors
    /// [`TreeError::Refused`] if the folder cannot be used.
    pub fn open(working: OwnedFd, recorder: Arc<Recorder>, options: LiveOptions) -> Result<Self> {
        let root = host::stat(&working)?;
        if root.metadata.kind != crate::model::FileKind::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let for_room = rustix::io::fcntl_dupfd_cloexec(&working, 0)?;
        let for_sync = host::reopen_directory(&working)?;
        let passthrough = Arc::new(Passthrough::default());
        let writeback = Arc::new(Writeback::new(Arc::clone(&recorder), for_sync, Arc::clone(&passthrough)));
        Ok(Self {
            nodes: Nodes::new(working, root.id, options.descriptors_max),
            locks: Locks::new(),
            bindings: Bindings::new(Arc::clone(&recorder)),
            handles: Handles::default(),
            actors: Actors::default(),
            room: Room::new(for_room, options.floor_bytes),
            folder_moves: Mutex::default(),
            ignore: RwLock::new(options.ignore),
            reserved: options.reserved,
            read_only: options.read_only,
            own_new_files: options.own_new_files,
            sync_working: options.sync_working,
            disk: DiskThreads::new(SYNC_THREADS),
            passthrough,
            device: root.id.device,
            writeback,
            writeback_thread: Mutex::default(),
            invalidator: RwLock::default(),
            recorder,
        })
    }

    /// Returns the recorder that changes go to.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Begins to bring changes to the disk of `working/` in the background, until this value is dropped. To be called once
    /// `working/` is what history says ([`Live::mend`]).
    ///
    /// # Errors
    /// If there can be no more threads.
    pub fn begin_writeback(&self) -> Result<()> {
        let mut thread = self.writeback_thread.lock();
        if thread.is_none() && !self.read_only && self.recorder.guards_tree() {
            *thread = Some(WritebackThread::start(&self.writeback)?);
        }
        Ok(())
    }

    /// Returns a descriptor of `working/`.
    pub(crate) fn working(&self) -> Result<Arc<OwnedFd>> {
        Ok(self.nodes.fd(&self.nodes.get(FileId::ROOT)?)?)
    }

    /// Makes all changes that were recorded until now durable in `working/` itself. Does nothing where the recorder does
    /// not guard a tree ([`crate::record::RecorderOptions::guards_tree`]).
    ///
    /// # Errors
    /// If the host could not write them; the recorder is poisoned then.
    pub fn sync_tree(&self) -> Result<()> {
        Ok(self.writeback.sync()?)
    }

    /// Returns the ignore rules.
    pub fn ignore(&self) -> IgnoreRules {
        self.ignore.read().clone()
    }

    /// Replaces the ignore rules; names that history knows stay recorded.
    pub fn set_ignore(&self, rules: IgnoreRules) {
        *self.ignore.write() = rules;
    }

    /// Sets who is told of changes that did not come from them (see [`Live::invalidate_entry`]).
    pub fn set_invalidator(&self, invalidator: Option<Box<dyn Invalidator>>) {
        *self.invalidator.write() = invalidator;
    }

    /// Tells the invalidator, if there is one, that an entry may name something else. Never called from a thread that
    /// serves the mount: the kernel may hold the folder's lock until that thread answers.
    pub fn invalidate_entry(&self, dir: FileId, name: &Name) {
        if let Some(invalidator) = &*self.invalidator.read() {
            invalidator.entry(dir, name);
        }
    }

    /// Tells the invalidator of everything that an operation touched; as [`Live::invalidate_entry`]. A file may have been
    /// replaced by another inode, so its names are to be looked up anew, too.
    pub fn invalidate_touched(&self, op: &OpCode) {
        for effect in op.effects() {
            if let Effect::Bind { entry, .. } | Effect::Unbind { entry, .. } = effect {
                self.invalidate_entry(self.node_of(entry.dir), &entry.name);
            }
        }
        let now = View::latest(self.recorder.branch());
        for touched in &op.touched {
            // Where history cannot be read, there are other things to worry about.
            for entry in self.recorder.storage().names(now, touched.file).unwrap_or_default() {
                self.invalidate_entry(self.node_of(entry.dir), &entry.name);
            }
            self.invalidate_inode(self.node_of(touched.file));
        }
    }

    /// Returns by which id a mount knows a file of history.
    fn node_of(&self, file: FileId) -> FileId {
        self.nodes.get_history(file).map_or(file, |node| node.id)
    }

    /// Tells the invalidator that a file may be different; as [`Live::invalidate_entry`].
    pub fn invalidate_inode(&self, file: FileId) {
        if let Some(invalidator) = &*self.invalidator.read() {
            invalidator.inode(file);
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    /// Reserves room for a change that may need more disk space.
    fn reserve_growth(&self, bytes: u64) -> Result<Reservation<'_>> {
        self.check_writable()?;
        self.room.check(bytes)?;
        self.reserve(bytes)
    }

    /// Reserves room for a change that frees space, or needs none.
    fn reserve(&self, bytes: u64) -> Result<Reservation<'_>> {
        self.check_writable()?;
        let reservation = self.recorder.reserve(bytes).map_err(recording)?;
        failpoint::pass("reserved");
        Ok(reservation)
    }

    /// Reserves room for a change that makes space: it does not wait behind those that need it.
    fn reserve_shrinking(&self) -> Result<Reservation<'_>> {
        self.reserve(0)
    }

    /// Records a change that was applied; whoever made it is answered from [`Tree::settle`]. An inode that has no name left is not recorded any more.
    fn record(&self, reservation: Reservation<'_>, mut draft: OpDraft) -> Result<OpId> {
        failpoint::pass("applied");
        if draft.actor.is_incoming() && !draft.op_type.is_external() {
            draft.op_type = OpType::ExternalChange(Box::new(draft.op_type));
        }
        let op = self.recorder.append(reservation, draft).map_err(recording)?;
        failpoint::pass("recorded");
        Ok(op)
    }

    /// After the host agreed to a change, its recording must not fail for any reason that the recorder does not know:
    /// it is told, so that nothing more is acknowledged.
    fn applied<T, E: Into<TreeError>>(&self, step: Result<T, E>) -> Result<T> {
        step.map_err(|error| {
            let error = error.into();
            self.recorder.poison(format!("a change was applied but could not be recorded: {error}"));
            error
        })
    }

    fn place(&self, parent: FileId, name: &OsStr) -> Result<Place> {
        let name = Name::from_os(name).map_err(name_errno)?;
        let parent = self.nodes.get(parent)?;
        if self.is_reserved(parent.id, name.as_os_str()) {
            return Err(Errno::PERM.into());
        }
        let dir = self.nodes.fd(&parent)?;
        Ok(Place { parent, dir, name })
    }

    /// Tells whether a name belongs to Ize or to the project's storage: to this tree it does not exist.
    fn is_reserved(&self, dir: FileId, name: &OsStr) -> bool {
        dir == FileId::ROOT
            && (name == RESERVED_NAME || self.reserved.iter().any(|reserved| reserved.as_os_str() == name))
    }

    /// Tells whether a new entry is to be recorded.
    fn is_recordable(&self, place: &Place, is_dir: bool) -> bool {
        if place.parent.history().is_none() {
            return false;
        }
        let rules = self.ignore.read();
        rules.is_empty() || place.parent.path().is_none_or(|dir| !rules.is_ignored(&dir.join(&place.name), is_dir))
    }

    /// Returns how history calls what an entry names, if it does.
    fn bound(&self, place: &Place) -> Result<Option<FileId>> {
        match place.entry() {
            Some(entry) => Ok(self.bindings.get(&entry)?),
            None => Ok(None),
        }
    }

    /// Enters what was found at a place into the table, with a lookup reference. The caller holds a lock on the folder.
    fn enter(&self, place: &Place, found: &HostStat, history: Option<FileId>) -> Arc<Node> {
        let entry =
            NewEntry { history, kind: found.metadata.kind, host: found.id, parent: &place.parent, name: &place.name };
        self.nodes.enter(&entry)
    }

    /// Returns a parent's state after a change, for the record.
    fn touched(&self, place: &Place) -> Result<Option<Touched>> {
        let Some(file) = place.parent.history() else { return Ok(None) };
        Ok(Some(Touched { file, metadata: named(host::stat(&*place.dir)?.metadata) }))
    }

    fn draft(&self, caller: Caller, op_type: OpType, data: OpData, landmark: Option<Landmark>) -> OpDraft {
        OpDraft { op_type, data, touched: Vec::with_capacity(3), actor: self.actors.of(caller), landmark, parent: None }
    }

    fn stat_of(&self, node: &Node, found: &HostStat) -> Stat {
        Stat { file: node.id, metadata: found.metadata, blocks: found.blocks, block_size: found.block_size }
    }
}

/// Returns the state of a file or folder that has a name in history, for the record. In this moment somebody may have removed it
/// in `working/` beside the tree; a file without names would be gone from history, whatever names it there.
fn named(metadata: FileMetadata) -> FileMetadata {
    FileMetadata { nlink: metadata.nlink.max(1), ..metadata }
}

fn recording(error: crate::record::RecordError) -> TreeError {
    match error {
        // Nothing was applied and nothing is lost: there is no room to record the change.
        crate::record::RecordError::Full => TreeError::NearlyFull,
        other => TreeError::Recording { source: Box::new(other) },
    }
}

fn name_errno(invalid: crate::model::InvalidName) -> Errno {
    match invalid {
        crate::model::InvalidName::TooLong => Errno::NAMETOOLONG,
        _ => Errno::INVAL,
    }
}

impl Tree for Live {
    fn lookup(&self, parent: FileId, name: &OsStr) -> Result<Stat> {
        self.look_up(parent, name)
    }

    fn forget(&self, node: FileId, lookups: u64) {
        self.nodes.forget(node, lookups);
    }

    fn stat(&self, node: FileId, handle: Option<Handle>) -> Result<Stat> {
        self.stat_node(node, handle)
    }

    fn set_attributes(
        &self,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
        attributes: &SetAttributes,
    ) -> Result<Stat> {
        self.change_attributes(caller, node, handle, attributes)
    }

    fn read_link(&self, node: FileId) -> Result<Vec<u8>> {
        let node = self.nodes.get(node)?;
        Ok(host::read_link(&*self.nodes.fd(&node)?)?)
    }

    fn make_node(&self, caller: Caller, parent: FileId, name: &OsStr, node: NewNode) -> Result<Stat> {
        self.make(caller, parent, name, namespace::Making::Node(node))
    }

    fn make_directory(&self, caller: Caller, parent: FileId, name: &OsStr, mode: u32) -> Result<Stat> {
        self.make(caller, parent, name, namespace::Making::Directory { mode })
    }

    fn make_symlink(&self, caller: Caller, parent: FileId, name: &OsStr, target: &[u8]) -> Result<Stat> {
        self.make(caller, parent, name, namespace::Making::Symlink { target })
    }

    fn unlink(&self, caller: Caller, parent: FileId, name: &OsStr) -> Result<()> {
        self.remove(caller, parent, name, namespace::Removing::NonDirectory)
    }

    fn remove_directory(&self, caller: Caller, parent: FileId, name: &OsStr) -> Result<()> {
        self.remove(caller, parent, name, namespace::Removing::Directory)
    }

    fn rename(&self, caller: Caller, from: (FileId, &OsStr), to: (FileId, &OsStr), mode: RenameMode) -> Result<()> {
        self.rename_entry(caller, from, to, mode)
    }

    fn link(&self, caller: Caller, node: FileId, parent: FileId, name: &OsStr) -> Result<Stat> {
        self.link_node(caller, node, parent, name)
    }

    fn open(&self, caller: Caller, node: FileId, mode: OpenMode) -> Result<Handle> {
        self.open_file(caller, node, mode)
    }

    fn create(
        &self,
        caller: Caller,
        parent: FileId,
        name: &OsStr,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Stat, Handle)> {
        self.create_file(caller, parent, name, permissions, mode)
    }

    fn read(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let open = self.handles.file(handle)?;
        Ok(host::read_full(&open.fd, offset, buf)?)
    }

    fn write(&self, _caller: Caller, handle: Handle, offset: u64, data: &[u8]) -> Result<usize> {
        self.write_file(handle, offset, data)
    }

    fn may_wait(&self, handle: Handle, offset: u64) -> bool {
        self.handles.file(handle).is_ok_and(|open| self.is_to_announce(&open, offset))
    }

    fn flush(&self, handle: Handle) -> Result<()> {
        let open = self.handles.file(handle)?;
        let changed = if open.is_handed_over() {
            self.record_version(&open, Landmark::Close)?
        } else {
            self.mark_written(&open, Landmark::Close)?
        };
        if changed {
            self.rules_may_have_changed(&open.node);
        }
        Ok(())
    }

    fn release(&self, handle: Handle) {
        let Some(open) = self.handles.remove_file(handle) else { return };
        self.take_back(&open);
        if let Err(error) = self.mark_written(&open, Landmark::Close) {
            tracing::warn!(%error, "the close of a file could not be marked in history");
        }
    }

    fn unnamed_file(&self) -> Result<OwnedFd> {
        self.make_unnamed()
    }

    fn begin_passthrough(&self) {
        Self::begin_passthrough(self);
    }

    fn hand_over(&self, handle: Handle) -> Result<Option<Arc<OwnedFd>>> {
        Self::hand_over(self, handle)
    }

    fn open_may_wait(&self, node: FileId, mode: OpenMode) -> bool {
        mode.write && self.is_to_announce_open(node)
    }

    fn settle(&self, then: Then) {
        self.recorder.settle(|outcome| then(outcome.map_err(recording)));
    }

    fn sync(&self, handle: Handle, scope: SyncScope, then: Then) {
        self.sync_file(handle, scope, then);
    }

    fn open_directory(&self, node: FileId) -> Result<Handle> {
        let node = self.nodes.get(node)?;
        let fd = host::reopen_directory(&*self.nodes.fd(&node)?)?;
        Ok(self.handles.add_directory(handles::OpenDirectory { node, fd: Mutex::new(fd) }))
    }

    fn read_directory(&self, handle: Handle, after: i64, take: &mut dyn FnMut(TreeEntry<'_>) -> bool) -> Result<()> {
        self.read_entries(handle, after, take)
    }

    fn release_directory(&self, handle: Handle) {
        self.handles.remove_directory(handle);
    }

    fn sync_directory(&self, handle: Handle, then: Then) {
        self.sync_folder(handle, then);
    }

    fn space(&self) -> Result<Space> {
        self.room.space()
    }

    fn set_xattr(&self, caller: Caller, node: FileId, name: &OsStr, value: &[u8], mode: XattrMode) -> Result<()> {
        self.change_xattr(caller, node, name, Some((value, mode)))
    }

    fn xattr(&self, node: FileId, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.nodes.get(node)?;
        if name == "security.capability" && node.has_no_capability() {
            return Err(Errno::NODATA.into());
        }
        Ok(host::xattr(&*self.nodes.fd(&node)?, name)?)
    }

    fn xattr_names(&self, node: FileId) -> Result<Vec<u8>> {
        let node = self.nodes.get(node)?;
        Ok(host::xattr_names(&*self.nodes.fd(&node)?)?)
    }

    fn remove_xattr(&self, caller: Caller, node: FileId, name: &OsStr) -> Result<()> {
        self.change_xattr(caller, node, name, None)
    }

    fn allocate(&self, _caller: Caller, handle: Handle, what: Allocation, offset: u64, len: u64) -> Result<()> {
        self.allocate_range(handle, what, offset, len)
    }

    fn seek(&self, handle: Handle, offset: u64, what: SeekFor) -> Result<u64> {
        let open = self.handles.file(handle)?;
        let position = match what {
            SeekFor::Data => rustix::fs::SeekFrom::Data(offset),
            SeekFor::Hole => rustix::fs::SeekFrom::Hole(offset),
        };
        Ok(rustix::fs::seek(&open.fd, position)?)
    }

    fn copy_range(&self, _caller: Caller, from: (Handle, u64), to: (Handle, u64), len: u64) -> Result<usize> {
        self.copy_between(from, to, len)
    }
}
