//! A disk that fails, at every call.

use super::disk::Fault;
use super::*;

/// Reserves, appends, syncs and trims, until something fails. Returns how many records were acknowledged and what failed.
fn workload(medium: &MemoryMedium) -> (u64, Option<JournalError>) {
    let mut acknowledged = 0;
    let outcome = (|| {
        let mut journal = open(medium)?;
        for id in 1..=20 {
            journal.reserve(9_000)?;
            let appended = journal.append_op(&op(id, 9_000));
            journal.release(9_000);
            if let Err(error) = appended {
                assert!(journal.append_op(&op(id, 1)).is_err() || matches!(error, JournalError::Full));
                return Err(error);
            }
            acknowledged = id;
            if id % 6 == 0 {
                let point = journal.sync_point();
                let outcome = point.sync();
                if let Err(error) = journal.finish_sync(&point, outcome) {
                    assert!(matches!(journal.append_op(&op(id + 1, 1)), Err(JournalError::Poisoned)));
                    assert!(matches!(journal.reserve(0), Err(JournalError::Poisoned)));
                    return Err(error);
                }
                let mut trimmed = journal.trimmable(Seq::new(id / 2));
                let outcome = trimmed.remove();
                journal.finish_trim(&trimmed);
                outcome?;
            }
        }
        Ok(())
    })();
    (acknowledged, outcome.err())
}

#[test]
fn whichever_call_fails_what_was_acknowledged_is_found_again() {
    let medium = MemoryMedium::new();
    medium.fail(0, 0, Fault::Io);
    assert_eq!(workload(&medium).0, 20);
    let calls = medium.calls();
    assert!(calls > 30);
    for fault in [Fault::Io, Fault::Full] {
        for n in 1..=calls {
            let medium = MemoryMedium::new();
            medium.fail(n, u64::MAX, fault);
            let (acknowledged, error) = workload(&medium);
            assert!(error.is_some(), "call {n} failed unnoticed");
            medium.fail(0, 0, fault);
            let reopened = open(&medium).unwrap_or_else(|error| panic!("call {n}: {error}"));
            let last = records(&reopened).iter().filter_map(op_id).max().unwrap_or(OpId::ZERO);
            let acknowledged = OpId::new(acknowledged);
            assert!(last == acknowledged || last == acknowledged.next(), "call {n}: {last} of {acknowledged}");
        }
    }
}

fn op_id(record: &Record) -> Option<OpId> {
    match record {
        Record::Op(op) => Some(op.id),
        Record::Mark { .. } | Record::Dirty { .. } | Record::Synced(_) => None,
    }
}

#[test]
fn what_was_reserved_can_be_appended_when_the_disk_is_full() {
    for data_bytes in [1_000, 10_000, 28_000] {
        let medium = MemoryMedium::new();
        let mut journal = open(&medium).unwrap();
        let mut reserved = 0;
        // The disk has room for three segments.
        medium.fail(4, u64::MAX, Fault::Full);
        while journal.reserve(data_bytes).is_ok() {
            reserved += 1;
        }
        medium.fail(0, 0, Fault::Full);
        assert!(reserved >= 2, "{reserved} records of {data_bytes}");
        for id in 1..=reserved {
            journal.append_op(&op(id, usize::try_from(data_bytes).unwrap())).unwrap();
            journal.release(data_bytes);
        }
        assert!(medium.contents().len() <= 3, "nothing beyond what was set aside");
    }
}

#[test]
fn on_a_full_disk_records_without_data_find_room_longer_than_others() {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    journal.append_op(&op(1, 100)).unwrap();
    medium.fail(1, u64::MAX, Fault::Full);
    let mut writes = 0;
    while journal.reserve(1).is_ok() {
        writes += 1;
    }
    assert!(writes > 0);
    journal.reserve(0).unwrap();
    assert!(matches!(journal.reserve(1), Err(JournalError::Full)));
}

#[test]
fn trimming_keeps_what_is_not_committed() {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    for id in 1..=16 {
        journal.append_op(&op(id, 12_000)).unwrap();
    }
    let before = journal.bytes();
    assert!(journal.trimmable(Seq::new(1)).is_empty());
    let mut trimmed = journal.trimmable(Seq::new(11));
    trimmed.remove().unwrap();
    journal.finish_trim(&trimmed);
    assert_eq!(before - journal.bytes(), 2 * (64 << 10));
    let first = records(&open(&medium).unwrap()).iter().find_map(op_id);
    assert!(first.is_some_and(|first| first <= OpId::new(12) && first > OpId::new(5)));
    journal.clear().unwrap();
    assert!(medium.contents().is_empty() && journal.bytes() == 0);
    journal.append_op(&op(17, 5)).unwrap();
    assert_eq!(records(&open(&medium).unwrap()), [Record::Op(op(17, 5))]);
}
