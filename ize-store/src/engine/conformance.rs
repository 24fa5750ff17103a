//! The checks that every engine passes: what the store counts on.
//!
//! `engine_conformance!(constructor)` makes one `#[test]` of each. The rest of what a store needs of its engine shows in
//! `ize_core::conformance!` on a [`crate::Store`] that has it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ize_core::storage::{Result, StorageError};

use super::{ApplyError, Changes, Constructor, Engine, Row, RowSource, Step, Table};

/// A check of an engine without rows: its name, and what panics where the engine breaks its promise.
pub type Check = (&'static str, fn(&dyn Engine));

/// All of them but those that make engines themselves.
pub const CHECKS: &[Check] = &[
    (
        "rows_are_found_from_present_and_from_absent_keys_in_both_directions",
        rows_are_found_from_present_and_from_absent_keys_in_both_directions,
    ),
    ("mutable_rows_are_replaced_and_removed", mutable_rows_are_replaced_and_removed),
    ("a_refused_barrier_changes_nothing", a_refused_barrier_changes_nothing),
    ("the_longest_rows_are_stored_in_any_order", the_longest_rows_are_stored_in_any_order),
    ("snapshots_read_while_changes_are_applied", snapshots_read_while_changes_are_applied),
];

/// Makes one `#[test]` of each check, for the engine that an expression makes a [`Constructor`] of.
#[macro_export]
macro_rules! engine_conformance {
    ($constructor:expr) => {
        $crate::engine_conformance! { $constructor =>
            rows_are_found_from_present_and_from_absent_keys_in_both_directions
            mutable_rows_are_replaced_and_removed
            a_refused_barrier_changes_nothing
            the_longest_rows_are_stored_in_any_order
            snapshots_read_while_changes_are_applied
        }

        #[test]
        fn what_was_applied_is_there_after_reopening() {
            let scratch = $crate::engine::conformance::Scratch::new();
            $crate::engine::conformance::what_was_applied_is_there_after_reopening(&$constructor, scratch.path());
        }

        #[test]
        fn filled_tables_hold_every_row_and_take_more() {
            let scratch = $crate::engine::conformance::Scratch::new();
            $crate::engine::conformance::filled_tables_hold_every_row_and_take_more(&$constructor, scratch.path());
        }
    };
    ($constructor:expr => $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let scratch = $crate::engine::conformance::Scratch::new();
            let engine = $crate::engine::Constructor::create(&$constructor, scratch.path());
            $crate::engine::conformance::$check(&*engine.expect("a new engine can be made"));
        })*
    };
}

/// A place for an engine, which is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder among the temporary ones.
    #[expect(clippy::new_without_default, reason = "making a folder is no default")]
    pub fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("ize-engine-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).expect("a temporary folder can be made");
        Self { path: dir.join("index"), dir }
    }

    /// Returns where the engine's file or folder belongs.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from among the temporary files goes with the others.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Applies rows; `None` removes one.
pub fn apply(engine: &dyn Engine, rows: impl IntoIterator<Item = (Table, Vec<u8>, Option<Vec<u8>>)>) {
    let mut changes = Changes::default();
    for (table, key, value) in rows {
        changes.set(table, &key, value.as_deref());
    }
    engine.apply(&changes, &mut || Ok(())).expect("valid changes are applied");
}

fn get(engine: &dyn Engine, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    let snapshot = engine.snapshot().expect("a snapshot can be taken");
    snapshot.get(table, key).expect("a row can be read")
}

fn scan(engine: &dyn Engine, table: Table, from: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Ok(Step::Next)
    };
    let snapshot = engine.snapshot().expect("a snapshot can be taken");
    snapshot.scan(table, from, &mut visit).expect("rows can be read");
    keys
}

fn scan_back(engine: &dyn Engine, table: Table, from: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Ok(Step::Next)
    };
    let snapshot = engine.snapshot().expect("a snapshot can be taken");
    snapshot.scan_back(table, from, &mut visit).expect("rows can be read");
    keys
}

/// Lookups and scans, up and down, from keys that are there and from such that are not.
pub fn rows_are_found_from_present_and_from_absent_keys_in_both_directions(engine: &dyn Engine) {
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
        let present = get(engine, Table::Files, &from).is_some();
        assert_eq!(present, keys.contains(&from.to_vec()));
    }
    assert_eq!(scan_back(engine, Table::Files, &[255; 3]).len(), 2000);
    assert!(scan(engine, Table::Links, &[0]).is_empty() && scan_back(engine, Table::Links, &[255]).is_empty());
}

/// A table that is mutable takes another value for a key, and lets go of keys.
pub fn mutable_rows_are_replaced_and_removed(engine: &dyn Engine) {
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
    let value = get(engine, Table::Refs, &[1; 90]);
    assert_eq!(value, (39 % 3 != 1).then(|| vec![39; 1]));
}

/// Changes whose barrier says no are not made.
pub fn a_refused_barrier_changes_nothing(engine: &dyn Engine) {
    let mut changes = Changes::default();
    changes.set(Table::Files, &[1], Some(&[1]));
    let refused = engine.apply(&changes, &mut || Err(StorageError::Full));
    assert!(matches!(refused, Err(ApplyError::Refused(_))));
    assert!(scan(engine, Table::Files, &[0]).is_empty());
    apply(engine, [(Table::Files, vec![1], Some(vec![2]))]);
    assert_eq!(get(engine, Table::Files, &[1]), Some(vec![2]));
}

/// Rows as long as they may be, in an order that is none.
pub fn the_longest_rows_are_stored_in_any_order(engine: &dyn Engine) {
    for round in 0..60u32 {
        let rows = (0..50u32).map(|n| {
            let id = (n * 60 + round).wrapping_mul(2_654_435_761);
            let mut key = id.to_be_bytes().to_vec();
            key.resize(36, 1);
            let bytes = Table::Dirents.entry_bytes_max() - 36 - (id % 3) as usize * 100;
            (Table::Dirents, key, Some(vec![9; bytes]))
        });
        apply(engine, rows);
    }
    assert_eq!(scan(engine, Table::Dirents, &[0]).len(), 3000);
}

/// A snapshot shows all of a change or nothing of it, in every table, whatever is applied meanwhile.
pub fn snapshots_read_while_changes_are_applied(engine: &dyn Engine) {
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..300 {
                let snapshot = engine.snapshot().expect("a snapshot can be taken");
                let mut sums = [0u64; 2];
                for (sum, table) in sums.iter_mut().zip([Table::Files, Table::Links]) {
                    let mut visit = |_: &[u8], _: &[u8]| {
                        *sum += 1;
                        Ok(Step::Next)
                    };
                    snapshot.scan(table, &[0], &mut visit).expect("rows can be read");
                }
                assert_eq!(sums[0], sums[1]);
            }
        });
        for n in 0..100u32 {
            let key = n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
            apply(engine, [(Table::Files, key.clone(), Some(vec![3; 300])), (Table::Links, key, Some(vec![4; 300]))]);
        }
        reader.join().expect("the reader sees whole changes");
    });
}

/// What was applied is there when the engine is closed and opened again, also elsewhere; what was not applied is not.
pub fn what_was_applied_is_there_after_reopening(constructor: &dyn Constructor, path: &Path) {
    let engine = constructor.create(path).expect("a new engine can be made");
    for round in 0..20u8 {
        apply(&*engine, (0..100u8).map(|n| (Table::Files, vec![n, round, 1], Some(vec![n; 200]))));
        apply(&*engine, [(Table::Refs, vec![1; 90], Some(vec![round; 50])), (Table::Refs, vec![2; 9], None)]);
    }
    let mut refused = Changes::default();
    refused.set(Table::Links, &[1], Some(&[1]));
    engine.apply(&refused, &mut || Err(StorageError::Full)).expect_err("the barrier says no");
    drop(engine);
    let moved = path.with_file_name("moved");
    std::fs::rename(path, &moved).expect("a closed engine can be moved");
    let engine = constructor.open(&moved).expect("what was closed can be opened");
    assert_eq!(scan(&*engine, Table::Files, &[0]).len(), 2000);
    assert_eq!(scan(&*engine, Table::Refs, &[0]), [vec![1; 90]]);
    assert_eq!(get(&*engine, Table::Refs, &[1; 90]), Some(vec![19; 50]));
    assert!(scan(&*engine, Table::Links, &[0]).is_empty());
    apply(&*engine, [(Table::Links, vec![1], Some(vec![1]))]);
    assert_eq!(scan_back(&*engine, Table::Links, &[255]), [vec![1]]);
}

/// Rows in order.
struct InOrder {
    rows: std::vec::IntoIter<(Table, Vec<u8>, Vec<u8>)>,
    next: Option<(Table, Vec<u8>, Vec<u8>)>,
}

impl RowSource for InOrder {
    fn next(&mut self) -> Result<Option<Row<'_>>> {
        self.next = self.rows.next();
        Ok(self.next.as_ref().map(|(table, key, value)| (*table, key.as_slice(), value.as_slice())))
    }

    fn bytes(&self) -> u64 {
        self.rows.as_slice().iter().map(|(_, key, value)| (key.len() + value.len() + 8) as u64).sum()
    }
}

/// Tables that were filled hold every row, whatever their number, and take further ones.
pub fn filled_tables_hold_every_row_and_take_more(constructor: &dyn Constructor, path: &Path) {
    // From no page to a tree of three levels, and the sizes at which a page has just become full.
    for count in (0..120).chain([1000, 1001, 30_000]) {
        let path = path.with_file_name(format!("filled-{count}"));
        fill_and_check(&*constructor.create(&path).expect("a new engine can be made"), count);
    }
}

fn fill_and_check(engine: &dyn Engine, count: u32) {
    let key = |n: u32| [n.to_be_bytes().to_vec(), vec![1; 30]].concat();
    let value = |n: u32| vec![7; 1 + (n.wrapping_mul(2_654_435_761) % 360) as usize];
    let tables = [Table::Files, Table::Content];
    let row = |table| (0..count).map(move |n| (table, key(2 * n), value(n)));
    let rows: Vec<_> = tables.into_iter().flat_map(row).collect();
    engine.fill(&mut InOrder { rows: rows.into_iter(), next: None }).expect("empty tables can be filled");
    let held: Vec<_> = (0..count).map(|n| key(2 * n)).collect();
    tables.into_iter().for_each(|table| assert!(scan(engine, table, &[0]) == held, "{count}"));
    assert_eq!(get(engine, Table::Files, &key(2 * (count / 2))), (count > 0).then(|| value(count / 2)));
    apply(engine, (0..count).map(|n| (Table::Files, key(2 * n + 1), Some(value(n)))));
    apply(engine, [(Table::Links, key(1), Some(value(1)))]);
    assert_eq!(scan(engine, Table::Files, &[0]), (0..2 * count).map(key).collect::<Vec<_>>());
    assert_eq!(scan_back(engine, Table::Content, &[255]).len(), held.len());
}
