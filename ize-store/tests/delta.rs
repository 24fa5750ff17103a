//! What is rewritten is stored as its difference to what was there before, and reads as it was.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use ize_core::conformance::{LogBuilder, assert_same};
use ize_core::model::{FileId, OpId, View};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage, StorageError};
use ize_store::{Store, StoreOptions};
use tempfile::TempDir;

const SAVES: usize = 100;

/// Some text that does not compress well, and is a little different in each version.
fn text(version: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut lines: Vec<String> = (0..400).map(|_| format!("{:032x}\n", rng.u128(..))).collect();
    lines[version % 400] = format!("version {version}\n");
    lines.insert(version % 17, format!("one more line in version {version}\n"));
    lines.concat().into_bytes()
}

/// How a program saves.
#[derive(Clone, Copy)]
enum Way {
    /// The file is emptied and written anew.
    InPlace,
    /// It is removed and made again.
    Anew,
    /// Another one is written and renamed over it.
    Safe,
}

fn save(log: &mut LogBuilder, way: Way, file: FileId, content: &[u8]) -> FileId {
    let root = FileId::ROOT;
    match way {
        Way::InPlace => {
            log.truncate(file, 0);
            log.write(file, 0, content);
            file
        }
        Way::Anew => {
            log.remove(root, "a");
            log.create_with(root, "a", content)
        }
        Way::Safe => {
            let new = log.create(root, "a.tmp");
            log.write(new, 0, content);
            log.rename((root, "a.tmp"), (root, "a"));
            new
        }
    }
}

fn bytes_of_packs(dir: &TempDir) -> u64 {
    let packs = std::fs::read_dir(dir.path().join("packs")).unwrap();
    packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
}

/// Flips a bit of the first chunk's content.
fn damage_first_chunk(dir: &TempDir) {
    let path = dir.path().join("packs/00000001.pack");
    let mut pack = std::fs::read(&path).unwrap();
    pack[16 + 16 + 36 + 500] ^= 1;
    std::fs::write(&path, pack).unwrap();
}

/// Returns the store after many saves of one file, and the operation after each.
fn saved(way: Way, dir: &TempDir) -> (Store, MemoryStorage, Vec<(OpId, FileId)>) {
    let (store, model) = (Store::create(dir.path(), &StoreOptions::default()).unwrap(), MemoryStorage::new());
    let mut log = LogBuilder::new();
    let mut file = log.create_with(FileId::ROOT, "a", &text(0));
    let mut moments = Vec::new();
    for version in 1..=SAVES {
        file = save(&mut log, way, file, &text(version));
        moments.push((log.head(), file));
        if version % 3 == 0 || version == SAVES {
            let batch = Batch { ops: log.take(), landmarks: Vec::new() };
            model.commit(&batch).unwrap();
            store.commit(&batch).unwrap();
        }
    }
    (store, model, moments)
}

#[test]
fn many_versions_take_little_more_than_what_is_new_in_them() {
    for way in [Way::InPlace, Way::Anew, Way::Safe] {
        let dir = tempfile::tempdir().unwrap();
        let (store, model, moments) = saved(way, &dir);
        let whole = (SAVES * text(0).len()) as u64;
        assert!(bytes_of_packs(&dir) < whole / 10, "{} of {whole}", bytes_of_packs(&dir));
        for (version, (at, file)) in moments.iter().enumerate() {
            let mut content = vec![0; 64 * 1024];
            let len = store.read(View::main(*at), *file, 0, &mut content).unwrap();
            assert!(content[..len] == text(version + 1), "version {}", version + 1);
        }
        assert_same(&model, &store);
        store.verify(&mut |finding| panic!("{finding:?}")).unwrap();
        drop(store);
        let options = StoreOptions::default();
        Store::rebuild_index(dir.path(), &mut |finding| panic!("{finding:?}")).unwrap();
        assert_same(&model, &Store::open(dir.path(), &options).unwrap());
    }
}

/// A database's page is compared with what that page held, not with another one that was written at one time with it.
#[test]
fn a_page_that_is_rewritten_in_place_is_stored_as_its_difference() {
    const PAGE: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), &StoreOptions::default()).unwrap();
    let (mut log, mut rng) = (LogBuilder::new(), fastrand::Rng::with_seed(1));
    let file = log.create_with(FileId::ROOT, "a", b"");
    let mut pages: Vec<Vec<u8>> = (0..16).map(|_| std::iter::repeat_with(|| rng.u8(..)).take(PAGE).collect()).collect();
    let commit = |log: &mut LogBuilder| store.commit(&Batch { ops: log.take(), landmarks: Vec::new() }).unwrap();
    for (number, page) in (0..).zip(&pages) {
        log.write(file, number * PAGE as u64, page);
    }
    commit(&mut log);
    let before = bytes_of_packs(&dir);
    for version in 1..=5 {
        for (number, page) in (0..).zip(&mut pages) {
            page[7 * version] ^= 1;
            log.write(file, number * PAGE as u64, page);
        }
        commit(&mut log);
    }
    let each = (bytes_of_packs(&dir) - before) / (5 * 16);
    assert!(each < 200, "{each} bytes for each page");
    let mut content = vec![0; 16 * PAGE];
    store.read(View::main(log.head()), file, 0, &mut content).unwrap();
    assert!(content == pages.concat());
}

#[test]
fn damage_to_one_version_is_found_in_those_that_are_made_of_it_and_ends_at_the_next_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, moments) = saved(Way::InPlace, &dir);
    drop(store);
    damage_first_chunk(&dir);
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    let read = |(at, file): (OpId, FileId)| store.read(View::main(at), file, 0, &mut vec![0; 64 * 1024]);
    let damaged = moments.iter().filter(|moment| matches!(read(**moment), Err(StorageError::Corrupt(_)))).count();
    assert!((1..=32).contains(&damaged), "{damaged}");
    assert!(moments[damaged..].iter().all(|moment| read(*moment).is_ok()));
    let mut lost = 0;
    store.verify(&mut |_| lost += 1).unwrap();
    assert!(lost > 0);
}

#[test]
fn what_comes_after_damage_is_stored_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), &StoreOptions::default()).unwrap();
    let mut log = LogBuilder::new();
    let file = log.create_with(FileId::ROOT, "a", &text(0));
    store.commit(&Batch { ops: log.take(), landmarks: Vec::new() }).unwrap();
    drop(store);
    damage_first_chunk(&dir);
    let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
    let file = save(&mut log, Way::InPlace, file, &text(1));
    store.commit(&Batch { ops: log.take(), landmarks: Vec::new() }).unwrap();
    let mut content = vec![0; 64 * 1024];
    let len = store.read(View::main(log.head()), file, 0, &mut content).unwrap();
    assert!(content[..len] == text(1));
}
