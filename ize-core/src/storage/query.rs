//! What goes into a storage backend and comes out of it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{BranchId, FileId, FileKind, Landmark, Name, OpCode, OpId, Timestamp, View, XattrName};

/// Operations to commit together, and landmarks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The operations, dense from the head's next id (a merged one covers `id..=last_id`).
    pub ops: Vec<OpCode>,
    /// Operations, of this batch or committed earlier, that turned out to be landmarks. Each names an operation by its
    /// `last_id`. Marking an operation again keeps the greater of the two landmarks.
    pub landmarks: Vec<(OpId, Landmark)>,
}

/// How far a storage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last committed operation; [`OpId::ZERO`] if there is none.
    pub op: OpId,
    /// The highest file id that a committed operation ever touched; [`FileId::ROOT`] if there is none. New files get
    /// ids above it.
    pub file: FileId,
}

/// Which way a query walks the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// From the oldest operation that matches.
    #[default]
    OldestFirst,
    /// From the newest operation that matches.
    NewestFirst,
}

/// Which operations to return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpQuery {
    /// Only operations that this view sees: those whose `last_id` is at most its moment.
    pub view: View,
    /// Only operations whose `last_id` is greater than this.
    pub since: OpId,
    /// Only operations about this file, or that displaced it (`OpType::file`, `OpType::displaced_file`).
    pub file: Option<FileId>,
    /// Only operations in this folder, as the tree was right after each of them: about the folder itself, or about an
    /// entry in it or anywhere below (for a rename the old one or the new one), or about a file that has a name there. A backend that keeps no record of this answers as if it was not asked, also for a
    /// folder that never was: that is how to find out.
    pub below: Option<FileId>,
    /// Only landmarks.
    pub landmarks_only: bool,
    /// The order of the answer.
    pub direction: Direction,
    /// The most operations to return.
    pub max: usize,
}

impl OpQuery {
    /// All operations that a view sees, oldest first, at most 1,000.
    pub const fn all(view: View) -> Self {
        Self {
            view,
            since: OpId::ZERO,
            file: None,
            below: None,
            landmarks_only: false,
            direction: Direction::OldestFirst,
            max: 1000,
        }
    }
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    /// Its name.
    pub name: Name,
    /// What it names.
    pub file: FileId,
    /// The kind of what it names.
    pub kind: FileKind,
}

/// A change of what an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The operation (its `last_id`).
    pub at: OpId,
    /// What the entry names since then; `None` for nothing.
    pub file: Option<FileId>,
}

/// A range of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes, never 0.
    pub len: u64,
}

impl Extent {
    /// Returns where the range ends: the first byte behind it.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Its name, with the namespace.
    pub name: XattrName,
    /// Its value.
    pub value: Bytes,
}

/// A name for a moment or a branch: 1 to 100 bytes of UTF-8 without white space, control characters or any of
/// `@:~^`, not beginning with `-` or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

impl RefName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 100;

    /// Checks a name; `None` if it breaks one of the rules above.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let first_ok = name.chars().next().is_some_and(|c| c != '-' && !c.is_ascii_digit());
        let all_ok = !name.chars().any(|c| c.is_whitespace() || c.is_control() || "@:~^".contains(c));
        (first_ok && all_ok && name.len() <= Self::BYTES_MAX).then_some(Self(name))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RefName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name).ok_or("not a name for a snapshot or branch")
    }
}

impl From<RefName> for String {
    fn from(name: RefName) -> Self {
        name.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefTarget {
    /// A snapshot: a moment that has a name.
    Snapshot {
        /// The moment; never beyond the head.
        view: View,
        /// When the snapshot was made.
        created: Timestamp,
    },
    /// A branch. [`BranchId::MAIN`] exists without a name.
    Branch {
        /// Its id: any number that no branch had before.
        id: BranchId,
        /// Where it came from.
        parent: BranchId,
        /// The last operation of the parent that it sees.
        base: OpId,
    },
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    /// The name.
    pub name: RefName,
    /// What it stands for.
    pub target: RefTarget,
}

/// What a backend can hold. What it cannot hold comes back as stated with each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Holes stay holes; else they may come back as data of zeros.
    pub holes: bool,
    /// More than one branch can exist; else `set_ref` with a branch answers [`super::StorageError::Unsupported`].
    pub branches: bool,
    /// Data survives the process; else it is for tests.
    pub persistent: bool,
}

/// The bounds of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes_max: u64,
    /// The longest name, in bytes.
    pub name_bytes_max: usize,
    /// The largest value of an extended attribute, in bytes.
    pub xattr_bytes_max: usize,
    /// The largest data of one operation, in bytes.
    pub op_data_bytes_max: usize,
}

/// How much space one part of a backend takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeOf {
    /// The part, in the backend's words ("packs", "index").
    pub part: String,
    /// Bytes on disk (or in memory, for one that is not persistent).
    pub bytes: u64,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageInfo {
    /// Its name, as users choose it ("store").
    pub backend: String,
    /// Its engine, where it has several ("sanakirja").
    pub engine: Option<String>,
    /// The version of its format on disk.
    pub format_version: u32,
    /// What it can hold.
    pub capabilities: Capabilities,
    /// Its bounds.
    pub limits: Limits,
    /// What takes space.
    pub sizes: Vec<SizeOf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Wrong, and `repair` can mend it without loss.
    Repairable,
    /// Some history cannot be read any more.
    Lost,
}

/// One thing that `verify` or `repair` has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found and where, in a sentence for people.
    pub what: String,
}
