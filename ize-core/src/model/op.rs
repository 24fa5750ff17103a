//! Operations: completed changes to the tree.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Actor, BranchId, ContentHash, FileId, FileKind, FileMetadata, Name, OpId, RelPath, Timestamp, XattrName};

/// A directory entry's address: the folder that holds it, and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The folder.
    pub dir: FileId,
    /// The name in that folder.
    pub name: Name,
}

impl Entry {
    /// Makes an address.
    pub const fn new(dir: FileId, name: Name) -> Self {
        Self { dir, name }
    }
}

/// What a rename found at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Displaced {
    /// Nothing was there.
    Nothing,
    /// This file lost that name. Whether it lost its last one is told by its metadata in [`OpCode::touched`].
    Replaced(FileId),
    /// This file took the source's place (`RENAME_EXCHANGE`).
    Exchanged(FileId),
}

/// What `fallocate(2)` did to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RangeKind {
    /// Space was reserved; content does not change, the size may have grown.
    Allocate,
    /// The range reads as zeros and holds no space; the size stays.
    Punch,
    /// The range reads as zeros; the size may have grown.
    Zero,
}

/// What happened. Payload bytes are in [`OpCode::data`], the resulting metadata in [`OpCode::touched`].
///
/// This enum is exhaustive on purpose: a new kind of operation must be thought about everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OpType {
    /// A regular file came into being.
    FileCreate {
        /// The new file.
        file: FileId,
        /// Its first name.
        entry: Entry,
        /// Its permission bits.
        mode: u32,
    },
    /// Bytes were written; they are the operation's data.
    FileWrite {
        /// The file.
        file: FileId,
        /// Where the bytes begin.
        offset: u64,
        /// How many they are.
        size: u64,
    },
    /// The size was set. Bytes beyond it are gone; a file that grew reads as zeros there.
    FileTruncate {
        /// The file.
        file: FileId,
        /// Size before.
        old_size: u64,
        /// Size after.
        new_size: u64,
    },
    /// A name of a file, symlink or special file was removed.
    FileDelete {
        /// The file.
        file: FileId,
        /// The name it lost.
        entry: Entry,
    },
    /// A folder came into being.
    DirCreate {
        /// The new folder.
        file: FileId,
        /// Its name.
        entry: Entry,
        /// Its permission bits.
        mode: u32,
    },
    /// An empty folder was removed.
    DirDelete {
        /// The folder.
        file: FileId,
        /// The name it had.
        entry: Entry,
    },
    /// A file or folder got another name. For a folder this is one operation, whatever it holds.
    Rename {
        /// What was renamed.
        file: FileId,
        /// The old name.
        from: Entry,
        /// The new name.
        to: Entry,
        /// What was there before.
        displaced: Displaced,
    },
    /// Permission bits were set.
    Chmod {
        /// The inode.
        file: FileId,
        /// Bits before.
        old_mode: u32,
        /// Bits after.
        new_mode: u32,
    },
    /// Owner or group was set.
    Chown {
        /// The inode.
        file: FileId,
        /// Owner before.
        old_uid: u32,
        /// Group before.
        old_gid: u32,
        /// Owner after.
        new_uid: u32,
        /// Group after.
        new_gid: u32,
    },
    /// Times were set.
    Touch {
        /// The inode.
        file: FileId,
        /// Access time before.
        old_atime: Timestamp,
        /// Modification time before.
        old_mtime: Timestamp,
        /// Access time after.
        new_atime: Timestamp,
        /// Modification time after.
        new_mtime: Timestamp,
    },
    /// A symbolic link came into being; its target is the operation's data and the link's content.
    Symlink {
        /// The new link.
        file: FileId,
        /// Its name.
        entry: Entry,
    },
    /// A file got one more name.
    Hardlink {
        /// The file.
        file: FileId,
        /// The new name.
        entry: Entry,
    },
    /// A fifo, socket or device came into being.
    Special {
        /// The new inode.
        file: FileId,
        /// Its name.
        entry: Entry,
        /// Its kind.
        kind: FileKind,
        /// Its permission bits.
        mode: u32,
        /// Its device number, 0 for fifos and sockets.
        rdev: u64,
    },
    /// An extended attribute was set; its value is the operation's data.
    SetXattr {
        /// The inode.
        file: FileId,
        /// The attribute.
        name: XattrName,
    },
    /// An extended attribute was removed.
    RemoveXattr {
        /// The inode.
        file: FileId,
        /// The attribute.
        name: XattrName,
    },
    /// Space was allocated, punched out or zeroed (`fallocate(2)`).
    Range {
        /// The file.
        file: FileId,
        /// What was done.
        kind: RangeKind,
        /// Where the range begins.
        offset: u64,
        /// Its length.
        size: u64,
    },
    /// A range was copied from `source`, as it was right before this operation. `source` may be `file` itself, then the
    /// two ranges do not overlap.
    CopyRange {
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
    /// The inner change was found, not seen: somebody made it in `working/` while the project was not mounted.
    /// It never holds another `ExternalChange`.
    ExternalChange(Box<OpType>),
}

impl OpType {
    /// Returns the change itself, without the note that it was found rather than seen.
    pub fn change(&self) -> &Self {
        match self {
            Self::ExternalChange(inner) => inner.change(),
            other => other,
        }
    }

    /// Tells whether the change was found in `working/` rather than seen through a mount.
    pub const fn is_external(&self) -> bool {
        matches!(self, Self::ExternalChange(_))
    }

    /// Returns the file that the operation is about.
    pub fn file(&self) -> FileId {
        match self.change() {
            Self::FileCreate { file, .. }
            | Self::FileWrite { file, .. }
            | Self::FileTruncate { file, .. }
            | Self::FileDelete { file, .. }
            | Self::DirCreate { file, .. }
            | Self::DirDelete { file, .. }
            | Self::Rename { file, .. }
            | Self::Chmod { file, .. }
            | Self::Chown { file, .. }
            | Self::Touch { file, .. }
            | Self::Symlink { file, .. }
            | Self::Hardlink { file, .. }
            | Self::Special { file, .. }
            | Self::SetXattr { file, .. }
            | Self::RemoveXattr { file, .. }
            | Self::Range { file, .. }
            | Self::CopyRange { file, .. } => *file,
            Self::ExternalChange(_) => unreachable!("change() unwraps external changes"),
        }
    }

    /// Returns the other file in whose history the operation belongs: the one that a rename displaced.
    pub fn displaced_file(&self) -> Option<FileId> {
        match self.change() {
            Self::Rename { displaced: Displaced::Replaced(file) | Displaced::Exchanged(file), .. } => Some(*file),
            _ => None,
        }
    }

    /// Returns the entry that the operation is about: the new one of a rename, `None` where only an inode changed.
    pub fn entry(&self) -> Option<&Entry> {
        match self.change() {
            Self::FileCreate { entry, .. }
            | Self::FileDelete { entry, .. }
            | Self::DirCreate { entry, .. }
            | Self::DirDelete { entry, .. }
            | Self::Symlink { entry, .. }
            | Self::Hardlink { entry, .. }
            | Self::Special { entry, .. }
            | Self::Rename { to: entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// Tells whether the operation changed the namespace: made, removed or moved a name.
    pub fn is_namespace(&self) -> bool {
        self.entry().is_some()
    }

    /// Returns the change message: what happened, then where, as `Write { offset: 0, size: 1024 }: src/main.rs`.
    /// For a rename, `path` is the old path and `to` the new one.
    pub fn message(&self, path: &RelPath, to: Option<&RelPath>) -> String {
        match (self.change(), to) {
            (Self::Rename { .. }, Some(to)) => {
                format!("{}Rename {{ to: {to} }}: {path}", if self.is_external() { "External " } else { "" })
            }
            _ => format!("{self}: {path}"),
        }
    }
}

impl fmt::Display for OpType {
    /// Writes what happened in the words of a change message, without the path: `Write { offset: 0, size: 1024 }`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileCreate { mode, .. } => write!(f, "Create {{ mode: {mode:#o} }}"),
            Self::FileWrite { offset, size, .. } => write!(f, "Write {{ offset: {offset}, size: {size} }}"),
            Self::FileTruncate { new_size, .. } => write!(f, "Truncate {{ size: {new_size} }}"),
            Self::FileDelete { .. } => f.write_str("Delete"),
            Self::DirCreate { mode, .. } => write!(f, "MakeDir {{ mode: {mode:#o} }}"),
            Self::DirDelete { .. } => f.write_str("RemoveDir"),
            Self::Rename { to, .. } => write!(f, "Rename {{ to: {} }}", to.name),
            Self::Chmod { new_mode, .. } => write!(f, "SetAttr {{ mode: {new_mode:#o} }}"),
            Self::Chown { new_uid, new_gid, .. } => write!(f, "SetAttr {{ uid: {new_uid}, gid: {new_gid} }}"),
            Self::Touch { new_atime, new_mtime, .. } => {
                write!(f, "SetAttr {{ atime: {new_atime}, mtime: {new_mtime} }}")
            }
            Self::Symlink { .. } => f.write_str("Symlink"),
            Self::Hardlink { .. } => f.write_str("Link"),
            Self::Special { kind, mode, .. } => write!(f, "MakeNode {{ kind: {kind}, mode: {mode:#o} }}"),
            Self::SetXattr { name, .. } => write!(f, "SetXattr {{ name: {name} }}"),
            Self::RemoveXattr { name, .. } => write!(f, "RemoveXattr {{ name: {name} }}"),
            Self::Range { kind, offset, size, .. } => {
                let word = match kind {
                    RangeKind::Allocate => "Allocate",
                    RangeKind::Punch => "Punch",
                    RangeKind::Zero => "Zero",
                };
                write!(f, "{word} {{ offset: {offset}, size: {size} }}")
            }
            Self::CopyRange { offset, size, .. } => write!(f, "Copy {{ offset: {offset}, size: {size} }}"),
            Self::ExternalChange(inner) => write!(f, "External {inner}"),
        }
    }
}

/// The bytes that an operation brought. Cloning shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OpData {
    /// The operation brings no bytes.
    #[default]
    None,
    /// The bytes themselves.
    #[doc(alias = "Content")]
    Inline(Bytes),
    /// The bytes are kept elsewhere by whoever handed out the operation. Storage backends may answer this instead of
    /// the bytes; it is never committed.
    #[doc(alias = "ContentRef")]
    Reference {
        /// Hash of the bytes.
        hash: ContentHash,
        /// How many they are.
        size: u64,
    },
}

impl OpData {
    /// Returns how many bytes the operation brought.
    pub fn size(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Reference { size, .. } => *size,
        }
    }
}

/// Why a moment is worth showing to a person. The tree is exact at each landmark, whatever is merged around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Landmark {
    /// The name space changed.
    Namespace,
    /// A rename replaced an existing file: how editors save.
    Replace,
    /// A file was closed after writing.
    Close,
    /// `fsync(2)` or the like.
    Sync,
    /// Nothing was written for a while.
    Idle,
    /// Ize gave out this id (status, sync, snapshot, restore, unmount).
    Barrier,
}

/// An inode that an operation touched, with its metadata afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Touched {
    /// The inode.
    pub file: FileId,
    /// Its metadata after the operation.
    pub metadata: FileMetadata,
}

/// One completed operation of a project's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpCode {
    /// Position in the log.
    pub id: OpId,
    /// The last position that it covers: equal to `id`, or greater where several operations were merged into one.
    /// The operation takes effect at this moment.
    pub last_id: OpId,
    /// The branch it happened on.
    pub branch: BranchId,
    /// When, by the wall clock; of a merged operation, the last part's.
    pub timestamp: Timestamp,
    /// What happened.
    pub op_type: OpType,
    /// The bytes it brought.
    pub data: OpData,
    /// Each inode it touched: the file, the parents whose times changed, the file it replaced.
    #[doc(alias = "metadata")]
    pub touched: Vec<Touched>,
    /// Who did it.
    pub actor: Arc<Actor>,
    /// Set where the moment after this operation is worth showing to a person.
    pub landmark: Option<Landmark>,
    /// An earlier operation that this one answers (a restore, an undo).
    #[doc(alias = "parent_id")]
    pub parent: Option<OpId>,
}

impl OpCode {
    /// Returns the metadata after the operation of one inode, if the operation touched it.
    pub fn metadata_of(&self, file: FileId) -> Option<&FileMetadata> {
        self.touched.iter().find(|touched| touched.file == file).map(|touched| &touched.metadata)
    }

    /// Returns the metadata after the operation of the file that it is about.
    pub fn metadata(&self) -> Option<&FileMetadata> {
        self.metadata_of(self.op_type.file())
    }
}
