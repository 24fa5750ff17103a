//! Valid operations, made easily.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::tree::{Tree, new_metadata};
use crate::model::{
    Actor, BranchId, Displaced, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpCode, OpData, OpId, OpType,
    RangeKind, Timestamp, Touched, XattrName,
};
use crate::storage::{Batch, FileSystemStorage, Result};

/// Makes the operations of a log, each with its id, time, and the metadata of every inode that it touches, as a
/// filesystem would report it. It knows the newest tree of every branch and panics where an operation would not fit.
///
/// Operations gather until [`LogBuilder::take`] or [`LogBuilder::commit`]. Each is one millisecond later than the one
/// before.
///
/// ```
/// use ize_core::conformance::LogBuilder;
/// use ize_core::model::{FileId, View};
/// use ize_core::storage::{FileSystemStorage, MemoryStorage};
///
/// let store = MemoryStorage::new();
/// let mut log = LogBuilder::new();
/// let notes = log.create(FileId::ROOT, "notes.txt");
/// let first = log.write(notes, 0, b"hello");
/// log.write(notes, 0, b"HELLO");
/// log.commit(&store).expect("the operations are valid");
///
/// let mut buf = [0; 5];
/// store.read(View::main(first), notes, 0, &mut buf).expect("the file exists");
/// assert_eq!(&buf, b"hello");
/// ```
#[derive(Clone, Debug)]
pub struct LogBuilder {
    head: OpId,
    last_file: FileId,
    now: Timestamp,
    branch: BranchId,
    trees: BTreeMap<BranchId, Tree>,
    actor: Arc<Actor>,
    pending: Vec<OpCode>,
}

impl Default for LogBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// The log itself.
impl LogBuilder {
    /// Begins an empty log on the main branch, on a morning in 2024.
    pub fn new() -> Self {
        let now = Timestamp::from_secs_nanos(1_717_400_000, 123_456_789);
        let actor = Actor { pid: 4711, uid: 1000, gid: 1000, program: "vi".to_owned(), run: None };
        Self {
            head: OpId::ZERO,
            last_file: FileId::ROOT,
            now,
            branch: BranchId::MAIN,
            trees: BTreeMap::from([(BranchId::MAIN, Tree::new(now))]),
            actor: Arc::new(actor),
            pending: Vec::new(),
        }
    }

    /// Returns the id of the last operation.
    pub fn head(&self) -> OpId {
        self.head
    }

    /// Returns the highest file id in use.
    pub fn last_file(&self) -> FileId {
        self.last_file
    }

    /// Returns the branch of the operations to come.
    pub fn branch(&self) -> BranchId {
        self.branch
    }

    /// Sets the clock: the next operation's timestamp is one millisecond later than this.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Sets who makes the operations to come.
    pub fn set_actor(&mut self, actor: Actor) {
        self.actor = Arc::new(actor);
    }

    /// Begins a branch at the newest state of the present one and goes on there. The store has to be told with
    /// [`FileSystemStorage::set_ref`].
    pub fn fork(&mut self, branch: BranchId) {
        let tree = self.tree().clone();
        assert!(self.trees.insert(branch, tree).is_none(), "{branch} exists already");
        self.branch = branch;
    }

    /// Goes on with another branch.
    pub fn switch(&mut self, branch: BranchId) {
        assert!(self.trees.contains_key(&branch), "{branch} does not exist");
        self.branch = branch;
    }

    /// Returns the operations made since the last call.
    pub fn take(&mut self) -> Vec<OpCode> {
        std::mem::take(&mut self.pending)
    }

    /// Commits the operations made since the last call, as one batch.
    ///
    /// # Errors
    /// As [`FileSystemStorage::commit`].
    pub fn commit(&mut self, store: &dyn FileSystemStorage) -> Result<()> {
        store.commit(&Batch { ops: self.take(), landmarks: Vec::new() })
    }

    /// Returns the last operation, to change it before it is taken.
    pub fn last_mut(&mut self) -> &mut OpCode {
        self.pending.last_mut().expect("there is an operation that was not taken yet")
    }

    /// Makes the last operation a landmark.
    pub fn mark(&mut self, landmark: Landmark) {
        self.last_mut().landmark = Some(landmark);
    }

    /// Makes the last operation cover `more` further ids, as if they had been merged into it. Returns its `last_id`.
    pub fn widen(&mut self, more: u64) -> OpId {
        let last_id = OpId::new(self.head.get() + more);
        self.last_mut().last_id = last_id;
        self.head = last_id;
        last_id
    }

    /// Says that the last operation was found rather than seen.
    pub fn found(&mut self) {
        let op = self.last_mut();
        op.op_type = OpType::ExternalChange(Box::new(op.op_type.clone()));
    }

    /// Returns the newest metadata of a file, with `nlink` 0 if it is gone.
    pub fn metadata(&self, file: FileId) -> FileMetadata {
        *self.tree().nodes.get(&file).expect("the file exists on this branch")
    }

    /// Returns what an entry names in the newest tree.
    pub fn lookup(&self, dir: FileId, name: impl AsRef<[u8]>) -> Option<FileId> {
        self.tree().entries.get(&Entry::new(dir, name_of(name))).copied()
    }

    pub(super) fn tree(&self) -> &Tree {
        self.trees.get(&self.branch).expect("the present branch exists")
    }

    fn tree_mut(&mut self) -> &mut Tree {
        self.trees.get_mut(&self.branch).expect("the present branch exists")
    }

    /// Adds an operation. `touched` names the inodes whose newest metadata goes into it.
    fn push(&mut self, op_type: OpType, data: OpData, touched: &[FileId]) -> OpId {
        self.head = self.head.next();
        let mut op = OpCode {
            id: self.head,
            last_id: self.head,
            branch: self.branch,
            timestamp: self.now,
            op_type,
            data,
            touched: Vec::new(),
            actor: self.actor.clone(),
            landmark: None,
            parent: None,
        };
        for file in touched {
            if op.metadata_of(*file).is_none() {
                op.touched.push(Touched { file: *file, metadata: self.metadata(*file) });
            }
        }
        self.pending.push(op);
        self.head
    }

    fn tick(&mut self) -> Timestamp {
        self.now = Timestamp::from_nanos(self.now.as_nanos() + 1_000_000);
        self.now
    }

    fn change(&mut self, file: FileId, change: impl FnOnce(&mut FileMetadata)) {
        let now = self.now;
        let metadata = self.tree_mut().nodes.get_mut(&file).expect("the file exists on this branch");
        assert!(metadata.is_linked(), "{file} is gone");
        change(metadata);
        metadata.ctime = now;
    }

    fn content_changed(&mut self, file: FileId, change: impl FnOnce(&mut FileMetadata)) {
        let now = self.now;
        self.change(file, |metadata| {
            change(metadata);
            metadata.mtime = now;
        });
    }

    /// A folder's entries changed; `links` is by how much its number of subfolders did.
    fn folder_changed(&mut self, dir: FileId, links: i64) {
        self.content_changed(dir, |metadata| {
            assert_eq!(metadata.kind, FileKind::Directory, "{dir} is no folder");
            metadata.nlink = u32::try_from(i64::from(metadata.nlink) + links).expect("a folder keeps its own links");
        });
    }
}

/// Names.
impl LogBuilder {
    /// Creates an empty file.
    pub fn create(&mut self, dir: FileId, name: impl AsRef<[u8]>) -> FileId {
        self.create_with(dir, name, b"")
    }

    /// Creates a file together with its first content, as a merged operation does.
    pub fn create_with(&mut self, dir: FileId, name: impl AsRef<[u8]>, data: &[u8]) -> FileId {
        let mut metadata = self.new_node(FileKind::File, 0o644);
        metadata.size = data.len() as u64;
        self.add_node(dir, name, metadata, data_of(data), |file, entry| OpType::FileCreate { file, entry, mode: 0o644 })
    }

    /// Makes a folder.
    pub fn make_dir(&mut self, dir: FileId, name: impl AsRef<[u8]>) -> FileId {
        let metadata = self.new_node(FileKind::Directory, 0o755);
        self.add_node(dir, name, metadata, OpData::None, |file, entry| OpType::DirCreate { file, entry, mode: 0o755 })
    }

    /// Makes a symlink.
    pub fn symlink(&mut self, dir: FileId, name: impl AsRef<[u8]>, target: &[u8]) -> FileId {
        let mut metadata = self.new_node(FileKind::Symlink, 0o777);
        metadata.size = target.len() as u64;
        self.add_node(dir, name, metadata, data_of(target), |file, entry| OpType::Symlink { file, entry })
    }

    /// Makes a fifo, socket or device.
    pub fn special(&mut self, dir: FileId, name: impl AsRef<[u8]>, kind: FileKind, rdev: u64) -> FileId {
        let mut metadata = self.new_node(kind, 0o600);
        metadata.rdev = rdev;
        self.add_node(dir, name, metadata, OpData::None, |file, entry| OpType::Special {
            file,
            entry,
            kind,
            mode: 0o600,
            rdev,
        })
    }

    fn new_node(&mut self, kind: FileKind, mode: u32) -> FileMetadata {
        let now = self.tick();
        new_metadata(kind, mode, now)
    }

    fn add_node(
        &mut self,
        dir: FileId,
        name: impl AsRef<[u8]>,
        metadata: FileMetadata,
        data: OpData,
        op_type: impl FnOnce(FileId, Entry) -> OpType,
    ) -> FileId {
        self.last_file = self.last_file.next();
        let file = self.last_file;
        let entry = Entry::new(dir, name_of(name));
        self.tree_mut().nodes.insert(file, metadata);
        self.bind(&entry, file);
        self.folder_changed(dir, i64::from(metadata.kind == FileKind::Directory));
        self.push(op_type(file, entry), data, &[file, dir]);
        file
    }

    fn bind(&mut self, entry: &Entry, file: FileId) {
        let tree = self.tree_mut();
        tree.parents.insert(file, entry.dir);
        let known = tree.entries.insert(entry.clone(), file);
        assert_eq!(known, None, "{entry:?} is taken");
    }

    fn unbind(&mut self, entry: &Entry) -> FileId {
        self.tree_mut().entries.remove(entry).expect("the entry names something")
    }

    /// Gives a file one more name.
    pub fn hardlink(&mut self, file: FileId, dir: FileId, name: impl AsRef<[u8]>) -> OpId {
        self.tick();
        let entry = Entry::new(dir, name_of(name));
        self.bind(&entry, file);
        self.change(file, |metadata| metadata.nlink += 1);
        self.folder_changed(dir, 0);
        self.push(OpType::Hardlink { file, entry }, OpData::None, &[file, dir])
    }

    /// Removes a name: a file's, or an empty folder's.
    pub fn remove(&mut self, dir: FileId, name: impl AsRef<[u8]>) -> OpId {
        self.tick();
        let entry = Entry::new(dir, name_of(name));
        let file = self.unbind(&entry);
        let is_folder = self.lose_name(file);
        self.folder_changed(dir, -i64::from(is_folder));
        let op_type = if is_folder { OpType::DirDelete { file, entry } } else { OpType::FileDelete { file, entry } };
        self.push(op_type, OpData::None, &[file, dir])
    }

    /// Takes one name off a file's count, all of them off a folder's. Tells whether it is a folder.
    fn lose_name(&mut self, file: FileId) -> bool {
        let is_folder = self.metadata(file).kind == FileKind::Directory;
        assert!(!is_folder || self.tree().children(file).next().is_none(), "{file} is not empty");
        self.change(file, |metadata| metadata.nlink = if is_folder { 0 } else { metadata.nlink - 1 });
        is_folder
    }

    /// Renames; what the new name stood for is replaced.
    pub fn rename(&mut self, from: (FileId, &str), to: (FileId, &str)) -> OpId {
        let (from, to) = (Entry::new(from.0, name_of(from.1)), Entry::new(to.0, name_of(to.1)));
        self.rename_entry(from, to)
    }

    /// As [`LogBuilder::rename`], for names that are bytes.
    pub fn rename_entry(&mut self, from: Entry, to: Entry) -> OpId {
        self.tick();
        let file = self.unbind(&from);
        assert!(!self.tree().is_below(to.dir, file), "{file} cannot go below itself");
        let victim = self.tree_mut().entries.remove(&to);
        assert_ne!(victim, Some(file), "a rename onto another name of the same file does nothing");
        self.bind(&to, file);
        let lost = victim.map_or(0, |victim| i64::from(self.lose_name(victim)));
        self.change(file, |_| ());
        let moved = i64::from(self.metadata(file).kind == FileKind::Directory);
        self.folder_changed(from.dir, -moved);
        self.folder_changed(to.dir, moved - lost);
        let displaced = victim.map_or(Displaced::Nothing, Displaced::Replaced);
        let touched = [file, from.dir, to.dir, victim.unwrap_or(file)];
        self.push(OpType::Rename { file, from, to, displaced }, OpData::None, &touched)
    }

    /// Exchanges what two entries name.
    pub fn exchange(&mut self, from: (FileId, &str), to: (FileId, &str)) -> OpId {
        let (from, to) = (Entry::new(from.0, name_of(from.1)), Entry::new(to.0, name_of(to.1)));
        self.exchange_entries(from, to)
    }

    /// As [`LogBuilder::exchange`], for names that are bytes.
    pub fn exchange_entries(&mut self, from: Entry, to: Entry) -> OpId {
        self.tick();
        let (file, other) = (self.unbind(&from), self.unbind(&to));
        self.bind(&to, file);
        self.bind(&from, other);
        let is_folder = |log: &Self, file| i64::from(log.metadata(file).kind == FileKind::Directory);
        let moved = is_folder(self, file) - is_folder(self, other);
        self.change(file, |_| ());
        self.change(other, |_| ());
        self.folder_changed(from.dir, -moved);
        self.folder_changed(to.dir, moved);
        let touched = [file, other, from.dir, to.dir];
        let displaced = Displaced::Exchanged(other);
        self.push(OpType::Rename { file, from, to, displaced }, OpData::None, &touched)
    }
}

/// Content.
impl LogBuilder {
    /// Writes bytes.
    pub fn write(&mut self, file: FileId, offset: u64, data: &[u8]) -> OpId {
        self.write_bytes(file, offset, Bytes::copy_from_slice(data))
    }

    /// Writes bytes, without copying them.
    pub fn write_bytes(&mut self, file: FileId, offset: u64, data: Bytes) -> OpId {
        self.tick();
        let size = data.len() as u64;
        self.content_changed(file, |metadata| metadata.size = metadata.size.max(offset + size));
        self.push(OpType::FileWrite { file, offset, size }, OpData::Inline(data), &[file])
    }

    /// Sets the size.
    pub fn truncate(&mut self, file: FileId, new_size: u64) -> OpId {
        self.tick();
        let old_size = self.metadata(file).size;
        self.content_changed(file, |metadata| metadata.size = new_size);
        self.push(OpType::FileTruncate { file, old_size, new_size }, OpData::None, &[file])
    }

    /// Makes a hole; the size stays.
    pub fn punch(&mut self, file: FileId, offset: u64, size: u64) -> OpId {
        self.range(file, RangeKind::Punch, offset, size, false)
    }

    /// Makes zeros; the size may grow.
    pub fn zero(&mut self, file: FileId, offset: u64, size: u64) -> OpId {
        self.range(file, RangeKind::Zero, offset, size, true)
    }

    /// Reserves space; the size may grow.
    pub fn allocate(&mut self, file: FileId, offset: u64, size: u64) -> OpId {
        self.range(file, RangeKind::Allocate, offset, size, true)
    }

    fn range(&mut self, file: FileId, kind: RangeKind, offset: u64, size: u64, grows: bool) -> OpId {
        self.tick();
        let end = if grows { offset + size } else { 0 };
        self.content_changed(file, |metadata| metadata.size = metadata.size.max(end));
        self.push(OpType::Range { file, kind, offset, size }, OpData::None, &[file])
    }

    /// Copies a range of `source`, which must hold it.
    pub fn copy(&mut self, from: (FileId, u64), to: (FileId, u64), size: u64) -> OpId {
        self.tick();
        let ((source, source_offset), (file, offset)) = (from, to);
        assert!(source_offset + size <= self.metadata(source).size, "the source is shorter than that");
        self.content_changed(file, |metadata| metadata.size = metadata.size.max(offset + size));
        self.push(OpType::CopyRange { file, offset, source, source_offset, size }, OpData::None, &[file])
    }
}

/// Attributes.
impl LogBuilder {
    /// Sets permission bits.
    pub fn chmod(&mut self, file: FileId, new_mode: u32) -> OpId {
        self.tick();
        let old_mode = self.metadata(file).mode;
        self.change(file, |metadata| metadata.mode = new_mode);
        self.push(OpType::Chmod { file, old_mode, new_mode }, OpData::None, &[file])
    }

    /// Sets owner and group.
    pub fn chown(&mut self, file: FileId, new_uid: u32, new_gid: u32) -> OpId {
        self.tick();
        let FileMetadata { uid: old_uid, gid: old_gid, .. } = self.metadata(file);
        self.change(file, |metadata| (metadata.uid, metadata.gid) = (new_uid, new_gid));
        self.push(OpType::Chown { file, old_uid, old_gid, new_uid, new_gid }, OpData::None, &[file])
    }

    /// Sets access and modification time.
    pub fn touch(&mut self, file: FileId, new_atime: Timestamp, new_mtime: Timestamp) -> OpId {
        self.tick();
        let FileMetadata { atime: old_atime, mtime: old_mtime, .. } = self.metadata(file);
        self.change(file, |metadata| (metadata.atime, metadata.mtime) = (new_atime, new_mtime));
        self.push(OpType::Touch { file, old_atime, old_mtime, new_atime, new_mtime }, OpData::None, &[file])
    }

    /// Sets an extended attribute.
    pub fn set_xattr(&mut self, file: FileId, name: &str, value: &[u8]) -> OpId {
        self.tick();
        self.change(file, |_| ());
        let (name, data) = (xattr_name(name), OpData::Inline(Bytes::copy_from_slice(value)));
        self.tree_mut().xattrs.insert((file, name.clone()));
        self.push(OpType::SetXattr { file, name }, data, &[file])
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&mut self, file: FileId, name: &str) -> OpId {
        self.tick();
        self.change(file, |_| ());
        let name = xattr_name(name);
        assert!(self.tree_mut().xattrs.remove(&(file, name.clone())), "{file} has no {name}");
        self.push(OpType::RemoveXattr { file, name }, OpData::None, &[file])
    }
}

/// Makes a name of bytes that are one.
pub(super) fn name_of(name: impl AsRef<[u8]>) -> Name {
    Name::new(Bytes::copy_from_slice(name.as_ref())).expect("the bytes are a valid name")
}

/// Makes an attribute name of text that is one.
pub(super) fn xattr_name(name: &str) -> XattrName {
    XattrName::new(Bytes::copy_from_slice(name.as_bytes())).expect("the text is a valid attribute name")
}

fn data_of(data: &[u8]) -> OpData {
    if data.is_empty() { OpData::None } else { OpData::Inline(Bytes::copy_from_slice(data)) }
}
