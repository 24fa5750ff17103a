//! Keys: big-endian, so that their order as bytes is the order of what they mean. Versions come newest first.

use ize_core::model::{BranchId, Entry, FileId, Name, OpId, Timestamp, XattrName};

use crate::engine::Key;

/// Bytes of the moment at the end of a version's key.
pub(crate) const MOMENT_BYTES: usize = 8;
/// Bytes of a name's hash in a key.
pub(crate) const NAME_HASH_BYTES: usize = 16;

/// The first bytes of a name's blake3 hash: they stand for the name in keys, so that keys are short.
pub(crate) type NameHash = [u8; NAME_HASH_BYTES];

fn hash(bytes: &[u8]) -> NameHash {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Returns a name's hash.
pub(crate) fn name_hash(name: &Name) -> NameHash {
    hash(name.as_bytes())
}

/// Begins the key of a file's metadata, or ends a key that begins with a file.
pub(crate) fn file(file: FileId) -> [u8; 8] {
    file.get().to_be_bytes()
}

/// The key of an operation.
pub(crate) fn op(op: OpId) -> [u8; 8] {
    op.get().to_be_bytes()
}

/// The key of an operation about a file.
pub(crate) fn file_op(file: FileId, op: OpId) -> [u8; 16] {
    join(&file.get().to_be_bytes(), &op.get().to_be_bytes())
}

/// Begins the key of a cell of content.
pub(crate) fn cell(file: FileId, cell: u64) -> [u8; 16] {
    join(&file.get().to_be_bytes(), &cell.to_be_bytes())
}

/// Begins the key of an entry.
pub(crate) fn entry(dir: FileId, name: &NameHash) -> [u8; 24] {
    join(&dir.get().to_be_bytes(), name)
}

/// Begins the key of a name of a file.
pub(crate) fn link(file: FileId, entry_of: &Entry) -> [u8; 32] {
    join(&file.get().to_be_bytes(), &entry(entry_of.dir, &name_hash(&entry_of.name)))
}

/// Begins the key of an extended attribute.
pub(crate) fn xattr(file: FileId, name: &XattrName) -> [u8; 24] {
    join(&file.get().to_be_bytes(), &hash(name.as_bytes()))
}

/// The key of a branch.
pub(crate) fn branch(branch: BranchId) -> [u8; 4] {
    branch.get().to_be_bytes()
}

/// The key of an operation by time.
pub(crate) fn time(time: Timestamp, op: OpId) -> [u8; 24] {
    // Negative times come first when the sign is flipped.
    let ordered = time.as_nanos().cast_unsigned() ^ (1 << 127);
    join(&ordered.to_be_bytes(), &op.get().to_be_bytes())
}

/// Reads the key of an operation by time.
pub(crate) fn split_time(key: &[u8]) -> Option<(Timestamp, OpId)> {
    let (ordered, op) = key.split_first_chunk::<16>()?;
    let nanos = (u128::from_be_bytes(*ordered) ^ (1 << 127)).cast_signed();
    Some((Timestamp::from_nanos(nanos), OpId::new(u64::from_be_bytes(op.try_into().ok()?))))
}

/// Completes a key by a branch and a moment.
pub(crate) fn version(prefix: &[u8], branch: BranchId, at: OpId) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(prefix);
    key.extend_from_slice(&branch.get().to_be_bytes());
    key.extend_from_slice(&(!at.get()).to_be_bytes());
    key
}

/// Reads branch and moment of a key that begins with `prefix`.
pub(crate) fn split_version(key: &[u8], prefix: &[u8]) -> Option<(BranchId, OpId)> {
    let (branch, at) = key.strip_prefix(prefix)?.split_first_chunk::<4>()?;
    let at = u64::from_be_bytes(at.try_into().ok()?);
    Some((BranchId::new(u32::from_be_bytes(*branch)), OpId::new(!at)))
}

/// Reads the number that a key begins with, at byte `at`.
pub(crate) fn number(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}

/// Returns the least key that is greater than all that begin with `prefix`; `None` if there is none.
pub(crate) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if let Some(greater) = last.checked_add(1) {
            next.push(greater);
            return Some(next);
        }
    }
    None
}

fn join<const A: usize, const B: usize, const N: usize>(a: &[u8; A], b: &[u8; B]) -> [u8; N] {
    const { assert!(A + B == N, "a joined key is as long as its parts") };
    let mut key = [0; N];
    key[..A].copy_from_slice(a);
    key[A..].copy_from_slice(b);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_order_as_their_keys(a: i128, b: i128, x: u64, y: u64) {
            let (first, second) = ((Timestamp::from_nanos(a), OpId::new(x)), (Timestamp::from_nanos(b), OpId::new(y)));
            prop_assert_eq!(time(first.0, first.1).cmp(&time(second.0, second.1)), first.cmp(&second));
            prop_assert_eq!(split_time(&time(first.0, first.1)), Some(first));
        }

        #[test]
        fn versions_order_by_thing_then_branch_then_newest_first(a: [u8; 24], b: [u8; 24], p: u32, q: u32, x: u64, y: u64) {
            let key = |prefix: &[u8], branch, at| version(prefix, BranchId::new(branch), OpId::new(at));
            let expected = (a, p, std::cmp::Reverse(x)).cmp(&(b, q, std::cmp::Reverse(y)));
            prop_assert_eq!(key(&a, p, x).cmp(&key(&b, q, y)), expected);
            prop_assert_eq!(split_version(&key(&a, p, x), &a), Some((BranchId::new(p), OpId::new(x))));
        }

        #[test]
        fn cells_order_by_file_then_cell(a: u64, b: u64, x: u64, y: u64) {
            let order = cell(FileId::new(a), x).cmp(&cell(FileId::new(b), y));
            prop_assert_eq!(order, (a, x).cmp(&(b, y)));
        }

        #[test]
        fn after_is_the_next_key_behind_a_prefix(prefix: Vec<u8>, rest: Vec<u8>) {
            let longer = [prefix.clone(), rest].concat();
            match after(&prefix) {
                Some(next) => prop_assert!(longer < next && next > prefix),
                None => prop_assert!(prefix.iter().all(|byte| *byte == 255)),
            }
        }
    }
}
