//! What operations do to the tree, as a handful of primitive effects.

use super::{Displaced, Entry, FileId, OpCode, OpType, RangeKind, XattrName};

/// A primitive change to names, content or extended attributes.
///
/// Together with [`OpCode::touched`] the effects of an operation are its whole meaning. They are applied in order.
/// Sizes, link counts and times are never derived from effects: they come from `touched`. In particular a write
/// beyond the end of a file does not "set" its size here; its metadata does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The entry now names this file.
    Bind {
        /// The entry.
        entry: &'a Entry,
        /// The file.
        file: FileId,
    },
    /// The entry, which named this file, names nothing now.
    Unbind {
        /// The entry.
        entry: &'a Entry,
        /// The file.
        file: FileId,
    },
    /// The operation's data is now the content at `offset`. Also how a symlink gets its target.
    Write {
        /// The file.
        file: FileId,
        /// Where the bytes begin.
        offset: u64,
        /// How many they are: the length of the operation's data.
        size: u64,
    },
    /// Content from `size` on is gone: it reads as zeros if the file grows again.
    Truncate {
        /// The file.
        file: FileId,
        /// Where it was cut.
        size: u64,
    },
    /// The range reads as zeros and is a hole.
    Zero {
        /// The file.
        file: FileId,
        /// Where the range begins.
        offset: u64,
        /// Its length; it may reach beyond the end of the file.
        size: u64,
    },
    /// The range is now a copy of the source's range as it was before the operation, holes included.
    Copy {
        /// The file written to.
        file: FileId,
        /// Where in it.
        offset: u64,
        /// The file read from.
        source: FileId,
        /// Where in it.
        source_offset: u64,
        /// How many bytes.
        size: u64,
    },
    /// The attribute's value is now the operation's data.
    SetXattr {
        /// The inode.
        file: FileId,
        /// The attribute.
        name: &'a XattrName,
    },
    /// The attribute is gone.
    RemoveXattr {
        /// The inode.
        file: FileId,
        /// The attribute.
        name: &'a XattrName,
    },
}

impl OpCode {
    /// Returns the operation's effects, in the order in which they are applied. There are at most four.
    pub fn effects(&self) -> impl Iterator<Item = Effect<'_>> {
        effects_of(self.op_type.change(), self.data.size()).into_iter().flatten()
    }
}

fn effects_of(change: &OpType, data_size: u64) -> [Option<Effect<'_>>; 4] {
    let one = |effect| [Some(effect), None, None, None];
    match *change {
        OpType::FileCreate { file, ref entry, .. } if data_size > 0 => {
            // A merged creation brings the first content along.
            [Some(Effect::Bind { entry, file }), Some(Effect::Write { file, offset: 0, size: data_size }), None, None]
        }
        OpType::Symlink { file, ref entry } => {
            [Some(Effect::Bind { entry, file }), Some(Effect::Write { file, offset: 0, size: data_size }), None, None]
        }
        OpType::FileCreate { file, ref entry, .. }
        | OpType::DirCreate { file, ref entry, .. }
        | OpType::Hardlink { file, ref entry }
        | OpType::Special { file, ref entry, .. } => one(Effect::Bind { entry, file }),
        OpType::FileDelete { file, ref entry } | OpType::DirDelete { file, ref entry } => {
            one(Effect::Unbind { entry, file })
        }
        OpType::Rename { file, ref from, ref to, displaced } => {
            let unbind_source = Effect::Unbind { entry: from, file };
            let bind_target = Effect::Bind { entry: to, file };
            match displaced {
                Displaced::Nothing => [Some(unbind_source), Some(bind_target), None, None],
                Displaced::Replaced(victim) => {
                    [Some(unbind_source), Some(Effect::Unbind { entry: to, file: victim }), Some(bind_target), None]
                }
                Displaced::Exchanged(other) => [
                    Some(unbind_source),
                    Some(Effect::Unbind { entry: to, file: other }),
                    Some(bind_target),
                    Some(Effect::Bind { entry: from, file: other }),
                ],
            }
        }
        OpType::FileWrite { file, offset, .. } => one(Effect::Write { file, offset, size: data_size }),
        OpType::FileTruncate { file, new_size, .. } => one(Effect::Truncate { file, size: new_size }),
        OpType::Range { file, kind: RangeKind::Punch | RangeKind::Zero, offset, size } => {
            one(Effect::Zero { file, offset, size })
        }
        OpType::CopyRange { file, offset, source, source_offset, size } => {
            one(Effect::Copy { file, offset, source, source_offset, size })
        }
        OpType::SetXattr { file, ref name } => one(Effect::SetXattr { file, name }),
        OpType::RemoveXattr { file, ref name } => one(Effect::RemoveXattr { file, name }),
        OpType::Range { kind: RangeKind::Allocate, .. }
        | OpType::Chmod { .. }
        | OpType::Chown { .. }
        | OpType::Touch { .. } => [None; 4],
        OpType::ExternalChange(ref inner) => effects_of(inner, data_size),
    }
}
