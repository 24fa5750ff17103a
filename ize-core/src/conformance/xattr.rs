//! Extended attributes.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, OpId, View};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// Attributes are set, replaced and removed; each version stays readable.
pub fn every_version_of_a_value_stays(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let without = log.head();
    let first = log.set_xattr(file, "user.note", b"first");
    let second = log.set_xattr(file, "user.note", b"second");
    let removed = log.remove_xattr(file, "user.note");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let value = |at| store.xattr(View::main(at), file, "user.note");
    assert_eq!(value(without), None);
    assert_eq!(value(first).as_deref(), Some(&b"first"[..]));
    assert_eq!(value(second).as_deref(), Some(&b"second"[..]));
    assert_eq!(value(removed), None);
}

/// Several attributes of a file come ordered by name, on folders and symlinks as well.
pub fn attributes_come_ordered_by_name(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (dir, link) = (log.make_dir(ROOT, "dir"), log.symlink(ROOT, "link", b"dir"));
    for file in [ROOT, dir, link] {
        for name in ["user.b", "security.z", "user.a", "user.B"] {
            log.set_xattr(file, name, name.as_bytes());
        }
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for file in [ROOT, dir, link] {
        let found = store.xattrs(LATEST, file);
        let names: Vec<String> = found.iter().map(|xattr| xattr.name.to_string()).collect();
        assert_eq!(names, ["security.z", "user.B", "user.a", "user.b"]);
        assert!(found.iter().all(|xattr| xattr.name.as_bytes() == &xattr.value[..]));
    }
}

/// Empty values and values as large as the limits allow (at most 64 KiB here) come back.
pub fn values_can_be_empty_and_large(fixture: &mut dyn Fixture) {
    let limit = ok(fixture.store().info()).limits.xattr_bytes_max.min(64 * 1024);
    let large = vec![0xa5; limit];
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.set_xattr(file, "user.empty", b"");
    log.set_xattr(file, "user.large", &large);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.xattr(LATEST, file, "user.empty").as_deref(), Some(&b""[..]));
    assert_eq!(store.xattr(LATEST, file, "user.large").as_deref(), Some(&large[..]));
}

/// Attributes go with the file: through renames, hard links and replacement.
pub fn attributes_belong_to_the_file(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let (old, new) = (log.create(ROOT, "a"), log.create(ROOT, "b"));
    log.set_xattr(old, "user.of", b"old");
    log.set_xattr(new, "user.of", b"new");
    let before = View::main(log.head());
    log.rename((ROOT, "b"), (ROOT, "a"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.xattr(LATEST, new, "user.of").as_deref(), Some(&b"new"[..]));
    assert!(store.xattrs(LATEST, old).is_empty(), "a file that is gone has no attributes");
    assert_eq!(store.xattr(before, old, "user.of").as_deref(), Some(&b"old"[..]));
}
