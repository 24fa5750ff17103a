use super::memory::MemoryEngine;
use super::sanakirja::SanakirjaEngine;
use super::*;

fn engines(check: impl Fn(&dyn Engine)) {
    check(&MemoryEngine::default());
    let dir = tempfile::tempdir().unwrap();
    check(&SanakirjaEngine::create(&dir.path().join("a")).unwrap());
    #[cfg(feature = "redb")]
    check(&redb::RedbEngine::create(&dir.path().join("b")).unwrap());
}

fn apply(engine: &dyn Engine, rows: impl IntoIterator<Item = (Table, Vec<u8>, Option<Vec<u8>>)>) {
    let mut changes = Changes::default();
    for (table, key, value) in rows {
        changes.set(table, key, value);
    }
    engine.apply(&changes, &mut || Ok(())).unwrap();
}

fn scan(engine: &dyn Engine, table: Table, from: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Ok(Step::Next)
    };
    engine.snapshot().unwrap().scan(table, from, &mut visit).unwrap();
    keys
}

fn scan_back(engine: &dyn Engine, table: Table, from: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Ok(Step::Next)
    };
    engine.snapshot().unwrap().scan_back(table, from, &mut visit).unwrap();
    keys
}

#[test]
fn rows_are_found_from_present_and_from_absent_keys_in_both_directions() {
    engines(|engine| {
        let keys: Vec<Vec<u8>> = (0..2000u16).map(|n| (n * 2 + 10).to_be_bytes().to_vec()).collect();
        apply(engine, keys.iter().map(|key| (Table::Files, key.clone(), Some(vec![7; 40]))));
        for probe in 0..4100u16 {
            let from = probe.to_be_bytes();
            let above: Vec<_> = keys.iter().filter(|key| key.as_slice() >= &from[..]).take(3).cloned().collect();
            let below: Vec<_> = keys.iter().rev().filter(|key| key.as_slice() <= &from[..]).take(3).cloned().collect();
            if probe % 97 == 0 || !(30..4000).contains(&probe) {
                assert_eq!(scan(engine, Table::Files, &from).into_iter().take(3).collect::<Vec<_>>(), above);
                assert_eq!(scan_back(engine, Table::Files, &from).into_iter().take(3).collect::<Vec<_>>(), below);
            }
            let present = engine.snapshot().unwrap().get(Table::Files, &from).unwrap().is_some();
            assert_eq!(present, keys.contains(&from.to_vec()));
        }
        assert_eq!(scan_back(engine, Table::Files, &[255; 3]).len(), 2000);
        assert!(scan(engine, Table::Links, &[0]).is_empty() && scan_back(engine, Table::Links, &[255]).is_empty());
    });
}

#[test]
fn mutable_rows_are_replaced_and_removed() {
    engines(|engine| {
        for round in 0..40u8 {
            apply(
                engine,
                (0..200u8).map(|n| {
                    let value = (n % 3 != round % 3).then(|| vec![round; usize::from(n) / 2 + 1]);
                    (Table::Refs, vec![n; 90], value)
                }),
            );
            assert_eq!(scan(engine, Table::Refs, &[0]).len(), (0..200u8).filter(|n| n % 3 != round % 3).count());
        }
        let value = engine.snapshot().unwrap().get(Table::Refs, &[1; 90]).unwrap();
        assert_eq!(value, (39 % 3 != 1).then(|| vec![39; 1]));
    });
}

/// Rows in order, of lengths that differ.
struct InOrder(std::vec::IntoIter<(Table, Vec<u8>, Vec<u8>)>, Option<(Table, Vec<u8>, Vec<u8>)>);

impl RowSource for InOrder {
    fn next(&mut self) -> Result<Option<Row<'_>>> {
        self.1 = self.0.next();
        Ok(self.1.as_ref().map(|(table, key, value)| (*table, key.as_slice(), value.as_slice())))
    }

    fn bytes(&self) -> u64 {
        self.0.as_slice().iter().map(|(_, key, value)| (key.len() + value.len() + 8) as u64).sum()
    }
}

#[test]
fn filled_tables_hold_every_row_and_take_more() {
    // From no page to a tree of three levels, and the sizes at which a page has just become full.
    for count in (0..120).chain([1000, 1001, 30_000]) {
        engines(|engine| {
            let key = |n: u32| [n.to_be_bytes().to_vec(), vec![1; 30]].concat();
            let value = |n: u32| vec![7; 1 + usize::try_from(n.wrapping_mul(2_654_435_761) % 360).unwrap()];
            let tables = [Table::Files, Table::Content];
            let row = |table| (0..count).map(move |n| (table, key(2 * n), value(n)));
            let rows: Vec<_> = tables.into_iter().flat_map(row).collect();
            engine.fill(&mut InOrder(rows.into_iter(), None)).unwrap();
            let held: Vec<_> = (0..count).map(|n| key(2 * n)).collect();
            tables.into_iter().for_each(|table| assert!(scan(engine, table, &[0]) == held, "{count}"));
            let found = engine.snapshot().unwrap().get(Table::Files, &key(2 * (count / 2))).unwrap();
            assert_eq!(found, (count > 0).then(|| value(count / 2)));
            apply(engine, (0..count).map(|n| (Table::Files, key(2 * n + 1), Some(value(n)))));
            apply(engine, [(Table::Links, key(1), Some(value(1)))]);
            assert_eq!(scan(engine, Table::Files, &[0]), (0..2 * count).map(key).collect::<Vec<_>>());
            assert_eq!(scan_back(engine, Table::Content, &[255]).len(), held.len());
        });
    }
}

#[test]
fn a_refused_barrier_changes_nothing() {
    engines(|engine| {
        let mut changes = Changes::default();
        changes.set(Table::Files, vec![1], Some(vec![1]));
        let refused = engine.apply(&changes, &mut || Err(ize_core::storage::StorageError::Full));
        assert!(matches!(refused, Err(ApplyError::Refused(_))));
        assert!(scan(engine, Table::Files, &[0]).is_empty());
        apply(engine, [(Table::Files, vec![1], Some(vec![2]))]);
        assert_eq!(engine.snapshot().unwrap().get(Table::Files, &[1]).unwrap(), Some(vec![2]));
    });
}

#[test]
fn the_longest_rows_are_stored_in_any_order() {
    engines(|engine| {
        for round in 0..60u32 {
            let rows = (0..50u32).map(|n| {
                let id = (n * 60 + round).wrapping_mul(2_654_435_761);
                let mut key = id.to_be_bytes().to_vec();
                key.resize(36, 1);
                let bytes = Table::Dirents.entry_bytes_max() - 36 - usize::try_from(id % 3).unwrap() * 100;
                (Table::Dirents, key, Some(vec![9; bytes]))
            });
            apply(engine, rows);
        }
        assert_eq!(scan(engine, Table::Dirents, &[0]).len(), 3000);
    });
}

#[test]
fn snapshots_read_while_changes_are_applied() {
    engines(|engine| {
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for _ in 0..300 {
                    let snapshot = engine.snapshot().unwrap();
                    let mut sums = [0u64; 2];
                    for (sum, table) in sums.iter_mut().zip([Table::Files, Table::Links]) {
                        let mut visit = |_: &[u8], _: &[u8]| {
                            *sum += 1;
                            Ok(Step::Next)
                        };
                        snapshot.scan(table, &[0], &mut visit).unwrap();
                    }
                    assert_eq!(sums[0], sums[1]);
                }
            });
            for n in 0..100u32 {
                let key = n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
                apply(
                    engine,
                    [(Table::Files, key.clone(), Some(vec![3; 300])), (Table::Links, key, Some(vec![4; 300]))],
                );
            }
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_damaged_first_page_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    drop(SanakirjaEngine::create(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    for damage in [vec![0; whole.len()], whole[..5000].to_vec(), vec![0xff; 100_000], Vec::new()] {
        std::fs::write(&path, damage).unwrap();
        assert!(matches!(SanakirjaEngine::open(&path), Err(ize_core::storage::StorageError::Corrupt(_))));
    }
}
