//! Each rule alone, and the law on random logs.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::conformance::{LogBuilder, Workload};
use crate::model::{Actor, BranchId, ContentHash, FileId, Landmark, OpCode, OpData, OpId, OpType, Timestamp, View};
use crate::record::mark;
use crate::record::tests::state::describe;
use crate::storage::{FileSystemStorage, MemoryStorage, OpQuery};

const ROOT: FileId = FileId::ROOT;

fn merged(log: &mut LogBuilder) -> Vec<OpCode> {
    OpCodeCoalescer::default().coalesce(Batch { ops: log.take(), landmarks: Vec::new() }).ops
}

fn ranges(ops: &[OpCode]) -> Vec<(u64, u64)> {
    ops.iter().map(|op| (op.id.get(), op.last_id.get())).collect()
}

fn bytes(op: &OpCode) -> &[u8] {
    match &op.data {
        OpData::Inline(bytes) => bytes,
        OpData::None | OpData::Reference { .. } => b"",
    }
}

/// A file that is recorded and taken already.
fn file() -> (LogBuilder, FileId) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.take();
    (log, file)
}

#[test]
fn appended_writes_become_one_that_ends_like_the_last() {
    let (mut log, file) = file();
    for n in 0..50u8 {
        log.write(file, 100 + u64::from(n) * 3, &[n; 3]);
    }
    log.mark(Landmark::Close);
    let last = log.last_mut().clone();
    let ops = merged(&mut log);
    assert_eq!(ranges(&ops), [(2, 51)]);
    assert_eq!(ops[0].op_type, OpType::FileWrite { file, offset: 100, size: 150 });
    assert!(bytes(&ops[0]).iter().enumerate().all(|(at, byte)| usize::from(*byte) == at / 3));
    assert_eq!((ops[0].timestamp, ops[0].landmark), (last.timestamp, Some(Landmark::Close)));
    assert_eq!(ops[0].touched, last.touched);
}

#[test]
fn overlapping_writes_keep_the_later_bytes() {
    let (mut log, file) = file();
    log.write(file, 10, b"aaaaaaaa");
    log.write(file, 14, b"bbbb----");
    log.write(file, 6, b"cccccc");
    log.write(file, 12, b"d");
    let ops = merged(&mut log);
    assert_eq!(ops[0].op_type, OpType::FileWrite { file, offset: 6, size: 16 });
    assert_eq!((ranges(&ops), bytes(&ops[0])), (vec![(2, 5)], &b"ccccccdabbbb----"[..]));
}

#[test]
fn a_write_that_replaces_those_before_it_keeps_its_buffer_whatever_its_size() {
    let (mut log, file) = file();
    let large = Bytes::from(vec![7; 3 << 20]);
    log.write_bytes(file, 0, Bytes::from(vec![6; 3 << 20]));
    log.write(file, 10, b"not within the bound");
    log.write_bytes(file, 0, large.clone());
    let ops = merged(&mut log);
    assert_eq!(ranges(&ops), [(2, 2), (3, 4)]);
    assert_eq!(bytes(&ops[1]).as_ptr(), large.as_ptr());
}

#[test]
fn writes_with_a_gap_between_them_stay_apart() {
    let (mut log, file) = file();
    log.write(file, 0, b"a");
    log.write(file, 2, b"c");
    log.write(file, 1, b"b");
    let ops = merged(&mut log);
    assert_eq!((ranges(&ops), bytes(&ops[1])), (vec![(2, 2), (3, 4)], &b"bc"[..]));
}

#[test]
fn a_creation_takes_the_writes_from_its_beginning_along() {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.write(file, 0, b"hello");
    log.write(file, 5, b" world");
    let metadata = log.metadata(file);
    let ops = merged(&mut log);
    assert_eq!((ranges(&ops), bytes(&ops[0])), (vec![(1, 3)], &b"hello world"[..]));
    assert!(matches!(ops[0].op_type, OpType::FileCreate { .. }));
    assert_eq!(ops[0].metadata_of(file), Some(&metadata));
    assert!(ops[0].metadata_of(ROOT).is_some(), "the folder was touched, too");

    let file = log.create(ROOT, "b");
    log.write(file, 1, b"a hole precedes");
    assert_eq!(ranges(&merged(&mut log)), [(4, 4), (5, 5)]);
    let file = log.create_with(ROOT, "c", b"more");
    log.write(file, 4, b" follows");
    assert_eq!(bytes(&merged(&mut log)[0]), b"more follows");
}

#[test]
fn a_file_that_was_found_is_one_operation() {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.found();
    log.write(file, 0, b"found");
    log.found();
    log.write(file, 5, b"seen");
    let ops = merged(&mut log);
    assert_eq!(ranges(&ops), [(1, 2), (3, 3)]);
    assert!(ops[0].op_type.is_external() && !ops[1].op_type.is_external());
    assert_eq!(bytes(&ops[0]), b"found");
}

#[test]
fn attributes_go_from_the_first_old_values_to_the_last_new_ones() {
    let (mut log, file) = file();
    let old = log.metadata(file);
    let time = |secs| Timestamp::from_secs_nanos(secs, 1);
    for n in 1..=3u8 {
        log.chmod(file, 0o700 + u32::from(n));
    }
    for n in 1..=3u8 {
        log.chown(file, n.into(), 9);
    }
    for n in 1..=3u8 {
        log.touch(file, time(n.into()), time(5));
    }
    let ops = merged(&mut log);
    assert_eq!(ranges(&ops), [(2, 4), (5, 7), (8, 10)]);
    assert_eq!(ops[0].op_type, OpType::Chmod { file, old_mode: old.mode, new_mode: 0o703 });
    assert_eq!(ops[1].op_type, OpType::Chown { file, old_uid: old.uid, old_gid: old.gid, new_uid: 3, new_gid: 9 });
    assert_eq!(
        ops[2].op_type,
        OpType::Touch { file, old_atime: old.atime, old_mtime: old.mtime, new_atime: time(3), new_mtime: time(5) }
    );
}

#[test]
fn landmarks_and_marks_that_came_with_the_batch_end_a_merged_operation() {
    let (mut log, file) = file();
    for n in 0..8 {
        log.write(file, n, b"x");
        if n == 2 {
            log.mark(Landmark::Sync);
        }
    }
    let landmarks = vec![(OpId::new(6), Landmark::Barrier)];
    let batch = OpCodeCoalescer::default().coalesce(Batch { ops: log.take(), landmarks: landmarks.clone() });
    assert_eq!(ranges(&batch.ops), [(2, 4), (5, 6), (7, 9)]);
    assert_eq!(batch.landmarks, landmarks);
    assert_eq!(batch.ops[0].landmark, Some(Landmark::Sync));
}

#[test]
fn of_a_file_that_comes_and_goes_only_its_creation_and_its_removal_are_left() {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "scratch");
    log.mark(Landmark::Namespace);
    log.write(file, 0, b"nobody");
    log.chmod(file, 0o600);
    log.truncate(file, 3);
    log.write(file, 90, b"reads this");
    log.set_xattr(file, "user.a", b"x");
    log.remove(ROOT, "scratch");
    log.mark(Landmark::Namespace);
    let plain = log.take();
    let batch = OpCodeCoalescer::default().coalesce(Batch { ops: plain.clone(), landmarks: Vec::new() });
    assert_eq!((ranges(&batch.ops), batch.ops[0].data.size()), (vec![(1, 1), (2, 7)], 0));
    assert!(matches!(batch.ops[1].op_type, OpType::FileDelete { .. }) && batch.ops[1].data == OpData::None);
    assert_eq!(batch.ops[1].touched, plain[6].touched);

    // One landmark in between, and what was there at that moment is kept, and only that.
    let marked = Batch { ops: plain, landmarks: vec![(OpId::new(4), Landmark::Close)] };
    let ops = OpCodeCoalescer::default().coalesce(marked).ops;
    assert_eq!(ranges(&ops), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7)]);
}

#[test]
fn a_removal_absorbs_nothing_of_a_file_that_somebody_could_miss() {
    let written = |change: &dyn Fn(&mut LogBuilder, FileId)| {
        let mut log = LogBuilder::new();
        let file = log.create(ROOT, "a");
        log.mark(Landmark::Namespace);
        change(&mut log, file);
        merged(&mut log).iter().map(|op| op.data.size()).sum::<u64>()
    };
    let write_and_remove = |log: &mut LogBuilder, file| {
        log.write(file, 0, b"data");
        log.remove(ROOT, "a");
    };
    assert_eq!(written(&write_and_remove), 0);
    let by_another = |log: &mut LogBuilder, file| {
        log.write(file, 0, b"data");
        log.set_actor(Actor { pid: 77, ..Actor::default() });
        log.remove(ROOT, "a");
    };
    assert_eq!(written(&by_another), 4);
    let with_another_name = |log: &mut LogBuilder, file| {
        log.hardlink(file, ROOT, "b");
        write_and_remove(log, file);
    };
    assert_eq!(written(&with_another_name), 4);
    let seen_elsewhere = |log: &mut LogBuilder, file| {
        log.write(file, 0, b"data");
        log.create(ROOT, "another");
        log.mark(Landmark::Namespace);
        log.remove(ROOT, "a");
    };
    assert_eq!(written(&seen_elsewhere), 4);
    let later = |log: &mut LogBuilder, file| {
        let begun = log.last_mut().timestamp.as_nanos();
        log.write(file, 0, b"data");
        log.set_clock(Timestamp::from_nanos(begun + 1_000_000_000));
        log.remove(ROOT, "a");
    };
    assert_eq!(written(&later), 4);

    // It was there before: what it was at the last landmark is history already, but who knows what was meant with this.
    let (mut log, file) = file();
    log.write(file, 0, b"data");
    log.remove(ROOT, "a");
    assert_eq!(ranges(&merged(&mut log)), [(2, 2), (3, 3)]);
}

/// Two writes that would be merged but for a difference.
#[track_caller]
fn assert_apart(make_different: impl FnOnce(&mut LogBuilder, FileId)) {
    let (mut log, file) = file();
    log.write(file, 0, b"one");
    make_different(&mut log, file);
    log.write(file, 3, b"two");
    let taken = log.take();
    let ops = OpCodeCoalescer::default().coalesce(Batch { ops: taken.clone(), landmarks: Vec::new() }).ops;
    assert_eq!(ops, taken);
}

#[test]
fn what_differs_in_anything_stays_apart() {
    assert_apart(|log, _| _ = log.create(ROOT, "between"));
    assert_apart(|log, file| _ = log.truncate(file, 3));
    assert_apart(|log, file| _ = log.punch(file, 0, 1));
    assert_apart(|log, file| _ = log.copy((file, 0), (file, 3), 3));
    assert_apart(|log, file| _ = log.set_xattr(file, "user.a", b"x"));
    assert_apart(|log, file| _ = log.chmod(file, 0o600));
    assert_apart(|log, _| log.last_mut().parent = Some(OpId::new(1)));
    assert_apart(|log, _| log.last_mut().branch = BranchId::new(3));
    assert_apart(|log, _| log.found());
    assert_apart(|log, _| log.mark(Landmark::Idle));
    assert_apart(|log, _| log.set_actor(Actor { pid: 1, ..Actor::default() }));
    assert_apart(|log, _| log.last_mut().op_type = OpType::FileWrite { file: FileId::new(9), offset: 0, size: 3 });
    assert_apart(|log, _| log.last_mut().data = OpData::Reference { hash: ContentHash::of(b"one"), size: 3 });
    assert_apart(|log, _| {
        let begun = log.last_mut().timestamp.as_nanos();
        log.set_clock(Timestamp::from_nanos(begun + 1_000_000_000));
    });
}

#[test]
fn equal_actors_need_not_be_the_same_object() {
    let (mut log, file) = file();
    log.write(file, 0, b"a");
    let actor = Actor::clone(&log.last_mut().actor);
    log.set_actor(actor);
    log.write(file, 1, b"b");
    assert_eq!(merged(&mut log).len(), 1);
}

#[test]
fn merged_data_is_bounded_and_so_is_the_time_from_the_first_part_to_the_last() {
    let (mut log, file) = file();
    for n in 0..40 {
        log.write(file, n * 100_000, &[1; 100_000]);
    }
    let ops = merged(&mut log);
    assert_eq!(ops.iter().map(|op| op.data.size()).sum::<u64>(), 4_000_000);
    assert!(ops.iter().all(|op| op.data.size() <= 1 << 20));
    assert_eq!(ops.len(), 4);

    // One a millisecond.
    for _ in 0..3000 {
        log.write(file, 0, b"again");
    }
    let ops = merged(&mut log);
    assert_eq!(ops.len(), 3);
}

/// Random operations of which many are neighbours on one file.
struct Story {
    workload: Workload,
    file: Option<FileId>,
    names: u32,
}

impl Story {
    fn step(&mut self) {
        if self.workload.below(15) == 0 {
            return self.workload.step();
        }
        let file = match self.file {
            Some(file) if self.workload.below(20) > 0 && self.workload.log().metadata(file).is_linked() => file,
            _ => {
                self.names += 1;
                let name = format!("story-{}", self.names);
                let file = self.workload.log().create(ROOT, name);
                self.file = Some(file);
                file
            }
        };
        self.change(file);
        let name = format!("story-{}", self.names);
        if self.workload.below(12) == 0 && self.workload.log().lookup(ROOT, &name) == Some(file) {
            self.workload.log().remove(ROOT, &name);
        }
        match self.workload.below(40) {
            0..3 => self.workload.log().mark(Landmark::Close),
            3 => self.workload.log().found(),
            4 => {
                let pid = u32::try_from(self.workload.below(3)).unwrap();
                self.workload.log().set_actor(Actor { pid, ..Actor::default() });
            }
            _ => {}
        }
    }

    fn change(&mut self, file: FileId) {
        let (kind, some) = (self.workload.below(20), self.workload.below(60));
        let log = self.workload.log();
        let size = log.metadata(file).size;
        let time = Timestamp::from_nanos(some.into());
        match kind {
            0 => (0..=some % 4).for_each(|n| _ = log.chmod(file, 0o600 + u32::try_from(n).unwrap())),
            1 => (0..=some % 4).for_each(|n| _ = log.chown(file, 5, u32::try_from(n).unwrap())),
            2 => (0..=some % 4).for_each(|_| _ = log.touch(file, time, time)),
            3 => _ = log.truncate(file, some),
            4 => _ = log.punch(file, some, 7),
            5 if size > 3 => _ = log.copy((file, 0), (file, size + some), 3),
            6..13 => _ = log.write(file, size, &vec![7u8; usize::try_from(some).unwrap()]),
            13 => _ = log.write(file, some, b"somewhere"),
            _ => _ = log.write(file, size.saturating_sub(some), &[u8::try_from(some).unwrap(); 20]),
        }
    }
}

/// A log, stored as it is and merged, in the same batches.
#[derive(Default)]
struct Pair {
    plain: MemoryStorage,
    merged: MemoryStorage,
    /// Marks that were made when their operation was stored already.
    late: Vec<(OpId, Landmark)>,
}

impl Pair {
    fn commit(&self, batch: Batch, coalescer: &OpCodeCoalescer) {
        self.plain.commit(&batch).unwrap();
        let ends: Vec<OpId> = batch.ops.iter().map(|op| op.last_id).collect();
        let mut merged = coalescer.coalesce(batch);
        for op in &merged.ops {
            assert!(op.data.size() <= coalescer.data_bytes_max.max(80_000));
        }
        assert_eq!(merged.ops.last().map(|op| op.last_id), ends.last().copied());
        mark::settle(&self.merged, BranchId::MAIN, &mut merged).unwrap();
        self.merged.commit(&merged).unwrap();
    }

    fn ops(storage: &MemoryStorage) -> Vec<OpCode> {
        storage.ops(&OpQuery { max: usize::MAX, ..OpQuery::all(View::latest(BranchId::MAIN)) }).unwrap()
    }

    /// Asserts that every landmark is kept, where it was unless it came late, and that none was invented.
    fn assert_same_landmarks(&self, plain: &[OpCode], merged: &[OpCode]) {
        for op in merged {
            let parts = plain.iter().filter(|part| op.id <= part.id && part.last_id <= op.last_id);
            let landmarks: Vec<_> = parts.filter(|part| part.landmark.is_some()).collect();
            assert_eq!(op.landmark, landmarks.iter().map(|part| part.landmark).max().flatten(), "of {}", op.last_id);
            for part in landmarks.iter().filter(|part| part.last_id != op.last_id) {
                assert!(self.late.iter().any(|(late, _)| *late == part.last_id), "{} was marked in time", part.last_id);
            }
        }
    }

    fn assert_same(&self, dice: &mut Workload) {
        let (plain, merged) = (Self::ops(&self.plain), Self::ops(&self.merged));
        self.assert_same_landmarks(&plain, &merged);
        assert_eq!(merged.last().map(|op| op.last_id), plain.last().map(|op| op.last_id));
        assert_eq!(self.plain.head().unwrap(), self.merged.head().unwrap());
        let some = merged.len() as u64 / 8 + 1;
        for op in merged.iter().filter(|op| op.landmark == Some(Landmark::Barrier) || dice.below(some) == 0) {
            let (expected, found) = (describe(&self.plain, op.last_id), describe(&self.merged, op.last_id));
            assert!(expected == found, "at {}: {expected:?} became {found:?}", op.last_id);
        }
        let head = self.plain.head().unwrap().op;
        assert!(describe(&self.plain, head) == describe(&self.merged, head), "at the head");
    }
}

fn run(seed: u64, batches: u64, coalescer: &OpCodeCoalescer) -> (usize, usize) {
    let mut story = Story { workload: Workload::new(seed), file: None, names: 0 };
    let mut pair = Pair::default();
    let mut stored: Vec<OpId> = Vec::new();
    for _ in 0..batches {
        for _ in 0..1 + story.workload.below(40) {
            story.step();
        }
        let ops = story.workload.log().take();
        let mut landmarks = Vec::new();
        for _ in 0..story.workload.below(4) {
            let dice = &mut story.workload;
            let (ends, landmark) = match dice.below(2) {
                0 => (ops.iter().map(|op| op.last_id).collect(), Landmark::Barrier),
                _ => (stored.clone(), Landmark::Idle),
            };
            if !ends.is_empty() {
                landmarks.push((ends[usize::try_from(dice.below(ends.len() as u64)).unwrap()], landmark));
            }
        }
        let first = ops.first().map(|op| op.id);
        pair.late.extend(landmarks.iter().filter(|(op, _)| Some(*op) < first));
        stored.extend(ops.iter().map(|op| op.last_id));
        pair.commit(Batch { ops, landmarks }, coalescer);
    }
    pair.assert_same(&mut story.workload);
    (stored.len(), Pair::ops(&pair.merged).len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// replay(coalesce(ops)) == replay(ops), whatever the batches and bounds are, with landmarks in time and late.
    #[test]
    fn a_merged_log_reads_like_the_log_wherever_an_operation_ends(
        seed: u64,
        batches in 1u64..12,
        data_bytes_max in prop_oneof![Just(1u64 << 20), 1u64..200],
        span_ms in prop_oneof![Just(1000u64), 0u64..20],
    ) {
        let span_max = Duration::from_millis(span_ms);
        run(seed, batches, &OpCodeCoalescer { data_bytes_max, span_max });
    }

    /// The same for operations of every kind at random, which seldom are neighbours.
    #[test]
    fn a_merged_random_log_reads_like_the_log(seed: u64, steps in 1usize..80) {
        let mut workload = Workload::new(seed);
        let pair = Pair::default();
        (0..steps).for_each(|_| workload.step());
        pair.commit(Batch { ops: workload.log().take(), landmarks: Vec::new() }, &OpCodeCoalescer::default());
        pair.assert_same(&mut workload);
    }
}

#[test]
fn the_stories_are_merged_much() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..10 {
        let (stored, merged) = run(seed, 6, &OpCodeCoalescer::default());
        (before, after) = (before + stored, after + merged);
    }
    assert!(after * 3 < before * 2, "{before} operations became {after}");
}

#[test]
fn a_large_batch_takes_time_in_proportion() {
    let (file, actor) = (FileId::new(2), Arc::new(Actor::default()));
    let op = |n: u64| OpCode {
        id: OpId::new(n),
        last_id: OpId::new(n),
        branch: BranchId::MAIN,
        timestamp: Timestamp::from_nanos(0),
        op_type: OpType::FileWrite { file, offset: n, size: 1 },
        data: OpData::Inline(Bytes::from_static(b"x")),
        touched: Vec::new(),
        actor: Arc::clone(&actor),
        landmark: None,
        parent: None,
    };
    let batch = Batch { ops: (2..500_002).map(op).collect(), landmarks: Vec::new() };
    let begin = std::time::Instant::now();
    assert_eq!(ranges(&OpCodeCoalescer::default().coalesce(batch).ops), [(2, 500_001)]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
