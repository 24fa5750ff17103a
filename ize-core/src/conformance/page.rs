//! Paging: answers come in pieces of the asked size, complete and without repetition.

use std::collections::BTreeSet;

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, OpCode, OpId, View};
use crate::storage::{Direction, OpQuery};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// A folder is listed completely whatever the page size, also one in which names came and went.
pub fn folders_are_listed_in_pages(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let mut expected = BTreeSet::new();
    for at in 0..157 {
        log.create(ROOT, format!("file-{at}"));
        expected.insert(format!("file-{at}"));
    }
    let full = View::main(log.head());
    for at in (0..157).step_by(3) {
        log.remove(ROOT, format!("file-{at}"));
    }
    ok(log.commit(fixture.store()));
    for page in [1, 2, 7, 52, 156, 157, 158, 1_000] {
        let store = Probe { store: fixture.store(), page };
        assert_eq!(store.names_in(full, ROOT).into_iter().collect::<BTreeSet<_>>(), expected, "pages of {page}");
        assert_eq!(store.list(LATEST, ROOT).len(), 104, "pages of {page}");
    }
    assert!(ok(fixture.store().entries(LATEST, ROOT, None, 0)).is_empty());
}

/// A listing of a past view goes on undisturbed while the present changes.
pub fn a_listing_goes_on_while_the_present_changes(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    for at in 0..50 {
        log.create(ROOT, format!("file-{at}"));
    }
    ok(log.commit(fixture.store()));
    let view = View::main(log.head());
    let mut after = None;
    let mut found = BTreeSet::new();
    for at in 0..50 {
        let page = ok(fixture.store().entries(view, ROOT, after.as_ref(), 1));
        let entry = page.into_iter().next().expect("there is another entry");
        found.insert(entry.name.clone());
        after = Some(entry.name);
        log.remove(ROOT, format!("file-{at}"));
        ok(log.commit(fixture.store()));
    }
    assert_eq!(found.len(), 50);
}

/// The log comes in pages, forwards and backwards, of everything and of one file.
pub fn the_log_comes_in_pages(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let files = [log.create(ROOT, "a"), log.create(ROOT, "b")];
    for step in 0..120usize {
        log.write(files[usize::from(step % 3 == 0)], 0, &step.to_be_bytes());
    }
    ok(log.commit(fixture.store()));
    for direction in [Direction::OldestFirst, Direction::NewestFirst] {
        for file in [None, Some(files[0]), Some(files[1])] {
            let query = OpQuery { direction, file, ..OpQuery::all(LATEST) };
            let whole = ids(&ok(fixture.store().ops(&query)));
            assert_eq!(whole.len(), if file.is_none() { 122 } else { if file == Some(files[0]) { 81 } else { 41 } });
            for page in [1, 3, 41, 122] {
                let paged = ids(&Probe { store: fixture.store(), page }.ops(&query));
                assert_eq!(paged, whole, "pages of {page}");
            }
        }
    }
    assert!(ok(fixture.store().ops(&OpQuery { max: 0, ..OpQuery::all(LATEST) })).is_empty());
}

/// A file's extents come in pages.
pub fn extents_come_in_pages(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    for at in 0..60 {
        log.write(file, at * 100_000, b"island");
    }
    ok(log.commit(fixture.store()));
    let whole = Probe { store: fixture.store(), page: 1_000 }.extents(LATEST, file);
    if ok(fixture.store().info()).capabilities.holes {
        assert_eq!(whole.len(), 60);
    }
    for page in [1, 7, 59, 60] {
        assert_eq!(Probe { store: fixture.store(), page }.extents(LATEST, file), whole, "pages of {page}");
    }
    assert!(ok(fixture.store().extents(LATEST, file, 0, 0)).is_empty());
}

fn ids(ops: &[OpCode]) -> Vec<OpId> {
    ops.iter().map(|op| op.last_id).collect()
}
