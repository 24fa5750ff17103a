//! Hard links and symlinks.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{Entry, FileId, Name, OpId, View};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

fn entry(dir: FileId, name: &str) -> Entry {
    Entry::new(dir, Name::try_from(name).expect("a valid name"))
}

/// A file with several names is one file under all of them, and has them all.
pub fn a_file_can_have_several_names(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    let file = log.create(ROOT, "a");
    log.hardlink(file, ROOT, "b");
    log.hardlink(file, dir, "a");
    log.write(file, 0, b"shared");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for path in ["a", "b", "dir/a"] {
        assert_eq!(store.resolve(LATEST, path), Some(file), "{path}");
    }
    assert_eq!(store.names(LATEST, file), [entry(ROOT, "a"), entry(ROOT, "b"), entry(dir, "a")]);
    assert_eq!(store.node(LATEST, file).map(|node| node.nlink), Some(3));
    assert_eq!(store.content(LATEST, file), b"shared");
}

/// A file lives until its last name is gone.
pub fn a_file_lives_as_long_as_one_name(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"content");
    log.hardlink(file, ROOT, "b");
    let two = View::main(log.head());
    log.remove(ROOT, "a");
    let one = View::main(log.head());
    log.remove(ROOT, "b");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.names(two, file).len(), 2);
    assert_eq!(store.names(one, file), [entry(ROOT, "b")]);
    assert_eq!(store.content(one, file), b"content");
    assert_eq!(store.node(LATEST, file), None);
    assert!(store.names(LATEST, file).is_empty());
}

/// A rename over one of several names leaves the others.
pub fn replacing_one_name_leaves_the_others(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"content");
    log.hardlink(file, ROOT, "b");
    let other = log.create(ROOT, "c");
    log.rename((ROOT, "c"), (ROOT, "a"));
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.entry(LATEST, ROOT, "a"), Some(other));
    assert_eq!(store.names(LATEST, file), [entry(ROOT, "b")]);
    assert_eq!(store.node(LATEST, file).map(|node| node.nlink), Some(1));
    assert_eq!(store.content(LATEST, file), b"content");
}

/// A symlink's content is its target, whatever bytes it has.
pub fn a_symlink_holds_its_target(fixture: &mut dyn Fixture) {
    let long = vec![b'x'; 4095];
    let targets: [&[u8]; 4] = [b"a", b"/absolute/../path", b"\xff\xfe not UTF-8", &long];
    let mut log = LogBuilder::new();
    let links: Vec<FileId> = (0..targets.len()).map(|at| log.symlink(ROOT, format!("link{at}"), targets[at])).collect();
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (link, target) in links.iter().zip(targets) {
        assert_eq!(store.content(LATEST, *link), target);
        assert_eq!(store.node(LATEST, *link).map(|node| node.size), Some(target.len() as u64));
    }
}
