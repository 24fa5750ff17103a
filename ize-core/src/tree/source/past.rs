//! A part of a snapshot as a source.

use rustix::io::Errno;

use super::{Source, SourceId, SourceNode};
use crate::model::{FileId, Name, RelPath};
use crate::storage::{Extent, Xattr};
use crate::tree::{Result, Snapshot};

const PAGE: usize = 1000;

/// A snapshot from one path downwards.
#[derive(Debug)]
pub struct SnapshotSource {
    snapshot: Snapshot,
    top: FileId,
    /// The folders that were entered, and behind which name of each to go on.
    entered: Vec<(FileId, Option<Name>)>,
    selected: FileId,
}

impl SnapshotSource {
    /// Begins at a path.
    ///
    /// # Errors
    /// `ENOENT` or `ENOTDIR` if it was not there at that moment.
    pub fn new(snapshot: &Snapshot, path: &RelPath) -> Result<Self> {
        let top = snapshot.resolve(path)?;
        Ok(Self { snapshot: snapshot.clone(), top, entered: Vec::new(), selected: top })
    }

    fn select_file(&mut self, file: FileId) -> Result<SourceNode> {
        self.selected = file;
        let id = SourceId { device: u64::MAX, inode: file.get() };
        Ok(SourceNode { id, metadata: self.snapshot.metadata(file)?, mount_point: false })
    }
}

impl Source for SnapshotSource {
    fn select_top(&mut self) -> Result<SourceNode> {
        self.select_file(self.top)
    }

    fn select(&mut self, name: &Name) -> Result<SourceNode> {
        let (folder, _) = self.entered.last().ok_or(Errno::NOTDIR)?;
        let file = self.snapshot.child(*folder, name)?;
        self.select_file(file)
    }

    fn enter(&mut self) -> Result<()> {
        self.entered.push((self.selected, None));
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.entered.pop().map(drop).ok_or_else(|| Errno::INVAL.into())
    }

    fn more_names(&mut self) -> Result<Vec<Name>> {
        let (folder, after) = self.entered.last_mut().ok_or(Errno::NOTDIR)?;
        let page = self.snapshot.entries_after(*folder, after.as_ref(), PAGE)?;
        if let Some(last) = page.last() {
            *after = Some(last.name.clone());
        }
        Ok(page.into_iter().map(|entry| entry.name).collect())
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.snapshot.read_at(self.selected, offset, buf)
    }

    fn extents(&mut self, from: u64) -> Result<Vec<Extent>> {
        self.snapshot.extents(self.selected, from, PAGE)
    }

    fn read_link(&mut self) -> Result<Vec<u8>> {
        self.snapshot.link_target(self.selected)
    }

    fn xattrs(&mut self) -> Result<Vec<Xattr>> {
        self.snapshot.xattrs(self.selected)
    }
}
