//! All that two stores answer, compared.

use std::collections::BTreeSet;

use super::probe::{Probe, assert_same_ops, ok};
use crate::model::{BranchId, Entry, FileId, FileKind, FileMetadata, OpId, Timestamp, View};
use crate::storage::{DirEntry, Direction, FileSystemStorage, OpQuery, RefTarget};

/// At most so many moments of a branch are compared.
const MOMENTS_MAX: u64 = 24;
/// Files up to this size are compared as a whole, larger ones where they hold data.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
/// An odd size, so that reads begin and end anywhere.
const READ_BYTES: usize = 37_003;

/// Asserts that two stores with the same log answer every read alike: heads, refs, times, operations, and the whole
/// tree of every branch at up to 24 moments.
#[track_caller]
pub fn assert_same(expected: &dyn FileSystemStorage, actual: &dyn FileSystemStorage) {
    assert_eq!(ok(actual.head()), ok(expected.head()), "head");
    assert_eq!(ok(actual.refs()), ok(expected.refs()), "refs");
    let know_folders = knows_folders(expected) && knows_folders(actual);
    let head = ok(expected.head()).op;
    let mut branches = vec![BranchId::MAIN];
    branches.extend(ok(expected.refs()).iter().filter_map(|known| match known.target {
        RefTarget::Branch { id, .. } => Some(id),
        RefTarget::Snapshot { .. } => None,
    }));
    for branch in branches {
        let latest = View::latest(branch);
        assert_same_logs(expected, actual, latest);
        assert_same_times(expected, actual, latest);
        if know_folders {
            assert_same_folders(expected, actual, latest);
        }
        let step = head.get() / MOMENTS_MAX + 1;
        let moments = (0..=head.get()).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let mut views: Vec<View> = moments.map(|at| View::new(branch, OpId::new(at))).collect();
        views.push(latest);
        assert_same_views(expected, actual, &views);
    }
}

/// Asserts that two stores answer alike about the whole tree in each of the views.
#[track_caller]
pub fn assert_same_views(expected: &dyn FileSystemStorage, actual: &dyn FileSystemStorage, views: &[View]) {
    for view in views {
        Comparison::new(expected, actual, *view).run();
    }
}

#[track_caller]
fn assert_same_logs(expected: &dyn FileSystemStorage, actual: &dyn FileSystemStorage, view: View) {
    let (expected, actual) = (Probe::new(expected), Probe { store: actual, page: 7 });
    let all = OpQuery::all(view);
    let middle = OpId::new(expected.head().get() / 2);
    for query in [
        all.clone(),
        OpQuery { direction: Direction::NewestFirst, ..all.clone() },
        OpQuery { landmarks_only: true, ..all.clone() },
        OpQuery { since: middle, direction: Direction::NewestFirst, landmarks_only: true, ..all.clone() },
        OpQuery { view: View { at: middle, ..view }, since: OpId::new(middle.get() / 2), ..all },
    ] {
        assert_same_ops(&actual.ops(&query), &expected.ops(&query));
    }
}

/// Tells whether a store has a record of what happened in which folder: if not, it answers also about one that never was.
fn knows_folders(store: &dyn FileSystemStorage) -> bool {
    let nowhere = OpQuery { below: Some(FileId::new(u64::MAX)), max: 1, ..OpQuery::all(View::latest(BranchId::MAIN)) };
    ok(store.ops(&nowhere)).is_empty()
}

#[track_caller]
fn assert_same_folders(expected: &dyn FileSystemStorage, actual: &dyn FileSystemStorage, view: View) {
    let head = ok(expected.head());
    let (expected, actual) = (Probe::new(expected), Probe { store: actual, page: 3 });
    for folder in 1..=head.file.get() {
        let all = OpQuery { below: Some(FileId::new(folder)), ..OpQuery::all(view) };
        let half = View { at: OpId::new(head.op.get() / 2), ..view };
        for query in [
            all.clone(),
            OpQuery { direction: Direction::NewestFirst, ..all.clone() },
            OpQuery { landmarks_only: true, direction: Direction::NewestFirst, view: half, ..all.clone() },
            OpQuery { view: half, since: OpId::new(head.op.get() / 5), ..all },
        ] {
            assert_same_ops(&actual.ops(&query), &expected.ops(&query));
        }
    }
}

#[track_caller]
fn assert_same_times(expected: &dyn FileSystemStorage, actual: &dyn FileSystemStorage, view: View) {
    let times: BTreeSet<Timestamp> =
        Probe::new(expected).ops(&OpQuery::all(view)).iter().map(|op| op.timestamp).collect();
    for time in times {
        for nanos in [-1, 0, 1] {
            let time = Timestamp::from_nanos(time.as_nanos() + nanos);
            assert_eq!(ok(actual.op_at_time(time)), ok(expected.op_at_time(time)), "operation at {time}");
        }
    }
}

/// Two stores and a view.
struct Comparison<'a> {
    expected: Probe<'a>,
    actual: Probe<'a>,
    view: View,
    files_max: FileId,
    /// Whether the root's metadata is the operations' or still the backend's own.
    root_is_touched: bool,
    holes: bool,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a dyn FileSystemStorage, actual: &'a dyn FileSystemStorage, view: View) -> Self {
        let holes = ok(expected.info()).capabilities.holes && ok(actual.info()).capabilities.holes;
        let expected = Probe::new(expected);
        let ops = expected.ops(&OpQuery::all(view));
        let root_is_touched = ops.iter().any(|op| op.metadata_of(FileId::ROOT).is_some());
        let files_max = ok(expected.store.head()).file;
        Self { expected, actual: Probe { store: actual, page: 5 }, view, files_max, root_is_touched, holes }
    }

    #[track_caller]
    fn run(&self) {
        for file in 1..=self.files_max.next().get() {
            self.compare_file(FileId::new(file));
        }
    }

    #[track_caller]
    fn compare_file(&self, file: FileId) {
        let view = self.view;
        let expected = self.expected.node(view, file);
        if file != FileId::ROOT || self.root_is_touched {
            assert_eq!(self.actual.node(view, file), expected, "metadata of {file} at {view:?}");
        }
        assert_eq!(self.actual.names(view, file), self.expected.names(view, file), "names of {file} at {view:?}");
        assert_eq!(self.actual.xattrs(view, file), self.expected.xattrs(view, file), "xattrs of {file} at {view:?}");
        let query = OpQuery { file: Some(file), direction: Direction::NewestFirst, ..OpQuery::all(view) };
        assert_same_ops(&self.actual.ops(&query), &self.expected.ops(&query));
        match expected.map(|metadata| metadata.kind) {
            Some(FileKind::Directory) => self.compare_folder(file),
            _ => self.compare_content(file, expected.as_ref()),
        }
    }

    #[track_caller]
    fn compare_folder(&self, dir: FileId) {
        let expected = self.expected.list(self.view, dir);
        assert_eq!(self.actual.list(self.view, dir), expected, "entries of {dir} at {:?}", self.view);
        for DirEntry { name, file, .. } in expected.values() {
            let found = ok(self.actual.store.entry(self.view, dir, name));
            assert_eq!(found, Some(*file), "{name:?} in {dir} at {:?}", self.view);
            let entry = Entry::new(dir, name.clone());
            let expected = self.expected.bindings(self.view, &entry);
            assert_eq!(self.actual.bindings(self.view, &entry), expected, "bindings of {entry:?} at {:?}", self.view);
        }
    }

    #[track_caller]
    fn compare_content(&self, file: FileId, metadata: Option<&FileMetadata>) {
        let size = metadata.map_or(0, |metadata| metadata.size);
        let extents = self.expected.extents(self.view, file);
        let found = self.actual.extents(self.view, file);
        if self.holes {
            assert_eq!(found, extents, "extents of {file} at {:?}", self.view);
        }
        if size <= WHOLE_BYTES_MAX {
            self.compare_range(file, 0, size);
        } else {
            for extent in extents {
                self.compare_range(file, extent.offset.saturating_sub(100), extent.end());
            }
        }
    }

    /// Compares a range, and what reads answer at its end.
    #[track_caller]
    fn compare_range(&self, file: FileId, from: u64, end: u64) {
        let mut offset = from;
        loop {
            let expected = self.expected.part(self.view, file, offset, READ_BYTES);
            let found = self.actual.part(self.view, file, offset, READ_BYTES);
            assert_eq!(found.len(), expected.len(), "length of {file} from {offset} at {:?}", self.view);
            if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
                panic!(
                    "byte {} of {file} at {:?} is {:#x}, not {:#x}",
                    offset + at as u64,
                    self.view,
                    found[at],
                    expected[at]
                );
            }
            offset += found.len() as u64;
            if found.is_empty() || offset >= end {
                return;
            }
        }
    }
}
