//! Reopening: what was committed is there, and goes on.

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder, Workload, assert_same};
use crate::model::{FileId, OpId, View};
use crate::storage::{Batch, MemoryStorage, Severity};

const LATEST: View = View::main(OpId::MAX);

/// After reopening, the log goes on where it was, again and again.
pub fn the_log_goes_on_after_reopening(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    for round in 0..4u8 {
        let file = log.create_with(FileId::ROOT, format!("file{round}"), &[round; 5_000]);
        ok(log.commit(fixture.store()));
        fixture.reopen();
        let store = Probe::new(fixture.store());
        assert_eq!(store.head(), log.head());
        assert_eq!(store.content(LATEST, file), [round; 5_000]);
        assert_eq!(store.list(LATEST, FileId::ROOT).len(), usize::from(round) + 1);
    }
}

/// An empty store reopens empty.
pub fn an_empty_store_reopens_empty(fixture: &mut dyn Fixture) {
    fixture.reopen();
    fixture.reopen();
    assert_eq!(ok(fixture.store().head()).op, OpId::ZERO);
}

/// A healthy store verifies without a finding worse than a note, before and after reopening and repair.
pub fn a_healthy_store_verifies(fixture: &mut dyn Fixture) {
    let mut workload = Workload::new(11);
    for _ in 0..80 {
        workload.step();
    }
    let batch = Batch { ops: workload.log().take(), landmarks: Vec::new() };
    let model = MemoryStorage::new();
    ok(crate::storage::FileSystemStorage::commit(&model, &batch));
    ok(fixture.store().commit(&batch));
    for _ in 0..2 {
        let mut worst = Severity::Note;
        ok(fixture.store().verify(&mut |finding| {
            worst = worst.max(finding.severity);
            assert_eq!(worst, Severity::Note, "{}", finding.what);
        }));
        fixture.reopen();
    }
    ok(fixture.store().repair(&mut |finding| assert!(finding.severity < Severity::Lost, "{}", finding.what)));
    assert_same(&model, fixture.store());
}

/// The store says what it is, and its limits are not smaller than what a filesystem needs.
pub fn the_store_says_what_it_is(fixture: &mut dyn Fixture) {
    let info = ok(fixture.store().info());
    assert!(!info.backend.is_empty() && info.format_version > 0);
    assert!(info.limits.name_bytes_max >= 255, "names of 255 bytes");
    assert!(info.limits.file_bytes_max >= 1 << 40, "files of 1 TiB");
    assert!(info.limits.op_data_bytes_max >= 8 << 20, "operations with 8 MiB of data");
    assert!(info.limits.xattr_bytes_max >= 4_000, "attributes as large as common filesystems hold");
}
