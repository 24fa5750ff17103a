//! Landmarks: of queued and of committed operations, barriers, idle gaps.

use std::time::Instant;

use super::gate::GatedStorage;
use super::*;
use crate::model::Landmark;

fn landmark(storage: &dyn FileSystemStorage, op: OpId) -> Option<Landmark> {
    all_ops(storage).into_iter().find(|found| found.last_id == op).unwrap().landmark
}

#[test]
fn queued_and_committed_operations_can_become_landmarks() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(GatedStorage::default());
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, single_options()).unwrap();
    record_writes(&recorder, 2);
    recorder.wait_committed(OpId::new(3)).unwrap();
    recorder.mark(OpId::new(2), Landmark::Close).unwrap();
    recorder.wait_committed(OpId::new(2)).unwrap();
    assert_eq!(landmark(&*storage, OpId::new(2)), Some(Landmark::Close));

    storage.shut_gate();
    record_writes(&recorder, 3);
    recorder.mark(OpId::new(5), Landmark::Sync).unwrap();
    recorder.mark(OpId::new(7), Landmark::Close).unwrap();
    recorder.mark(OpId::new(7), Landmark::Namespace).unwrap();
    assert!(matches!(recorder.mark(OpId::new(8), Landmark::Close), Err(RecordError::UnknownOp(_))));
    storage.open_gate();
    recorder.wait_committed(OpId::new(7)).unwrap();
    assert_eq!(landmark(&*storage, OpId::new(5)), Some(Landmark::Sync));
    assert_eq!(landmark(&*storage, OpId::new(6)), None);
    assert_eq!(landmark(&*storage, OpId::new(7)), Some(Landmark::Close));
}

#[test]
fn a_barrier_marks_the_last_operation_unless_it_is_a_landmark() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let recorder = open(&storage, dir.path());
    assert_eq!(recorder.barrier().unwrap(), OpId::ZERO);
    record_writes(&recorder, 1);
    recorder.mark(OpId::new(2), Landmark::Close).unwrap();
    assert_eq!(recorder.barrier().unwrap(), OpId::new(2));
    let file = record_writes(&recorder, 1);
    assert_eq!(recorder.barrier().unwrap(), OpId::new(4));
    recorder.wait_committed(OpId::new(4)).unwrap();
    assert_eq!(landmark(&*storage, OpId::new(2)), Some(Landmark::Close));
    assert_eq!(landmark(&*storage, OpId::new(4)), Some(Landmark::Barrier));
    record(&recorder, write(file, b"last"));
    drop(recorder);
    assert_eq!(landmark(&*storage, OpId::new(5)), Some(Landmark::Barrier), "closing places a barrier");
}

#[test]
fn an_idle_gap_makes_a_landmark() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let options = RecorderOptions { idle_gap: Duration::from_millis(20), ..single_options() };
    let recorder = Recorder::open(storage.clone(), dir.path(), BranchId::MAIN, options).unwrap();
    record_writes(&recorder, 1);
    recorder.wait_committed(OpId::new(2)).unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while landmark(&*storage, OpId::new(2)) != Some(Landmark::Idle) {
        assert!(Instant::now() < patience, "no landmark was placed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(landmark(&*storage, OpId::new(1)), None);
}
