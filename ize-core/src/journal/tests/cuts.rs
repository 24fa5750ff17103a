//! Journals that are cut, zeroed and flipped, at every byte.

use super::*;

/// Opens what is left of a journal and returns how many records were found.
fn found(medium: &MemoryMedium) -> Result<u64> {
    open(medium).map(|journal| journal.recovery().records)
}

/// The only segment of a journal, up to a little behind its last record.
fn segment_of(medium: &MemoryMedium, ends: &[u64]) -> Vec<u8> {
    let mut segment = medium.contents().remove(&1).unwrap();
    segment.truncate(usize::try_from(ends[ends.len() - 1]).unwrap() + 40);
    segment
}

/// Where each record's last byte ends, without its padding.
fn exact_ends(segment: &[u8], ends: &[u64]) -> Vec<usize> {
    let starts = [64].into_iter().chain(ends.iter().copied());
    let exact = |start: u64| {
        let start = usize::try_from(start).unwrap();
        let payload = u32::from_le_bytes(segment[start + 4..start + 8].try_into().unwrap());
        start + 32 + usize::try_from(payload).unwrap()
    };
    starts.take(ends.len()).map(exact).collect()
}

#[test]
fn a_journal_cut_at_any_byte_keeps_every_record_before_the_cut() {
    let (medium, ends) = journal_of(200);
    let segment = segment_of(&medium, &ends);
    let all = records(&open(&medium).unwrap());
    let ends = exact_ends(&segment, &ends);
    for cut in 0..segment.len() {
        let cut_off = MemoryMedium::of([(1, segment[..cut].to_vec())]);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        check_cut(&cut_off, &all[..whole], cut);

        let mut zeroed = segment.clone();
        zeroed[cut..].fill(0);
        // Where only zeros are lost, nothing is.
        let whole = ends.iter().filter(|end| zeroed[..**end] == segment[..**end]).count();
        check_cut(&MemoryMedium::of([(1, zeroed)]), &all[..whole], cut);
    }
}

fn check_cut(left: &MemoryMedium, expected: &[Record], cut: usize) {
    let count = found(left).unwrap_or_else(|error| panic!("at {cut}: {error}"));
    assert_eq!(count, expected.len() as u64, "at {cut}");
    if cut.is_multiple_of(31) {
        goes_on_behind(left, expected);
    }
}

/// What was recovered can be replayed, goes on, and has both when it is opened again.
fn goes_on_behind(left: &MemoryMedium, expected: &[Record]) {
    let mut journal = open(left).unwrap();
    assert_eq!(records(&journal), expected);
    let next = expected.iter().filter(|record| matches!(record, Record::Op(_))).count() as u64 + 1;
    let seq = journal.append_op(&op(next, 100)).unwrap();
    assert_eq!(seq.get(), expected.len() as u64 + 1);
    let again = records(&open(left).unwrap());
    assert_eq!(again[..expected.len()], *expected);
    assert_eq!(again[expected.len()..], [Record::Op(op(next, 100))]);
}

#[test]
fn a_flipped_bit_in_the_middle_is_named_and_one_in_the_last_record_ends_the_journal() {
    let (medium, ends) = journal_of(200);
    let segment = segment_of(&medium, &ends);
    let all = records(&open(&medium).unwrap());
    for record in [0, 1, 2, 77, 150, 199] {
        let start = if record == 0 { 64 } else { ends[record - 1] };
        for bit in start * 8..ends[record] * 8 {
            let mut flipped = segment.clone();
            flipped[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            let flipped = MemoryMedium::of([(1, flipped)]);
            let before = flipped.contents();
            match open(&flipped) {
                Err(JournalError::Damaged { segment: 1, offset, .. }) => {
                    assert!(offset == start && record < 199, "record {record} bit {bit}: damage at {offset}");
                    assert_eq!(flipped.contents(), before, "a damaged journal is left as it is");
                }
                Err(error) => panic!("record {record} bit {bit}: {error}"),
                // Padding carries nothing.
                Ok(journal) if journal.recovery().records == 200 => assert_eq!(records(&journal), all),
                Ok(journal) => assert!(record == 199 && journal.recovery().records == 199, "record {record} bit {bit}"),
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_segments_header_is_damage() {
    let (medium, ends) = journal_of(5);
    let segment = segment_of(&medium, &ends);
    for bit in 0..64 * 8 {
        let mut flipped = segment.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = open(&MemoryMedium::of([(1, flipped)]));
        assert!(matches!(opened, Err(JournalError::Damaged { segment: 1, offset: 0, .. })), "bit {bit}");
    }
    let mut headless = segment;
    headless[..64].fill(0);
    assert!(open(&MemoryMedium::of([(1, headless)])).is_err());
}

#[test]
fn after_a_power_cut_an_unsynced_hole_ends_the_journal_but_a_synced_one_is_damage() {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    let append = |journal: &mut Journal, ids: std::ops::Range<u64>| {
        ids.map(|id| {
            let start = journal.active.as_ref().map_or(64, |active| active.end);
            journal.append_op(&op(id, 0)).unwrap();
            usize::try_from(start).unwrap()
        })
        .collect::<Vec<_>>()
    };
    let mut starts = append(&mut journal, 1..11);
    let point = journal.sync_point();
    journal.finish_sync(&point, point.sync()).unwrap();
    starts.extend(append(&mut journal, 11..21));
    let segment = medium.contents().remove(&1).unwrap();
    for (lost, start) in starts.iter().enumerate() {
        let mut holed = segment.clone();
        holed[*start..*start + 32].fill(0);
        let holed = MemoryMedium::of([(1, holed)]);
        let after_power_cut = open(&holed.clone().after_power_cut());
        let lost = lost as u64;
        if lost < 10 {
            assert!(matches!(after_power_cut, Err(JournalError::Damaged { offset, .. }) if offset == *start as u64));
        } else if lost < 19 {
            assert!(open(&MemoryMedium::of(holed.contents())).is_ok(), "the hole was cleared");
            let report = after_power_cut.unwrap().recovery();
            assert_eq!((report.records, report.unsynced_records_dropped), (lost, 19 - lost));
        } else {
            assert_eq!(after_power_cut.unwrap().recovery().records, 19);
        }
    }
}

#[test]
fn a_copy_of_the_journal_inside_a_record_is_not_mistaken_for_records() {
    let (medium, ends) = journal_of(30);
    let copy = segment_of(&medium, &ends);
    let mut journal = open(&medium).unwrap();
    let mut holder = op(21, 1);
    holder.data = OpData::Inline(copy.into());
    journal.append_op(&holder).unwrap();
    let mut segment = medium.contents().remove(&1).unwrap();
    // The record itself is torn.
    segment[usize::try_from(ends[29]).unwrap() + 40] ^= 1;
    assert_eq!(found(&MemoryMedium::of([(1, segment)])).unwrap(), 30);
}

/// Three segments and a bit.
fn long_journal() -> (MemoryMedium, u64) {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    for id in 1..=16 {
        journal.append_op(&op(id, 12_000)).unwrap();
    }
    assert_eq!(medium.contents().len(), 4);
    (medium, 16)
}

#[test]
fn segments_follow_each_other() {
    let (medium, count) = long_journal();
    assert_eq!(found(&medium).unwrap(), count);
    let mut without_the_first = medium.contents();
    without_the_first.remove(&1);
    assert!(found(&MemoryMedium::of(without_the_first)).unwrap() < count, "it was trimmed");
    let mut without_the_second = medium.contents();
    without_the_second.remove(&2);
    let opened = open(&MemoryMedium::of(without_the_second));
    assert!(matches!(opened, Err(JournalError::Damaged { segment: 2, offset: 0, .. })));
    let mut renumbered = medium.contents();
    let third = renumbered.remove(&3).unwrap();
    renumbered.insert(2, third);
    assert!(matches!(open(&MemoryMedium::of(renumbered)), Err(JournalError::Damaged { segment: 2, .. })));
}

#[test]
fn the_end_of_a_segment_that_is_not_the_last_is_no_end() {
    let (medium, count) = long_journal();
    let mut torn = medium.contents();
    let second = torn.get_mut(&2).unwrap();
    second[50_000..].fill(0);
    for medium in [MemoryMedium::of(torn.clone()), MemoryMedium::of(torn.clone())] {
        assert!(matches!(open(&medium), Err(JournalError::Damaged { segment: 2, offset, .. }) if offset > 30_000));
        assert_eq!(medium.contents(), torn);
    }
    let after_power_cut = open(&MemoryMedium::of(torn).after_power_cut()).unwrap();
    let report = after_power_cut.recovery();
    assert_eq!(records(&after_power_cut).len() as u64, report.records);
    // Those of the first segment, and those in front of the hole.
    assert!(report.records < count && report.unsynced_records_dropped > 0, "{report:?}");
}

#[test]
fn lengths_that_lie_allocate_nothing_and_end_the_journal() {
    let (medium, ends) = journal_of(10);
    let segment = segment_of(&medium, &ends);
    let last = usize::try_from(ends[8]).unwrap();
    for length in [0u32, 1, 7, u32::MAX, u32::MAX - 31, 1 << 31] {
        for at in [4, 12] {
            let mut lying = segment.clone();
            lying[last + at..last + at + 4].copy_from_slice(&length.to_le_bytes());
            assert!(matches!(found(&MemoryMedium::of([(1, lying)])).unwrap(), 9 | 10));
        }
    }
}
