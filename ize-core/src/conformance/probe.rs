//! A store, asked by checks: each answer is complete, in a fixed order, and a failure panics.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{Entry, FileId, FileMetadata, Name, OpCode, OpData, OpId, RelPath, View};
use crate::storage::{
    Binding, DirEntry, Direction, Extent, FileSystemStorage, FileSystemStorageExt, OpQuery, Result, Xattr,
};

/// A store, asked by checks.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) store: &'a dyn FileSystemStorage,
    /// The size of the pages in which it is asked.
    pub(super) page: usize,
}

impl<'a> Probe<'a> {
    pub(super) fn new(store: &'a dyn FileSystemStorage) -> Self {
        Self { store, page: 100 }
    }

    #[track_caller]
    pub(super) fn head(self) -> OpId {
        ok(self.store.head()).op
    }

    #[track_caller]
    pub(super) fn node(self, view: View, file: FileId) -> Option<FileMetadata> {
        ok(self.store.node(view, file))
    }

    #[track_caller]
    pub(super) fn entry(self, view: View, dir: FileId, name: &str) -> Option<FileId> {
        ok(self.store.entry(view, dir, &Name::try_from(name).expect("a valid name")))
    }

    #[track_caller]
    pub(super) fn resolve(self, view: View, path: &str) -> Option<FileId> {
        ok(self.store.resolve(view, &RelPath::try_from(path).expect("a valid path")))
    }

    /// Returns a folder's entries by name.
    #[track_caller]
    pub(super) fn list(self, view: View, dir: FileId) -> BTreeMap<Name, DirEntry> {
        let mut found = BTreeMap::new();
        let mut after = None;
        loop {
            let page = ok(self.store.entries(view, dir, after.as_ref(), self.page));
            assert!(page.len() <= self.page, "a page of entries is longer than asked for");
            after = page.last().map(|entry| entry.name.clone());
            let is_last = page.len() < self.page;
            for entry in page {
                let name = entry.name.clone();
                assert!(found.insert(name.clone(), entry).is_none(), "{name:?} is listed twice");
            }
            if is_last {
                return found;
            }
        }
    }

    /// Returns a folder's names.
    #[track_caller]
    pub(super) fn names_in(self, view: View, dir: FileId) -> Vec<String> {
        self.list(view, dir).keys().map(ToString::to_string).collect()
    }

    /// Returns a file's names, ordered.
    #[track_caller]
    pub(super) fn names(self, view: View, file: FileId) -> Vec<Entry> {
        let mut names = ok(self.store.names(view, file));
        names.sort();
        names
    }

    /// Returns a whole content.
    #[track_caller]
    pub(super) fn content(self, view: View, file: FileId) -> Vec<u8> {
        let mut content = Vec::new();
        ok(self.store.copy_content(view, file, &mut content));
        content
    }

    /// Returns a part of a content.
    #[track_caller]
    pub(super) fn part(self, view: View, file: FileId, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xee; len];
        let read = ok(self.store.read(view, file, offset, &mut buf));
        buf.truncate(read);
        buf
    }

    /// Returns all ranges of data, neighbours joined.
    #[track_caller]
    pub(super) fn extents(self, view: View, file: FileId) -> Vec<Extent> {
        let mut joined: Vec<Extent> = Vec::new();
        let mut from = 0;
        loop {
            let page = ok(self.store.extents(view, file, from, self.page));
            assert!(page.len() <= self.page, "a page of extents is longer than asked for");
            let Some(last) = page.last() else { return joined };
            let (next, is_last) = (last.end(), page.len() < self.page);
            for extent in page {
                assert!(extent.len > 0 && extent.offset >= from, "{extent:?} comes after {from}");
                from = extent.end();
                match joined.last_mut() {
                    Some(before) if before.end() == extent.offset => before.len += extent.len,
                    _ => joined.push(extent),
                }
            }
            if is_last {
                return joined;
            }
            from = next;
        }
    }

    #[track_caller]
    pub(super) fn xattrs(self, view: View, file: FileId) -> Vec<Xattr> {
        ok(self.store.xattrs(view, file))
    }

    /// Returns one attribute's value.
    #[track_caller]
    pub(super) fn xattr(self, view: View, file: FileId, name: &str) -> Option<Bytes> {
        self.xattrs(view, file)
            .into_iter()
            .find(|xattr| xattr.name.as_bytes() == name.as_bytes())
            .map(|xattr| xattr.value)
    }

    /// Returns all changes of an entry, newest first.
    #[track_caller]
    pub(super) fn bindings(self, mut view: View, entry: &Entry) -> Vec<Binding> {
        let mut bindings = Vec::new();
        loop {
            let page = ok(self.store.bindings(view, entry, self.page));
            assert!(page.len() <= self.page, "a page of bindings is longer than asked for");
            let is_last = page.len() < self.page;
            bindings.extend(page);
            match bindings.last() {
                Some(last) if !is_last => view.at = last.at.prev(),
                _ => return bindings,
            }
        }
    }

    /// Returns all operations that match, page by page.
    #[track_caller]
    pub(super) fn ops(self, query: &OpQuery) -> Vec<OpCode> {
        let mut query = OpQuery { max: self.page, ..query.clone() };
        let mut ops: Vec<OpCode> = Vec::new();
        loop {
            let page = ok(self.store.ops(&query));
            assert!(page.len() <= self.page, "a page of operations is longer than asked for");
            let is_last = page.len() < self.page;
            ops.extend(page);
            match (ops.last(), query.direction) {
                (Some(last), Direction::OldestFirst) if !is_last => query.since = last.last_id,
                (Some(last), Direction::NewestFirst) if !is_last => query.view.at = last.last_id.prev(),
                _ => return ops,
            }
        }
    }
}

/// Returns an answer, or fails the check with the error and its causes.
#[track_caller]
pub(super) fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        panic!("{text}")
    })
}

/// Asserts that operations came back as they were committed; data may come back as a reference to the same bytes.
#[track_caller]
pub(super) fn assert_same_ops(found: &[OpCode], expected: &[OpCode]) {
    let ids = |ops: &[OpCode]| ops.iter().map(|op| op.last_id).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "which operations came");
    for (found, expected) in found.iter().zip(expected) {
        assert_same_data(found, expected);
        let found = OpCode { data: OpData::None, ..found.clone() };
        let expected = OpCode { data: OpData::None, ..expected.clone() };
        assert_eq!(found, expected);
    }
}

#[track_caller]
fn assert_same_data(found: &OpCode, expected: &OpCode) {
    match (&found.data, &expected.data) {
        (OpData::Reference { hash, size }, OpData::Inline(bytes)) => {
            assert_eq!(*size, bytes.len() as u64, "size of the data of {}", found.id);
            assert_eq!(*hash, crate::model::ContentHash::of(bytes), "hash of the data of {}", found.id);
        }
        // Bringing no bytes and bringing an empty buffer are the same.
        (found_data, expected_data) if found_data.size() == 0 => assert_eq!(expected_data.size(), 0),
        (found_data, expected_data) => assert_eq!(found_data, expected_data, "data of {}", found.id),
    }
}
