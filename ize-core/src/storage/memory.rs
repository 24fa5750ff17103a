//! The reference model of a storage: everything in memory, every answer derived in the most obvious way.
//!
//! It is strict where other backends may be lenient: a batch is refused if one of its operations does not fit the tree
//! (an entry that is bound twice, a file that nobody created, data where none belongs). Content is kept as the log of
//! its changes and replayed when it is read, so that a sparse file costs what was written to it.

mod check;
mod state;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::sparse::SparseMap;
use super::{
    Batch, Binding, Capabilities, DirEntry, Direction, Extent, FileSystemStorage, Finding, Head, Limits, OpQuery, Ref,
    RefName, RefTarget, Result, SizeOf, StorageInfo, Xattr,
};
use crate::model::{BranchId, Entry, FileId, FileKind, FileMetadata, Name, OpCode, OpId, Timestamp, View};
use state::State;

/// A storage in memory; it is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    state: RwLock<State>,
    /// The content that was replayed last. Someone who reads a file in pieces replays it once.
    replayed: Mutex<Option<Replayed>>,
}

/// The content of one file right after one of its changes, as seen from one branch.
#[derive(Clone, Debug)]
struct Replayed {
    file: FileId,
    branch: BranchId,
    last_change: OpId,
    content: Arc<SparseMap>,
}

impl MemoryStorage {
    /// Bounds of this backend.
    pub const LIMITS: Limits = Limits {
        file_bytes_max: i64::MAX as u64,
        name_bytes_max: Name::BYTES_MAX,
        xattr_bytes_max: 64 * 1024,
        op_data_bytes_max: 64 * 1024 * 1024,
    };

    /// Makes an empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a file's content and size, if it exists and is of a kind that has content.
    fn content(&self, view: View, file: FileId) -> Result<Option<(Arc<SparseMap>, u64)>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        let Some(metadata) = state.node(&lineage, file).filter(|metadata| has_content(metadata.kind)) else {
            return Ok(None);
        };
        let last_change = state.last_change(&lineage, file);
        let mut replayed = self.replayed.lock();
        let known = replayed
            .as_ref()
            .filter(|known| known.file == file && known.branch == view.branch && known.last_change == last_change);
        if let Some(known) = known {
            return Ok(Some((known.content.clone(), metadata.size)));
        }
        let content = Arc::new(state.replay(&lineage, file));
        *replayed = Some(Replayed { file, branch: view.branch, last_change, content: content.clone() });
        Ok(Some((content, metadata.size)))
    }
}

/// Tells whether inodes of a kind have bytes that can be read.
const fn has_content(kind: FileKind) -> bool {
    matches!(kind, FileKind::File | FileKind::Symlink)
}

impl FileSystemStorage for MemoryStorage {
    fn info(&self) -> Result<StorageInfo> {
        let bytes = self.state.read().payload_bytes();
        Ok(StorageInfo {
            backend: "memory".to_owned(),
            engine: None,
            format_version: 1,
            capabilities: Capabilities { holes: true, branches: true, persistent: false },
            limits: Self::LIMITS,
            sizes: vec![SizeOf { part: "content".to_owned(), bytes }],
        })
    }

    fn head(&self) -> Result<Head> {
        Ok(self.state.read().head())
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let mut state = self.state.write();
        check::batch(&state, batch)?;
        // From here on nothing can fail: all of the batch is applied.
        for op in &batch.ops {
            state.apply(op);
        }
        for (op, landmark) in &batch.landmarks {
            state.mark(*op, *landmark);
        }
        Ok(())
    }

    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        let state = self.state.read();
        let lineage = state.lineage(query.view)?;
        let matching = state.log().iter().filter(|op| {
            let file_ok = query.file.is_none_or(|file| concerns(op, file));
            let landmark_ok = !query.landmarks_only || op.landmark.is_some();
            let folder_ok = || query.below.is_none_or(|folder| state.is_below(op, folder));
            op.last_id > query.since && lineage.sees(op.branch, op.last_id) && file_ok && landmark_ok && folder_ok()
        });
        Ok(match query.direction {
            Direction::OldestFirst => matching.take(query.max).cloned().collect(),
            Direction::NewestFirst => matching.rev().take(query.max).cloned().collect(),
        })
    }

    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        let state = self.state.read();
        Ok(state.log().iter().rev().find(|op| op.timestamp <= time).map_or(OpId::ZERO, |op| op.last_id))
    }

    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.node(&lineage, file))
    }

    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.entry(&lineage, dir, name))
    }

    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.entries(&lineage, dir, after).take(max).collect())
    }

    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.names(&lineage, file))
    }

    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.bindings(&lineage, entry, max))
    }

    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Some((content, size)) = self.content(view, file)? else { return Ok(0) };
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        content.read(offset, &mut buf[..len]);
        Ok(len)
    }

    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        Ok(match self.content(view, file)? {
            Some((content, size)) if from < size => content.extents(from..size, max),
            _ => Vec::new(),
        })
    }

    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        let state = self.state.read();
        let lineage = state.lineage(view)?;
        Ok(state.xattrs(&lineage, file))
    }

    fn refs(&self) -> Result<Vec<Ref>> {
        Ok(self.state.read().refs())
    }

    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
        let mut state = self.state.write();
        if let Some(target) = target {
            check::ref_target(&state, name, target)?;
        }
        state.set_ref(name, target);
        Ok(())
    }

    fn verify(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Ok(()) // Nothing is stored twice, so there is nothing to compare.
    }

    fn repair(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Ok(())
    }
}

/// Tells whether an operation belongs in a file's history.
fn concerns(op: &OpCode, file: FileId) -> bool {
    op.op_type.file() == file || op.op_type.displaced_file() == Some(file)
}
