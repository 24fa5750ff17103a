//! A complete storage backend, in about 400 lines: it keeps the log in a `Vec` and replays it for every view.
//!
//! What it shows is the whole contract of `FileSystemStorage`. An operation means the effects that `OpCode::effects`
//! lists and the metadata in `OpCode::touched`, and nothing else; so a backend that applies these two, in order, up to
//! the moment of a view, can answer every question about that view. All that real backends add is speed and a disk.
//!
//! `cargo run --example custom_backend` records a few changes, reads them back, and then runs the conformance suite
//! check by check. `cargo test -p ize-examples` runs the suite as tests: see the last line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ize_core::conformance::{CHECKS, Fixture, LogBuilder};
use ize_core::model::{
    BranchId, Effect, Entry, FileId, FileKind, FileMetadata, Name, OpCode, OpData, OpId, OpType, Timestamp, View,
    XattrName,
};
use ize_core::storage::{
    Batch, Binding, Capabilities, DirEntry, Direction, Extent, FileSystemStorage, FileSystemStorageExt, Finding, Head,
    Limits, OpQuery, Ref, RefName, RefTarget, Result, SizeOf, StorageError, StorageInfo, Xattr,
};
use parking_lot::{Mutex, RwLock};

fn main() -> Result<()> {
    let store = LogStore::default();
    let mut log = LogBuilder::new();
    let notes = log.create(FileId::ROOT, "notes.txt");
    let first = log.write(notes, 0, b"call Ada");
    log.write(notes, 5, b"Bob");
    log.commit(&store)?;

    for view in [View::main(first), View::latest(BranchId::MAIN)] {
        let mut content = Vec::new();
        store.copy_content(view, notes, &mut content)?;
        println!("notes.txt at {}: {:?}", view.at.min(log.head()), String::from_utf8_lossy(&content));
    }
    for check in CHECKS {
        (check.run)(&mut LogFixture::default());
        println!("passed: {}", check.name);
    }
    Ok(())
}

/// A storage that keeps the operations and nothing else.
#[derive(Debug, Default)]
struct LogStore {
    log: RwLock<Log>,
    /// The tree that was replayed last, and the view that it is. A page of a folder is mostly followed by the next one.
    replayed: Mutex<Option<(View, OpId, Arc<Tree>)>>,
}

#[derive(Debug, Default)]
struct Log {
    ops: Vec<OpCode>,
    refs: BTreeMap<RefName, RefTarget>,
    /// Every branch but the main one, with its parent and its base.
    branches: BTreeMap<BranchId, (BranchId, OpId)>,
}

const LIMITS: Limits = Limits {
    file_bytes_max: i64::MAX as u64,
    name_bytes_max: 255,
    xattr_bytes_max: 1 << 16,
    op_data_bytes_max: 1 << 26,
};

impl Log {
    fn head(&self) -> OpId {
        self.ops.last().map_or(OpId::ZERO, |op| op.last_id)
    }

    /// Returns the operations that a view sees, in order: those of its branch up to its moment, and those of the
    /// parents up to where the next branch left them.
    fn seen(&self, view: View) -> Result<impl DoubleEndedIterator<Item = &OpCode>> {
        let mut parts = BTreeMap::from([(view.branch, view.at)]);
        let (mut branch, mut until) = (view.branch, view.at);
        while branch != BranchId::MAIN {
            let (parent, base) = self.branches.get(&branch).ok_or(StorageError::UnknownBranch(branch))?;
            (branch, until) = (*parent, until.min(*base));
            parts.insert(branch, until);
        }
        Ok(self.ops.iter().filter(move |op| parts.get(&op.branch).is_some_and(|until| op.last_id <= *until)))
    }

    /// Refuses a batch before anything of it is stored.
    fn check(&self, batch: &Batch) -> Result<()> {
        let mut head = self.head();
        for op in &batch.ops {
            if op.id != head.next() {
                return Err(StorageError::Gap { expected: head.next(), found: op.id });
            }
            if op.branch != BranchId::MAIN && !self.branches.contains_key(&op.branch) {
                return Err(StorageError::UnknownBranch(op.branch));
            }
            let wrong_length = matches!(op.op_type.change(), OpType::FileWrite { size, .. } if *size != op.data.size());
            if op.last_id < op.id || wrong_length || matches!(op.data, OpData::Reference { .. }) {
                return Err(StorageError::Invalid(format!("{} is not an operation that can be stored", op.id)));
            }
            head = op.last_id;
        }
        let ends = |op: &OpId| self.ops.iter().chain(&batch.ops).any(|known| known.last_id == *op);
        match batch.landmarks.iter().find(|(op, _)| !ends(op)) {
            Some((op, _)) => Err(StorageError::Invalid(format!("no operation ends at {op}"))),
            None => Ok(()),
        }
    }

    fn check_target(&self, name: &RefName, target: &RefTarget) -> Result<()> {
        let (branch, moment) = match *target {
            RefTarget::Snapshot { view, .. } => (view.branch, view.at),
            RefTarget::Branch { parent, base, .. } => (parent, base),
        };
        if branch != BranchId::MAIN && !self.branches.contains_key(&branch) {
            return Err(StorageError::UnknownBranch(branch));
        }
        let id_is_taken = match *target {
            RefTarget::Branch { id, parent, base } => {
                id == BranchId::MAIN || self.branches.get(&id).is_some_and(|known| *known != (parent, base))
            }
            RefTarget::Snapshot { .. } => false,
        };
        let known = self.refs.get(name);
        let name_is_taken = matches!(known, Some(RefTarget::Branch { .. })) && known != Some(target);
        if moment > self.head() || id_is_taken || name_is_taken {
            return Err(StorageError::Invalid(format!("'{name}' cannot stand for that")));
        }
        Ok(())
    }
}

/// A whole tree at one moment.
#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<FileId, FileMetadata>,
    folders: BTreeMap<FileId, BTreeMap<Name, FileId>>,
    names: BTreeMap<FileId, Vec<Entry>>,
    xattrs: BTreeMap<FileId, BTreeMap<Vec<u8>, Xattr>>,
    content: BTreeMap<FileId, Content>,
}

impl Tree {
    /// Makes the tree before the first operation: one empty root folder.
    fn new() -> Self {
        let epoch = Timestamp::from_nanos(0);
        let root = FileMetadata {
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
        };
        Self { nodes: BTreeMap::from([(FileId::ROOT, root)]), ..Self::default() }
    }

    /// Applies one operation: its effects, then the metadata of what it touched.
    fn apply(&mut self, op: &OpCode) {
        let data = match &op.data {
            OpData::Inline(bytes) => bytes.clone(),
            OpData::None | OpData::Reference { .. } => Bytes::new(),
        };
        for effect in op.effects() {
            self.apply_effect(effect, &data);
        }
        self.nodes.extend(op.touched.iter().map(|touched| (touched.file, touched.metadata)));
    }

    fn apply_effect(&mut self, effect: Effect<'_>, data: &Bytes) {
        match effect {
            Effect::Bind { entry, file } => {
                self.folders.entry(entry.dir).or_default().insert(entry.name.clone(), file);
                self.names.entry(file).or_default().push(entry.clone());
            }
            Effect::Unbind { entry, file } => {
                self.folders.entry(entry.dir).or_default().remove(&entry.name);
                self.names.entry(file).or_default().retain(|name| name != entry);
            }
            Effect::Write { file, offset, .. } => self.content(file).write(offset, data.clone()),
            Effect::Truncate { file, size } => self.content(file).make_hole(size..u64::MAX),
            Effect::Zero { file, offset, size } => self.content(file).make_hole(offset..offset.saturating_add(size)),
            Effect::Copy { file, offset, source, source_offset, size } => {
                let pieces = self.content(source).pieces(source_offset..source_offset + size);
                let target = self.content(file);
                target.make_hole(offset..offset + size);
                for (from, bytes) in pieces {
                    target.write(from - source_offset + offset, bytes);
                }
            }
            Effect::SetXattr { file, name } => self.set_xattr(file, name, data.clone()),
            Effect::RemoveXattr { file, name } => {
                self.xattrs.entry(file).or_default().remove(name.as_bytes());
            }
        }
    }

    fn content(&mut self, file: FileId) -> &mut Content {
        self.content.entry(file).or_default()
    }

    fn set_xattr(&mut self, file: FileId, name: &XattrName, value: Bytes) {
        let xattr = Xattr { name: name.clone(), value };
        self.xattrs.entry(file).or_default().insert(name.as_bytes().to_vec(), xattr);
    }

    /// Returns the metadata of a file that exists: one that still has a name.
    fn node(&self, file: FileId) -> Option<&FileMetadata> {
        self.nodes.get(&file).filter(|metadata| metadata.is_linked())
    }

    /// Returns the content and the size of a file or symlink. Nothing else can be read.
    fn readable(&self, file: FileId) -> Option<(&Content, u64)> {
        let metadata = self.node(file)?;
        let is_readable = matches!(metadata.kind, FileKind::File | FileKind::Symlink);
        is_readable.then(|| (self.content.get(&file).unwrap_or(&NO_CONTENT), metadata.size))
    }
}

/// Content as layers: each hides what lies below it. Where there is none, there is a hole.
#[derive(Debug, Default)]
struct Content {
    layers: Vec<(Range<u64>, Option<Bytes>)>,
}

/// What a file has to which nothing was written.
static NO_CONTENT: Content = Content { layers: Vec::new() };

impl Content {
    fn write(&mut self, offset: u64, data: Bytes) {
        self.layers.push((offset..offset + data.len() as u64, Some(data)));
    }

    fn make_hole(&mut self, range: Range<u64>) {
        self.layers.retain(|(layer, _)| layer.start < range.start || layer.end > range.end);
        self.layers.push((range, None));
    }

    /// Returns what is not a hole in a range: between two borders of layers, the topmost layer counts.
    fn pieces(&self, range: Range<u64>) -> Vec<(u64, Bytes)> {
        let inside = |border: &u64| range.start < *border && *border < range.end;
        let mut borders: Vec<u64> =
            self.layers.iter().flat_map(|(layer, _)| [layer.start, layer.end]).filter(inside).collect();
        borders.extend([range.start, range.end]);
        borders.sort_unstable();
        borders.dedup();
        let piece = |between: &[u64]| {
            let (layer, data) = self.layers.iter().rev().find(|(layer, _)| layer.contains(&between[0]))?;
            let data = data.as_ref()?;
            Some((between[0], data.slice(index(between[0] - layer.start)..index(between[1] - layer.start))))
        };
        borders.windows(2).filter_map(piece).collect()
    }
}

/// Makes an index into a buffer of a distance inside of it.
fn index(distance: u64) -> usize {
    usize::try_from(distance).expect("a distance inside a buffer fits in memory")
}

impl LogStore {
    /// Returns the tree of a view.
    fn tree(&self, view: View) -> Result<Arc<Tree>> {
        let log = self.log.read();
        let mut replayed = self.replayed.lock();
        match &*replayed {
            Some((known, head, tree)) if *known == view && *head == log.head() => Ok(tree.clone()),
            _ => {
                let mut tree = Tree::new();
                log.seen(view)?.for_each(|op| tree.apply(op));
                let tree = Arc::new(tree);
                *replayed = Some((view, log.head(), tree.clone()));
                Ok(tree)
            }
        }
    }
}

impl FileSystemStorage for LogStore {
    fn info(&self) -> Result<StorageInfo> {
        let bytes = self.log.read().ops.iter().map(|op| op.data.size()).sum();
        Ok(StorageInfo {
            backend: "log".to_owned(),
            engine: None,
            format_version: 1,
            capabilities: Capabilities { holes: true, branches: true, persistent: false },
            limits: LIMITS,
            sizes: vec![SizeOf { part: "log".to_owned(), bytes }],
        })
    }

    fn head(&self) -> Result<Head> {
        let log = self.log.read();
        let touched = log.ops.iter().flat_map(|op| &op.touched).map(|touched| touched.file);
        Ok(Head { op: log.head(), file: touched.max().unwrap_or(FileId::ROOT).max(FileId::ROOT) })
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let mut log = self.log.write();
        log.check(batch)?;
        log.ops.extend(batch.ops.iter().cloned());
        for (at, landmark) in &batch.landmarks {
            for op in log.ops.iter_mut().filter(|op| op.last_id == *at) {
                op.landmark = op.landmark.max(Some(*landmark));
            }
        }
        *self.replayed.lock() = None;
        Ok(())
    }

    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        let log = self.log.read();
        let matching = log.seen(query.view)?.filter(|op| {
            let is_about = |file| op.op_type.file() == file || op.op_type.displaced_file() == Some(file);
            op.last_id > query.since
                && query.file.is_none_or(is_about)
                && (op.landmark.is_some() || !query.landmarks_only)
        });
        Ok(match query.direction {
            Direction::OldestFirst => matching.take(query.max).cloned().collect(),
            Direction::NewestFirst => matching.rev().take(query.max).cloned().collect(),
        })
    }

    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        let log = self.log.read();
        Ok(log.ops.iter().rfind(|op| op.timestamp <= time).map_or(OpId::ZERO, |op| op.last_id))
    }

    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        Ok(self.tree(view)?.node(file).copied())
    }

    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        let tree = self.tree(view)?;
        Ok(tree.folders.get(&dir).and_then(|folder| folder.get(name)).copied())
    }

    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        use std::ops::Bound::{Excluded, Unbounded};

        let tree = self.tree(view)?;
        let from = after.map_or(Unbounded, Excluded);
        let entries = tree.folders.get(&dir).into_iter().flat_map(|folder| folder.range((from, Unbounded)));
        let described = entries.filter_map(|(name, file)| {
            tree.node(*file).map(|node| DirEntry { name: name.clone(), file: *file, kind: node.kind })
        });
        Ok(described.take(max).collect())
    }

    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        Ok(self.tree(view)?.names.get(&file).cloned().unwrap_or_default())
    }

    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        let log = self.log.read();
        let change = |op: &OpCode| {
            // An operation can take a name from one file and give it to another: what counts is the end.
            let named = op.effects().filter_map(|effect| match effect {
                Effect::Bind { entry: bound, file } if bound == entry => Some(Some(file)),
                Effect::Unbind { entry: unbound, .. } if unbound == entry => Some(None),
                _ => None,
            });
            named.last().map(|file| Binding { at: op.last_id, file })
        };
        Ok(log.seen(view)?.rev().filter_map(change).take(max).collect())
    }

    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let tree = self.tree(view)?;
        let Some((content, size)) = tree.readable(file) else { return Ok(0) };
        let len = buf.len().min(usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX));
        let buf = &mut buf[..len];
        buf.fill(0);
        for (from, bytes) in content.pieces(offset..offset + len as u64) {
            buf[index(from - offset)..][..bytes.len()].copy_from_slice(&bytes);
        }
        Ok(len)
    }

    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        let tree = self.tree(view)?;
        let Some((content, size)) = tree.readable(file).filter(|(_, size)| from < *size) else { return Ok(Vec::new()) };
        let extents = content.pieces(from..size).into_iter();
        Ok(extents.map(|(offset, bytes)| Extent { offset, len: bytes.len() as u64 }).take(max).collect())
    }

    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        let tree = self.tree(view)?;
        let xattrs = tree.xattrs.get(&file).filter(|_| tree.node(file).is_some());
        Ok(xattrs.into_iter().flat_map(|xattrs| xattrs.values().cloned()).collect())
    }

    fn refs(&self) -> Result<Vec<Ref>> {
        let log = self.log.read();
        Ok(log.refs.iter().map(|(name, target)| Ref { name: name.clone(), target: *target }).collect())
    }

    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
        let mut log = self.log.write();
        let Some(target) = target else {
            log.refs.remove(name);
            return Ok(());
        };
        log.check_target(name, target)?;
        if let RefTarget::Branch { id, parent, base } = *target {
            log.branches.insert(id, (parent, base));
        }
        log.refs.insert(name.clone(), *target);
        Ok(())
    }

    fn verify(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Ok(()) // Memory does not decay.
    }

    fn repair(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Ok(())
    }
}

/// How the conformance suite gets at a store.
#[derive(Default)]
struct LogFixture(LogStore);

impl Fixture for LogFixture {
    fn store(&self) -> &dyn FileSystemStorage {
        &self.0
    }

    fn reopen(&mut self) {} // A persistent backend would close its files here and open them again.
}

#[cfg(test)]
mod tests {
    use super::LogFixture;

    ize_core::conformance!(LogFixture::default);
}
