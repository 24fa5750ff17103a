//! Packs of every version of the format can be read.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;

use ize_core::conformance::LogBuilder;
use ize_core::model::{BranchId, FileId, Landmark, OpId, Timestamp, View};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage, RefName, RefTarget};
use ize_store::{Store, StoreOptions};

/// The fixture's operations, in the batches in which they were committed.
fn fill(store: &dyn FileSystemStorage) -> LogBuilder {
    let mut log = LogBuilder::new();
    let notes = log.create_with(FileId::ROOT, "notes.txt", b"hello");
    let sources = log.make_dir(FileId::ROOT, "src");
    let main = log.create(sources, "main.rs");
    log.mark(Landmark::Namespace);
    log.commit(store).unwrap();
    log.write(main, 0, "fn main() {}\n".repeat(100).as_bytes());
    for n in 0..40 {
        log.write(notes, n * 10, b"word ");
    }
    log.truncate(notes, 300);
    log.set_xattr(notes, "user.mood", b"calm");
    log.symlink(FileId::ROOT, "link", b"src/main.rs");
    log.rename((FileId::ROOT, "notes.txt"), (sources, "n\u{f6}tes"));
    log.copy((main, 0), (notes, 100), 200);
    let ops = log.take();
    let landmarks = vec![(OpId::new(3), Landmark::Barrier), (ops[0].last_id, Landmark::Close)];
    store.commit(&Batch { ops, landmarks }).unwrap();
    let base = store.head().unwrap().op;
    let branch = RefTarget::Branch { id: BranchId::new(1), parent: BranchId::MAIN, base };
    store.set_ref(&RefName::new("topic").unwrap(), Some(&branch)).unwrap();
    let created = Timestamp::from_secs_nanos(1_717_400_000, 0);
    let snapshot = RefTarget::Snapshot { view: View::main(OpId::new(4)), created };
    store.set_ref(&RefName::new("first").unwrap(), Some(&snapshot)).unwrap();
    log.fork(BranchId::new(1));
    log.remove(FileId::ROOT, "link");
    log.commit(store).unwrap();
    log
}

fn fixture(version: u32) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}.pack"))
}

/// `cargo test -p ize-store --test format -- --ignored` makes the fixture of the present version.
#[test]
#[ignore = "no test: writes the fixture, once for each version of the format"]
fn make_fixture() {
    let dir = tempfile::tempdir().unwrap();
    fill(&Store::create(dir.path(), &StoreOptions::default()).unwrap());
    std::fs::copy(dir.path().join("packs/00000001.pack"), fixture(ize_store::FORMAT_VERSION)).unwrap();
}

#[test]
fn packs_of_every_version_are_read() {
    (1..=ize_store::FORMAT_VERSION).for_each(read_fixture);
}

fn read_fixture(version: u32) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    drop(Store::create(dir.path(), &options).unwrap());
    std::fs::copy(fixture(version), dir.path().join("packs/00000001.pack")).unwrap();
    Store::rebuild_index(dir.path(), &mut |finding| panic!("{finding:?}")).unwrap();
    let store = Store::open(dir.path(), &options).unwrap();
    let model = MemoryStorage::new();
    fill(&model);
    ize_core::conformance::assert_same(&model, &store);
    store.verify(&mut |finding| panic!("{finding:?}")).unwrap();
}

#[test]
fn a_store_of_version_1_becomes_one_of_this_version() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    drop(Store::create(dir.path(), &options).unwrap());
    std::fs::copy(fixture(1), dir.path().join("packs/00000001.pack")).unwrap();
    std::fs::write(dir.path().join("format"), "ize-store\nversion 1\nengine sanakirja\n").unwrap();
    // The index of a version whose tables are others.
    std::fs::remove_file(dir.path().join("index")).unwrap();
    let store = Store::open(dir.path(), &options).unwrap();
    let model = MemoryStorage::new();
    let mut log = fill(&model);
    ize_core::conformance::assert_same(&model, &store);
    log.create_with(FileId::ROOT, "more", b"in a pack of the older version");
    let batch = Batch { ops: log.take(), landmarks: Vec::new() };
    model.commit(&batch).unwrap();
    store.commit(&batch).unwrap();
    drop(store);
    let format = std::fs::read_to_string(dir.path().join("format")).unwrap();
    assert!(format.contains(&format!("version {}\n", ize_store::FORMAT_VERSION)), "{format}");
    let store = Store::open(dir.path(), &options).unwrap();
    ize_core::conformance::assert_same(&model, &store);
    store.verify(&mut |finding| panic!("{finding:?}")).unwrap();
}

/// Whatever mask the process has that makes them.
#[test]
fn packs_and_the_stores_folder_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    let store = Store::create(&dir, &StoreOptions::default()).unwrap();
    fill(&store);
    rustix::process::umask(mask);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let packs: Vec<_> = std::fs::read_dir(dir.join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!packs.is_empty());
    packs.iter().for_each(|pack| assert_eq!(mode(pack), 0o600, "{}", pack.display()));
}
