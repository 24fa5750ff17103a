//! Of which files operations are, and in which folders they were made, so that a history is found without reading the log.
//!
//! Each operation is noted for the folder that it is about, and for those that the entries it is about lie in, up to the
//! root's child: as the tree was then, so a renamed folder keeps what happened in it, and no row is ever rewritten. What
//! that costs is bounded by the depth of the tree: per batch a row for each of the folders, per operation a byte in it.

use std::collections::{BTreeMap, HashMap};

use ize_core::model::{BranchId, FileId, FileKind, OpCode, OpId, OpType};
use ize_core::storage::Result;

use super::{file_row, files_of};
use crate::engine::Table;
use crate::index::{Draft, Lineage, Rows, bad_row, key, postings};

/// So many answers to "where is this" are kept.
const KNOWN_MAX: usize = 65_536;

/// Notes about the operations of one batch, and where files are at its end.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// Folders in which a file has its names, on a branch.
    parents: HashMap<(BranchId, FileId), Vec<FileId>>,
    below: BTreeMap<FileId, Vec<OpId>>,
    history: BTreeMap<FileId, Vec<OpId>>,
}

impl Folders {
    /// Notes an operation that was just applied to the draft.
    pub(crate) fn note(&mut self, draft: &Draft<'_>, lineage: &Lineage, op: &OpCode) -> Result<()> {
        self.learn(op);
        let mut found = Vec::new();
        for file in [Some(op.op_type.file()), op.op_type.displaced_file()].into_iter().flatten() {
            let touched = op.metadata_of(file).map(|metadata| metadata.kind);
            let kind = match touched {
                Some(kind) => Some(kind),
                None => file_row(draft, lineage, file)?.map(|row| row.metadata.kind),
            };
            if kind == Some(FileKind::Directory) && file != FileId::ROOT {
                found.push(file);
            }
        }
        match (op.op_type.change(), op.op_type.entry()) {
            (OpType::Rename { from, to, .. }, _) => {
                self.climb(draft, lineage, op.branch, from.dir, &mut found)?;
                self.climb(draft, lineage, op.branch, to.dir, &mut found)?;
            }
            (_, Some(entry)) => self.climb(draft, lineage, op.branch, entry.dir, &mut found)?,
            (_, None) => {}
        }
        for folder in self.parents(draft, lineage, op.branch, op.op_type.file())? {
            self.climb(draft, lineage, op.branch, folder, &mut found)?;
        }
        for folder in found {
            self.below.entry(folder).or_default().push(op.last_id);
        }
        Ok(())
    }

    /// Notes an operation for the files that it is about.
    pub(crate) fn note_history(&mut self, op: &OpCode) {
        for file in files_of(op) {
            self.history.entry(file).or_default().push(op.last_id);
        }
    }

    /// Writes down what was noted. The batch is complete.
    pub(crate) fn flush(&mut self, draft: &mut Draft<'_>) -> Result<()> {
        let noted = [(Table::Below, &mut self.below), (Table::History, &mut self.history)];
        for (table, things) in noted {
            for (thing, ops) in std::mem::take(things) {
                for (key, value) in postings::rows(thing, &ops) {
                    draft.put(table, key.to_vec(), value)?;
                }
            }
        }
        if self.parents.len() > KNOWN_MAX {
            self.parents.clear();
        }
        Ok(())
    }

    /// Learns from an operation where its files are now, or that it has to be looked up.
    fn learn(&mut self, op: &OpCode) {
        let branch = op.branch;
        if let Some(file) = op.op_type.displaced_file() {
            self.parents.remove(&(branch, file));
        }
        match op.op_type.change() {
            OpType::FileCreate { file, entry, .. }
            | OpType::DirCreate { file, entry, .. }
            | OpType::Symlink { file, entry }
            | OpType::Special { file, entry, .. } => {
                self.parents.insert((branch, *file), vec![entry.dir]);
            }
            OpType::Hardlink { file, entry } => {
                if let Some(known) = self.parents.get_mut(&(branch, *file))
                    && !known.contains(&entry.dir)
                {
                    known.push(entry.dir);
                }
            }
            OpType::Rename { file, to, .. } if has_one_name(op) => {
                self.parents.insert((branch, *file), vec![to.dir]);
            }
            change if change.is_namespace() => {
                self.parents.remove(&(branch, change.file()));
            }
            _ => {}
        }
    }

    /// Adds a folder and all that it lies in, but for the root.
    fn climb(
        &mut self,
        draft: &Draft<'_>,
        lineage: &Lineage,
        branch: BranchId,
        from: FileId,
        found: &mut Vec<FileId>,
    ) -> Result<()> {
        let mut at = from;
        while at != FileId::ROOT && !found.contains(&at) {
            found.push(at);
            match self.parents(draft, lineage, branch, at)?.first() {
                Some(parent) => at = *parent,
                None => break,
            }
        }
        Ok(())
    }

    /// Returns the folders in which a file has its names.
    fn parents(&mut self, draft: &Draft<'_>, lineage: &Lineage, branch: BranchId, file: FileId) -> Result<Vec<FileId>> {
        if let Some(known) = self.parents.get(&(branch, file)) {
            return Ok(known.clone());
        }
        let mut parents = Vec::new();
        let mut from = key::file(file).to_vec();
        while let Some((found, _)) = draft.first_from(Table::Links, &from)? {
            if !found.starts_with(&key::file(file)) {
                break;
            }
            let bad = || bad_row(Table::Links, &found);
            let prefix = found.get(..32).ok_or_else(bad)?;
            let is_there = draft.newest(Table::Links, prefix, lineage)?.is_some_and(|(_, value)| value == [1]);
            if is_there {
                parents.push(FileId::new(key::number(prefix, 8).ok_or_else(bad)?));
            }
            // One name tells of its folder: a file may have tens of thousands of them there.
            let next = if is_there { key::after(&prefix[..16]) } else { key::after(prefix) };
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        self.parents.insert((branch, file), parents.clone());
        Ok(parents)
    }
}

/// Tells whether the file that an operation is about has no more than one name afterwards.
fn has_one_name(op: &OpCode) -> bool {
    op.metadata().is_some_and(|metadata| metadata.kind == FileKind::Directory || metadata.nlink <= 1)
}
