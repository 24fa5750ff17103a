//! What is left after a crash, after damage, and without an index.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};

use ize_core::conformance::{LogBuilder, Workload, assert_same};
use ize_core::model::{BranchId, FileId, OpId, View};
use ize_core::storage::{Batch, FileSystemStorage, Finding, MemoryStorage, RefName, RefTarget, Severity, StorageError};
use ize_store::{Engine, Store, StoreOptions};
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.join("packs")).unwrap();
    for folder in ["", "packs"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

fn each_engine(check: impl Fn(&StoreOptions)) {
    for engine in Engine::ALL {
        check(&StoreOptions::default().engine(*engine));
    }
}

/// A store and the model of what it should hold, filled with the same operations.
struct Pair {
    dir: TempDir,
    store: Option<Store>,
    model: MemoryStorage,
    workload: Workload,
}

impl Pair {
    fn new(seed: u64, options: &StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Store::create(dir.path().join("store"), options).unwrap());
        Self { dir, store, model: MemoryStorage::new(), workload: Workload::new(seed) }
    }

    fn filled(seed: u64, options: &StoreOptions) -> Self {
        let mut pair = Self::new(seed, options);
        (0..6).for_each(|_| pair.commit(12));
        let name = RefName::new("before-lunch").unwrap();
        let target = RefTarget::Snapshot { view: View::main(OpId::new(5)), created: Default::default() };
        pair.store().set_ref(&name, Some(&target)).unwrap();
        pair.model.set_ref(&name, Some(&target)).unwrap();
        pair
    }

    fn commit(&mut self, ops: usize) {
        (0..ops).for_each(|_| self.workload.step());
        let batch = Batch { ops: self.workload.log().take(), landmarks: Vec::new() };
        self.model.commit(&batch).unwrap();
        self.store().commit(&batch).unwrap();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn pack(&self) -> PathBuf {
        self.path().join("packs/00000001.pack")
    }

    fn elsewhere(&self) -> PathBuf {
        self.dir.path().join("copy")
    }
}

fn findings(store: &Store) -> Vec<Finding> {
    let mut findings = Vec::new();
    store.verify(&mut |finding| findings.push(finding)).unwrap();
    findings
}

#[test]
fn a_killed_process_leaves_everything_that_was_committed() {
    each_engine(|options| {
        let mut pair = Pair::new(1, options);
        for _ in 0..5 {
            pair.commit(9);
            copy(&pair.path(), &pair.elsewhere());
            let survivor = Store::open(pair.elsewhere(), options).unwrap();
            assert_same(&pair.model, &survivor);
            assert_eq!(findings(&survivor), []);
        }
    });
}

#[test]
fn a_kill_between_the_packs_sync_and_the_index_commit_loses_nothing() {
    each_engine(|options| {
        let mut pair = Pair::filled(2, options);
        copy(&pair.path(), &pair.elsewhere());
        pair.commit(20);
        let name = RefName::new("topic").unwrap();
        let branch =
            RefTarget::Branch { id: BranchId::new(3), parent: BranchId::MAIN, base: pair.model.head().unwrap().op };
        pair.store().set_ref(&name, Some(&branch)).unwrap();
        pair.model.set_ref(&name, Some(&branch)).unwrap();
        std::fs::copy(pair.pack(), pair.elsewhere().join("packs/00000001.pack")).unwrap();
        let survivor = Store::open(pair.elsewhere(), options).unwrap();
        assert_same(&pair.model, &survivor);
        assert_eq!(findings(&survivor), []);
    });
}

#[test]
fn a_commit_torn_at_any_byte_is_there_or_is_not() {
    let options = StoreOptions::default();
    let mut log = LogBuilder::new();
    let dir = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (dir.path().join("store"), dir.path().join("copy"));
    let pack = "packs/00000001.pack";
    let store = Store::create(&path, &options).unwrap();
    let file = log.create(FileId::ROOT, "a.txt");
    log.commit(&store).unwrap();
    let before = store.head().unwrap();
    copy(&path, &elsewhere);
    let start = std::fs::metadata(path.join(pack)).unwrap().len();
    log.write(file, 0, b"the last words");
    log.commit(&store).unwrap();
    let after = store.head().unwrap();
    let whole = std::fs::read(path.join(pack)).unwrap();
    for end in usize::try_from(start).unwrap()..=whole.len() {
        let (torn, base) = (dir.path().join("torn"), &elsewhere);
        copy(base, &torn);
        // A power cut leaves a torn record short, or with zeros where it was not written.
        let mut bytes = whole[..end].to_vec();
        if end % 2 == 1 {
            bytes.resize(whole.len() + 100, 0);
        }
        // Zeros may be just what was missing.
        let is_whole = bytes.starts_with(&whole);
        std::fs::write(torn.join(pack), bytes).unwrap();
        let survivor = Store::open(&torn, &options).unwrap();
        assert_eq!(survivor.head().unwrap(), if is_whole { after } else { before }, "torn at {end}");
        log_goes_on(&survivor, file);
        drop(survivor);
        assert_eq!(findings(&Store::open(&torn, &options).unwrap()), [], "torn at {end}");
    }
}

/// A store that lost its last commit takes it, and the next, again.
fn log_goes_on(store: &Store, file: FileId) {
    let mut log = LogBuilder::new();
    assert_eq!(log.create(FileId::ROOT, "a.txt"), file);
    log.write(file, 0, b"the last words");
    log.write(file, 4, b"first");
    let known = store.head().unwrap().op;
    let ops = log.take().into_iter().filter(|op| op.id > known).collect();
    store.commit(&Batch { ops, landmarks: Vec::new() }).unwrap();
    let mut content = [0; 14];
    assert_eq!(store.read(View::main(OpId::MAX), file, 0, &mut content).unwrap(), 14);
    assert_eq!(&content, b"the firstwords");
}

#[test]
fn an_index_that_is_missing_or_garbage_is_built_anew() {
    each_engine(|options| {
        let mut pair = Pair::filled(3, options);
        pair.store = None;
        let index = pair.path().join("index");
        for garbage in [None, Some(Vec::new()), Some(vec![0; 1 << 20]), Some(vec![0xa5; 9999])] {
            std::fs::remove_file(&index).unwrap();
            if let Some(bytes) = garbage {
                std::fs::write(&index, bytes).unwrap();
            }
            assert!(Store::open(pair.path(), options).is_err());
            let mut lost = Vec::new();
            Store::rebuild_index(pair.path(), &mut |finding| lost.push(finding)).unwrap();
            assert_eq!(lost, []);
            let store = Store::open(pair.path(), options).unwrap();
            assert_same(&pair.model, &store);
            assert_eq!(findings(&store), []);
        }
    });
}

#[test]
fn an_open_store_repairs_its_index_and_goes_on() {
    each_engine(|options| {
        let mut pair = Pair::filled(4, options);
        pair.store().repair(&mut |finding| panic!("{finding:?}")).unwrap();
        assert_same(&pair.model, pair.store());
        pair.commit(10);
        pair.store = None;
        let store = Store::open(pair.path(), options).unwrap();
        assert_same(&pair.model, &store);
        assert_eq!(findings(&store), []);
    });
}

#[test]
fn every_flipped_bit_of_a_pack_is_found() {
    let options = StoreOptions::default();
    let mut pair = Pair::new(5, &options);
    pair.commit(8);
    pair.store = None;
    let whole = std::fs::read(pair.pack()).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(pair.pack(), flipped).unwrap();
        let found = match Store::open(pair.path(), &options) {
            Ok(store) => findings(&store),
            Err(StorageError::NewerFormat { .. } | StorageError::Corrupt(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(found.iter().any(|finding| finding.severity == Severity::Lost), "byte {at}: {found:?}");
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_the_rest_stays_readable() {
    let options = StoreOptions::default().compression(false);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::create(&path, &options).unwrap();
    let mut log = LogBuilder::new();
    let lost = log.create_with(FileId::ROOT, "lost.txt", b"these words will be damaged");
    log.commit(&store).unwrap();
    let kept = log.create_with(FileId::ROOT, "kept.txt", b"these will not");
    log.commit(&store).unwrap();
    drop(store);
    let pack = path.join("packs/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(7).position(|words| words == b"damaged").unwrap();
    bytes[at] = b'D';
    std::fs::write(&pack, bytes).unwrap();

    let store = Store::open(&path, &options).unwrap();
    let read = |file| {
        let mut content = [0; 100];
        store.read(View::latest(BranchId::MAIN), file, 0, &mut content).map(|len| content[..len].to_vec())
    };
    assert!(matches!(read(lost), Err(StorageError::Corrupt(_))));
    assert_eq!(read(kept).unwrap(), b"these will not");
    assert!(findings(&store).iter().any(|finding| finding.severity == Severity::Lost));
    let mut said = Vec::new();
    store.repair(&mut |finding| said.push(finding)).unwrap();
    assert!(said.iter().any(|finding| finding.what.contains("27 bytes of @1")), "{said:?}");
    assert!(matches!(read(lost), Err(StorageError::Corrupt(_))));
    assert_eq!(read(kept).unwrap(), b"these will not");
    assert_eq!(store.head().unwrap().op, OpId::new(2));
    // The same bytes, written again, are there again.
    log.write(lost, 0, b"these words will be damaged");
    log.commit(&store).unwrap();
    assert_eq!(read(lost).unwrap(), b"these words will be damaged");
}

#[test]
fn a_damaged_row_after_a_power_cut_makes_the_index_anew() {
    each_engine(|options| {
        let mut pair = Pair::filled(6, options);
        pair.store = None;
        let index = pair.path().join("index");
        let mut bytes = std::fs::read(&index).unwrap();
        let names: Vec<usize> = (0..bytes.len() - 9).filter(|at| &bytes[*at..*at + 9] == b"notes.txt").collect();
        assert!(!names.is_empty());
        names.into_iter().for_each(|at| bytes[at] = b'N');
        std::fs::write(&index, bytes).unwrap();
        std::fs::write(pair.path().join("session"), "another boot").unwrap();
        let store = Store::open(pair.path(), options).unwrap();
        assert_same(&pair.model, &store);
        assert_eq!(findings(&store), []);
    });
}

#[test]
fn a_store_is_open_once_and_only_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    assert!(matches!(Store::open(dir.path(), &options), Err(StorageError::Invalid(_))));
    let store = Store::create(dir.path(), &options).unwrap();
    assert!(matches!(Store::open(dir.path(), &options), Err(StorageError::Locked)));
    assert!(matches!(Store::create(dir.path(), &options), Err(StorageError::Locked)));
    drop(store);
    assert!(matches!(Store::create(dir.path(), &options), Err(StorageError::Invalid(_))));
    Store::open(dir.path(), &options).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    drop(Store::create(dir.path(), &options).unwrap());
    let newer = ize_store::FORMAT_VERSION + 1;
    std::fs::write(dir.path().join("format"), format!("ize-store\nversion {newer}\nengine sanakirja\n")).unwrap();
    let refused = Store::open(dir.path(), &options);
    assert!(matches!(refused, Err(StorageError::NewerFormat { found, .. }) if found == newer), "{refused:?}");
}
