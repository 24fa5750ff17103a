//! What others put into the repository comes into the tree, and nothing is lost or recorded twice on the way.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::collections::BTreeMap;

use ize_core::conformance::LogBuilder;
use ize_core::model::{BranchId, FileId, OpId, RelPath, View};
use ize_core::storage::{FileSystemStorage, FileSystemStorageExt, Incoming, IncomingEdit};
use ize_vcs::{PijulOptions, PijulStorage};
use support::{Foreign, create, findings, open};

const ROOT: FileId = FileId::ROOT;
const NOW: View = View::latest(BranchId::MAIN);

fn options() -> PijulOptions {
    PijulOptions::default().change_per_op(true)
}

fn folder_of(storage: &PijulStorage, path: &RelPath) -> (FileId, String) {
    let (folder, name) = path.split_last().unwrap();
    (storage.resolve(NOW, &folder).unwrap().unwrap(), name.to_string())
}

/// Does in history what somebody would do to the files: each edit in several operations, each committed by itself.
fn apply(storage: &PijulStorage, log: &mut LogBuilder, incoming: &Incoming) {
    for edit in &incoming.edits {
        apply_edit(storage, log, edit);
    }
}

fn apply_edit(storage: &PijulStorage, log: &mut LogBuilder, edit: &IncomingEdit) {
    match edit {
        IncomingEdit::MakeDir { path } => {
            let (dir, name) = folder_of(storage, path);
            log.make_dir(dir, name);
        }
        IncomingEdit::Write { path, content, executable } => {
            let (dir, name) = folder_of(storage, path);
            let file = storage.resolve(NOW, path).unwrap().unwrap_or_else(|| log.create(dir, &name));
            log.commit(storage).unwrap();
            log.truncate(file, 0);
            log.commit(storage).unwrap();
            log.write(file, 0, content);
            log.commit(storage).unwrap();
            log.chmod(file, if *executable { 0o755 } else { 0o644 });
        }
        IncomingEdit::Rename { from, to } => {
            let (from, to) = (folder_of(storage, from), folder_of(storage, to));
            log.rename((from.0, &from.1), (to.0, &to.1));
        }
        IncomingEdit::Remove { path } => {
            let (dir, name) = folder_of(storage, path);
            log.remove(dir, name);
        }
    }
    log.commit(storage).unwrap();
}

fn tree(storage: &PijulStorage) -> BTreeMap<String, Vec<u8>> {
    let walked = storage.walk(NOW, &RelPath::root()).unwrap();
    walked
        .map(|entry| {
            let entry = entry.unwrap();
            let mut content = Vec::new();
            storage.copy_content(NOW, entry.file, &mut content).unwrap();
            (entry.path.to_string(), content)
        })
        .collect()
}

/// How many changes the repository holds.
fn changes(dir: &std::path::Path) -> usize {
    let folders = std::fs::read_dir(dir.join(".pijul/changes")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

fn begun(dir: &std::path::Path) -> (PijulStorage, LogBuilder) {
    let storage = create(dir, &options());
    let mut log = LogBuilder::new();
    log.create_with(ROOT, "a.txt", b"one\ntwo\nthree\n");
    log.create_with(ROOT, "b.txt", b"stays as it is, whatever its name\n");
    log.create_with(ROOT, "c.txt", b"goes\n");
    log.commit(&storage).unwrap();
    (storage, log)
}

#[test]
fn where_nobody_did_anything_nothing_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = begun(dir.path());
    assert_eq!(storage.incoming().unwrap(), None);
    storage.suspend().unwrap();
    storage.resume().unwrap();
    assert_eq!(storage.incoming().unwrap(), None);
    drop(storage);
    assert_eq!(open(dir.path(), &options()).incoming().unwrap(), None);
}

#[test]
fn a_pushed_change_comes_in_without_a_change_of_ours_and_is_known_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, mut log) = begun(dir.path());
    storage.suspend().unwrap();
    let foreign = Foreign::checkout(dir.path());
    foreign.write("a.txt", b"one\nTWO\nthree\n");
    foreign.write("d.txt", b"new\n");
    foreign.rename("b.txt", "renamed.txt");
    foreign.remove("c.txt");
    let hash = foreign.record("from elsewhere");
    drop(foreign);
    storage.resume().unwrap();
    let before = changes(dir.path());
    let incoming = storage.incoming().unwrap().unwrap();
    assert_eq!(incoming.changes.len(), 1);
    assert_eq!((incoming.changes[0].id.as_str(), incoming.changes[0].message.as_str()), (&*hash, "from elsewhere"));
    assert!(incoming.conflicts.is_empty());
    assert!(incoming.edits.iter().any(|edit| matches!(edit, IncomingEdit::Rename { .. })));
    let first = log.head().next();
    apply(&storage, &mut log, &incoming);
    let again = storage.incoming().unwrap().unwrap();
    assert_eq!((again.edits.as_slice(), &again.changes), ([].as_slice(), &incoming.changes));
    storage.accept_incoming(&again.changes).unwrap();
    assert_eq!(storage.incoming().unwrap(), None);
    assert_eq!(changes(dir.path()), before, "the change is not recorded a second time");
    for op in first.get()..=log.head().get() {
        assert_eq!(storage.native_id(OpId::new(op)).unwrap().as_deref(), Some(&*hash));
    }
    assert_eq!(storage.find_native_id(&hash, 2).unwrap(), [(hash, log.head())]);
    let names: Vec<String> = tree(&storage).into_keys().collect();
    assert_eq!(names, [".", "a.txt", "d.txt", "renamed.txt"]);
    assert_eq!(tree(&storage)["a.txt"], b"one\nTWO\nthree\n");
    let file = storage.resolve(NOW, &RelPath::try_from("a.txt").unwrap()).unwrap().unwrap();
    log.write(file, 0, b"ONE");
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    drop(storage);
    assert_eq!(findings(&open(dir.path(), &options())), []);
}

#[test]
fn it_can_be_interrupted_after_every_step_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, mut log) = begun(dir.path());
    drop(storage);
    let foreign = Foreign::checkout(dir.path());
    foreign.write("a.txt", b"other\n");
    foreign.write("new.txt", b"new\n");
    foreign.remove("c.txt");
    foreign.record("from elsewhere");
    drop(foreign);
    let before = changes(dir.path());
    let mut rounds = 0;
    loop {
        let storage = open(dir.path(), &options());
        let incoming = storage.incoming().unwrap().unwrap();
        let Some(edit) = incoming.edits.first() else {
            storage.accept_incoming(&incoming.changes).unwrap();
            break;
        };
        apply_edit(&storage, &mut log, edit);
        rounds += 1;
        assert!(rounds < 10, "no end: {:?}", incoming.edits);
    }
    let storage = open(dir.path(), &options());
    assert_eq!(storage.incoming().unwrap(), None);
    assert_eq!(changes(dir.path()), before);
    assert_eq!(tree(&storage)["a.txt"], b"other\n");
    assert_eq!(findings(&storage), []);
}

#[test]
fn work_on_other_files_goes_on_while_something_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, mut log) = begun(dir.path());
    storage.suspend().unwrap();
    let foreign = Foreign::checkout(dir.path());
    foreign.write("a.txt", b"other\n");
    foreign.record("from elsewhere");
    drop(foreign);
    storage.resume().unwrap();
    let own = log.create_with(ROOT, "mine.txt", b"mine\n");
    log.commit(&storage).unwrap();
    let mine = storage.native_id(log.head()).unwrap();
    assert!(mine.is_some());
    let incoming = storage.incoming().unwrap().unwrap();
    assert_eq!(incoming.edits.len(), 1);
    apply(&storage, &mut log, &incoming);
    storage.accept_incoming(&incoming.changes).unwrap();
    log.write(own, 0, b"MINE");
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    drop(storage);
    let foreign = Foreign::checkout(dir.path());
    assert_eq!(
        (foreign.read("a.txt").unwrap(), foreign.read("mine.txt").unwrap()),
        (b"other\n".into(), b"MINE\n".into())
    );
}

#[test]
fn a_conflict_comes_as_pijul_shows_it_and_can_be_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, mut log) = begun(dir.path());
    let file = storage.resolve(NOW, &RelPath::try_from("a.txt").unwrap()).unwrap().unwrap();
    storage.suspend().unwrap();
    let foreign = Foreign::checkout(dir.path());
    storage.resume().ok();
    drop(foreign);
    log.write(file, 4, b"TWO");
    log.commit(&storage).unwrap();
    let ours = storage.native_id(log.head()).unwrap().unwrap();
    storage.suspend().unwrap();
    let foreign = Foreign::checkout(dir.path());
    foreign.write("a.txt", b"one\n222\nthree\n");
    foreign.record_beside("the same line", Some(&ours));
    drop(foreign);
    storage.resume().unwrap();
    let incoming = storage.incoming().unwrap().unwrap();
    assert_eq!(incoming.conflicts, [RelPath::try_from("a.txt").unwrap()]);
    apply(&storage, &mut log, &incoming);
    let shown = String::from_utf8(tree(&storage)["a.txt"].clone()).unwrap();
    assert!(shown.contains(">>>>>>>") && shown.contains("TWO") && shown.contains("222"), "{shown}");
    storage.accept_incoming(&incoming.changes).unwrap();
    assert_eq!(findings(&storage), []);
    log.truncate(file, 0);
    log.write(file, 0, b"one\ntwo and 222\nthree\n");
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    drop(storage);
    let storage = open(dir.path(), &options());
    assert_eq!(storage.incoming().unwrap(), None);
    assert_eq!(findings(&storage), []);
}

#[test]
fn what_was_unrecorded_leaves_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, mut log) = begun(dir.path());
    let file = log.create_with(ROOT, "late.txt", b"late\n");
    log.commit(&storage).unwrap();
    let hash = storage.native_id(log.head()).unwrap().unwrap();
    storage.suspend().unwrap();
    Foreign::checkout(dir.path()).unrecord(&hash);
    storage.resume().unwrap();
    let incoming = storage.incoming().unwrap().unwrap();
    assert_eq!(incoming.edits, [IncomingEdit::Remove { path: RelPath::try_from("late.txt").unwrap() }]);
    assert!(incoming.changes.is_empty());
    apply(&storage, &mut log, &incoming);
    storage.accept_incoming(&incoming.changes).unwrap();
    assert_eq!(storage.incoming().unwrap(), None);
    assert_eq!(storage.node(NOW, file).unwrap(), None);
    log.create_with(ROOT, "later.txt", b"later\n");
    log.commit(&storage).unwrap();
    drop(storage);
    let storage = open(dir.path(), &options());
    assert_eq!(storage.incoming().unwrap(), None);
}
