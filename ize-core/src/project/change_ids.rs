//! Change ids in order, kept in a file, so that the operation of one is found without deriving the ids of all.
//!
//! A change id follows from the project and the operation. So all that is kept is an order: for each block of operations,
//! where in the block they stand, by ascending change id. A search derives a dozen ids per block. What the file lacks, or what
//! of it is damaged, is derived again: it is a cache, nothing is lost with it, and it is never synced. Several processes may
//! write to it at one time, since all of them write the same bytes.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::disk::{Change, change};
use crate::model::{ChangeId, ChangeIdPrefix, OpId, ProjectId};

/// Operations of a block. Those behind the last whole one are searched one by one.
const BLOCK_OPS: u64 = 1 << 14;
/// Bytes of the places in a block, two for each.
const ORDER_BYTES: usize = 2 << 14;
/// Bytes of a block: the places, and their crc32c.
const BLOCK_BYTES: usize = ORDER_BYTES + 4;

/// The change ids of a project.
#[derive(Clone, Debug)]
pub(super) struct ChangeIds {
    project: ProjectId,
    /// Where their order is kept, if it is.
    path: Option<PathBuf>,
}

impl ChangeIds {
    /// Begins with nothing kept.
    pub(super) const fn new(project: ProjectId) -> Self {
        Self { project, path: None }
    }

    /// Keeps the order in a file.
    pub(super) fn kept_in(self, path: PathBuf) -> Self {
        Self { path: Some(path), ..self }
    }

    /// Returns the change id of an operation.
    pub(super) fn of(&self, op: OpId) -> ChangeId {
        ChangeId::of(self.project, op)
    }

    /// Returns the operations up to `newest` whose change ids begin with some letters, the newest first.
    pub(super) fn fitting(&self, prefix: ChangeIdPrefix, newest: OpId) -> impl Iterator<Item = OpId> {
        let blocks = newest.get() / BLOCK_OPS;
        let rest = (blocks * BLOCK_OPS + 1..=newest.get()).rev().map(OpId::new);
        let file = self.file(blocks);
        let in_blocks = (0..blocks).rev().flat_map(move |block| self.fitting_in(block, prefix, file.as_ref()));
        rest.filter(move |op| self.of(*op).starts_with(prefix)).chain(in_blocks)
    }

    /// Adds the whole blocks up to an operation that the file does not have yet.
    pub(super) fn extend(&self, newest: OpId) {
        let blocks = newest.get() / BLOCK_OPS;
        let Some(file) = self.file(blocks) else { return };
        let kept = file.metadata().map_or(0, |metadata| metadata.len()) / BLOCK_BYTES as u64;
        for block in kept..blocks {
            if !write(&file, block, &self.derive(block)) {
                return;
            }
        }
    }

    /// Opens the file, if there is one and it has anything to keep.
    fn file(&self, blocks: u64) -> Option<File> {
        let path = self.path.as_deref().filter(|_| blocks > 0)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        change(Change::Path(path), || options.open(path)).or_else(|_| File::open(path)).ok()
    }

    fn fitting_in(&self, block: u64, prefix: ChangeIdPrefix, file: Option<&File>) -> Vec<OpId> {
        let order = file.and_then(|file| read(file, block)).unwrap_or_else(|| {
            let order = self.derive(block);
            file.map(|file| write(file, block, &order));
            order
        });
        let op = |place: u16| OpId::new(block * BLOCK_OPS + 1 + u64::from(place));
        let begin = order.partition_point(|place| self.of(op(*place)) < prefix.first());
        let fits = |op: &OpId| self.of(*op).starts_with(prefix);
        let mut found: Vec<OpId> = order[begin..].iter().map(|place| op(*place)).take_while(fits).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    fn derive(&self, block: u64) -> Vec<u16> {
        let first = block * BLOCK_OPS + 1;
        let id = |place: u16| (self.of(OpId::new(first + u64::from(place))), place);
        let mut ids: Vec<(ChangeId, u16)> = (0..1 << 14).map(id).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, place)| place).collect()
    }
}

fn read(file: &File, block: u64) -> Option<Vec<u16>> {
    let mut bytes = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut bytes, block * BLOCK_BYTES as u64).ok()?;
    let (order, crc) = bytes.split_at(ORDER_BYTES);
    let is_sound = crc == crc32c::crc32c(order).to_le_bytes();
    is_sound.then(|| order.chunks_exact(2).map(|place| u16::from_le_bytes([place[0], place[1]])).collect())
}

/// Tells whether it could be written; whoever opened it for reading only can do without.
fn write(file: &File, block: u64, order: &[u16]) -> bool {
    let mut bytes: Vec<u8> = order.iter().flat_map(|place| place.to_le_bytes()).collect();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let at = block * BLOCK_BYTES as u64;
    let written = change(Change::Data(file.as_fd(), at, BLOCK_BYTES as u64), || file.write_all_at(&bytes, at));
    written.inspect_err(|error| tracing::debug!(%error, "the order of change ids is not kept")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: ProjectId = ProjectId::from_bytes([9; 16]);
    const NEWEST: OpId = OpId::new(3 * BLOCK_OPS + 1000);

    fn kept() -> (tempfile::TempDir, ChangeIds) {
        let dir = tempfile::tempdir().unwrap();
        let ids = ChangeIds::new(PROJECT).kept_in(dir.path().join("change-ids"));
        (dir, ids)
    }

    fn bytes(ids: &ChangeIds) -> Vec<u8> {
        std::fs::read(ids.path.as_ref().unwrap()).unwrap()
    }

    /// Every prefix that is asked for finds what a look at all ids finds.
    fn check(ids: &ChangeIds) {
        for op in [1, 2, BLOCK_OPS, BLOCK_OPS + 1, 3 * BLOCK_OPS, 3 * BLOCK_OPS + 1, NEWEST.get()] {
            let text = ChangeId::of(PROJECT, OpId::new(op)).to_string();
            for letters in [12, 4, 2] {
                let prefix = ChangeIdPrefix::parse(&text[..letters]).unwrap();
                let all = (1..=NEWEST.get()).rev().map(OpId::new);
                let expected: Vec<OpId> = all.filter(|op| ChangeId::of(PROJECT, *op).starts_with(prefix)).collect();
                assert!(expected.contains(&OpId::new(op)));
                assert_eq!(ids.fitting(prefix, NEWEST).collect::<Vec<_>>(), expected, "{text}, {letters}");
            }
        }
    }

    #[test]
    fn ids_are_found_with_and_without_a_file() {
        let (_dir, ids) = kept();
        check(&ChangeIds::new(PROJECT));
        check(&ids);
        assert_eq!(bytes(&ids).len(), 3 * BLOCK_BYTES);
        check(&ids);
    }

    #[test]
    fn a_file_grows_by_whole_blocks() {
        let (_dir, ids) = kept();
        ids.extend(OpId::new(BLOCK_OPS - 1));
        assert!(!ids.path.as_ref().unwrap().exists());
        ids.extend(OpId::new(BLOCK_OPS));
        let first = bytes(&ids);
        assert_eq!(first.len(), BLOCK_BYTES);
        ids.extend(NEWEST);
        assert_eq!(bytes(&ids).len(), 3 * BLOCK_BYTES);
        assert!(bytes(&ids).starts_with(&first));
        check(&ids);
    }

    #[test]
    fn damage_is_noticed_and_mended() {
        let (_dir, ids) = kept();
        ids.extend(NEWEST);
        let whole = bytes(&ids);
        let mut damaged = whole.clone();
        damaged[BLOCK_BYTES..BLOCK_BYTES + 100].fill(0);
        damaged.truncate(damaged.len() - 10);
        std::fs::write(ids.path.as_ref().unwrap(), damaged).unwrap();
        check(&ids);
        assert_eq!(bytes(&ids), whole);
    }

    #[test]
    fn a_kept_order_is_used() {
        let (_dir, ids) = kept();
        // An order that is sound, and another project's: nothing is where it is looked for.
        let other = ChangeIds { project: ProjectId::from_bytes([8; 16]), ..ids.clone() };
        other.extend(OpId::new(BLOCK_OPS));
        let texts = (1..=BLOCK_OPS).map(|op| ids.of(OpId::new(op)).to_string());
        let prefixes = texts.map(|text| ChangeIdPrefix::parse(&text).unwrap()).take(100);
        let found = prefixes.filter(|prefix| ids.fitting(*prefix, OpId::new(BLOCK_OPS)).next().is_some());
        assert!(found.count() < 10);
    }
}
