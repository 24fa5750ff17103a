//! Holes: they read as zeros, and stay holes where the backend can hold them.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, OpId, View};
use crate::storage::Extent;

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// Asserts which ranges hold data, unless the backend turns holes into zeros.
#[track_caller]
fn assert_extents(fixture: &dyn Fixture, view: View, file: FileId, expected: &[(u64, u64)]) {
    if ok(fixture.store().info()).capabilities.holes {
        let expected: Vec<Extent> =
            expected.iter().map(|(offset, len)| Extent { offset: *offset, len: *len }).collect();
        assert_eq!(Probe::new(fixture.store()).extents(view, file), expected);
    }
}

/// A write behind the end leaves a hole in between.
pub fn writes_behind_the_end_leave_holes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.write(file, 0, b"begin");
    log.write(file, 500_000, b"end");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let content = store.content(LATEST, file);
    assert_eq!(content.len(), 500_003);
    assert!(content[5..500_000].iter().all(|byte| *byte == 0));
    assert_extents(fixture, LATEST, file, &[(0, 5), (500_000, 3)]);
}

/// Growing a file makes a hole; shrinking cuts data.
pub fn truncation_makes_and_cuts_holes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.write(file, 0, &[7; 10_000]);
    let grown = View::main(log.truncate(file, 1_000_000));
    let cut = View::main(log.truncate(file, 5_000));
    ok(log.commit(fixture.store()));
    assert_extents(fixture, grown, file, &[(0, 10_000)]);
    assert_extents(fixture, cut, file, &[(0, 5_000)]);
    assert_eq!(Probe::new(fixture.store()).content(cut, file), [7; 5_000]);
}

/// Punched and zeroed ranges read as zeros and are holes; before, they were data.
pub fn punched_ranges_are_holes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let full = View::main(log.write(file, 0, &[9; 300_000]));
    let punched = View::main(log.punch(file, 1_000, 200_000));
    let zeroed = View::main(log.zero(file, 299_000, 2_000));
    let refilled = View::main(log.write(file, 100_000, &[8; 10]));
    log.punch(file, 0, u64::from(u32::MAX));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_extents(fixture, full, file, &[(0, 300_000)]);
    assert_extents(fixture, punched, file, &[(0, 1_000), (201_000, 99_000)]);
    assert_extents(fixture, zeroed, file, &[(0, 1_000), (201_000, 98_000)]);
    assert_extents(fixture, refilled, file, &[(0, 1_000), (100_000, 10), (201_000, 98_000)]);
    assert_extents(fixture, LATEST, file, &[]);
    let mut expected = vec![9; 300_000];
    expected[1_000..201_000].fill(0);
    assert!(store.content(punched, file) == expected, "what was punched out is zeros");
    assert!(store.content(LATEST, file) == vec![0; 301_000], "all of it is zeros");
}

/// Written zeros are data, not holes.
pub fn written_zeros_are_data(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.truncate(file, 400_000);
    log.write(file, 70_000, &[0; 140_000]);
    ok(log.commit(fixture.store()));
    assert_extents(fixture, LATEST, file, &[(70_000, 140_000)]);
}

/// Copying a range copies its holes.
pub fn copies_keep_holes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (source, target) = (log.create(ROOT, "source"), log.create(ROOT, "target"));
    log.write(source, 0, &[1; 1_000]);
    log.write(source, 200_000, &[2; 1_000]);
    log.write(target, 0, &[3; 300_000]);
    log.copy((source, 500), (target, 1_000), 200_000);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let mut expected = vec![3; 300_000];
    expected[1_000..201_000].fill(0);
    expected[1_000..1_500].fill(1);
    expected[200_500..201_000].fill(2);
    assert!(store.content(LATEST, target) == expected, "a copy over data, holes included");
    assert_extents(fixture, LATEST, target, &[(0, 1_500), (200_500, 99_500)]);
}

/// Extents can be asked from anywhere: the first is cut to where the question begins.
pub fn extents_begin_where_asked(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.write(file, 1_000, &[1; 1_000]);
    log.write(file, 300_000, &[1; 1_000]);
    ok(log.commit(fixture.store()));
    let store = fixture.store();
    let first = |from| ok(store.extents(LATEST, file, from, 1)).first().copied();
    if ok(store.info()).capabilities.holes {
        assert_eq!(first(0), Some(Extent { offset: 1_000, len: 1_000 }));
        assert_eq!(first(2_000).map(|extent| extent.offset), Some(300_000));
    }
    assert_eq!(first(1_999).map(|extent| extent.offset), Some(1_999));
    assert_eq!(first(300_999), Some(Extent { offset: 300_999, len: 1 }));
    assert_eq!(first(301_000), None);
    assert_eq!(first(u64::MAX), None);
}
