//! Random operations, the same for the same seed.

use bytes::Bytes;

use super::LogBuilder;
use super::log::{name_of, xattr_name};
use super::tree::Tree;
use crate::model::{Entry, FileId, FileKind, Landmark, Timestamp};

/// Files stay below this size, in bytes: enough for several cells or chunks of any backend.
const FILE_BYTES_MAX: u64 = 200_000;
/// Names are few, so that operations meet each other.
const NAMES: [&str; 8] = ["a", "b", "c", "notes.txt", "notes.txt~", ".swap", "src", "\u{fc}ml\u{e4}ut"];
const XATTRS: [&str; 3] = ["user.a", "user.b", "security.c"];

/// A source of random operations of every kind: files, folders and links come, change, move, replace each other and go.
#[derive(Clone, Debug)]
pub struct Workload {
    log: LogBuilder,
    random: u64,
}

impl Workload {
    /// Begins with an empty log.
    pub fn new(seed: u64) -> Self {
        Self { log: LogBuilder::new(), random: seed }
    }

    /// Returns the log, with the operations made so far.
    pub fn log(&mut self) -> &mut LogBuilder {
        &mut self.log
    }

    /// Returns a random number below `bound` (SplitMix64; the bias of the remainder does not matter here).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    /// Makes one operation. Some become landmarks, some cover several ids, and at times the clock goes backwards.
    pub fn step(&mut self) {
        let before = self.log.head();
        while self.log.head() == before {
            self.try_step();
        }
        if self.below(4) == 0 {
            let landmarks = [Landmark::Namespace, Landmark::Close, Landmark::Sync, Landmark::Barrier];
            let landmark = self.pick(&landmarks);
            self.log.mark(landmark);
        }
        match self.below(30) {
            0 => {
                let more = 1 + self.below(5);
                self.log.widen(more);
            }
            1 => self.log.found(),
            2 => {
                let now = self.log.last_mut().timestamp.as_nanos();
                let back = i128::from(self.below(20_000_000));
                self.log.set_clock(Timestamp::from_nanos(now - back));
            }
            _ => {}
        }
    }

    /// Makes an operation, or none if the chosen kind does not fit the tree.
    fn try_step(&mut self) {
        match self.below(100) {
            0..14 => self.create(),
            14..40 => self.write(),
            40..48 => self.resize(),
            48..56 => self.punch_or_zero(),
            56..62 => self.copy(),
            62..74 => self.rename(),
            74..80 => self.remove(),
            80..84 => self.hardlink(),
            84..92 => self.set_attributes(),
            _ => self.change_xattr(),
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("an index into a slice")].clone()
    }

    /// Picks an existing inode that `fits`.
    fn pick_node(&mut self, fits: impl Fn(&Tree, FileId, FileKind) -> bool) -> Option<FileId> {
        let tree = self.log.tree();
        let nodes = tree.nodes.iter().filter(|(file, node)| node.is_linked() && fits(tree, **file, node.kind));
        let files: Vec<FileId> = nodes.map(|(file, _)| *file).collect();
        (!files.is_empty()).then(|| self.pick(&files))
    }

    fn pick_file(&mut self) -> Option<FileId> {
        self.pick_node(|_, _, kind| kind == FileKind::File)
    }

    fn pick_dir(&mut self) -> FileId {
        self.pick_node(|_, _, kind| kind == FileKind::Directory).expect("there is always the root")
    }

    fn pick_entry(&mut self) -> Option<(Entry, FileId)> {
        let tree = self.log.tree();
        let entries: Vec<(Entry, FileId)> = tree.entries.iter().map(|(entry, file)| (entry.clone(), *file)).collect();
        (!entries.is_empty()).then(|| self.pick(&entries))
    }

    /// Picks an entry that may or may not be there.
    fn pick_place(&mut self) -> Entry {
        let dir = self.pick_dir();
        Entry::new(dir, name_of(self.pick(&NAMES)))
    }

    fn is_free(&self, place: &Entry) -> bool {
        !self.log.tree().entries.contains_key(place)
    }

    fn create(&mut self) {
        let place = self.pick_place();
        if !self.is_free(&place) {
            return;
        }
        let (dir, name) = (place.dir, place.name.as_bytes());
        match self.below(10) {
            0..3 => _ = self.log.make_dir(dir, name),
            3 => _ = self.log.symlink(dir, name, b"../where/ever"),
            4 => _ = self.log.special(dir, name, FileKind::Fifo, 0),
            5 => {
                let data = self.data();
                self.log.create_with(dir, name, &data);
            }
            _ => _ = self.log.create(dir, name),
        }
    }

    /// Makes bytes: a few or many, at times such as occurred before, at times zeros.
    fn data(&mut self) -> Bytes {
        let len = match self.below(4) {
            0 => 1 + self.below(40),
            1 => 4096,
            2 => 1 + self.below(9_000),
            _ => 1 + self.below(70_000),
        };
        let seed = self.below(3);
        let byte =
            |at: u64| u8::try_from((at * 31 + (at >> 8) * 7 + seed * 11) % 251).unwrap_or(0) * u8::from(seed > 0);
        (0..len).map(byte).collect()
    }

    fn write(&mut self) {
        let Some(file) = self.pick_file() else { return };
        let data = self.data();
        let size = self.log.metadata(file).size;
        let offset = match self.below(4) {
            0 => 0,
            1 => size,
            2 => self.below(size + 1),
            _ => self.below(FILE_BYTES_MAX),
        };
        if offset + (data.len() as u64) < FILE_BYTES_MAX {
            self.log.write_bytes(file, offset, data);
        }
    }

    fn resize(&mut self) {
        let Some(file) = self.pick_file() else { return };
        let size = self.log.metadata(file).size;
        let new_size = match self.below(4) {
            0 => 0,
            1 => self.below(FILE_BYTES_MAX),
            _ => self.below(size + 1),
        };
        self.log.truncate(file, new_size);
    }

    fn punch_or_zero(&mut self) {
        let Some(file) = self.pick_file() else { return };
        let offset = self.below(FILE_BYTES_MAX / 2);
        let size = 1 + self.below(FILE_BYTES_MAX / 4);
        match self.below(5) {
            0 => self.log.allocate(file, offset, size),
            1 => self.log.zero(file, offset, size),
            _ => self.log.punch(file, offset, size),
        };
    }

    fn copy(&mut self) {
        let (Some(source), Some(file)) = (self.pick_file(), self.pick_file()) else { return };
        let source_size = self.log.metadata(source).size;
        if source_size == 0 {
            return;
        }
        let source_offset = self.below(source_size);
        let size = 1 + self.below(source_size - source_offset);
        let offset = self.below(FILE_BYTES_MAX - size);
        let overlaps = source == file && offset < source_offset + size && source_offset < offset + size;
        if !overlaps {
            self.log.copy((source, source_offset), (file, offset), size);
        }
    }

    fn rename(&mut self) {
        let Some((from, file)) = self.pick_entry() else { return };
        let to = self.pick_place();
        let tree = self.log.tree();
        if tree.is_below(to.dir, file) {
            return;
        }
        match tree.entries.get(&to).copied() {
            None => _ = self.log.rename_entry(from, to),
            Some(other) if other == file || tree.is_below(from.dir, other) => {}
            Some(other) => {
                let is_folder = |file| self.log.metadata(file).kind == FileKind::Directory;
                let replaceable = is_folder(file) == is_folder(other) && tree.children(other).next().is_none();
                if replaceable && self.below(3) > 0 {
                    self.log.rename_entry(from, to);
                } else {
                    self.log.exchange_entries(from, to);
                }
            }
        }
    }

    fn remove(&mut self) {
        let Some((entry, file)) = self.pick_entry() else { return };
        if self.log.tree().children(file).next().is_none() {
            self.log.remove(entry.dir, entry.name.as_bytes());
        }
    }

    fn hardlink(&mut self) {
        let place = self.pick_place();
        if let Some(file) = self.pick_node(|_, _, kind| kind != FileKind::Directory)
            && self.is_free(&place)
        {
            self.log.hardlink(file, place.dir, place.name.as_bytes());
        }
    }

    fn set_attributes(&mut self) {
        let Some(file) = self.pick_node(|_, _, _| true) else { return };
        match self.below(3) {
            0 => {
                let mode = self.pick(&[0o600, 0o644, 0o755, 0o4755]);
                self.log.chmod(file, mode);
            }
            1 => {
                let uid = self.pick(&[0, 1000, u32::MAX - 1]);
                self.log.chown(file, uid, 100);
            }
            _ => {
                let secs = i64::try_from(self.below(4_000_000_000)).unwrap_or(0) - 2_000_000_000;
                self.log.touch(
                    file,
                    Timestamp::from_secs_nanos(secs, 1),
                    Timestamp::from_secs_nanos(-secs, 999_999_999),
                );
            }
        }
    }

    fn change_xattr(&mut self) {
        let Some(file) = self.pick_node(|_, _, _| true) else { return };
        let name = self.pick(&XATTRS);
        let is_set = self.log.tree().xattrs.contains(&(file, xattr_name(name)));
        if is_set && self.below(2) == 0 {
            self.log.remove_xattr(file, name);
        } else {
            let value = self.data();
            self.log.set_xattr(file, name, &value[..value.len().min(3_000)]);
        }
    }
}
