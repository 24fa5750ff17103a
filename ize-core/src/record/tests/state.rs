//! All that a storage answers about one moment, to be compared.

use super::*;
use crate::model::FileId;
use crate::storage::Xattr;

/// One file as a view sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::record) struct FileState {
    file: FileId,
    metadata: Option<FileMetadata>,
    names: Vec<Entry>,
    xattrs: Vec<Xattr>,
    /// Beginnings and ends, neighbours joined.
    extents: Vec<(u64, u64)>,
    content: Vec<u8>,
}

/// Describes every file at a moment of the main branch. Symlinks have their target as content.
pub(in crate::record) fn describe(storage: &dyn FileSystemStorage, at: OpId) -> Vec<FileState> {
    let last = storage.head().unwrap().file;
    (1..=last.get()).map(|file| describe_file(storage, View::main(at), FileId::new(file))).collect()
}

fn describe_file(storage: &dyn FileSystemStorage, view: View, file: FileId) -> FileState {
    let metadata = storage.node(view, file).unwrap();
    let mut names = storage.names(view, file).unwrap();
    names.sort();
    let mut extents: Vec<(u64, u64)> = Vec::new();
    for extent in storage.extents(view, file, 0, usize::MAX).unwrap() {
        match extents.last_mut() {
            Some((_, end)) if *end == extent.offset => *end = extent.end(),
            _ => extents.push((extent.offset, extent.end())),
        }
    }
    let mut content = vec![0; usize::try_from(metadata.map_or(0, |metadata| metadata.size)).unwrap()];
    let read = storage.read(view, file, 0, &mut content).unwrap();
    content.truncate(read);
    FileState { file, metadata, names, xattrs: storage.xattrs(view, file).unwrap(), extents, content }
}
