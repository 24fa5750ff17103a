//! Reads by path, beyond what the conformance suite checks of every backend.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ize_core::conformance::LogBuilder;
use ize_core::model::{BranchId, FileId, RelPath, Timestamp, View};
use ize_core::storage::{Change, FileSystemStorage, FileSystemStorageExt, MemoryStorage};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::latest(BranchId::MAIN);

fn path(path: &str) -> RelPath {
    RelPath::try_from(path).unwrap()
}

fn paths(store: &dyn FileSystemStorage, below: &str) -> Vec<String> {
    store.walk(LATEST, &path(below)).unwrap().map(|entry| entry.unwrap().path.to_string()).collect()
}

fn changes(store: &dyn FileSystemStorage, before: View, below: &str) -> Vec<Change> {
    store.changes(before, LATEST, &path(below)).unwrap().map(Result::unwrap).collect()
}

/// `src/main.rs`, `src/bin/a`, `notes` and `link`, in a store.
fn tree() -> (MemoryStorage, LogBuilder, [FileId; 5]) {
    let store = MemoryStorage::new();
    let mut log = LogBuilder::new();
    let src = log.make_dir(ROOT, "src");
    let bin = log.make_dir(src, "bin");
    let main = log.create_with(src, "main.rs", b"fn main() {}");
    let a = log.create(bin, "a");
    let notes = log.create_with(ROOT, "notes", b"call Ada");
    log.symlink(ROOT, "link", b"notes");
    log.commit(&store).unwrap();
    (store, log, [src, bin, main, a, notes])
}

#[test]
fn a_walk_meets_each_folder_before_what_it_holds() {
    let (store, ..) = tree();
    assert_eq!(paths(&store, "."), [".", "link", "notes", "src", "src/bin", "src/bin/a", "src/main.rs"]);
    assert_eq!(paths(&store, "src/bin"), ["src/bin", "src/bin/a"]);
    assert_eq!(paths(&store, "notes"), ["notes"]);
    assert!(paths(&store, "never").is_empty());
}

#[test]
fn a_walk_can_pass_over_a_folder() {
    let (store, ..) = tree();
    let mut walk = store.walk(LATEST, &RelPath::root()).unwrap();
    let mut met = Vec::new();
    while let Some(entry) = walk.next() {
        let entry = entry.unwrap();
        met.push(entry.path.to_string());
        if entry.path == path("src") {
            walk.skip_folder();
        }
    }
    assert_eq!(met, [".", "link", "notes", "src"]);
}

#[test]
fn a_walk_goes_on_over_several_pages() {
    let store = MemoryStorage::new();
    let mut log = LogBuilder::new();
    for dir in 0..3 {
        let dir = log.make_dir(ROOT, format!("dir{dir}"));
        for at in 0..700 {
            log.create(dir, format!("{at:04}"));
        }
    }
    log.commit(&store).unwrap();
    assert_eq!(paths(&store, ".").len(), 1 + 3 * 701);
}

#[test]
fn files_have_a_path_while_they_have_a_name() {
    let (store, mut log, [_, bin, main, a, notes]) = tree();
    log.rename((ROOT, "src"), (ROOT, "source"));
    log.remove(ROOT, "notes");
    log.commit(&store).unwrap();
    let found = |file| store.path_of(LATEST, file).unwrap().map(|path| path.to_string());
    assert_eq!(found(ROOT).as_deref(), Some("."));
    assert_eq!(found(bin).as_deref(), Some("source/bin"));
    assert_eq!(found(main).as_deref(), Some("source/main.rs"));
    assert_eq!(found(a).as_deref(), Some("source/bin/a"));
    assert_eq!(found(notes), None);
}

#[test]
fn changes_say_what_differs() {
    let (store, mut log, [_, _, main, a, notes]) = tree();
    let before = View::main(log.head());
    log.chmod(main, 0o755);
    log.touch(a, Timestamp::from_nanos(1), Timestamp::from_nanos(2));
    log.set_xattr(notes, "user.a", b"1");
    log.commit(&store).unwrap();
    let found: Vec<_> = changes(&store, before, ".")
        .into_iter()
        .map(|c| (c.path.to_string(), c.content, c.attributes, c.times, c.xattrs))
        .collect();
    assert_eq!(
        found,
        [
            ("notes".to_owned(), false, false, false, true),
            ("src/bin/a".to_owned(), false, false, true, false),
            ("src/main.rs".to_owned(), false, true, false, false),
        ]
    );
}

#[test]
fn a_file_rewritten_to_what_it_was_has_no_other_content() {
    let (store, mut log, [.., notes]) = tree();
    let before = View::main(log.head());
    log.write(notes, 5, b"Bob");
    log.write(notes, 5, b"Ada");
    let save = log.create_with(ROOT, "link.tmp", b"notes");
    log.rename((ROOT, "link.tmp"), (ROOT, "link"));
    log.commit(&store).unwrap();
    let found = changes(&store, before, ".");
    let of = |name: &str| found.iter().find(|change| change.path == path(name)).unwrap();
    assert!(!of("notes").content && of("notes").times);
    assert!(of("link").content, "a symlink is not a file, even with the same bytes");
    assert_eq!(of("link").after.as_ref().unwrap().file, save);
}

#[test]
fn a_folder_that_became_a_file_changes_with_all_that_it_held() {
    let (store, mut log, _) = tree();
    let before = View::main(log.head());
    log.rename((ROOT, "src"), (ROOT, "old"));
    log.create(ROOT, "src");
    log.commit(&store).unwrap();
    let mut found: Vec<_> = changes(&store, before, ".").into_iter().map(|change| change.path.to_string()).collect();
    found.sort();
    let expected = [".", "old", "old/bin", "old/bin/a", "old/main.rs", "src", "src/bin", "src/bin/a", "src/main.rs"];
    assert_eq!(found, expected);
    assert_eq!(changes(&store, before, "src/bin").len(), 2, "below a path that is gone");
    assert!(changes(&store, before, "notes").is_empty());
}

#[test]
fn a_sparse_tebibyte_is_compared_and_copied_by_its_data() {
    let store = MemoryStorage::new();
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "disk");
    log.truncate(file, 1 << 40);
    log.write(file, 1 << 39, b"data");
    let before = View::main(log.head());
    log.write(file, 1 << 39, b"DATA");
    let same = log.write(file, 1 << 39, b"data");
    log.commit(&store).unwrap();
    assert!(!changes(&store, before, "disk")[0].content);
    let mut pieces = Vec::new();
    let mut each = |offset, bytes: &[u8]| {
        pieces.push((offset, bytes.to_vec()));
        Ok(())
    };
    store.for_each_data(View::main(same), file, &mut each).unwrap();
    assert_eq!(pieces, [(1 << 39, b"data".to_vec())]);
}
