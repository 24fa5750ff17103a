//! History: operations by log and by file, bindings of an entry, and the history of a path.

use super::probe::{Probe, assert_same_ops, ok};
use super::{Fixture, LogBuilder};
use crate::model::{Actor, Entry, FileId, Landmark, Name, OpCode, OpId, RelPath, View};
use crate::storage::{Batch, Binding, Direction, FileSystemStorageExt, OpQuery};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

fn entry(dir: FileId, name: &str) -> Entry {
    Entry::new(dir, Name::try_from(name).expect("a valid name"))
}

/// Commits all operations as one batch and returns them.
fn commit(fixture: &dyn Fixture, log: &mut LogBuilder) -> Vec<OpCode> {
    let ops = log.take();
    ok(fixture.store().commit(&Batch { ops: ops.clone(), landmarks: Vec::new() }));
    ops
}

/// Operations come back as they were committed: type, actor, times, metadata, parent, landmark.
pub fn operations_come_back_whole(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.mark(Landmark::Namespace);
    log.write(file, 3, b"data");
    log.mark(Landmark::Close);
    log.set_actor(Actor {
        pid: 0,
        uid: 7,
        gid: 8,
        program: "cargo \u{1f980}".to_owned(),
        run: Some("run-1".to_owned()),
    });
    let first = log.write(file, 0, &vec![5; 200_000]);
    log.found();
    log.truncate(file, 1);
    log.last_mut().parent = Some(first);
    log.set_xattr(file, "user.a", b"value");
    let ops = commit(fixture, &mut log);
    let store = Probe::new(fixture.store());
    assert_same_ops(&store.ops(&OpQuery::all(LATEST)), &ops);
    let newest_first = OpQuery { direction: Direction::NewestFirst, ..OpQuery::all(LATEST) };
    assert_same_ops(&store.ops(&newest_first), &ops.into_iter().rev().collect::<Vec<_>>());
}

/// A query is bounded by the view's moment (inclusive) and by `since` (exclusive).
pub fn queries_are_bounded_on_both_sides(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    for _ in 0..9 {
        log.write(file, 0, b"x");
    }
    let ops = commit(fixture, &mut log);
    let store = Probe::new(fixture.store());
    for (since, at) in [(0, 0), (0, 10), (3, 7), (7, 7), (8, 3), (9, 10), (10, 99), (0, 1)] {
        let query = OpQuery { since: OpId::new(since), ..OpQuery::all(View::main(OpId::new(at))) };
        let expected: Vec<OpCode> = ops.iter().filter(|op| op.id.get() > since && op.id.get() <= at).cloned().collect();
        assert_same_ops(&store.ops(&query), &expected);
        let reversed = OpQuery { direction: Direction::NewestFirst, ..query };
        assert_same_ops(&store.ops(&reversed), &expected.into_iter().rev().collect::<Vec<_>>());
    }
}

/// A file's operations are those about it and those that displaced it, and no others.
pub fn a_file_has_its_own_operations(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (a, b, c) = (log.create(ROOT, "a"), log.create(ROOT, "b"), log.create(ROOT, "c"));
    log.write(a, 0, b"a");
    log.write(b, 0, b"b");
    log.rename((ROOT, "a"), (ROOT, "a2"));
    log.exchange((ROOT, "a2"), (ROOT, "c"));
    log.rename((ROOT, "b"), (ROOT, "a2"));
    log.copy((b, 0), (a, 1), 1);
    let ops = commit(fixture, &mut log);
    let store = Probe::new(fixture.store());
    for file in [a, b, c, FileId::new(77)] {
        for direction in [Direction::OldestFirst, Direction::NewestFirst] {
            let belongs = |op: &&OpCode| op.op_type.file() == file || op.op_type.displaced_file() == Some(file);
            let mut expected: Vec<OpCode> = ops.iter().filter(belongs).cloned().collect();
            if direction == Direction::NewestFirst {
                expected.reverse();
            }
            let query = OpQuery { file: Some(file), direction, ..OpQuery::all(LATEST) };
            assert_same_ops(&store.ops(&query), &expected);
        }
    }
}

/// Landmarks alone, of the log and of a file.
pub fn landmarks_can_be_asked_for_alone(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let files = [log.create(ROOT, "a"), log.create(ROOT, "b")];
    for step in 0..40usize {
        log.write(files[step % 2], 0, b"x");
        if step % 5 == 0 {
            log.mark(Landmark::Close);
        }
    }
    let ops = commit(fixture, &mut log);
    let store = Probe::new(fixture.store());
    for file in [None, Some(files[0]), Some(files[1])] {
        let belongs = |op: &&OpCode| op.landmark.is_some() && file.is_none_or(|file| op.op_type.file() == file);
        let expected: Vec<OpCode> = ops.iter().filter(belongs).cloned().collect();
        let query = OpQuery { file, landmarks_only: true, ..OpQuery::all(LATEST) };
        assert_same_ops(&store.ops(&query), &expected);
        let reversed = OpQuery { direction: Direction::NewestFirst, ..query };
        assert_same_ops(&store.ops(&reversed), &expected.into_iter().rev().collect::<Vec<_>>());
    }
}

/// An entry's bindings tell what it named and when, newest first.
pub fn bindings_tell_what_an_entry_named(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let first = log.create(ROOT, "a");
    let created = log.head();
    let second = log.create(ROOT, "b");
    let replaced = log.rename((ROOT, "b"), (ROOT, "a"));
    let moved = log.rename((ROOT, "a"), (ROOT, "c"));
    let third = log.make_dir(ROOT, "a");
    let made = log.head();
    let exchanged = log.exchange((ROOT, "c"), (ROOT, "a"));
    commit(fixture, &mut log);
    let store = Probe::new(fixture.store());
    let binding = |at, file| Binding { at, file };
    let expected = [
        binding(exchanged, Some(second)),
        binding(made, Some(third)),
        binding(moved, None),
        binding(replaced, Some(second)),
        binding(created, Some(first)),
    ];
    assert_eq!(store.bindings(LATEST, &entry(ROOT, "a")), expected);
    assert_eq!(store.bindings(View::main(moved), &entry(ROOT, "a")), expected[2..]);
    assert_eq!(Probe { page: 2, ..store }.bindings(LATEST, &entry(ROOT, "a")), expected);
    assert!(store.bindings(LATEST, &entry(ROOT, "never")).is_empty());
    assert!(store.bindings(View::main(OpId::ZERO), &entry(ROOT, "a")).is_empty());
}

/// The ids of a path's history, newest first.
#[track_caller]
fn path_history(fixture: &dyn Fixture, view: View, path: &str) -> Vec<OpId> {
    let path = RelPath::try_from(path).expect("a valid path");
    ok(fixture.store().file_history(view, &path)).map(|op| ok(op).last_id).collect()
}

/// The history of a path follows what it names through renames.
pub fn the_history_of_a_path_follows_renames(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    let file = log.create(ROOT, "a");
    let created = log.head();
    let written = log.write(file, 0, b"x");
    log.create(ROOT, "other");
    let renamed = log.rename((ROOT, "a"), (dir, "b"));
    let again = log.write(file, 0, b"y");
    commit(fixture, &mut log);
    assert_eq!(path_history(fixture, LATEST, "dir/b"), [again, renamed, written, created]);
    assert_eq!(path_history(fixture, LATEST, "a"), [renamed, written, created]);
    assert_eq!(path_history(fixture, View::main(written), "a"), [written, created]);
    assert!(path_history(fixture, LATEST, "dir/never").is_empty());
}

/// Before a save by rename, the past of the replaced file follows; each operation comes once.
pub fn the_history_of_a_path_goes_on_before_a_save(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let mut expected = Vec::new();
    let first = log.create(ROOT, "notes");
    expected.push(log.head());
    expected.push(log.write(first, 0, b"v0"));
    for save in 0..3 {
        let temporary = log.create(ROOT, ".notes.swp");
        expected.push(log.head());
        expected.push(log.write(temporary, 0, format!("v{save}").as_bytes()));
        expected.push(log.rename((ROOT, ".notes.swp"), (ROOT, "notes")));
    }
    expected.push(log.rename((ROOT, "notes"), (ROOT, "notes.txt")));
    commit(fixture, &mut log);
    expected.reverse();
    assert_eq!(path_history(fixture, LATEST, "notes"), expected);
    assert_eq!(path_history(fixture, LATEST, "notes.txt"), expected, "also under another name");
}

/// What was deleted keeps its history, also below a folder that was deleted.
pub fn deleted_paths_keep_their_history(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    let first = log.create(dir, "a");
    let mut expected = vec![log.head(), log.write(first, 0, b"x"), log.remove(dir, "a")];
    let second = log.create(dir, "a");
    expected.extend([log.head(), log.write(second, 0, b"y"), log.remove(dir, "a")]);
    log.remove(ROOT, "dir");
    commit(fixture, &mut log);
    expected.reverse();
    assert_eq!(path_history(fixture, LATEST, "dir/a"), expected);
}
