//! Reading back from a position while the journal goes on.

use super::*;

/// Appends operations of sizes that fill several segments, and returns where each record is.
fn journal_of_positions(ops: u64) -> (MemoryMedium, Journal, Vec<Position>) {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    let mut places = Vec::new();
    for id in 1..=ops {
        places.push(journal.end());
        journal.append_op(&op(id, usize::try_from(id * 37 % 5000).unwrap())).unwrap();
        if id.is_multiple_of(5) {
            places.push(journal.end());
            journal.append_mark(OpId::new(id - 1), Landmark::Close).unwrap();
        }
    }
    (medium, journal, places)
}

#[test]
fn every_position_is_read_back_as_it_was_appended_in_pieces_of_any_size() {
    let (_medium, journal, places) = journal_of_positions(200);
    let expected = records(&journal);
    assert!(journal.closed.len() > 5);
    for (begin, place) in places.iter().enumerate().step_by(7) {
        for budget in
            [Budget { ops: 1, bytes: 1 }, Budget { ops: 30, bytes: 9000 }, Budget { ops: 999, bytes: 1 << 30 }]
        {
            let mut next = *place;
            let mut found = Vec::new();
            while next.seq <= journal.last_seq() {
                let back = journal.sealed_from(next).read(next, journal.last_seq(), budget).unwrap();
                let ops = back.records.iter().filter(|(_, record)| matches!(record, Record::Op(_))).count();
                assert!((1..=budget.ops).contains(&ops) || found.len() + back.records.len() + begin == expected.len());
                found.extend(back.records.into_iter().map(|(_, record)| record));
                next = back.next;
            }
            assert!(found == expected[begin..], "from {begin}");
        }
    }
}

#[test]
fn nothing_is_read_beyond_what_was_acknowledged() {
    let (_medium, journal, places) = journal_of_positions(20);
    let through = places[9].seq;
    let budget = Budget { ops: 999, bytes: 1 << 30 };
    let back = journal.sealed_from(places[3]).read(places[3], through, budget).unwrap();
    assert_eq!(
        back.records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        places[3..=9].iter().map(|at| at.seq).collect::<Vec<_>>()
    );
    assert_eq!(back.next.seq, through.next());
}

#[test]
fn a_record_that_is_not_there_any_more_is_damage() {
    let (medium, journal, places) = journal_of_positions(20);
    let place = places[4];
    medium.open(place.segment).unwrap().write_at(&[0xff; 4], &[], place.offset + 40).unwrap();
    let budget = Budget { ops: 999, bytes: 1 << 30 };
    let damaged = journal.sealed_from(places[0]).read(places[0], journal.last_seq(), budget).unwrap_err();
    let expected = (place.segment, place.offset);
    assert!(matches!(damaged, JournalError::Damaged { segment, offset, .. } if (segment, offset) == expected));
}
