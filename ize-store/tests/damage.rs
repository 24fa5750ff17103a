//! Damage to stored content, flipped bits or sectors that cannot be read: what is written afterwards is kept, and an index that is made anew says the same.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::ops::Range;

use ize_core::conformance::LogBuilder;
use ize_core::disk::simulation::make_unreadable;
use ize_core::model::{FileId, OpId, View};
use ize_core::storage::{Batch, FileSystemStorage, Severity, StorageError};
use ize_store::{Store, StoreOptions};
use tempfile::TempDir;

const CELL: usize = 64 * 1024;
const PAGE: u64 = 4096;
const PACK_HEADER: usize = 16;
const RECORD_HEADER: usize = 16;

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), &StoreOptions::default()).unwrap()
}

fn commit(store: &Store, log: &mut LogBuilder) {
    store.commit(&Batch { ops: log.take(), landmarks: Vec::new() }).unwrap();
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Its last bit is another; or, the second time, what it was.
    Flipped,
    /// The disk cannot read the pages in it.
    Unreadable,
}

/// Damages one of the records that hold content, which are in the order in which they were stored.
fn damage_chunk(dir: &TempDir, how: Damage, pick: impl FnOnce(&[Range<usize>]) -> usize) {
    let path = dir.path().join("packs/00000001.pack");
    let mut pack = std::fs::read(&path).unwrap();
    let (mut chunks, mut at) = (Vec::new(), PACK_HEADER);
    while at < pack.len() {
        let len = u32::from_be_bytes(pack[at + 8..at + 12].try_into().unwrap());
        let end = at + RECORD_HEADER + usize::try_from(len).unwrap();
        if matches!(pack[at + 4], 1 | 2 | 5) {
            chunks.push(at..end);
        }
        at = end;
    }
    let chunk = chunks[pick(&chunks)].clone();
    match how {
        Damage::Flipped => {
            pack[chunk.end - 1] ^= 1;
            std::fs::write(&path, pack).unwrap();
        }
        Damage::Unreadable => {
            let pages = (chunk.start as u64).next_multiple_of(PAGE)..chunk.end as u64 / PAGE * PAGE;
            assert!(!pages.is_empty());
            make_unreadable(&path, pages).unwrap();
        }
    }
}

/// Returns a store with a file that is one chunk, which cannot be compressed and is damaged then.
fn with_damaged_file(dir: &TempDir, how: Damage) -> (Store, LogBuilder, FileId, Vec<u8>) {
    let store = Store::create(dir.path(), &StoreOptions::default()).unwrap();
    let (mut log, mut rng) = (LogBuilder::new(), fastrand::Rng::with_seed(1));
    let content: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(CELL).collect();
    let file = log.create_with(FileId::ROOT, "a", &content);
    commit(&store, &mut log);
    drop(store);
    damage_chunk(dir, how, |_| 0);
    (open(dir), log, file, content)
}

/// Returns what every 16 bytes of a file are; `None` where they are damaged.
fn parts(store: &Store, log: &LogBuilder, file: FileId, bytes: usize) -> Vec<Option<[u8; 16]>> {
    parts_at(store, log.head(), file, bytes)
}

fn parts_at(store: &Store, at: OpId, file: FileId, bytes: usize) -> Vec<Option<[u8; 16]>> {
    let view = View::main(at);
    let read = |at: usize| {
        let mut part = [0; 16];
        match store.read(view, file, at as u64, &mut part) {
            Ok(_) => Some(part),
            Err(StorageError::Corrupt(_)) => None,
            Err(error) => panic!("{error}"),
        }
    };
    (0..bytes).step_by(16).map(read).collect()
}

/// The damage is found, and an index that is made anew answers the same.
fn check_index(dir: &TempDir, store: Store, log: &LogBuilder, file: FileId, bytes: usize) {
    let (before, mut lost) = (parts(&store, log, file, bytes), 0);
    store.verify(&mut |finding| lost += usize::from(finding.severity == Severity::Lost)).unwrap();
    assert!(lost > 0);
    drop(store);
    Store::rebuild_index(dir.path(), &mut |_| {}).unwrap();
    let store = open(dir);
    assert!(parts(&store, log, file, bytes) == before);
    // Now it knows what is lost.
    store.verify(&mut |finding| assert_eq!(finding.severity, Severity::Lost, "{}", finding.what)).unwrap();
}

/// Many pieces are merged into one, which reads them.
fn small_writes_go_on(how: Damage) {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut log, file, old) = with_damaged_file(&dir, how);
    for at in (0..CELL).step_by(64) {
        log.write(file, at as u64, &[7; 16]);
        if at % 4096 == 0 {
            commit(&store, &mut log);
        }
    }
    commit(&store, &mut log);
    for (number, part) in parts(&store, &log, file, CELL).into_iter().enumerate() {
        assert_eq!(part, (number % 4 == 0).then_some([7; 16]), "{number}");
    }
    // What is written over all of it ends the damage.
    check_index(&dir, store, &log, file, CELL);
    let store = open(&dir);
    log.write(file, 0, &old);
    commit(&store, &mut log);
    assert!(parts(&store, &log, file, CELL).iter().flatten().flatten().eq(&old));
    check_index(&dir, store, &log, file, CELL);
}

#[test]
fn small_writes_between_damaged_content_go_on() {
    small_writes_go_on(Damage::Flipped);
}

#[test]
fn small_writes_between_content_that_the_disk_cannot_read_go_on() {
    small_writes_go_on(Damage::Unreadable);
}

/// Pieces with holes between them are a chunk of their own.
#[test]
fn writes_to_a_cell_whose_list_of_pieces_is_damaged_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), &StoreOptions::default()).unwrap();
    let mut log = LogBuilder::new();
    let file = log.create_with(FileId::ROOT, "a", b"");
    for at in (0..48 * 1024).step_by(1024) {
        log.write(file, at as u64, &[3; 16]);
    }
    commit(&store, &mut log);
    let (whole, before) = (parts(&store, &log, file, CELL), log.head());
    drop(store);
    let mut damaged = 0;
    damage_chunk(&dir, Damage::Flipped, |chunks| {
        damaged = chunks.len() - 1;
        damaged
    });
    let store = open(&dir);
    assert!(parts(&store, &log, file, CELL)[..16].iter().all(Option::is_none));
    log.write(file, 32, &[5; 16]);
    log.truncate(file, CELL as u64);
    commit(&store, &mut log);
    let end = 47 * 64 + 1;
    for (number, part) in parts(&store, &log, file, CELL).into_iter().enumerate() {
        let expected = match number {
            2 => Some([5; 16]),
            // Behind where content ended nothing can be lost.
            number if number >= end => Some([0; 16]),
            _ => None,
        };
        assert_eq!(part, expected, "{number}");
    }
    assert!(whole[end - 1] == Some([3; 16]));
    let after = parts(&store, &log, file, CELL);
    check_index(&dir, store, &log, file, CELL);
    // Whoever has a copy of what was damaged gets back what was there then; what was made of it afterwards stays.
    damage_chunk(&dir, Damage::Flipped, |_| damaged);
    Store::rebuild_index(dir.path(), &mut |finding| panic!("{finding:?}")).unwrap();
    let store = open(&dir);
    assert!(parts_at(&store, before, file, CELL) == whole);
    assert!(parts(&store, &log, file, CELL) == after);
}

/// Content is stored once, but not if what is stored of it cannot be read any more.
#[test]
fn damaged_content_that_comes_again_is_stored_again() {
    for how in [Damage::Flipped, Damage::Unreadable] {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut log, first, content) = with_damaged_file(&dir, how);
        let second = log.create_with(FileId::ROOT, "b", &content);
        commit(&store, &mut log);
        let is_there = |store: &Store, file| parts(store, &log, file, CELL).iter().flatten().flatten().eq(&content);
        assert!(!is_there(&store, first) && is_there(&store, second), "{how:?}");
        check_index(&dir, store, &log, second, CELL);
    }
}
