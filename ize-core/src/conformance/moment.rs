//! Moments: the tree as it was, at every landmark and every time.

use std::collections::BTreeMap;

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, Landmark, OpId, RelPath, Timestamp, View};
use crate::storage::{Batch, Direction, FileSystemStorageExt, OpQuery};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// A whole tree, as paths and contents.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

#[track_caller]
fn tree_at(fixture: &dyn Fixture, view: View) -> Tree {
    let store = fixture.store();
    let entries = ok(store.walk(view, &RelPath::root())).map(ok);
    let content = |entry: &crate::storage::WalkEntry| {
        let is_folder = entry.metadata.kind == crate::model::FileKind::Directory;
        (!is_folder).then(|| Probe::new(store).content(view, entry.file))
    };
    entries.map(|entry| (entry.path.to_string(), content(&entry))).collect()
}

/// The tree reads at each landmark as it did when the landmark was the newest state, whatever came after.
pub fn the_tree_reads_as_it_was_at_every_landmark(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "src");
    let file = log.create(dir, "main.rs");
    let mut seen: Vec<(OpId, Tree)> = Vec::new();
    for round in 0..12u8 {
        log.write(file, u64::from(round), &[b'a' + round]);
        match round % 4 {
            0 => _ = log.create_with(ROOT, format!("new{round}"), &[round; 10]),
            1 => _ = log.rename((ROOT, &format!("new{}", round - 1)), (dir, &format!("moved{round}"))),
            2 => _ = log.make_dir(dir, format!("dir{round}")),
            _ => _ = log.remove(dir, format!("dir{}", round - 1)),
        }
        log.mark(Landmark::Close);
        ok(log.commit(fixture.store()));
        seen.push((log.head(), tree_at(fixture, LATEST)));
    }
    fixture.reopen();
    let query = OpQuery { landmarks_only: true, ..OpQuery::all(LATEST) };
    let landmarks: Vec<OpId> = Probe::new(fixture.store()).ops(&query).iter().map(|op| op.last_id).collect();
    assert_eq!(landmarks, seen.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    for (at, tree) in seen {
        assert_eq!(tree_at(fixture, View::main(at)), tree, "the tree at {at}");
    }
}

/// A view beyond the head is the head.
pub fn a_view_beyond_the_head_is_the_head(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    log.create_with(ROOT, "a", b"x");
    ok(log.commit(fixture.store()));
    let head = tree_at(fixture, View::main(log.head()));
    for at in [log.head().next(), OpId::new(1 << 40), OpId::MAX] {
        assert_eq!(tree_at(fixture, View::main(at)), head);
    }
}

/// A time resolves to the last operation that was not later.
pub fn a_time_is_the_last_operation_until_then(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    for secs in [100, 200, 300] {
        log.set_clock(Timestamp::from_secs_nanos(secs, 0));
        log.create(ROOT, secs.to_string());
        log.last_mut().timestamp = Timestamp::from_secs_nanos(secs, 0);
    }
    ok(log.commit(fixture.store()));
    let at = |secs, nanos| ok(fixture.store().op_at_time(Timestamp::from_secs_nanos(secs, nanos))).get();
    assert_eq!((at(99, 999_999_999), at(100, 0), at(199, 999_999_999)), (0, 1, 1));
    assert_eq!((at(200, 0), at(299, 0), at(300, 0), at(i64::MAX, 0)), (2, 2, 3, 3));
    assert_eq!((at(0, 0), at(-5, 0), at(i64::MIN, 0)), (0, 0, 0));
}

/// Where the clock went backwards, a time resolves to the greatest id that is not later: history has one order.
pub fn clocks_that_go_backwards_do_no_harm(fixture: &mut dyn Fixture) {
    let times = [100, 500, 200, 400, 300, -7, 600];
    let mut log = LogBuilder::new();
    for (at, secs) in times.iter().enumerate() {
        log.create(ROOT, at.to_string());
        log.last_mut().timestamp = Timestamp::from_secs_nanos(*secs, 0);
    }
    ok(log.commit(fixture.store()));
    for secs in [-8, -7, 0, 99, 100, 150, 200, 350, 450, 500, 599, 600, 700] {
        let expected = times.iter().rposition(|time| *time <= secs).map_or(0, |at| at as u64 + 1);
        let found = ok(fixture.store().op_at_time(Timestamp::from_secs_nanos(secs, 0)));
        assert_eq!(found, OpId::new(expected), "at {secs} s");
    }
}

/// A path at a time, through the extension trait.
pub fn a_path_reads_as_it_was_at_a_time(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"one");
    let first = log.last_mut().timestamp;
    log.write(file, 0, b"two");
    let second = log.last_mut().timestamp;
    log.remove(ROOT, "a");
    let third = log.last_mut().timestamp;
    ok(log.commit(fixture.store()));
    let store = fixture.store();
    let read = |time| {
        let found =
            ok(store.file_at_time(View::latest(LATEST.branch).branch, &RelPath::try_from("a").expect("a path"), time));
        found.map(|(view, found)| Probe::new(store).content(view, found.file))
    };
    assert_eq!(read(Timestamp::from_nanos(first.as_nanos() - 1)), None);
    assert_eq!(read(first).as_deref(), Some(&b"one"[..]));
    assert_eq!(read(second).as_deref(), Some(&b"two"[..]));
    assert_eq!(read(third), None);
}

/// What differs between two moments, through the extension trait: exactly the paths that were touched.
pub fn changes_between_moments_are_found(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (kept, gone) = (log.make_dir(ROOT, "kept"), log.make_dir(ROOT, "gone"));
    let (same, edited) = (log.create_with(kept, "same", b"s"), log.create_with(kept, "edited", b"before"));
    log.create_with(gone, "inner", b"i");
    let before = View::main(log.head());
    log.write(edited, 0, b"after!");
    log.write(same, 0, b"t");
    log.write(same, 0, b"s");
    log.remove(gone, "inner");
    log.remove(ROOT, "gone");
    log.create_with(kept, "new", b"n");
    ok(log.commit(fixture.store()));
    let changes: Vec<_> = ok(fixture.store().changes(before, LATEST, &RelPath::root())).map(ok).collect();
    let content: Vec<String> = changes
        .iter()
        .filter(|change| change.content || change.is_added_or_removed())
        .map(|change| change.path.to_string())
        .collect();
    let mut sorted = content;
    sorted.sort();
    assert_eq!(sorted, ["gone", "gone/inner", "kept/edited", "kept/new"]);
    assert_eq!(ok(fixture.store().changes(LATEST, LATEST, &RelPath::root())).count(), 0);
    let backwards = ok(fixture.store().changes(LATEST, before, &RelPath::root())).count();
    assert_eq!(backwards, changes.len());
}

/// Landmarks that are told later, in the same batch or after it, count like those that came with the operation.
pub fn landmarks_can_be_told_later(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let (one, two, three) = (log.write(file, 0, b"1"), log.write(file, 0, b"2"), log.write(file, 0, b"3"));
    ok(fixture.store().commit(&Batch { ops: log.take(), landmarks: vec![(two, Landmark::Close)] }));
    ok(fixture
        .store()
        .commit(&Batch { ops: Vec::new(), landmarks: vec![(one, Landmark::Sync), (two, Landmark::Barrier)] }));
    ok(fixture.store().commit(&Batch { ops: Vec::new(), landmarks: vec![(two, Landmark::Namespace)] }));
    for _ in 0..2 {
        let store = Probe::new(fixture.store());
        for query in [OpQuery::all(LATEST), OpQuery { file: Some(file), ..OpQuery::all(LATEST) }] {
            let query = OpQuery { landmarks_only: true, direction: Direction::NewestFirst, ..query };
            let found: Vec<_> = store.ops(&query).iter().map(|op| (op.last_id, op.landmark)).collect();
            assert_eq!(
                found,
                [(two, Some(Landmark::Barrier)), (one, Some(Landmark::Sync))],
                "the greater landmark stays"
            );
        }
        let all = store.ops(&OpQuery::all(LATEST));
        assert_eq!(all.last().map(|op| (op.last_id, op.landmark)), Some((three, None)));
        fixture.reopen();
    }
}
