//! Committing: whole batches, without gaps, or nothing.

use bytes::Bytes;

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{BranchId, ContentHash, FileId, Landmark, OpCode, OpData, OpId, View};
use crate::storage::{Batch, OpQuery, Result, StorageError};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

fn commit(fixture: &dyn Fixture, ops: Vec<OpCode>) -> Result<()> {
    fixture.store().commit(&Batch { ops, landmarks: Vec::new() })
}

/// Asserts that the store still is what it was with `head` operations and the file `a` alone.
#[track_caller]
fn assert_unchanged(fixture: &dyn Fixture, head: OpId) {
    let store = Probe::new(fixture.store());
    assert_eq!(store.head(), head);
    assert_eq!(store.names_in(LATEST, ROOT), ["a"]);
    assert_eq!(store.ops(&OpQuery::all(LATEST)).len() as u64, head.get());
}

/// Commits the file `a`, and returns the log.
fn begun(fixture: &dyn Fixture) -> LogBuilder {
    let mut log = LogBuilder::new();
    log.create(ROOT, "a");
    ok(log.commit(fixture.store()));
    log
}

/// An empty batch changes nothing.
pub fn an_empty_batch_is_nothing(fixture: &mut dyn Fixture) {
    ok(fixture.store().commit(&Batch::default()));
    assert_eq!(ok(fixture.store().head()).op, OpId::ZERO);
    let log = begun(fixture);
    ok(fixture.store().commit(&Batch::default()));
    assert_unchanged(fixture, log.head());
}

/// Ids that were there already, or that leave some out, are refused before and inside of a batch.
pub fn gaps_are_refused(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let head = log.head();
    for name in ["b", "c", "d"] {
        log.create(ROOT, name);
    }
    let ops = log.take();
    for wrong in [vec![ops[1].clone()], vec![ops[0].clone(), ops[2].clone()], vec![ops[0].clone(), ops[0].clone()]] {
        let refused = commit(fixture, wrong);
        assert!(matches!(refused, Err(StorageError::Gap { .. })), "{refused:?}");
        assert_unchanged(fixture, head);
    }
    let error = commit(fixture, vec![ops[0].clone(), ops[2].clone()]).expect_err("a gap");
    assert!(matches!(error, StorageError::Gap { expected, found } if expected == ops[1].id && found == ops[2].id));
    ok(commit(fixture, ops));
    assert_eq!(Probe::new(fixture.store()).names_in(LATEST, ROOT), ["a", "b", "c", "d"]);
}

/// If one operation of a batch is refused, none of it is stored, and the same ids can be committed afterwards.
pub fn a_batch_is_stored_whole_or_not_at_all(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let head = log.head();
    let file = log.create(ROOT, "b");
    log.write(file, 0, b"content");
    log.create(ROOT, "c");
    let good = log.take();
    let mut wrong = good.clone();
    wrong[2].branch = BranchId::new(99);
    assert!(matches!(commit(fixture, wrong), Err(StorageError::UnknownBranch(_))));
    assert_unchanged(fixture, head);
    fixture.reopen();
    assert_unchanged(fixture, head);
    ok(commit(fixture, good));
    assert_eq!(Probe::new(fixture.store()).content(LATEST, file), b"content");
}

/// Data that is only a reference cannot be committed.
pub fn references_are_refused(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let head = log.head();
    log.write(FileId::new(2), 0, b"content");
    let mut ops = log.take();
    ops[0].data = OpData::Reference { hash: ContentHash::of(b"content"), size: 7 };
    assert!(matches!(commit(fixture, ops), Err(StorageError::Invalid(_))));
    assert_unchanged(fixture, head);
}

/// A write whose data has another length than it says cannot be committed.
pub fn data_of_the_wrong_length_is_refused(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let head = log.head();
    log.write(FileId::new(2), 0, b"content");
    let ops = log.take();
    for data in
        [OpData::None, OpData::Inline(Bytes::from_static(b"conten")), OpData::Inline(Bytes::from_static(b"content!"))]
    {
        let wrong = OpCode { data, ..ops[0].clone() };
        assert!(matches!(commit(fixture, vec![wrong]), Err(StorageError::Invalid(_))));
        assert_unchanged(fixture, head);
    }
}

/// A landmark for an id at which no operation ends is refused, with all of its batch.
pub fn landmarks_of_nothing_are_refused(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let head = log.head();
    log.create(ROOT, "b");
    log.widen(3);
    let ops = log.take();
    for nothing in [OpId::ZERO, ops[0].id, ops[0].last_id.next(), OpId::MAX] {
        let batch = Batch { ops: ops.clone(), landmarks: vec![(nothing, Landmark::Close)] };
        let refused = fixture.store().commit(&batch);
        assert!(matches!(refused, Err(StorageError::Invalid(_))), "{nothing}: {refused:?}");
        assert_unchanged(fixture, head);
    }
    ok(fixture.store().commit(&Batch { landmarks: vec![(ops[0].last_id, Landmark::Close)], ops }));
}

/// A merged operation takes effect at its last id; the log goes on behind that.
pub fn merged_operations_take_effect_at_their_last_id(fixture: &mut dyn Fixture) {
    let mut log = begun(fixture);
    let first = log.head();
    let file = log.create_with(ROOT, "b", b"merged");
    let merged = log.widen(9);
    let next = log.write(file, 0, b"M");
    assert_eq!((first.get(), merged.get(), next.get()), (1, 11, 12));
    ok(log.commit(fixture.store()));
    for _ in 0..2 {
        let store = Probe::new(fixture.store());
        assert_eq!(store.head(), next);
        for inside in 1..merged.get() {
            let view = View::main(OpId::new(inside));
            assert_eq!(store.entry(view, ROOT, "b"), None, "at {inside}");
            assert_eq!(store.ops(&OpQuery::all(view)).len(), 1, "at {inside}");
        }
        assert_eq!(store.content(View::main(merged), file), b"merged");
        assert_eq!(store.content(LATEST, file), b"Merged");
        let since = OpQuery { since: OpId::new(5), ..OpQuery::all(LATEST) };
        assert_eq!(
            store.ops(&since).iter().map(|op| (op.id.get(), op.last_id.get())).collect::<Vec<_>>(),
            [(2, 11), (12, 12)]
        );
        fixture.reopen();
    }
}

/// One batch of several thousand operations.
pub fn large_batches_are_stored(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    for at in 0..1_500u64 {
        let file = log.create(dir, at.to_string());
        log.write(file, 0, &at.to_be_bytes());
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.head().get(), 3_001);
    assert_eq!(store.list(LATEST, dir).len(), 1_500);
    let file = store.entry(LATEST, dir, "777").expect("the file is there");
    assert_eq!(store.content(LATEST, file), 777u64.to_be_bytes());
}

/// Several threads read while another commits: each answer is of a whole batch.
pub fn readers_see_whole_batches(fixture: &mut dyn Fixture) {
    const BATCHES: usize = 40;
    let mut log = LogBuilder::new();
    let (a, b) = (log.create_with(ROOT, "a", b"00"), log.create_with(ROOT, "b", b"00"));
    ok(log.commit(fixture.store()));
    let store = fixture.store();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let probe = Probe::new(store);
                while probe.head().get() < 2 * BATCHES as u64 {
                    let view = View::main(probe.head());
                    assert_eq!(probe.content(view, a), probe.content(view, b), "at {}", view.at);
                }
            });
        }
        for batch in 0..BATCHES {
            let data = format!("{batch:02}");
            log.write(a, 0, data.as_bytes());
            log.write(b, 0, data.as_bytes());
            ok(log.commit(store));
        }
    });
}
