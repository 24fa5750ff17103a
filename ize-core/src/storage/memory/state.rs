//! What a [`super::MemoryStorage`] holds: the log, and per thing the versions that it went through.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::model::{
    BranchId, Effect, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpCode, OpData, OpId, OpType, Timestamp,
    View, XattrName,
};
use crate::storage::sparse::SparseMap;
use crate::storage::versions::{Lineage, Versions};
use crate::storage::{Binding, DirEntry, Head, Ref, RefName, RefTarget, Result, StorageError, Xattr};

/// Where a branch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) parent: BranchId,
    pub(super) base: OpId,
}

/// A change of content whose meaning depends on nothing else.
#[derive(Clone, Debug)]
enum Change {
    Write {
        offset: u64,
        data: Bytes,
    },
    Truncate {
        size: u64,
    },
    Zero {
        offset: u64,
        size: u64,
    },
    /// A range became these pieces, and holes between them.
    Paste {
        offset: u64,
        size: u64,
        pieces: Vec<(u64, Bytes)>,
    },
}

impl Change {
    fn apply(&self, content: &mut SparseMap) {
        match self {
            Self::Write { offset, data } => content.write(*offset, data.clone()),
            Self::Truncate { size } => content.truncate(*size),
            Self::Zero { offset, size } => content.zero(*offset, *size),
            Self::Paste { offset, size, pieces } => {
                content.zero(*offset, *size);
                for (offset, data) in pieces {
                    content.write(*offset, data.clone());
                }
            }
        }
    }
}

/// The whole store.
#[derive(Debug)]
pub(super) struct State {
    log: Vec<OpCode>,
    last_file: FileId,
    payload_bytes: u64,
    nodes: BTreeMap<FileId, Versions<FileMetadata>>,
    folders: BTreeMap<FileId, BTreeMap<Name, Versions<Option<FileId>>>>,
    /// Per file the entries that began (`true`) and ceased to name it.
    links: BTreeMap<FileId, Versions<(Entry, bool)>>,
    content: BTreeMap<FileId, Versions<Change>>,
    xattrs: BTreeMap<FileId, Versions<(XattrName, Option<Bytes>)>>,
    branches: BTreeMap<BranchId, Origin>,
    refs: BTreeMap<RefName, RefTarget>,
}

impl Default for State {
    fn default() -> Self {
        let mut root = Versions::default();
        root.push(BranchId::MAIN, OpId::ZERO, first_root());
        Self {
            log: Vec::new(),
            last_file: FileId::ROOT,
            payload_bytes: 0,
            nodes: BTreeMap::from([(FileId::ROOT, root)]),
            folders: BTreeMap::new(),
            links: BTreeMap::new(),
            content: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            branches: BTreeMap::new(),
            refs: BTreeMap::new(),
        }
    }
}

/// The root folder before the first operation.
fn first_root() -> FileMetadata {
    let epoch = Timestamp::from_nanos(0);
    FileMetadata {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        nlink: 2,
        rdev: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
    }
}

/// Reading.
impl State {
    pub(super) fn head(&self) -> Head {
        Head { op: self.log.last().map_or(OpId::ZERO, |op| op.last_id), file: self.last_file }
    }

    pub(super) fn log(&self) -> &[OpCode] {
        &self.log
    }

    pub(super) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Returns what a view sees. Parents are always older than their branches, so this ends.
    pub(super) fn lineage(&self, view: View) -> Result<Lineage> {
        let mut lineage = Lineage::new(view.branch, view.at);
        let mut branch = view.branch;
        while branch != BranchId::MAIN {
            let origin = self.branches.get(&branch).ok_or(StorageError::UnknownBranch(branch))?;
            lineage.push_parent(origin.parent, origin.base);
            branch = origin.parent;
        }
        Ok(lineage)
    }

    pub(super) fn origin(&self, branch: BranchId) -> Option<Origin> {
        self.branches.get(&branch).copied()
    }

    pub(super) fn node(&self, lineage: &Lineage, file: FileId) -> Option<FileMetadata> {
        self.nodes.get(&file)?.newest(lineage).filter(|metadata| metadata.is_linked()).copied()
    }

    pub(super) fn entry(&self, lineage: &Lineage, dir: FileId, name: &Name) -> Option<FileId> {
        *self.folders.get(&dir)?.get(name)?.newest(lineage)?
    }

    pub(super) fn entries<'a>(
        &'a self,
        lineage: &'a Lineage,
        dir: FileId,
        after: Option<&Name>,
    ) -> impl Iterator<Item = DirEntry> + 'a {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        let folder = self.folders.get(&dir).into_iter();
        folder.flat_map(move |folder| folder.range((from.clone(), Bound::Unbounded))).filter_map(
            move |(name, versions)| {
                let file = (*versions.newest(lineage)?)?;
                let kind = self.node(lineage, file)?.kind;
                Some(DirEntry { name: name.clone(), file, kind })
            },
        )
    }

    /// Tells whether an operation was made in a folder, as the tree was right afterwards.
    pub(super) fn is_below(&self, op: &OpCode, folder: FileId) -> bool {
        let after = self.lineage(View::new(op.branch, op.last_id)).expect("the branch of an operation exists");
        if op.op_type.file() == folder || op.op_type.displaced_file() == Some(folder) {
            let metadata = self.nodes.get(&folder).and_then(|versions| versions.newest(&after));
            return metadata.is_some_and(|metadata| metadata.kind == FileKind::Directory);
        }
        let mut folders: Vec<FileId> = op.op_type.entry().map(|entry| entry.dir).into_iter().collect();
        if let OpType::Rename { from, .. } = op.op_type.change() {
            folders.push(from.dir);
        }
        folders.extend(self.names(&after, op.op_type.file()).into_iter().map(|entry| entry.dir));
        folders.into_iter().any(|from| {
            let parent = |at: &FileId| self.names(&after, *at).first().map(|entry| entry.dir);
            std::iter::successors(Some(from), parent).any(|at| at == folder)
        })
    }

    /// Returns a file's names, the oldest first.
    pub(super) fn names(&self, lineage: &Lineage, file: FileId) -> Vec<Entry> {
        let mut bound = BTreeMap::new();
        let changes = self.links.get(&file).into_iter().flat_map(|versions| versions.seen(lineage));
        for (order, change) in changes.enumerate() {
            match &change.value {
                (entry, true) => _ = bound.insert(entry, order),
                (entry, false) => _ = bound.remove(entry),
            }
        }
        let mut names: Vec<_> = bound.into_iter().collect();
        names.sort_by_key(|(_, order)| *order);
        names.into_iter().map(|(entry, _)| entry.clone()).collect()
    }

    pub(super) fn bindings(&self, lineage: &Lineage, entry: &Entry, max: usize) -> Vec<Binding> {
        let versions = self.folders.get(&entry.dir).and_then(|folder| folder.get(&entry.name));
        let newest_first = versions.into_iter().flat_map(|versions| versions.seen(lineage).rev());
        newest_first.take(max).map(|version| Binding { at: version.at, file: version.value }).collect()
    }

    /// Returns the moment of the last change of a file's content.
    pub(super) fn last_change(&self, lineage: &Lineage, file: FileId) -> OpId {
        let last = self.content.get(&file).and_then(|changes| changes.seen(lineage).next_back());
        last.map_or(OpId::ZERO, |change| change.at)
    }

    /// Builds a file's content from all its changes.
    pub(super) fn replay(&self, lineage: &Lineage, file: FileId) -> SparseMap {
        let mut content = SparseMap::default();
        for change in self.content.get(&file).into_iter().flat_map(|changes| changes.seen(lineage)) {
            change.value.apply(&mut content);
        }
        content
    }

    pub(super) fn xattrs(&self, lineage: &Lineage, file: FileId) -> Vec<Xattr> {
        if self.node(lineage, file).is_none() {
            return Vec::new();
        }
        let mut values = BTreeMap::new();
        for change in self.xattrs.get(&file).into_iter().flat_map(|changes| changes.seen(lineage)) {
            let (name, value) = &change.value;
            values.insert(name.as_bytes(), (name, value));
        }
        let present = values.into_values().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        present.map(|(name, value)| Xattr { name: name.clone(), value: value.clone() }).collect()
    }

    pub(super) fn refs(&self) -> Vec<Ref> {
        self.refs.iter().map(|(name, target)| Ref { name: name.clone(), target: *target }).collect()
    }

    pub(super) fn target(&self, name: &RefName) -> Option<&RefTarget> {
        self.refs.get(name)
    }

    /// Finds the operation that ends at `last_id`.
    pub(super) fn position(&self, last_id: OpId) -> Option<usize> {
        self.log.binary_search_by_key(&last_id, |op| op.last_id).ok()
    }
}

/// Changing. Whoever calls these has checked the operation.
impl State {
    pub(super) fn apply(&mut self, op: &OpCode) {
        let data = match &op.data {
            OpData::Inline(bytes) => bytes.clone(),
            OpData::None | OpData::Reference { .. } => Bytes::new(),
        };
        for effect in op.effects() {
            self.apply_effect(op, effect, &data);
        }
        for touched in &op.touched {
            self.nodes.entry(touched.file).or_default().set(op.branch, op.last_id, touched.metadata);
            self.last_file = self.last_file.max(touched.file);
        }
        self.last_file = self.last_file.max(op.op_type.file());
        self.payload_bytes += op.data.size();
        self.log.push(op.clone());
    }

    fn apply_effect(&mut self, op: &OpCode, effect: Effect<'_>, data: &Bytes) {
        let (file, change) = match effect {
            Effect::Bind { entry, file } => return self.bind(op, entry, file, true),
            Effect::Unbind { entry, file } => return self.bind(op, entry, file, false),
            Effect::SetXattr { file, name } => return self.set_xattr(op, file, name, Some(data.clone())),
            Effect::RemoveXattr { file, name } => return self.set_xattr(op, file, name, None),
            Effect::Write { file, offset, .. } => (file, Change::Write { offset, data: data.clone() }),
            Effect::Truncate { file, size } => (file, Change::Truncate { size }),
            Effect::Zero { file, offset, size } => (file, Change::Zero { offset, size }),
            Effect::Copy { file, offset, source, source_offset, size } => {
                let pieces = self.copied(op, source, source_offset, offset, size);
                (file, Change::Paste { offset, size, pieces })
            }
        };
        self.content.entry(file).or_default().push(op.branch, op.last_id, change);
    }

    fn bind(&mut self, op: &OpCode, entry: &Entry, file: FileId, bound: bool) {
        let versions = self.folders.entry(entry.dir).or_default().entry(entry.name.clone()).or_default();
        versions.set(op.branch, op.last_id, bound.then_some(file));
        self.links.entry(file).or_default().push(op.branch, op.last_id, (entry.clone(), bound));
    }

    fn set_xattr(&mut self, op: &OpCode, file: FileId, name: &XattrName, value: Option<Bytes>) {
        self.xattrs.entry(file).or_default().push(op.branch, op.last_id, (name.clone(), value));
    }

    /// Returns the pieces of a source's range as they were before the operation, moved to where they go.
    fn copied(&self, op: &OpCode, source: FileId, from: u64, to: u64, size: u64) -> Vec<(u64, Bytes)> {
        let before = View::new(op.branch, op.id.prev());
        let lineage = self.lineage(before).expect("the branch of a checked operation exists");
        let content = self.replay(&lineage, source);
        let end = self.node(&lineage, source).map_or(0, |metadata| metadata.size.min(from.saturating_add(size)));
        content.pieces_in(from..end.max(from)).map(|(offset, piece)| (offset - from + to, piece)).collect()
    }

    pub(super) fn mark(&mut self, op: OpId, landmark: Landmark) {
        let position = self.position(op).expect("a checked landmark names an operation");
        let known = &mut self.log[position].landmark;
        *known = (*known).max(Some(landmark));
    }

    pub(super) fn set_ref(&mut self, name: &RefName, target: Option<&RefTarget>) {
        let Some(target) = target else {
            self.refs.remove(name);
            return;
        };
        if let RefTarget::Branch { id, parent, base } = *target {
            self.branches.insert(id, Origin { parent, base });
        }
        self.refs.insert(name.clone(), *target);
    }
}
