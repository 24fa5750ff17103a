//! What the two ends say to each other.

use serde::{Deserialize, Serialize};

use crate::model::{Entry, FileId, Name, Timestamp, View, XattrName};
use crate::storage::{OpQuery, RefName};

/// The version of the protocol: raised with every change of a message or of anything inside of one.
pub(super) const VERSION: u32 = 2;
/// How much content is read at a time, in bytes.
pub(super) const READ_BYTES_MAX: usize = 1 << 20;

/// The first message of either end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Always [`Hello::PROTOCOL`].
    pub(super) protocol: String,
    /// The sender's version.
    pub(super) version: u32,
}

impl Hello {
    const PROTOCOL: &str = "ize storage";

    /// Makes this end's hello.
    pub(super) fn own() -> Self {
        Self { protocol: Self::PROTOCOL.to_owned(), version: VERSION }
    }

    /// Says why the two ends cannot talk, if they cannot.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.protocol != Self::PROTOCOL {
            return Some("the other end does not serve a storage".to_owned());
        }
        let version = self.version;
        (version != VERSION).then(|| format!("the other end speaks version {version}, this one {VERSION}"))
    }
}

/// What the client asks. The answer is a `Result<T, Fault>`, its `T` is stated with each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// [`crate::storage::StorageInfo`].
    Info,
    /// [`crate::storage::Head`].
    Head,
    /// [`Part`] of operations.
    Ops(OpQuery),
    /// [`crate::model::OpId`].
    OpAtTime(Timestamp),
    /// An optional [`crate::model::FileMetadata`].
    Node { view: View, file: FileId },
    /// An optional [`FileId`].
    Entry { view: View, dir: FileId, name: Name },
    /// [`Part`] of a folder's entries.
    Entries { view: View, dir: FileId, after: Option<Name>, max: usize },
    /// [`Part`] of a file's names, ordered.
    Names { view: View, file: FileId, after: Option<Entry> },
    /// [`Part`] of an entry's bindings.
    Bindings { view: View, entry: Entry, max: usize },
    /// At most [`READ_BYTES_MAX`] bytes.
    Read { view: View, file: FileId, offset: u64, len: usize },
    /// [`Part`] of a file's extents.
    Extents { view: View, file: FileId, from: u64, max: usize },
    /// [`Part`] of a file's attributes, ordered.
    Xattrs { view: View, file: FileId, after: Option<XattrName> },
    /// [`Part`] of the refs, ordered.
    Refs { after: Option<RefName> },
    /// [`crate::storage::Finding`]s, each as an answer of its own: `Some`, and `None` behind the last.
    Verify,
}

/// A part of a longer answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part<T> {
    /// The next items.
    pub(super) items: Vec<T>,
    /// There may be more behind them: ask again.
    pub(super) more: bool,
}
