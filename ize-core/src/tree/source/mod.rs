//! Trees to copy from.
//!
//! A [`Source`] is a cursor. It stands in a *current* folder and has one entry *selected*; reading is about the selected
//! one. So it needs neither paths nor more than a bounded number of descriptors, however deep the tree is.

mod host;
mod past;

pub use host::HostSource;
pub use past::SnapshotSource;

use super::Result;
use crate::model::{FileMetadata, Name};
use crate::storage::{Extent, Xattr};

/// What makes two names of a source the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId {
    /// The device, where the source has several.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// What a source says of its selected entry.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SourceNode {
    /// Its identity.
    pub id: SourceId,
    /// Its metadata.
    pub metadata: FileMetadata,
    /// It is a folder on which another filesystem is mounted: it is not entered.
    pub mount_point: bool,
}

/// A tree to copy from. Before the first call of [`Source::enter`], only its top can be selected.
pub trait Source {
    /// Selects the top of the tree: a folder, or anything else where a single file is to be copied.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn select_top(&mut self) -> Result<SourceNode>;

    /// Selects an entry of the current folder.
    ///
    /// # Errors
    /// `ENOENT`; what the host or the storage says.
    fn select(&mut self, name: &Name) -> Result<SourceNode>;

    /// Makes the selected folder the current one. Nothing is selected then.
    ///
    /// # Errors
    /// `ENOTDIR`; what the host or the storage says.
    fn enter(&mut self) -> Result<()>;

    /// Goes back to the folder from which the current one was entered. Nothing is selected then.
    ///
    /// # Errors
    /// What the host says.
    fn leave(&mut self) -> Result<()>;

    /// Returns some more names of the current folder; none when all were returned. The order is the source's own. All
    /// names are asked for before a folder below is entered.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn more_names(&mut self) -> Result<Vec<Name>>;

    /// Reads content of the selected file into `buf` and returns how many bytes: fewer than asked only at its end.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Returns some ranges of the selected file that hold data, at or behind `from`, in order; none when there are no more.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn extents(&mut self, from: u64) -> Result<Vec<Extent>>;

    /// Returns the target of the selected symlink.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn read_link(&mut self) -> Result<Vec<u8>>;

    /// Returns the extended attributes of whatever is selected.
    ///
    /// # Errors
    /// What the host or the storage says.
    fn xattrs(&mut self) -> Result<Vec<Xattr>>;
}
