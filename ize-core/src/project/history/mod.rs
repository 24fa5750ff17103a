//! What happened, for people: saves by default, every operation on demand, newest first, found as it is asked for.
//!
//! A **save** is what one person or program did to one file: a creation with its first content is one row, so is a
//! rewriting of a file (truncate, writes, close), and so is an editor's save by way of a temporary file that is renamed
//! over the old one. Changes of names and attributes that stand alone are rows of their own.
//!
//! The history of a path is the history of what it names, back to where that was created under whatever name; of what
//! was replaced by saving; and of what the path named earlier. The history of a folder is that of everything in it.

mod group;
mod row;
mod source;
mod timeline;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{ProjectError, Reader, Result};
use crate::model::{FileId, OpCode, OpId, RelPath, View};

use group::Save;
pub use row::{HistoryKind, HistoryRow};
use source::Source;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryQuery {
    /// Of what: a file, or a folder with all it holds.
    pub path: RelPath,
    /// Every operation, not only saves.
    pub ops: bool,
    /// Only what happened after this operation.
    pub since: Option<OpId>,
    /// Only what happened up to this moment; `None` for now.
    pub until: Option<View>,
    /// The most rows to return.
    pub limit: Option<usize>,
}

impl HistoryQuery {
    /// Asks for all saves of a path.
    pub fn new(path: RelPath) -> Self {
        Self { path, ..Self::default() }
    }
}

/// The past is forgotten once so many files have a save behind the walk.
const CONSUMED_MAX: usize = 4096;

/// An iterator over the rows of a history, newest first. Made by [`Reader::history`].
#[derive(Debug)]
pub struct History {
    reader: Reader,
    view: View,
    source: Source,
    ops: bool,
    since: OpId,
    left: usize,
    /// Per file, the oldest operation that is already part of a row.
    consumed: HashMap<FileId, OpId>,
}

impl History {
    pub(super) fn new(reader: Reader, query: HistoryQuery) -> Result<Self> {
        let view = query.until.unwrap_or_else(|| reader.newest());
        let storage = reader.storage().clone();
        let source = Source::new(storage, view, &query.path)?
            .ok_or_else(|| ProjectError::NotFound { path: query.path.clone(), when: when_of(&reader, view) })?;
        Ok(Self {
            reader,
            view,
            source,
            ops: query.ops,
            since: query.since.unwrap_or(OpId::ZERO),
            left: query.limit.unwrap_or(usize::MAX),
            consumed: HashMap::new(),
        })
    }

    fn step(&mut self) -> Result<Option<HistoryRow>> {
        if self.left == 0 {
            return Ok(None);
        }
        while let Some(op) = self.source.next()? {
            if op.last_id <= self.since {
                return Ok(None);
            }
            if self.is_consumed(&op) || (!self.ops && group::is_bookkeeping(&op)) {
                continue;
            }
            let save = if self.ops { Save::single(op) } else { self.save_of(op)? };
            self.left -= 1;
            let place = self.source.place(&save.last)?;
            return row::make(&self.reader, &save, place).map(Some);
        }
        Ok(None)
    }

    fn save_of(&mut self, op: OpCode) -> Result<Save> {
        let file = op.op_type.file();
        let save = Save::ending_with(self.reader.storage().as_ref(), self.view.branch, op)?;
        if save.first < save.last.id {
            if self.consumed.len() >= CONSUMED_MAX {
                let at = save.last.last_id;
                self.consumed.retain(|_, oldest| *oldest <= at);
            }
            self.consumed.insert(file, save.first);
        }
        Ok(save)
    }

    fn is_consumed(&mut self, op: &OpCode) -> bool {
        let file = op.op_type.file();
        match self.consumed.get(&file) {
            Some(oldest) if *oldest <= op.id => true,
            Some(_) => {
                self.consumed.remove(&file);
                false
            }
            None => false,
        }
    }
}

fn when_of(reader: &Reader, view: View) -> String {
    if view.at >= reader.head() { "now, and there never was".to_owned() } else { format!("up to {}", view.at) }
}

impl Iterator for History {
    type Item = Result<HistoryRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.left = 0;
        }
        step.transpose()
    }
}

#[cfg(test)]
mod tests;
