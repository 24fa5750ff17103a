//! Changes of one name by several programs at the same moment.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use ize_core::model::{FileId, Name, View};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage, Result};
use ize_core::tree::Tree;

use crate::random::{Dice, Player, play};
use crate::world::{RW, World};

const SOON: Duration = Duration::from_secs(5);
/// Long enough that others make several changes meanwhile.
const LONG: Duration = Duration::from_micros(300);

/// Storage that answers what a name means only when it is let go on, or after a while.
#[derive(Default)]
struct Slow {
    inner: MemoryStorage,
    is_held: AtomicBool,
    is_asked: AtomicBool,
    lingers: AtomicBool,
}

impl Slow {
    /// Comes before the one of [`FileSystemStorage`].
    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        let found = self.inner.entry(view, dir, name);
        if self.is_held.load(Ordering::SeqCst) {
            self.is_asked.store(true, Ordering::SeqCst);
            wait_until(|| !self.is_held.load(Ordering::SeqCst));
        } else if self.lingers.load(Ordering::SeqCst) {
            thread::sleep(LONG);
        }
        found
    }
}

impl Deref for Slow {
    type Target = MemoryStorage;

    fn deref(&self) -> &MemoryStorage {
        &self.inner
    }
}

#[derive(Default)]
struct SlowStorage {
    inner: Slow,
}

impl FileSystemStorage for SlowStorage {
    ize_core::forward_queries!(inner);
    ize_core::forward_upkeep!(inner);

    fn commit(&self, batch: &Batch) -> Result<()> {
        self.inner.commit(batch)
    }
}

/// Waits until something is so, but not for ever.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < SOON {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_file_that_is_made_while_another_one_is_renamed_to_its_name_is_known_to_history() {
    let storage = Arc::new(SlowStorage::default());
    let world = World::on(storage.clone(), &[]);
    world.write_new(FileId::ROOT, "renamed", b"was renamed");
    world.settle();
    storage.inner.is_held.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let renaming = scope.spawn(|| world.rename((FileId::ROOT, "renamed"), (FileId::ROOT, "name")));
        wait_until(|| storage.inner.is_asked.load(Ordering::SeqCst) || renaming.is_finished());
        let making = scope.spawn(|| world.write_new(FileId::ROOT, "name", b"was made"));
        wait_until(|| making.is_finished());
        storage.inner.is_held.store(false, Ordering::SeqCst);
    });
    world.assert_history_is_working();
}

#[test]
fn where_storage_answers_late_several_threads_leave_history_equal_to_working() {
    for seed in 1..=3 {
        let world = slow_world(&[]);
        play_four(&world, seed, true);
        world.assert_history_is_working();
    }
}

#[test]
fn what_is_done_in_a_folder_while_it_enters_and_leaves_history_is_in_history_when_the_folder_is() {
    for seed in 1..=3 {
        let world = slow_world(&["*.o"]);
        let folder = world.make_dir(FileId::ROOT, "folder");
        let inner = world.make_dir(folder, "inner");
        let world = &world;
        thread::scope(|scope| {
            let work = |dir, seed| scope.spawn(move || work_in(world, dir, Dice::new(seed)));
            let working = [work(folder, 10 * seed), work(inner, 10 * seed + 1)];
            while !working.iter().all(ScopedJoinHandle::is_finished) {
                world.rename((FileId::ROOT, "folder"), (FileId::ROOT, "folder.o"));
                world.rename((FileId::ROOT, "folder.o"), (FileId::ROOT, "folder"));
            }
        });
        world.assert_history_is_working();
    }
}

#[test]
fn where_names_are_ignored_several_threads_leave_history_with_all_others() {
    let is_ignored = |path: &[u8]| path.split(|byte| *byte == b'/').any(|name| name == b"f");
    for seed in 1..=3 {
        let world = slow_world(&["f"]);
        // What is written to a file through an ignored name of it is not recorded.
        play_four(&world, seed, false);
        world.assert_history_is_like_working(|path| !is_ignored(path));
    }
}

fn slow_world(rules: &[&str]) -> World {
    let storage = Arc::new(SlowStorage::default());
    storage.inner.lingers.store(true, Ordering::SeqCst);
    World::on(storage, rules)
}

/// Writes and removes some files of a folder.
fn work_in(world: &World, dir: FileId, mut dice: Dice) {
    for _ in 0..100 {
        let name = format!("file{}", dice.below(5));
        if dice.below(2) == 0 {
            // It may not be there.
            let _ = world.live.unlink(World::caller(), dir, name.as_ref());
        } else {
            let (_, handle) = world.live.create(World::caller(), dir, name.as_ref(), 0o644, RW).unwrap();
            world.live.write(World::caller(), handle, dice.below(100), name.as_bytes()).unwrap();
            world.live.release(handle);
        }
    }
}

/// Has four threads change the tree at random, with one of the seeds in granularity `close`.
fn play_four(world: &World, seed: u64, links: bool) {
    if seed == 3 {
        world.live.begin_passthrough();
    }
    play((0..4).map(|thread| Player { links, ..Player::new(world, 100 * seed + thread) }), 150);
}
