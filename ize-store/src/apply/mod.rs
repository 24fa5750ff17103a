//! What an operation does to the index. The same for a commit and for a replay of the packs.

mod before;
mod content;
mod folders;
mod names;

pub(crate) use before::{Before, CellRange};
pub(crate) use content::decode_cell;
pub(crate) use folders::Folders;
pub(crate) use names::{DirentRow, dirent};

use std::collections::HashMap;

use ize_core::model::{Effect, FileId, FileMetadata, Landmark, OpCode, OpId, View};
use ize_core::storage::{Head, RefName, RefTarget, Result, StorageError};

use crate::batch::Group;
use crate::cell::Chunk;
use crate::content::Chunks;
use crate::engine::Table;
use crate::index::{
    Branches, Draft, FileRow, GroupRow, Lineage, Origin, Rows, bad_row, decode_landmark, encode_landmark, key,
};

/// Makes or finds the chunks that applying an operation needs beyond the operation's own.
pub(crate) trait Derive {
    /// Returns the chunk whose content `build` makes; `None` if it was to be made of content that is damaged. A replay
    /// finds it, or that it was not made.
    fn derive(
        &mut self,
        draft: &mut Draft<'_>,
        op: OpId,
        build: &mut dyn FnMut(&dyn Chunks) -> Result<Vec<u8>>,
    ) -> Result<Option<Chunk>>;

    /// Returns the content of a list of pieces; `None` if it is damaged. A replay finds that it was.
    fn list(&mut self, op: OpId, chunk: Chunk) -> Result<Option<bytes::Bytes>>;
}

/// Applies operations to a draft.
pub(crate) struct Apply<'a, 'd> {
    pub(crate) draft: &'a mut Draft<'d>,
    pub(crate) branches: &'a Branches,
    pub(crate) derive: &'a mut dyn Derive,
    pub(crate) folders: &'a mut Folders,
}

/// Where content of a file ends, if an operation changed that.
type ContentEnds = HashMap<FileId, u64>;

impl Apply<'_, '_> {
    /// Applies an operation's effects and metadata. `chunks` hold its data, split at the borders of cells.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if it does not fit the tree. The draft is then of no use any more.
    pub(crate) fn op(&mut self, op: &OpCode, chunks: &[Chunk]) -> Result<()> {
        let lineage = self.branches.lineage(View::latest(op.branch))?;
        let mut ends = ContentEnds::new();
        for effect in op.effects() {
            match effect {
                Effect::Bind { entry, file } => self.bind(op, &lineage, entry, file)?,
                Effect::Unbind { entry, file } => self.unbind(op, &lineage, entry, file)?,
                Effect::SetXattr { file, name } => self.set_xattr(op, &lineage, file, name, chunks.first().copied())?,
                Effect::RemoveXattr { file, name } => self.remove_xattr(op, &lineage, file, name)?,
                Effect::Write { file, offset, .. } => {
                    let end = self.write(op, &lineage, file, offset, chunks)?;
                    ends.insert(file, end);
                }
                Effect::Truncate { file, size } => {
                    let end = self.truncate(op, &lineage, file, size)?;
                    ends.insert(file, end);
                }
                Effect::Zero { file, offset, size } => {
                    let end = self.zero(op, &lineage, file, offset, size)?;
                    ends.insert(file, end);
                }
                Effect::Copy { file, offset, source, source_offset, size } => {
                    let ranges = content::CopyRanges { offset, source, source_offset, size };
                    let end = self.copy(op, &lineage, file, ranges)?;
                    ends.insert(file, end);
                }
            }
        }
        self.touch(op, &lineage, &ends)?;
        self.folders.note(self.draft, &lineage, op)
    }

    /// Stores the metadata of every inode that the operation touched.
    fn touch(&mut self, op: &OpCode, lineage: &Lineage, ends: &ContentEnds) -> Result<()> {
        for touched in &op.touched {
            let content_end = match ends.get(&touched.file) {
                Some(end) => *end,
                None => self.file(lineage, touched.file)?.map_or(0, |row| row.content_end),
            };
            self.put_file(op, touched.file, FileRow { metadata: touched.metadata, content_end })?;
        }
        for (file, end) in ends.iter().filter(|(file, _)| op.metadata_of(**file).is_none()) {
            if let Some(row) = self.file(lineage, *file)?.filter(|row| row.content_end != *end) {
                self.put_file(op, *file, FileRow { content_end: *end, ..row })?;
            }
        }
        Ok(())
    }

    fn put_file(&mut self, op: &OpCode, file: FileId, row: FileRow) -> Result<()> {
        self.draft.put(Table::Files, key::version(&key::file(file), op.branch, op.last_id), row.encode())
    }

    /// Returns a file's newest row.
    fn file(&self, lineage: &Lineage, file: FileId) -> Result<Option<FileRow>> {
        file_row(self.draft, lineage, file)
    }

    /// Checks that a file exists, or comes into being with the operation, and returns its metadata.
    fn known(&self, op: &OpCode, lineage: &Lineage, file: FileId) -> Result<Option<FileMetadata>> {
        if let Some(metadata) = op.metadata_of(file) {
            return Ok(Some(*metadata));
        }
        match self.file(lineage, file)?.map(|row| row.metadata) {
            Some(metadata) if metadata.is_linked() => Ok(Some(metadata)),
            _ if file == FileId::ROOT => Ok(None),
            _ => Err(cannot(op, format_args!("{file} does not exist"))),
        }
    }

    /// Enters the operations of a batch into the log. `groups` say where they lie.
    pub(crate) fn enter(&mut self, ops: &[&OpCode], groups: impl IntoIterator<Item = Group>) -> Result<()> {
        for group in groups {
            let ops = &ops[group.ops];
            let ids: Vec<OpId> = ops.iter().map(|op| op.last_id).collect();
            let Some(first) = ops.first() else { continue };
            if let Some((key, value)) = GroupRow::encode(first.branch, group.place, &ids) {
                self.draft.put(Table::Ops, key.to_vec(), value)?;
            }
            let times = ops.iter().map(|op| op.timestamp).min().zip(ids.last());
            times.map_or(Ok(()), |(time, last)| self.draft.put_time(time, *last))?;
        }
        for op in ops {
            self.folders.note_history(op);
            if let Some(landmark) = op.landmark {
                // Nobody can have marked it before.
                self.draft.put_new(Table::Landmarks, key::op(op.last_id).as_slice(), encode_landmark(landmark))?;
            }
        }
        Ok(())
    }

    /// Makes an operation that is in the log a landmark.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is none.
    pub(crate) fn mark_logged(&mut self, at: OpId, landmark: Landmark) -> Result<()> {
        if GroupRow::find(self.draft, at)?.is_none() {
            return Err(StorageError::Invalid(format!("no operation ends at {at}, so it cannot be a landmark")));
        }
        let mark = key::op(at);
        if let Some(value) = self.draft.get(Table::Landmarks, &mark)? {
            let known = decode_landmark(&value).ok_or_else(|| bad_row(Table::Landmarks, &mark))?;
            if known >= landmark {
                return Ok(());
            }
        }
        self.draft.put(Table::Landmarks, mark.to_vec(), encode_landmark(landmark))
    }
}

/// Returns a file's newest row that a lineage sees.
pub(crate) fn file_row(rows: &impl Rows, lineage: &Lineage, file: FileId) -> Result<Option<FileRow>> {
    let prefix = key::file(file);
    let Some((_, value)) = rows.newest(Table::Files, &prefix, lineage)? else { return Ok(None) };
    FileRow::decode(&value).map(Some).ok_or_else(|| bad_row(Table::Files, &prefix))
}

/// Sets or removes a ref. Whoever calls this has checked it.
pub(crate) fn set_ref(draft: &mut Draft<'_>, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
    let name = name.as_str().as_bytes().to_vec();
    let Some(target) = target else { return draft.remove(Table::Refs, name) };
    let encode = |target: &RefTarget| {
        postcard::to_allocvec(target).map_err(|error| StorageError::backend("encoding a ref", error))
    };
    if let RefTarget::Branch { id, parent, base } = *target {
        let known = draft.get(Table::Branches, &key::branch(id))?;
        if known.is_none() {
            let value = encode_origin(Origin { parent, base });
            draft.put(Table::Branches, key::branch(id).to_vec(), value)?;
        }
    }
    draft.put(Table::Refs, name, encode(target)?)
}

fn encode_origin(origin: Origin) -> Vec<u8> {
    let mut value = origin.parent.get().to_be_bytes().to_vec();
    value.extend_from_slice(&origin.base.get().to_be_bytes());
    value
}

/// Reads a row of `branches`.
pub(crate) fn decode_origin(value: &[u8]) -> Option<Origin> {
    let (parent, base) = value.split_first_chunk::<4>()?;
    let base = u64::from_be_bytes(base.try_into().ok()?);
    Some(Origin { parent: ize_core::model::BranchId::new(u32::from_be_bytes(*parent)), base: OpId::new(base) })
}

/// Returns the head after an operation.
pub(crate) fn head_after(head: Head, op: &OpCode) -> Head {
    let touched = op.touched.iter().map(|touched| touched.file);
    let file = touched.chain([op.op_type.file(), head.file]).max().unwrap_or(head.file);
    Head { op: op.last_id, file }
}

/// Returns the files in whose history an operation belongs.
pub(crate) fn files_of(op: &OpCode) -> impl Iterator<Item = FileId> {
    let file = op.op_type.file();
    [Some(file), op.op_type.displaced_file().filter(|other| *other != file)].into_iter().flatten()
}

fn cannot(op: &OpCode, why: std::fmt::Arguments<'_>) -> StorageError {
    StorageError::Invalid(format!("{} ({}) cannot be applied: {why}", op.id, op.op_type))
}
