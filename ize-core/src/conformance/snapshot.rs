//! Snapshots: moments that have a name.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{BranchId, FileId, OpId, Timestamp, View};
use crate::storage::{FileSystemStorageExt, Ref, RefName, RefTarget, StorageError};

const ROOT: FileId = FileId::ROOT;
const NOON: Timestamp = Timestamp::from_secs_nanos(1_717_408_800, 1);

fn name(name: &str) -> RefName {
    RefName::new(name).expect("a valid name")
}

/// A snapshot names its moment for good: later operations do not change what it shows, reopening does not lose it.
pub fn a_snapshot_stays_as_it_was(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"kept");
    ok(log.commit(fixture.store()));
    let view = ok(fixture.store().create_snapshot(&name("before-rewrite"), View::latest(BranchId::MAIN), NOON));
    assert_eq!(view, View::main(log.head()));
    log.write(file, 0, b"lost");
    log.remove(ROOT, "a");
    ok(log.commit(fixture.store()));
    fixture.reopen();
    let target = RefTarget::Snapshot { view, created: NOON };
    assert_eq!(ok(fixture.store().refs()), [Ref { name: name("before-rewrite"), target }]);
    assert_eq!(Probe::new(fixture.store()).content(view, file), b"kept");
}

/// Names come ordered; they can be set anew and removed; removing one that is not there does nothing.
pub fn names_come_ordered_and_go(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    log.create(ROOT, "a");
    ok(log.commit(fixture.store()));
    let store = fixture.store();
    let at = |at| RefTarget::Snapshot { view: View::main(OpId::new(at)), created: NOON };
    let long = "x".repeat(RefName::BYTES_MAX);
    for text in ["b", "a", "\u{e4}/\u{1f980}", &long] {
        ok(store.set_ref(&name(text), Some(&at(1))));
    }
    ok(store.set_ref(&name("a"), Some(&at(0))));
    let refs = |store: &dyn crate::storage::FileSystemStorage| {
        ok(store.refs()).into_iter().map(|known| (known.name.to_string(), known.target)).collect::<Vec<_>>()
    };
    let expected = [("a", 0), ("b", 1), (&long, 1), ("\u{e4}/\u{1f980}", 1)];
    assert_eq!(refs(store), expected.map(|(name, op)| (name.to_owned(), at(op))));
    for text in ["b", "\u{e4}/\u{1f980}", "never"] {
        ok(store.set_ref(&name(text), None));
    }
    fixture.reopen();
    assert_eq!(refs(fixture.store()), [("a", 0), (&long, 1)].map(|(name, op)| (name.to_owned(), at(op))));
}

/// A snapshot of a branch that does not exist, or of a moment that has not come, is refused.
pub fn a_snapshot_of_nowhere_is_refused(fixture: &mut dyn Fixture) {
    let store = fixture.store();
    let nowhere = RefTarget::Snapshot { view: View::new(BranchId::new(9), OpId::ZERO), created: NOON };
    assert!(matches!(store.set_ref(&name("x"), Some(&nowhere)), Err(StorageError::UnknownBranch(_))));
    let not_yet = RefTarget::Snapshot { view: View::main(OpId::new(1)), created: NOON };
    assert!(matches!(store.set_ref(&name("x"), Some(&not_yet)), Err(StorageError::Invalid(_))));
    assert!(ok(store.refs()).is_empty());
}

/// A name that is in use is not given to another snapshot by accident.
pub fn a_name_in_use_is_not_taken_over(fixture: &mut dyn Fixture) {
    let store = fixture.store();
    ok(store.create_snapshot(&name("x"), View::main(OpId::ZERO), NOON));
    let again = store.create_snapshot(&name("x"), View::main(OpId::ZERO), NOON);
    assert!(matches!(again, Err(StorageError::Invalid(_))), "{again:?}");
}
