//! Committing: chunks and operations go into the packs, then into the index.

use ize_core::model::{Effect, OpCode, OpData, OpId, OpType, View};
use ize_core::storage::{Batch, Head, Result, StorageError};

use crate::apply::{Apply, Before, CellRange, Derive, Folders, head_after};
use crate::batch::{Derived, Encoder, StoredData, Tail};
use crate::cell::{Chunk, split};
use crate::content::{ChunkWriter, Chunks};
use crate::index::{Branches, Draft, Lineage};
use crate::limit;
use crate::pack::Kind;

/// Commits one batch to a draft and to a pack.
pub(crate) struct Commit<'a, 'd> {
    pub(crate) draft: &'a mut Draft<'d>,
    pub(crate) branches: &'a Branches,
    pub(crate) chunks: ChunkWriter<'a>,
    pub(crate) folders: &'a mut Folders,
    pub(crate) before: &'a mut Before,
}

impl Commit<'_, '_> {
    /// Writes the batch and returns the head after it. Nothing is durable yet.
    pub(crate) fn batch(&mut self, head: Head, batch: &Batch) -> Result<Head> {
        check_ids(head.op, &batch.ops)?;
        self.before.learn(&batch.ops);
        let mut encoder = Encoder::default();
        let mut derived = Vec::new();
        for op in &batch.ops {
            self.op(op, &mut encoder, &mut derived)?;
        }
        let tail = Tail { landmarks: batch.landmarks.clone(), derived };
        let (counts, groups, tail) = encoder.finish(&tail)?;
        let record = self.chunks.writer.append(Kind::Batch, &[&counts, groups, &tail])?;
        let mut no_chunks = NoChunks;
        let (branches, folders) = (self.branches, &mut *self.folders);
        let mut apply = Apply { draft: self.draft, branches, derive: &mut no_chunks, folders };
        apply.enter(&batch.ops.iter().collect::<Vec<_>>(), encoder.groups(record))?;
        for (at, landmark) in &batch.landmarks {
            apply.mark_logged(*at, *landmark)?;
        }
        self.folders.flush(self.draft)?;
        Ok(batch.ops.iter().fold(head, head_after))
    }

    fn op(&mut self, op: &OpCode, encoder: &mut Encoder, derived: &mut Vec<Derived>) -> Result<()> {
        check_op(op)?;
        let lineage = self.branches.lineage(View::latest(op.branch))?;
        self.before.learn_entry(self.draft, &lineage, op)?;
        let (data, chunks) = self.data(op, &lineage)?;
        encoder.op(op, &data)?;
        let mut deriving = Deriving { chunks: &mut self.chunks, derived };
        Apply { draft: self.draft, branches: self.branches, derive: &mut deriving, folders: self.folders }
            .op(op, &chunks)
    }

    /// Stores an operation's data, split where the cells of the file end.
    fn data(&mut self, op: &OpCode, lineage: &Lineage) -> Result<(StoredData, Vec<Chunk>)> {
        let bytes = match &op.data {
            OpData::Inline(bytes) => bytes,
            OpData::None | OpData::Reference { .. } => return Ok((StoredData::None, Vec::new())),
        };
        let written = op.effects().find_map(|effect| match effect {
            Effect::Write { file, offset, .. } => Some((file, offset)),
            _ => None,
        });
        let offset = written.map(|(_, offset)| offset);
        let (mut hashes, mut chunks, mut at) = (Vec::new(), Vec::new(), 0);
        for (cell, start, end) in split(offset.unwrap_or(0), bytes.len() as u64) {
            let len = (end - start) as usize;
            let before = |draft: &Draft<'_>| match written {
                Some((file, _)) => self.before.chunk(draft, lineage, file, CellRange { cell, start, end }),
                None => Ok(None),
            };
            let (hash, chunk) = self.chunks.put(self.draft, &bytes[at..at + len], before)?;
            hashes.push(hash);
            chunks.push(chunk);
            at += len;
        }
        let hash = match hashes.as_slice() {
            [hash] => *hash,
            _ => ize_core::model::ContentHash::of(bytes),
        };
        if hashes.len() == 1 {
            hashes.clear();
        }
        Ok((StoredData::Chunks { hash, size: bytes.len() as u64, chunks: hashes }, chunks))
    }
}

/// Makes the chunks that a batch needs beyond its data.
struct Deriving<'a, 'w> {
    chunks: &'a mut ChunkWriter<'w>,
    derived: &'a mut Vec<Derived>,
}

impl Derive for Deriving<'_, '_> {
    fn derive(
        &mut self,
        draft: &mut Draft<'_>,
        op: OpId,
        build: &mut dyn FnMut(&dyn Chunks) -> Result<Vec<u8>>,
    ) -> Result<Option<Chunk>> {
        let content = match build(self.chunks) {
            Err(StorageError::Corrupt(_)) => {
                self.derived.push(Derived { op, hash: Derived::NOT_MADE });
                return Ok(None);
            }
            built => built?,
        };
        let (hash, chunk) = self.chunks.put(draft, &content, |_| Ok(None))?;
        self.derived.push(Derived { op, hash });
        Ok(Some(chunk))
    }

    fn list(&mut self, op: OpId, chunk: Chunk) -> Result<Option<bytes::Bytes>> {
        match self.chunks.chunk(chunk.place) {
            Err(StorageError::Corrupt(_)) => {
                self.derived.push(Derived { op, hash: Derived::LIST_LOST });
                Ok(None)
            }
            list => list.map(Some),
        }
    }
}

/// Entering operations into the log makes no chunks.
struct NoChunks;

impl Derive for NoChunks {
    fn derive(
        &mut self,
        _: &mut Draft<'_>,
        op: OpId,
        _: &mut dyn FnMut(&dyn Chunks) -> Result<Vec<u8>>,
    ) -> Result<Option<Chunk>> {
        Err(StorageError::Invalid(format!("{op} needs content where it cannot")))
    }

    fn list(&mut self, _: OpId, chunk: Chunk) -> Result<Option<bytes::Bytes>> {
        Err(StorageError::Invalid(format!("the content at {} is not to be read here", chunk.place)))
    }
}

fn check_ids(head: OpId, ops: &[OpCode]) -> Result<()> {
    let mut expected = head.next();
    for op in ops {
        if op.id != expected {
            return Err(StorageError::Gap { expected, found: op.id });
        }
        if op.last_id < op.id {
            return Err(StorageError::Invalid(format!("{} ends before it begins, at {}", op.id, op.last_id)));
        }
        expected = op.last_id.next();
    }
    Ok(())
}

/// Checks that an operation brings the bytes that its type speaks of, and keeps within the limits.
fn check_op(op: &OpCode) -> Result<()> {
    let cannot = |why: &str| Err(StorageError::Invalid(format!("{} ({}) cannot be applied: {why}", op.id, op.op_type)));
    if matches!(op.data, OpData::Reference { .. }) {
        return cannot("its data is a reference");
    }
    let len = op.data.size();
    if len > limit::OP_DATA_BYTES_MAX as u64 {
        return cannot("its data is too large");
    }
    let fits = match op.op_type.change() {
        OpType::FileWrite { size, .. } => len == *size,
        OpType::FileCreate { .. } | OpType::Symlink { .. } => true,
        OpType::SetXattr { .. } => len <= limit::XATTR_BYTES_MAX as u64,
        _ => len == 0,
    };
    if !fits {
        return cannot("its data has the wrong length");
    }
    let in_bounds = op.effects().all(|effect| match effect {
        Effect::Write { offset, size, .. } | Effect::Zero { offset, size, .. } => ends_in_file(offset, size),
        Effect::Copy { offset, source_offset, size, .. } => {
            ends_in_file(offset, size) && ends_in_file(source_offset, size)
        }
        Effect::Truncate { size, .. } => ends_in_file(0, size),
        Effect::Bind { .. } | Effect::Unbind { .. } | Effect::SetXattr { .. } | Effect::RemoveXattr { .. } => true,
    });
    if in_bounds { Ok(()) } else { cannot("it reaches beyond the largest file") }
}

fn ends_in_file(offset: u64, size: u64) -> bool {
    offset.checked_add(size).is_some_and(|end| end <= limit::FILE_BYTES_MAX)
}
