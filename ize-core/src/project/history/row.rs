//! One row of a history.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::group::Save;
use super::source::Place;
use crate::model::{
    Actor, ChangeId, Displaced, FileKind, Landmark, OpCode, OpId, OpType, RangeKind, RelPath, Timestamp,
};
use crate::project::{Reader, Result};

/// The words of [`HistoryKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Word {
    Create,
    Write,
    Truncate,
    Delete,
    Mkdir,
    Rmdir,
    Exchange,
    Rename,
    Chmod,
    Chown,
    Touch,
    Symlink,
    Link,
    Mknod,
    SetXattr,
    RemoveXattr,
    Allocate,
    Punch,
    Zero,
    Copy,
    Change,
}

/// What happened, in one word: `create`, `write`, `external-write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HistoryKind {
    pub(super) word: Word,
    /// It was found rather than seen: somebody did it while the project was not mounted.
    pub external: bool,
}

impl HistoryKind {
    pub(super) const fn new(word: Word, external: bool) -> Self {
        Self { word, external }
    }

    /// Returns the word without the note that it was found: `create`, `write`, `truncate`, `allocate`, `punch`, `zero`,
    /// `copy`, `delete`, `rename`, `exchange`, `mkdir`, `rmdir`, `symlink`, `link`, `mknod`, `chmod`, `chown`, `touch`,
    /// `set-xattr`, `remove-xattr`.
    pub const fn word(&self) -> &'static str {
        match self.word {
            Word::Create => "create",
            Word::Write => "write",
            Word::Truncate => "truncate",
            Word::Delete => "delete",
            Word::Mkdir => "mkdir",
            Word::Rmdir => "rmdir",
            Word::Exchange => "exchange",
            Word::Rename => "rename",
            Word::Chmod => "chmod",
            Word::Chown => "chown",
            Word::Touch => "touch",
            Word::Symlink => "symlink",
            Word::Link => "link",
            Word::Mknod => "mknod",
            Word::SetXattr => "set-xattr",
            Word::RemoveXattr => "remove-xattr",
            Word::Allocate => "allocate",
            Word::Punch => "punch",
            Word::Zero => "zero",
            Word::Copy => "copy",
            Word::Change => "change",
        }
    }

    pub(super) fn of(op: &OpCode) -> Self {
        let word = match op.op_type.change() {
            OpType::FileCreate { .. } => Word::Create,
            OpType::FileWrite { .. } => Word::Write,
            OpType::FileTruncate { .. } => Word::Truncate,
            OpType::FileDelete { .. } => Word::Delete,
            OpType::DirCreate { .. } => Word::Mkdir,
            OpType::DirDelete { .. } => Word::Rmdir,
            OpType::Rename { displaced: Displaced::Exchanged(_), .. } => Word::Exchange,
            OpType::Rename { .. } => Word::Rename,
            OpType::Chmod { .. } => Word::Chmod,
            OpType::Chown { .. } => Word::Chown,
            OpType::Touch { .. } => Word::Touch,
            OpType::Symlink { .. } => Word::Symlink,
            OpType::Hardlink { .. } => Word::Link,
            OpType::Special { .. } => Word::Mknod,
            OpType::SetXattr { .. } => Word::SetXattr,
            OpType::RemoveXattr { .. } => Word::RemoveXattr,
            OpType::Range { kind: RangeKind::Allocate, .. } => Word::Allocate,
            OpType::Range { kind: RangeKind::Punch, .. } => Word::Punch,
            OpType::Range { kind: RangeKind::Zero, .. } => Word::Zero,
            OpType::CopyRange { .. } => Word::Copy,
            OpType::ExternalChange(_) => Word::Change,
        };
        Self::new(word, op.op_type.is_external())
    }
}

impl fmt::Display for HistoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.external { "external-" } else { "" }, self.word())
    }
}

/// One row of a history: a save, or one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryRow {
    /// Its first operation.
    pub op: OpId,
    /// Its last operation: the moment to go back to.
    pub last_op: OpId,
    /// The change id of `last_op`.
    pub change: ChangeId,
    /// The name of the change that holds `last_op` in the backend's own format, where that has such names (a Pijul hash).
    pub native: Option<String>,
    /// When it was done.
    pub time: Timestamp,
    /// What happened.
    pub kind: HistoryKind,
    /// Where: the path right afterwards; of what was deleted, the path that it had.
    pub path: RelPath,
    /// The old path of what was renamed.
    pub from: Option<RelPath>,
    /// The size afterwards, of what has content; `None` for what was deleted and for folders.
    pub size: Option<u64>,
    /// Who did it.
    pub actor: Arc<Actor>,
    /// The change message of the last operation: `Write { offset: 0, size: 1024 }: src/main.rs`.
    pub message: String,
    /// Why the moment after it is worth showing, where it is.
    pub landmark: Option<Landmark>,
    /// The moment that this restored, where it is part of a restore.
    pub parent: Option<OpId>,
}

pub(super) fn make(reader: &Reader, save: &Save, place: Place) -> Result<HistoryRow> {
    let last = &save.last;
    let message = match &place.from {
        Some(from) => last.op_type.message(from, Some(&place.path)),
        None => last.op_type.message(&place.path, None),
    };
    let is_move = matches!(save.kind.word, Word::Rename | Word::Exchange);
    Ok(HistoryRow {
        op: save.first,
        last_op: last.last_id,
        change: reader.change_id(last.last_id),
        native: reader.storage().native_id(last.last_id)?,
        time: last.timestamp,
        kind: save.kind,
        path: place.path,
        from: place.from.filter(|_| is_move),
        size: save.size,
        actor: Arc::clone(&last.actor),
        message,
        landmark: last.landmark,
        parent: last.parent,
    })
}

/// Returns the size after an operation of the file that it is about, if it has content and still is there.
pub(super) fn size_after(op: &OpCode) -> Option<u64> {
    let is_deletion = matches!(op.op_type.change(), OpType::FileDelete { .. } | OpType::DirDelete { .. });
    let metadata = op.metadata().filter(|metadata| metadata.is_linked() && !is_deletion)?;
    matches!(metadata.kind, FileKind::File | FileKind::Symlink).then_some(metadata.size)
}
