//! The vocabulary of Ize: what is recorded, and how it is named.
//!
//! A project has one **operation log**. Each completed change to the tree is an [`OpCode`] with the next [`OpId`]; that
//! number is the only order there is. Operations name files by [`FileId`], an identity that survives renames, and
//! directory entries by ([`FileId`] of the folder, [`Name`]); paths are derived. A [`View`] names a moment on a branch,
//! and every read of the past takes one.
//!
//! What an operation *does* is given by [`OpCode::effects`], a handful of primitive [`Effect`]s, and by the metadata
//! after the operation of each inode it touched ([`OpCode::touched`]). A storage backend that applies these two in order
//! has the whole semantics; it never needs to interpret [`OpType`] itself.

mod actor;
mod effect;
mod id;
mod metadata;
mod name;
mod op;
mod view;

pub use actor::Actor;
pub use effect::Effect;
pub use id::{BranchId, ChangeId, ChangeIdPrefix, ContentHash, FileId, OpId, ProjectId, Timestamp};
pub use metadata::{FileKind, FileMetadata};
pub use name::{InvalidName, Name, RelPath, XattrName};
pub use op::{Displaced, Entry, Landmark, OpCode, OpData, OpType, RangeKind, Touched};
pub use view::View;
