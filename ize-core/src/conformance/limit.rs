//! Limits: long names, deep paths, large folders, huge sparse files.

use std::time::{Duration, Instant};

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, Name, OpId, View};
use crate::storage::Extent;

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);
const TEBIBYTE: u64 = 1 << 40;

/// Names of 255 bytes that differ in the last one only, and names with every byte that is allowed.
pub fn names_can_be_255_arbitrary_bytes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let mut expected = Vec::new();
    for last in (1..=255u8).filter(|byte| *byte != b'/') {
        let mut name = vec![b'x'; 254];
        name.push(last);
        expected.push((log.create(ROOT, &name), name));
        expected.push((
            log.create(ROOT, [last, last ^ 0x80, last].map(|b| if matches!(b, 0 | b'/') { b'_' } else { b })),
            vec![],
        ));
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.list(LATEST, ROOT).len(), expected.len());
    for (file, name) in expected.into_iter().filter(|(_, name)| !name.is_empty()) {
        let name = Name::new(name).expect("a valid name");
        assert_eq!(ok(store.store.entry(LATEST, ROOT, &name)), Some(file));
    }
}

/// A path of 64 folders, each with a name of 255 bytes, and back from the file to the path.
pub fn paths_can_be_64_deep(fixture: &mut dyn Fixture) {
    use crate::storage::FileSystemStorageExt;

    let mut log = LogBuilder::new();
    let name = "d".repeat(255);
    let mut dir = ROOT;
    for _ in 0..64 {
        dir = log.make_dir(dir, &name);
    }
    let file = log.create_with(dir, "leaf", b"deep");
    ok(log.commit(fixture.store()));
    let path = format!("{}leaf", format!("{name}/").repeat(64));
    let store = Probe::new(fixture.store());
    assert_eq!(store.resolve(LATEST, &path), Some(file));
    let found = ok(store.store.path_of(LATEST, file)).expect("the file has a path");
    assert_eq!(found.to_string(), path);
}

/// A folder of 100,000 entries: found one by one, listed in pages, and as it was when it was smaller.
pub fn folders_can_hold_100_000_entries(fixture: &mut dyn Fixture) {
    const ENTRIES: usize = 100_000;
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "large");
    let mut half = View::main(OpId::ZERO);
    for at in 0..ENTRIES {
        log.create(dir, format!("entry-{at:06}"));
        if at + 1 == ENTRIES / 2 {
            half = View::main(log.head());
        }
        if (at + 1) % 5_000 == 0 {
            ok(log.commit(fixture.store()));
        }
    }
    ok(log.commit(fixture.store()));
    let store = Probe { store: fixture.store(), page: 1_000 };
    assert_eq!(store.list(LATEST, dir).len(), ENTRIES);
    assert_eq!(store.list(half, dir).len(), ENTRIES / 2);
    for at in (0..ENTRIES).step_by(9_973) {
        assert!(store.entry(LATEST, dir, &format!("entry-{at:06}")).is_some());
        assert_eq!(store.entry(half, dir, &format!("entry-{at:06}")).is_some(), at < ENTRIES / 2);
    }
}

/// A sparse file of 1 TiB costs what was written to it: everything about it is done within seconds.
pub fn a_sparse_tebibyte_costs_nothing(fixture: &mut dyn Fixture) {
    let begun = Instant::now();
    let mut log = LogBuilder::new();
    let (file, copy) = (log.create(ROOT, "disk.img"), log.create(ROOT, "copy.img"));
    log.truncate(file, TEBIBYTE);
    log.write(file, TEBIBYTE / 2, b"middle");
    let full = View::main(log.write(file, TEBIBYTE - 3, b"end"));
    log.copy((file, 0), (copy, 0), TEBIBYTE);
    log.punch(file, 1, TEBIBYTE - 2);
    log.zero(copy, TEBIBYTE / 2 + 3, TEBIBYTE / 4);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (view, file) in [(full, file), (LATEST, copy)] {
        assert_eq!(store.node(view, file).map(|node| node.size), Some(TEBIBYTE));
        assert_eq!(store.part(view, file, TEBIBYTE - 5, 100), b"\0\0end");
    }
    assert_eq!(store.part(full, file, TEBIBYTE / 2 - 1, 8), b"\0middle\0");
    assert_eq!(store.part(LATEST, copy, TEBIBYTE / 2 - 1, 8), b"\0mid\0\0\0\0");
    assert_eq!(store.part(LATEST, file, TEBIBYTE - 5, 100), b"\0\0\0\0d");
    if ok(fixture.store().info()).capabilities.holes {
        let extent = |offset, len| Extent { offset, len };
        assert_eq!(store.extents(full, file), [extent(TEBIBYTE / 2, 6), extent(TEBIBYTE - 3, 3)]);
        assert_eq!(store.extents(LATEST, copy), [extent(TEBIBYTE / 2, 3), extent(TEBIBYTE - 3, 3)]);
        assert_eq!(store.extents(LATEST, file), [extent(TEBIBYTE - 1, 1)]);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "a sparse file must not be written out");
}
