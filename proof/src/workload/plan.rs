//! What a thread does next: calls drawn at random from a seed, over a small set of names so that they meet.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use rustix::fs::{FallocateFlags, FileType, OFlags, RenameFlags, XattrFlags};

use super::call::{Call, Fill, Outcome, SetTime, Slot};

/// How many folders a path goes through at most.
const DEPTH_MAX: usize = 3;

/// What a slot holds, as far as the next call depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A file that never has space reserved in it, so that its holes are the same on both sides.
    Plain,
    /// A file in which space may be reserved. What `SEEK_DATA` says of reserved space depends on the page cache.
    Reserved,
}

/// The source of one thread's calls. All names that it uses begin with the thread's own letter, so that threads can
/// share a folder without one changing what another sees.
#[derive(Debug)]
pub(super) struct Plan {
    rng: Rng,
    letter: char,
    /// Below which folder it works: its own, or the shared one.
    base: PathBuf,
    held: [Held; Slot::COUNT],
}

impl Plan {
    pub(super) fn new(seed: u64, thread: usize) -> Self {
        let letter = char::from(b'a' + u8::try_from(thread % 26).unwrap_or(0));
        let rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(thread as u64));
        Self { rng, letter, base: PathBuf::from(Self::own_folder(thread)), held: [Held::Nothing; Slot::COUNT] }
    }

    /// The name of the folder that only this thread uses.
    pub(super) fn own_folder(thread: usize) -> String {
        format!("thread-{thread}")
    }

    /// The name of the folder that all threads use.
    pub(super) const SHARED: &str = "shared";

    /// Chooses where the next calls work.
    pub(super) fn work_in(&mut self, base: impl Into<PathBuf>) {
        self.base = base.into();
    }

    /// Takes note of what a call answered.
    pub(super) fn learn(&mut self, call: &Call, outcome: &Outcome) {
        match call {
            Call::Open { slot, path, .. } => {
                self.held[slot.0] = match (outcome.is_ok(), is_reserved(path)) {
                    (false, _) => Held::Nothing,
                    (true, true) => Held::Reserved,
                    (true, false) => Held::Plain,
                };
            }
            Call::Close { slot } => self.held[slot.0] = Held::Nothing,
            _ => {}
        }
    }

    /// Draws the next call.
    pub(super) fn next(&mut self) -> Call {
        match self.rng.u32(0..100) {
            0..14 => self.open(),
            14..17 => Call::Close { slot: self.slot() },
            17..52 => self.on_slot(),
            52..72 => self.namespace(),
            72..84 => self.attributes(),
            84..90 => self.xattr(),
            _ => self.look(),
        }
    }

    fn open(&mut self) -> Call {
        let access = [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR, OFlags::RDWR, OFlags::RDWR];
        let mut flags = access[self.rng.usize(..access.len())];
        let extras = [
            (60, OFlags::CREATE),
            (15, OFlags::EXCL),
            (10, OFlags::TRUNC),
            (20, OFlags::APPEND),
            (5, OFlags::NOFOLLOW),
            (2, OFlags::DIRECTORY),
            (3, OFlags::SYNC),
        ];
        for (percent, flag) in extras {
            if self.rng.u32(0..100) < percent {
                flags |= flag;
            }
        }
        // O_EXCL without O_CREAT is undefined, and O_DIRECTORY with it differs between kernels.
        if !flags.contains(OFlags::CREATE) {
            flags -= OFlags::EXCL;
        } else {
            flags -= OFlags::DIRECTORY;
        }
        Call::Open { slot: self.slot(), path: self.path(), flags, mode: self.mode() }
    }

    fn on_slot(&mut self) -> Call {
        let slot = self.open_slot();
        match self.rng.u32(0..100) {
            0..12 => Call::Write { slot, fill: self.fill() },
            12..35 => Call::Pwrite { slot, offset: self.offset(), fill: self.fill() },
            35..40 => Call::Read { slot, len: self.rng.usize(0..70_000) },
            40..55 => Call::Pread { slot, offset: self.offset(), len: self.rng.usize(0..70_000) },
            55..63 => {
                let store = self.rng.bool().then(|| self.fill());
                Call::Map { slot, page: self.rng.u64(0..16), len: self.rng.usize(1..20_000), store }
            }
            63..70 => Call::Ftruncate { slot, len: self.offset() },
            70..78 => self.fallocate(slot),
            78..84 if self.held[slot.0] == Held::Plain => match self.rng.bool() {
                true => Call::SeekData { slot, offset: self.offset() },
                false => Call::SeekHole { slot, offset: self.offset() },
            },
            84..90 => {
                let to = self.open_slot();
                let (from_offset, to_offset) = (self.offset(), self.offset());
                Call::CopyRange { from: slot, from_offset, to, to_offset, len: self.rng.usize(0..100_000) }
            }
            90..92 => Call::Fsync { slot, data_only: self.rng.bool() },
            92..94 => Call::Fchmod { slot, mode: self.mode() },
            94..96 => Call::SeekEnd { slot },
            _ => Call::Fstat { slot },
        }
    }

    fn fallocate(&mut self, slot: Slot) -> Call {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let reserving = [
            FallocateFlags::empty(),
            FallocateFlags::KEEP_SIZE,
            FallocateFlags::ZERO_RANGE,
            FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
            punch,
        ];
        let mode = if self.held[slot.0] == Held::Reserved { reserving[self.rng.usize(..5)] } else { punch };
        // Reserving space takes space, so the range is never far out.
        let (offset, len) = (self.rng.u64(0..300_000), self.rng.u64(0..100_000));
        Call::Fallocate { slot, mode, offset, len }
    }

    fn namespace(&mut self) -> Call {
        let path = self.path();
        match self.rng.u32(0..100) {
            0..20 => Call::Mkdir { path: self.folder(), mode: self.mode() | 0o700 },
            20..27 => Call::Rmdir { path: self.folder() },
            27..42 => Call::Unlink { path },
            42..72 => self.rename(),
            72..82 => {
                let to = self.path_like(&path);
                Call::Link { from: path, to }
            }
            82..90 => Call::Symlink { target: self.target(), path: self.named("s") },
            90..95 => Call::Readlink { path: self.named("s") },
            _ => {
                let kinds = [FileType::Fifo, FileType::Fifo, FileType::RegularFile, FileType::Socket];
                Call::Mknod { path, kind: kinds[self.rng.usize(..kinds.len())], mode: self.mode() }
            }
        }
    }

    fn rename(&mut self) -> Call {
        let from = if self.rng.u32(0..4) == 0 { self.folder() } else { self.path() };
        let to = if self.rng.u32(0..6) == 0 && !is_reserved(&from) { self.folder() } else { self.path_like(&from) };
        let flags = match self.rng.u32(0..10) {
            0..7 => RenameFlags::empty(),
            7 | 8 => RenameFlags::NOREPLACE,
            _ if is_reserved(&from) == is_reserved(&to) => RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        };
        Call::Rename { from, to, flags }
    }

    fn attributes(&mut self) -> Call {
        let path = if self.rng.u32(0..5) == 0 { self.folder() } else { self.path() };
        match self.rng.u32(0..100) {
            0..30 => Call::Chmod { path, mode: self.mode() },
            30..50 => {
                let mut id = || self.rng.bool().then(|| self.rng.u32(0..4));
                let (uid, gid) = (id(), id());
                Call::Lchown { path, uid, gid }
            }
            50..80 => {
                let (atime, mtime, follow) = (self.time(), self.time(), self.rng.bool());
                Call::Utimens { path, atime, mtime, follow }
            }
            _ => Call::Truncate { path, len: self.offset() },
        }
    }

    fn xattr(&mut self) -> Call {
        let path = if self.rng.u32(0..5) == 0 { self.folder() } else { self.path() };
        let names = ["user.a", "user.b", "user.color", "trusted.t", "user."];
        let name = names[self.rng.usize(..names.len())].to_owned();
        match self.rng.u32(0..100) {
            0..45 => {
                let flags = [XattrFlags::empty(), XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE];
                let len = if self.rng.u32(0..20) == 0 { self.rng.usize(0..6000) } else { self.rng.usize(0..200) };
                let fill = Fill { len, seed: self.rng.u64(1..) };
                Call::SetXattr { path, name, fill, flags: flags[self.rng.usize(..flags.len())] }
            }
            45..65 => Call::GetXattr { path, name },
            65..80 => Call::ListXattr { path },
            _ => Call::RemoveXattr { path, name },
        }
    }

    fn look(&mut self) -> Call {
        match self.rng.u32(0..100) {
            0..65 => Call::Stat { path: self.path(), follow: self.rng.bool() },
            65..75 if self.base != Path::new(Self::SHARED) => Call::Stat { path: self.folder(), follow: true },
            75..85 => Call::Readdir { path: self.base.clone(), prefix: self.letter.to_string() },
            _ => Call::Readdir { path: self.folder(), prefix: String::new() },
        }
    }

    fn slot(&mut self) -> Slot {
        Slot(self.rng.usize(..Slot::COUNT))
    }

    /// A slot that holds something, if there is one.
    fn open_slot(&mut self) -> Slot {
        let open: Vec<_> = (0..Slot::COUNT).filter(|slot| self.held[*slot] != Held::Nothing).collect();
        if open.is_empty() { self.slot() } else { Slot(open[self.rng.usize(..open.len())]) }
    }

    fn folder_name(&mut self) -> String {
        format!("{}d{}", self.letter, self.rng.u32(0..3))
    }

    /// A path that may be a folder.
    fn folder(&mut self) -> PathBuf {
        let mut path = self.base.clone();
        for _ in 0..=self.rng.usize(..DEPTH_MAX) {
            path.push(self.folder_name());
        }
        path
    }

    /// The folder of a new path: mostly near the base, where things exist.
    fn parent(&mut self) -> PathBuf {
        let mut path = self.base.clone();
        for _ in 0..[0, 0, 1, 1, 1, 2, 3][self.rng.usize(..7)] {
            path.push(self.folder_name());
        }
        path
    }

    /// A path of any class.
    fn path(&mut self) -> PathBuf {
        let class = match self.rng.u32(0..100) {
            0..70 => "f",
            70..82 => "p",
            82..92 => "s",
            92..96 => "d",
            _ => return self.odd_path(),
        };
        self.named(class)
    }

    fn named(&mut self, class: &str) -> PathBuf {
        let count = if class == "f" { 6 } else { 3 };
        let name = format!("{}{class}{}", self.letter, self.rng.u32(0..count));
        self.parent().join(name)
    }

    /// A path to which a file from `from` may go: space is reserved only in files of the class that allows it.
    fn path_like(&mut self, from: &Path) -> PathBuf {
        if is_reserved(from) { self.named("p") } else { self.path() }
    }

    /// A name at or beyond the limits.
    fn odd_path(&mut self) -> PathBuf {
        let mut name = vec![u8::try_from(self.letter).unwrap_or(b'a')];
        match self.rng.u32(0..5) {
            0 => name.resize(255, b'x'),
            1 => name.resize(256, b'x'),
            2 => name.extend(b"\xff\xfe not utf-8"),
            3 => name.extend(b" \n\t\"quoted\""),
            _ => name.extend("ünïcode 名".bytes()),
        }
        self.parent().join(OsStr::from_bytes(&name))
    }

    /// A symlink's target: always relative, never upwards, so that it stays with this thread's names.
    fn target(&mut self) -> OsString {
        let name = format!("{}{}", self.letter, ["f0", "f1", "d0", "d1", "s0", "s1", "nowhere"][self.rng.usize(..7)]);
        match self.rng.u32(0..10) {
            0..6 => name.into(),
            6..8 => format!("{}/{name}", self.folder_name()).into(),
            8 => "/nonexistent/ize".into(),
            _ => self.letter.to_string().repeat(self.rng.usize(1..4000)).into(),
        }
    }

    fn mode(&mut self) -> u32 {
        match self.rng.u32(0..10) {
            0..5 => 0o644,
            5 => 0,
            6 => 0o7777,
            _ => self.rng.u32(0..0o10000),
        }
    }

    fn fill(&mut self) -> Fill {
        let len = match self.rng.u32(0..20) {
            0 => 0,
            1 => self.rng.usize(0..200_000),
            2..6 => 4096,
            6..12 => self.rng.usize(1..200),
            _ => self.rng.usize(1..20_000),
        };
        Fill { len, seed: if self.rng.u32(0..15) == 0 { 0 } else { self.rng.u64(1..) } }
    }

    fn offset(&mut self) -> u64 {
        match self.rng.u32(0..400) {
            0 => self.rng.u64(0..1 << 34),
            1..60 => 0,
            60..140 => 4096 * self.rng.u64(0..64),
            _ => self.rng.u64(0..300_000),
        }
    }

    fn time(&mut self) -> SetTime {
        match self.rng.u32(0..6) {
            0 => SetTime::Omit,
            1 => SetTime::Now,
            2 => SetTime::To(self.rng.i64(0..1 << 33), 0),
            _ => SetTime::To(self.rng.i64(0..1 << 33), self.rng.i64(0..1_000_000_000)),
        }
    }
}

/// Tells whether a path is of the class in which space may be reserved.
fn is_reserved(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().get(1) == Some(&b'p'))
}
