//! Random calls: history always equals `working/`, and every landmark stays what it was.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ize_core::model::{FileId, FileKind, Timestamp, View};
use ize_core::tree::{
    Allocation, Handle, NewNode, OpenMode, RenameMode, SetAttributes, SetTime, Stat, Tree, TreeError, XattrMode,
};

use crate::world::{RW, World};

/// A small generator of random numbers (xorshift64*), so that a failure is reproduced by its seed alone.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn name(&mut self) -> String {
        ["a", "b", "c", "d", "e", "f"][usize::try_from(self.below(6)).unwrap()].to_owned()
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        let len = self.below(max) + 1;
        let fill = self.below(256);
        (0..len).map(|i| u8::try_from((i * 7 + fill) % 256).unwrap()).collect()
    }
}

pub(crate) struct Player<'a> {
    pub(crate) world: &'a World,
    pub(crate) dice: Dice,
    /// Whether files get space that is reserved but not written. The host shows it as a hole or as data, depending on
    /// what was read of it lately.
    pub(crate) preallocates: bool,
    /// Whether files get further names.
    pub(crate) links: bool,
}

impl<'a> Player<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Self {
        Self { world, dice: Dice::new(seed), preallocates: true, links: true }
    }

    /// Walks down to a random folder; the caller forgets what was looked up.
    fn folder(&mut self) -> (FileId, Vec<FileId>) {
        let mut dir = FileId::ROOT;
        let mut looked_up = Vec::new();
        while self.dice.below(3) > 0 {
            let name = self.dice.name();
            let Ok(stat) = self.world.live.lookup(dir, OsStr::new(&name)) else { break };
            looked_up.push(stat.file);
            if stat.metadata.kind != FileKind::Directory {
                break;
            }
            dir = stat.file;
        }
        (dir, looked_up)
    }

    pub(crate) fn step(&mut self) {
        let (dir, mut looked_up) = self.folder();
        let name = self.dice.name();
        let name = OsStr::new(&name);
        let live = &self.world.live;
        let caller = World::caller();
        let mut keep = |result: Result<Stat, TreeError>| result.map(|stat| looked_up.push(stat.file)).map_err(drop);
        let _refused: Result<(), ()> = match self.dice.below(14) {
            0 => keep(live.make_directory(caller, dir, name, 0o700 + u32::try_from(self.dice.below(64)).unwrap())),
            1 => keep(live.make_symlink(caller, dir, name, &self.dice.bytes(40))),
            2 => keep(live.make_node(caller, dir, name, NewNode { kind: FileKind::Fifo, mode: 0o640, rdev: 0 })),
            3 => live.unlink(caller, dir, name).map_err(drop),
            4 => live.remove_directory(caller, dir, name).map_err(drop),
            5 | 6 => {
                let (to_dir, to_looked_up) = self.folder();
                let to = self.dice.name();
                let mode = [RenameMode::Replace, RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange]
                    [usize::try_from(self.dice.below(4)).unwrap()];
                looked_up.extend(to_looked_up);
                live.rename(caller, (dir, name), (to_dir, OsStr::new(&to)), mode).map_err(drop)
            }
            7 if self.links => match live.lookup(dir, name) {
                Ok(stat) => {
                    looked_up.push(stat.file);
                    let to = self.dice.name();
                    let linked = live.link(caller, stat.file, dir, OsStr::new(&to));
                    linked.map(|stat| looked_up.push(stat.file)).map_err(drop)
                }
                Err(_) => Err(()),
            },
            8 => match live.lookup(dir, name) {
                Ok(stat) => {
                    looked_up.push(stat.file);
                    self.change_attributes(stat)
                }
                Err(_) => Err(()),
            },
            _ => match live.create(caller, dir, name, 0o644, RW) {
                Ok((stat, handle)) => {
                    looked_up.push(stat.file);
                    match live.hand_over(handle).unwrap() {
                        Some(fd) => self.change_behind(handle, &File::from(fd.try_clone().unwrap())),
                        None => self.change_content(handle),
                    }
                    if self.dice.below(5) == 0 {
                        // Gone while it is open: what follows is applied and not recorded.
                        let _gone = live.unlink(caller, dir, name);
                        self.change_content(handle);
                    }
                    live.flush(handle).unwrap();
                    live.release(handle);
                    Ok(())
                }
                Err(_) => Err(()),
            },
        };
        for file in looked_up {
            live.forget(file, 1);
        }
    }

    /// Writes as the kernel does to a file that was handed over to it.
    fn change_behind(&mut self, handle: Handle, file: &File) {
        for _ in 0..self.dice.below(4) {
            let offset = self.dice.below(200_000);
            file.write_all_at(&self.dice.bytes(9000), offset).unwrap();
            if self.dice.below(4) == 0 {
                self.world.live.flush(handle).unwrap();
            }
        }
    }

    fn change_attributes(&mut self, stat: Stat) -> Result<(), ()> {
        let live = &self.world.live;
        let caller = World::caller();
        let time = SetTime::To(Timestamp::from_secs_nanos(i64::try_from(self.dice.below(2_000_000_000)).unwrap(), 123));
        match self.dice.below(5) {
            0 if stat.metadata.kind != FileKind::Symlink => {
                let mode = 0o600 + u32::try_from(self.dice.below(0o200)).unwrap();
                live.set_attributes(caller, stat.file, None, &SetAttributes { mode: Some(mode), ..Default::default() })
            }
            1 => {
                let attributes = SetAttributes { mtime: Some(time), atime: Some(SetTime::Now), ..Default::default() };
                live.set_attributes(caller, stat.file, None, &attributes)
            }
            2 if stat.metadata.kind == FileKind::File => {
                let size = Some(self.dice.below(300_000));
                live.set_attributes(caller, stat.file, None, &SetAttributes { size, ..Default::default() })
            }
            3 if matches!(stat.metadata.kind, FileKind::File | FileKind::Directory) => {
                let value = self.dice.bytes(100);
                return live
                    .set_xattr(caller, stat.file, OsStr::new("user.note"), &value, XattrMode::Either)
                    .map_err(drop);
            }
            _ => return live.remove_xattr(caller, stat.file, OsStr::new("user.note")).map_err(drop),
        }
        .map(drop)
        .map_err(drop)
    }

    fn change_content(&mut self, handle: ize_core::tree::Handle) {
        let live = &self.world.live;
        let caller = World::caller();
        for _ in 0..self.dice.below(4) {
            let offset = self.dice.below(200_000);
            let len = self.dice.below(100_000) + 1;
            match self.dice.below(6) {
                1 | 2 if !self.preallocates => {}
                0 => drop(live.allocate(caller, handle, Allocation::PunchHole, offset, len)),
                1 => drop(live.allocate(caller, handle, Allocation::ZeroRange { keep_size: false }, offset, len)),
                2 => drop(live.allocate(caller, handle, Allocation::Allocate { keep_size: true }, offset, len)),
                3 => drop(live.copy_range(caller, (handle, 0), (handle, offset + 100_000), len.min(offset + 1))),
                _ => assert!(live.write(caller, handle, offset, &self.dice.bytes(5000)).is_ok()),
            }
        }
    }
}

/// Has players make so many steps, all at the same time.
pub(crate) fn play<'a>(players: impl Iterator<Item = Player<'a>>, steps: usize) {
    std::thread::scope(|scope| {
        for mut player in players {
            scope.spawn(move || (0..steps).for_each(|_| player.step()));
        }
    });
}

#[test]
fn random_calls_leave_history_equal_to_working() {
    for seed in 1..=6 {
        let world = World::new();
        let mut player = Player::new(&world, seed);
        let mut moments = Vec::new();
        for step in 1..=600 {
            player.step();
            if step % 100 == 0 {
                world.assert_history_is_working();
                let at = world.recorder.barrier().unwrap();
                world.settle();
                moments.push((at, world.describe_history(View::main(at))));
            }
        }
        for (at, then) in moments {
            assert_eq!(world.describe_history(View::main(at)), then, "seed {seed}: {at} changed afterwards");
        }
    }
}

#[test]
fn several_threads_leave_history_equal_to_working() {
    let world = World::new();
    play((10..14).map(|seed| Player::new(&world, seed)), 300);
    world.assert_history_is_working();
}

#[test]
fn concurrent_appends_lose_nothing() {
    let world = World::new();
    let file = world.write_new(FileId::ROOT, "log", b"");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let world = &world;
            scope.spawn(move || {
                let append = OpenMode { append: true, write: true, ..OpenMode::default() };
                let handle = world.live.open(World::caller(), file, append).unwrap();
                for _ in 0..200 {
                    world.live.write(World::caller(), handle, 0, &[thread; 16]).unwrap();
                }
                world.live.release(handle);
            });
        }
    });
    assert_eq!(std::fs::read(world.working().join("log")).unwrap().len(), 4 * 200 * 16);
    world.assert_history_is_working();
}
