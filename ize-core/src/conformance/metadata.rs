//! Metadata of every inode that an operation touched.

use std::collections::BTreeMap;

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, FileKind, FileMetadata, OpCode, OpId, Timestamp, View};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// After each operation, every file's metadata is that of the last operation that touched it.
pub fn every_touched_inode_is_kept_at_every_moment(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    let (a, b) = (log.create(dir, "a"), log.create(ROOT, "b"));
    log.write(a, 0, b"content");
    log.hardlink(a, ROOT, "a2");
    log.rename((ROOT, "b"), (dir, "a"));
    log.chmod(b, 0o4711);
    log.chown(a, 7, 8);
    log.truncate(b, 99);
    log.remove(ROOT, "a2");
    log.special(dir, "tty", FileKind::CharDevice, 0x0004_0501);
    let ops = log.take();
    commit(fixture, ops.clone());
    let store = Probe::new(fixture.store());
    let mut newest: BTreeMap<FileId, FileMetadata> = BTreeMap::new();
    for op in &ops {
        newest.extend(op.touched.iter().map(|touched| (touched.file, touched.metadata)));
        for (file, metadata) in &newest {
            let expected = Some(*metadata).filter(FileMetadata::is_linked);
            assert_eq!(store.node(View::main(op.last_id), *file), expected, "{file} at {}", op.last_id);
        }
    }
}

/// Metadata is stored as it comes: extreme numbers and times before 1970 included.
pub fn extreme_values_come_back(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let extreme = FileMetadata {
        kind: FileKind::BlockDevice,
        mode: 0o7777,
        uid: u32::MAX,
        gid: u32::MAX - 1,
        size: i64::MAX as u64,
        nlink: u32::MAX,
        rdev: u64::MAX,
        atime: Timestamp::from_secs_nanos(i64::MIN, 0),
        mtime: Timestamp::from_secs_nanos(i64::MAX, 999_999_999),
        ctime: Timestamp::from_nanos(-1),
    };
    log.last_mut().touched[0].metadata = extreme;
    ok(log.commit(fixture.store()));
    assert_eq!(Probe::new(fixture.store()).node(LATEST, file), Some(extreme));
}

/// Operations without effects on names or content (chmod, chown, times, allocation) change metadata only.
pub fn attribute_operations_leave_content_alone(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"content");
    log.chmod(file, 0o600);
    log.chown(file, 0, 0);
    log.touch(file, Timestamp::from_nanos(-5), Timestamp::from_nanos(7));
    log.allocate(file, 0, 100);
    let expected = log.metadata(file);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.node(LATEST, file), Some(expected));
    assert_eq!(store.content(LATEST, file), [b"content".to_vec(), vec![0; 93]].concat());
}

/// The root's metadata is the operations' as soon as one touched it.
pub fn the_root_has_metadata_too(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let at = log.chmod(ROOT, 0o1777);
    let expected = log.metadata(ROOT);
    log.create(ROOT, "a");
    let later = log.metadata(ROOT);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.node(View::main(at), ROOT), Some(expected));
    assert_eq!(store.node(LATEST, ROOT), Some(later));
}

/// The head names the highest file id that was ever touched, also after that file is gone.
pub fn the_head_knows_the_highest_file(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    log.create(ROOT, "a");
    let last = log.create(ROOT, "b");
    log.remove(ROOT, "b");
    log.write(FileId::new(2), 0, b"x");
    ok(log.commit(fixture.store()));
    assert_eq!(ok(fixture.store().head()).file, last);
    fixture.reopen();
    assert_eq!(ok(fixture.store().head()).file, last);
}

fn commit(fixture: &dyn Fixture, ops: Vec<OpCode>) {
    ok(fixture.store().commit(&crate::storage::Batch { ops, landmarks: Vec::new() }));
}
