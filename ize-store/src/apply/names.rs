//! Names and extended attributes.

use ize_core::model::{Entry, FileId, FileKind, Name, OpCode, XattrName};
use ize_core::storage::Result;

use super::{Apply, cannot};
use crate::cell::Chunk;
use crate::content::encode_chunk;
use crate::engine::Table;
use crate::index::{Lineage, Rows, SEAL_BYTES, bad_row, key};

/// A row of `dirents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirentRow {
    /// What the entry names, and of what kind that is; `None` for nothing.
    pub(crate) target: Option<(FileId, FileKind)>,
    pub(crate) name: Name,
}

impl DirentRow {
    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(10 + self.name.as_bytes().len() + SEAL_BYTES);
        match self.target {
            Some((file, kind)) => {
                value.push(1);
                value.extend_from_slice(&file.get().to_be_bytes());
                // The four bits of `S_IFMT`.
                value.push(u8::try_from(kind.type_bits() >> 12).unwrap_or(0));
            }
            None => value.push(0),
        }
        value.extend_from_slice(self.name.as_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (is_bound, rest) = value.split_first()?;
        let (target, name) = if *is_bound == 1 {
            let (file, rest) = rest.split_first_chunk::<8>()?;
            let (kind, name) = rest.split_first()?;
            let kind = FileKind::from_type_bits(u32::from(*kind) << 12)?;
            (Some((FileId::new(u64::from_be_bytes(*file)), kind)), name)
        } else {
            (None, rest)
        };
        Some(Self { target, name: Name::new(name.to_vec()).ok()? })
    }
}

/// Returns what an entry names.
pub(crate) fn dirent(rows: &impl Rows, lineage: &Lineage, entry: &Entry) -> Result<Option<FileId>> {
    let prefix = key::entry(entry.dir, &key::name_hash(&entry.name));
    let Some((_, value)) = rows.newest(Table::Dirents, &prefix, lineage)? else { return Ok(None) };
    let row = DirentRow::decode(&value).ok_or_else(|| bad_row(Table::Dirents, &prefix))?;
    // Another name with the same hash is as good as impossible, and is not this name.
    Ok(row.target.filter(|_| row.name == entry.name).map(|(file, _)| file))
}

impl Apply<'_, '_> {
    pub(super) fn bind(&mut self, op: &OpCode, lineage: &Lineage, entry: &Entry, file: FileId) -> Result<()> {
        let metadata = self.known(op, lineage, file)?;
        self.known(op, lineage, entry.dir)?;
        if let Some(other) = dirent(self.draft, lineage, entry)? {
            return Err(cannot(op, format_args!("{:?} in {} names {other}", entry.name, entry.dir)));
        }
        let kind = metadata.map_or(FileKind::Directory, |metadata| metadata.kind);
        self.put_dirent(op, entry, Some((file, kind)))?;
        self.put_link(op, entry, file, true)
    }

    pub(super) fn unbind(&mut self, op: &OpCode, lineage: &Lineage, entry: &Entry, file: FileId) -> Result<()> {
        if dirent(self.draft, lineage, entry)? != Some(file) {
            return Err(cannot(op, format_args!("{:?} in {} does not name {file}", entry.name, entry.dir)));
        }
        self.put_dirent(op, entry, None)?;
        self.put_link(op, entry, file, false)
    }

    fn put_dirent(&mut self, op: &OpCode, entry: &Entry, target: Option<(FileId, FileKind)>) -> Result<()> {
        let prefix = key::entry(entry.dir, &key::name_hash(&entry.name));
        let row = DirentRow { target, name: entry.name.clone() };
        self.draft.put(Table::Dirents, key::version(&prefix, op.branch, op.last_id), row.encode())
    }

    fn put_link(&mut self, op: &OpCode, entry: &Entry, file: FileId, is_bound: bool) -> Result<()> {
        let key = key::version(&key::link(file, entry), op.branch, op.last_id);
        let mut value = Vec::with_capacity(1 + SEAL_BYTES);
        value.push(u8::from(is_bound));
        self.draft.put(Table::Links, key, value)
    }

    pub(super) fn set_xattr(
        &mut self,
        op: &OpCode,
        lineage: &Lineage,
        file: FileId,
        name: &XattrName,
        value: Option<Chunk>,
    ) -> Result<()> {
        self.known(op, lineage, file)?;
        self.put_xattr(op, file, name, Some(value))
    }

    pub(super) fn remove_xattr(
        &mut self,
        op: &OpCode,
        lineage: &Lineage,
        file: FileId,
        name: &XattrName,
    ) -> Result<()> {
        self.known(op, lineage, file)?;
        self.put_xattr(op, file, name, None)
    }

    /// Stores a version of an attribute: absent, empty, or a chunk.
    fn put_xattr(&mut self, op: &OpCode, file: FileId, name: &XattrName, value: Option<Option<Chunk>>) -> Result<()> {
        let mut row = match value {
            None => vec![0],
            Some(None) => vec![1],
            Some(Some(chunk)) => [vec![2], encode_chunk(chunk)].concat(),
        };
        row.extend_from_slice(name.as_bytes());
        let key = key::version(&key::xattr(file, name), op.branch, op.last_id);
        self.draft.put(Table::Xattrs, key, row)
    }
}
