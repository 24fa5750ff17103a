//! What the repository holds, seen with Pijul's library as anybody else would see it.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use ize_core::conformance::{LogBuilder, Workload};
use ize_core::model::{BranchId, FileId, FileKind, Landmark};
use ize_core::storage::{FileSystemStorage, RefName, RefTarget, StorageError};
use ize_vcs::PijulOptions;
use libpijul::change::Change;
use libpijul::working_copy::WorkingCopyRead;
use support::{Foreign, create, findings, open};
use tempfile::TempDir;

const ROOT: FileId = FileId::ROOT;

fn options() -> PijulOptions {
    PijulOptions::default().author("Ada Lovelace", Some("ada@example.org".to_owned()))
}

fn per_op() -> PijulOptions {
    options().change_per_op(true)
}

/// Reads a change's file.
fn change(dir: &TempDir, hash: &str) -> Change {
    let path = dir.path().join(".pijul/changes").join(&hash[..2]).join(format!("{}.change", &hash[2..]));
    Change::deserialize(path.to_str().unwrap(), None).unwrap()
}

#[test]
fn everything_that_pijul_can_hold_is_in_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &per_op());
    let mut log = LogBuilder::new();
    let src = log.make_dir(ROOT, "src");
    log.make_dir(src, "empty");
    let main = log.create_with(src, "main.rs", b"fn main() {}\n");
    let binary = log.create_with(ROOT, "logo.png", b"\x89PNG\0\xff\xfe");
    log.create_with(ROOT, b"caf\xe9", b"latin");
    let script = log.create_with(ROOT, "run", b"#!/bin/sh\n");
    log.chmod(script, 0o755);
    log.write(main, 11, b"\n    println!();\n}\n");
    log.write(binary, 3, b"\0\0\0");
    let doc = log.make_dir(ROOT, "doc");
    log.rename((src, "main.rs"), (doc, "main.txt"));
    log.rename((ROOT, "doc"), (ROOT, "documents"));
    log.create_with(doc, "main.txt~", b"saved anew\n");
    log.rename((doc, "main.txt~"), (doc, "main.txt"));
    log.create_with(ROOT, "gone", b"x");
    log.remove(ROOT, "gone");
    log.symlink(ROOT, "link", b"run");
    log.special(ROOT, "pipe", FileKind::Fifo, 0);
    log.create_with(ROOT, "first name", b"twice");
    let linked = log.create_with(ROOT, "one", b"1");
    log.hardlink(linked, ROOT, "other");
    log.write(linked, 0, b"2");
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    drop(storage);
    let seen = Foreign::checkout(dir.path());
    assert_eq!(seen.read("documents/main.txt").unwrap(), b"saved anew\n");
    assert_eq!(seen.read("logo.png").unwrap(), b"\x89PN\0\0\0\xfe");
    assert_eq!(seen.read("%ize%caf%e9").unwrap(), b"latin");
    assert_eq!((seen.read("one").unwrap(), seen.read("other").unwrap()), (b"2".to_vec(), b"2".to_vec()));
    let metadata = |path: &str| seen.files.file_metadata(path).unwrap();
    assert_eq!((metadata("run").permissions() & 0o100, metadata("one").permissions() & 0o100), (0o100, 0));
    assert!(metadata("src/empty").is_dir());
    for missing in ["gone", "link", "pipe", "documents/main.txt~", "src/main.rs", "doc"] {
        assert!(seen.files.file_metadata(missing).is_err(), "{missing}");
    }
}

#[test]
fn what_pijul_cannot_hold_is_in_the_index_alone_and_comes_back_to_the_repository_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &per_op());
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "disk.img", b"begin");
    log.commit(&storage).unwrap();
    let before = storage.native_id(log.head()).unwrap();
    assert!(before.is_some());
    log.truncate(file, 40 << 20);
    log.truncate(file, 70 << 20);
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    storage.suspend().unwrap();
    assert_eq!(Foreign::checkout(dir.path()).read("disk.img"), None);
    storage.resume().unwrap();
    log.truncate(file, 3);
    log.commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
    drop(storage);
    assert_eq!(Foreign::checkout(dir.path()).read("disk.img").unwrap(), b"beg");
}

#[test]
fn changes_say_what_happened_when_and_by_whom_and_operations_are_found_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &options());
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a.txt");
    let first = log.write(file, 0, b"one\n");
    log.mark(Landmark::Close);
    let second = log.write(file, 4, b"two\n");
    log.mark(Landmark::Close);
    let touched = log.chmod(file, 0o600);
    let time = log.last_mut().timestamp;
    log.commit(&storage).unwrap();
    let id = |op| storage.native_id(op).unwrap();
    let (one, two) = (id(first).unwrap(), id(second).unwrap());
    assert_eq!((id(first.prev()), id(touched)), (Some(one.clone()), None));
    let header = change(&dir, &two).hashed.header.clone();
    assert_eq!(header.message, "Write { offset: 4, size: 4 }: a.txt");
    assert_eq!(header.authors[0].0["name"], "Ada Lovelace");
    assert!(header.timestamp.as_nanosecond() < time.as_nanos());
    let header = change(&dir, &one).hashed.header.clone();
    assert_eq!(header.message, "Create { mode: 0o644 }: a.txt");
    assert_eq!(header.description.unwrap().lines().count(), 2);
    assert_eq!(storage.find_native_id(&two[..9].to_lowercase(), 5).unwrap(), [(two.clone(), second)]);
    assert_eq!(storage.find_native_id("", 9).unwrap().len(), 2);
    drop(storage);
    let storage = open(dir.path(), &options());
    assert_eq!(storage.native_id(second).unwrap(), Some(two));
}

#[test]
fn a_ledger_that_was_lost_comes_back_from_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &per_op());
    let mut work = Workload::new(5);
    (0..60).for_each(|_| work.step());
    work.log().commit(&storage).unwrap();
    let head = storage.head().unwrap().op;
    let ids = |storage: &dyn FileSystemStorage| -> Vec<Option<String>> {
        (1..=head.get()).map(|op| storage.native_id(ize_core::model::OpId::new(op)).unwrap()).collect()
    };
    let known = ids(&storage);
    drop(storage);
    std::fs::remove_file(dir.path().join(".pijul/ize/ledger")).unwrap();
    let storage = open(dir.path(), &per_op());
    assert_eq!(ids(&storage), known);
    (0..20).for_each(|_| work.step());
    work.log().commit(&storage).unwrap();
    assert_eq!(findings(&storage), []);
}

#[test]
fn branches_are_channels() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &options());
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"common\n");
    log.mark(Landmark::Close);
    let base = log.write(file, 7, b"base\n");
    log.write(file, 12, b"main\n");
    log.mark(Landmark::Close);
    log.commit(&storage).unwrap();
    let (id, name) = (BranchId::new(3), RefName::new("idea").unwrap());
    let parent = BranchId::MAIN;
    storage.set_ref(&name, Some(&RefTarget::Branch { id, parent, base })).unwrap();
    assert_eq!(findings(&storage).len(), 1, "what lies between the landmark and the base comes with the first change");
    log.commit(&storage).unwrap();
    drop(storage);
    let storage = open(dir.path(), &options());
    assert!(storage.info().unwrap().capabilities.branches);
    storage.suspend().unwrap();
    let seen = Foreign::checkout(dir.path());
    assert_eq!(seen.read("a").unwrap(), b"common\nbase\nmain\n");
}

#[test]
fn nobody_else_opens_it_and_while_it_is_suspended_commits_are_refused_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let storage = create(dir.path(), &options());
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"1");
    log.commit(&storage).unwrap();
    let other = std::sync::Arc::new(ize_core::storage::MemoryStorage::new());
    let again = ize_vcs::PijulStorage::open(dir.path(), other, &options());
    assert!(matches!(again, Err(StorageError::Locked)));
    storage.suspend().unwrap();
    log.write(file, 0, b"2");
    let ops = log.take();
    let batch = ize_core::storage::Batch { ops, landmarks: Vec::new() };
    assert!(matches!(storage.commit(&batch), Err(StorageError::Suspended)));
    assert_eq!(storage.head().unwrap().op.get(), 1);
    assert!(storage.native_id(storage.head().unwrap().op).unwrap().is_some());
    storage.resume().unwrap();
    storage.resume().unwrap();
    storage.commit(&batch).unwrap();
    assert_eq!(findings(&storage), []);
}
