//! Names: what entries stand for, as they come, move and go.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{Entry, FileId, FileKind, Name, OpId, View};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// A store without operations is one empty root folder.
pub fn an_empty_store_is_an_empty_root(fixture: &mut dyn Fixture) {
    let store = Probe::new(fixture.store());
    assert_eq!(ok(store.store.head()).op, OpId::ZERO);
    assert_eq!(ok(store.store.head()).file, ROOT);
    for view in [View::main(OpId::ZERO), LATEST] {
        assert_eq!(store.node(view, ROOT).map(|root| root.kind), Some(FileKind::Directory));
        assert!(store.list(view, ROOT).is_empty());
        assert!(store.names(view, ROOT).is_empty());
        assert_eq!(store.node(view, FileId::new(2)), None);
    }
}

/// Files, folders, symlinks and special files appear in their folder under their kind.
pub fn created_things_are_listed_with_their_kinds(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    log.create(dir, "file");
    log.symlink(dir, "link", b"file");
    log.special(dir, "pipe", FileKind::Fifo, 0);
    log.special(dir, "socket", FileKind::Socket, 0);
    log.special(dir, "tty", FileKind::CharDevice, 0x0501);
    log.special(dir, "disk", FileKind::BlockDevice, 0x0800);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let kinds: Vec<_> =
        store.list(LATEST, dir).into_values().map(|entry| (entry.name.to_string(), entry.kind)).collect();
    let expected = [
        ("disk", FileKind::BlockDevice),
        ("file", FileKind::File),
        ("link", FileKind::Symlink),
        ("pipe", FileKind::Fifo),
        ("socket", FileKind::Socket),
        ("tty", FileKind::CharDevice),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert_eq!(store.names_in(LATEST, ROOT), ["dir"]);
    assert_eq!(store.names(LATEST, dir), [Entry::new(ROOT, Name::try_from("dir").expect("a name"))]);
}

/// An entry that was removed names nothing, and did name the file before.
pub fn removed_names_are_gone_and_stay_in_the_past(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    let file = log.create(dir, "a");
    let before = View::main(log.head());
    log.remove(dir, "a");
    let empty = View::main(log.head());
    log.remove(ROOT, "dir");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.entry(before, dir, "a"), Some(file));
    assert_eq!(store.entry(empty, dir, "a"), None);
    assert_eq!(store.node(empty, file), None);
    assert!(store.names(empty, file).is_empty());
    assert!(store.names_in(empty, dir).is_empty());
    assert_eq!(store.node(LATEST, dir), None);
    assert!(store.names_in(LATEST, ROOT).is_empty());
    assert_eq!(store.resolve(before, "dir/a"), Some(file));
}

/// A rename moves the name; the file stays the same file.
pub fn renames_move_names(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (one, two) = (log.make_dir(ROOT, "one"), log.make_dir(ROOT, "two"));
    let file = log.create(one, "a");
    let before = View::main(log.head());
    log.rename((one, "a"), (two, "b"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!((store.entry(before, one, "a"), store.entry(before, two, "b")), (Some(file), None));
    assert_eq!((store.entry(LATEST, one, "a"), store.entry(LATEST, two, "b")), (None, Some(file)));
    assert_eq!(store.names(LATEST, file), [Entry::new(two, Name::try_from("b").expect("a name"))]);
    assert_eq!(store.names(before, file), [Entry::new(one, Name::try_from("a").expect("a name"))]);
}

/// A folder that is renamed takes along what it holds, in one operation.
pub fn a_renamed_folder_takes_its_content_along(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (top, other) = (log.make_dir(ROOT, "top"), log.make_dir(ROOT, "other"));
    let inner = log.make_dir(top, "inner");
    let file = log.create(inner, "a");
    let before = View::main(log.head());
    log.rename((ROOT, "top"), (other, "moved"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.resolve(before, "top/inner/a"), Some(file));
    assert_eq!(store.resolve(LATEST, "top/inner/a"), None);
    assert_eq!(store.resolve(LATEST, "other/moved/inner/a"), Some(file));
}

/// A rename over an existing file: that one is gone, and was there before.
pub fn a_replaced_file_is_gone_and_stays_in_the_past(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let old = log.create_with(ROOT, "notes", b"old");
    let new = log.create_with(ROOT, "notes.tmp", b"new!");
    let before = View::main(log.head());
    log.rename((ROOT, "notes.tmp"), (ROOT, "notes"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!((store.entry(before, ROOT, "notes"), store.entry(LATEST, ROOT, "notes")), (Some(old), Some(new)));
    assert_eq!(store.node(LATEST, old), None);
    assert_eq!(store.names_in(LATEST, ROOT), ["notes"]);
    assert_eq!(store.content(before, old), b"old");
    assert_eq!(store.content(LATEST, new), b"new!");
    assert_eq!(store.content(LATEST, old), b"", "a file that is gone has no content");
}

/// Two entries change places: files with files, and a file with a folder.
pub fn exchanged_entries_change_places(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (a, b) = (log.create(ROOT, "a"), log.create(ROOT, "b"));
    let dir = log.make_dir(ROOT, "dir");
    let inner = log.create(dir, "inner");
    let before = View::main(log.head());
    log.exchange((ROOT, "a"), (ROOT, "b"));
    log.exchange((dir, "inner"), (ROOT, "a"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!((store.entry(before, ROOT, "a"), store.entry(before, ROOT, "b")), (Some(a), Some(b)));
    assert_eq!(store.entry(LATEST, ROOT, "a"), Some(inner));
    assert_eq!(store.entry(LATEST, ROOT, "b"), Some(a));
    assert_eq!(store.entry(LATEST, dir, "inner"), Some(b));
    assert_eq!(store.names(LATEST, b), [Entry::new(dir, Name::try_from("inner").expect("a name"))]);
}

/// A name that was used before can be used again, for another file.
pub fn names_can_be_used_again(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let mut lives = Vec::new();
    for _ in 0..5 {
        let file = log.create(ROOT, "again");
        lives.push((file, View::main(log.head())));
        log.remove(ROOT, "again");
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (file, view) in lives {
        assert_eq!(store.entry(view, ROOT, "again"), Some(file));
        assert_eq!(store.names_in(view, ROOT), ["again"]);
    }
    assert!(store.names_in(LATEST, ROOT).is_empty());
}

/// Names are told apart byte by byte: no folding of case, no normalising.
pub fn names_are_bytes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let names: [&[u8]; 6] = [b"a", b"A", "\u{e4}".as_bytes(), "a\u{308}".as_bytes(), b"\xff\xfe", b"new\nline"];
    let files = names.map(|name| log.create(ROOT, name));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (name, file) in names.iter().zip(files) {
        let name = Name::new(name.to_vec()).expect("a valid name");
        assert_eq!(ok(store.store.entry(LATEST, ROOT, &name)), Some(file));
    }
    assert_eq!(store.list(LATEST, ROOT).len(), names.len());
}

/// Asking about files, entries and folders that never were answers nothing, and no error.
pub fn unknown_things_are_nothing(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"content");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let (never, early) = (FileId::new(4711), View::main(OpId::ZERO));
    for (view, file) in [(LATEST, never), (early, file)] {
        assert_eq!(store.node(view, file), None);
        assert!(store.names(view, file).is_empty());
        assert!(store.xattrs(view, file).is_empty());
        assert!(store.extents(view, file).is_empty());
        assert!(store.list(view, file).is_empty());
        assert_eq!(store.content(view, file), b"");
    }
    assert_eq!(store.entry(LATEST, never, "a"), None);
    assert_eq!(store.entry(LATEST, file, "a"), None, "a file has no entries");
    assert!(store.list(LATEST, file).is_empty());
}
