//! Postings: the operations of one batch that concern one thing, in one row or a few.
//!
//! The row's key ends in the last of them. The value holds the steps from there to each earlier one, the nearest first,
//! as numbers of seven bits per byte, the least significant first. So an operation in a busy folder costs a byte.

use ize_core::model::{FileId, OpId};

use super::key;
use crate::varint;

/// A row is finished once its steps take so many bytes.
const ROW_BYTES_MAX: usize = 200;

/// Returns the value of one row for some operations, which are in ascending order.
pub(crate) fn steps(ops: &[OpId]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ops.len());
    ops.windows(2).rev().for_each(|pair| varint::push(&mut value, pair[1].get() - pair[0].get()));
    value
}

/// Returns the rows for some operations, which are in ascending order.
pub(crate) fn rows(thing: FileId, ops: &[OpId]) -> Vec<([u8; 16], Vec<u8>)> {
    let mut rows = Vec::new();
    let mut rest = ops.iter().rev().copied().peekable();
    while let Some(last) = rest.next() {
        let (mut at, mut value) = (last, Vec::new());
        while let Some(op) = rest.next_if(|_| value.len() < ROW_BYTES_MAX) {
            varint::push(&mut value, at.get() - op.get());
            at = op;
        }
        rows.push((key::file_op(thing, last), value));
    }
    rows
}

/// Returns the operations of a row, the newest first; `None` if it makes no sense.
pub(crate) fn decode(last: OpId, mut value: &[u8]) -> Option<Vec<OpId>> {
    let (mut at, mut ops) = (last.get(), vec![last]);
    while !value.is_empty() {
        let step = varint::pop(&mut value).filter(|step| *step > 0)?;
        at = at.checked_sub(step)?;
        ops.push(OpId::new(at));
    }
    Some(ops)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_hold_what_was_put_and_are_short(mut ids in prop::collection::btree_set(1u64.., 1..400), dense: bool) {
            if dense {
                ids = (1..=ids.len() as u64).collect();
            }
            let ops: Vec<OpId> = ids.into_iter().map(OpId::new).collect();
            let mut found = Vec::new();
            for (key, value) in rows(FileId::new(7), &ops) {
                prop_assert!(value.len() < ROW_BYTES_MAX + 10);
                found.extend(decode(OpId::new(key::number(&key, 8).unwrap()), &value).unwrap());
            }
            found.reverse();
            prop_assert_eq!(found, ops);
        }

        #[test]
        fn nonsense_is_no_row(last: u64, value: Vec<u8>) {
            if let Some(ops) = decode(OpId::new(last), &value) {
                prop_assert!(ops.is_sorted_by(|a, b| a > b));
            }
        }
    }
}
