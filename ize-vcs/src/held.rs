//! What of the tree the repository holds: folders, and regular files that are neither huge nor sparse, with their exec bit.

use ize_core::model::{FileId, FileKind, FileMetadata, View};
use ize_core::storage::{FileSystemStorage, Result};
use libpijul::pristine::InodeMetadata;

/// Larger files are kept in the index alone, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files with more holes than this are kept in the index alone; fewer holes are written as zeros. In bytes.
pub(crate) const HOLE_BYTES_MAX: u64 = 1024 * 1024;
/// The bit of a file's mode that Pijul keeps.
const EXEC: u32 = 0o100;
/// How many extents are asked for at a time.
const EXTENTS: usize = 256;

/// A file or folder that the repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The file.
    pub(crate) file: FileId,
    /// Whether it is a folder.
    pub(crate) is_dir: bool,
    /// Whether its owner may run it, or enter it.
    pub(crate) exec: bool,
    /// Its size in bytes; 0 for a folder.
    pub(crate) size: u64,
}

impl Held {
    /// Returns it as Pijul has it.
    pub(crate) fn metadata(&self) -> InodeMetadata {
        InodeMetadata::new(if self.exec { 0o100 } else { 0 }, self.is_dir)
    }
}

/// Tells what the repository holds of a file as a view sees it; `None` for nothing.
pub(crate) fn held(index: &dyn FileSystemStorage, view: View, file: FileId) -> Result<Option<Held>> {
    match index.node(view, file)? {
        Some(node) => held_as(index, view, file, &node),
        None => Ok(None),
    }
}

/// As [`held`], where the metadata is known.
pub(crate) fn held_as(
    index: &dyn FileSystemStorage,
    view: View,
    file: FileId,
    node: &FileMetadata,
) -> Result<Option<Held>> {
    let exec = node.mode & EXEC != 0;
    match node.kind {
        FileKind::Directory => Ok(Some(Held { file, is_dir: true, exec, size: 0 })),
        FileKind::File if node.size <= FILE_BYTES_MAX && !is_sparse(index, view, file, node.size)? => {
            Ok(Some(Held { file, is_dir: false, exec, size: node.size }))
        }
        _ => Ok(None),
    }
}

fn is_sparse(index: &dyn FileSystemStorage, view: View, file: FileId, size: u64) -> Result<bool> {
    if size <= HOLE_BYTES_MAX {
        return Ok(false);
    }
    let (mut from, mut holes) = (0, 0);
    while from < size {
        let extents = index.extents(view, file, from, EXTENTS)?;
        for extent in &extents {
            holes += extent.offset.saturating_sub(from);
            from = extent.end();
        }
        if extents.len() < EXTENTS {
            holes += size.saturating_sub(from);
            break;
        }
        if holes > HOLE_BYTES_MAX {
            break;
        }
    }
    Ok(holes > HOLE_BYTES_MAX)
}

/// Reads all content of a file and adds it to `out`.
pub(crate) fn read_all(
    index: &dyn FileSystemStorage,
    view: View,
    file: FileId,
    size: u64,
    out: &mut Vec<u8>,
) -> Result<()> {
    let begin = out.len();
    out.resize(begin + usize::try_from(size).unwrap_or(usize::MAX), 0);
    let mut done = 0;
    while begin + done < out.len() {
        let len = index.read(view, file, done as u64, &mut out[begin + done..])?;
        if len == 0 {
            break;
        }
        done += len;
    }
    out.truncate(begin + done);
    Ok(())
}
