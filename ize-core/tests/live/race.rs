//! Changes of one name by several programs at the same moment.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ize_core::model::{FileId, Name, View};
use ize_core::storage::{Batch, FileSystemStorage, MemoryStorage, Result};

use crate::random::{Dice, Player};
use crate::world::World;

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
        let storage = Arc::new(SlowStorage::default());
        storage.inner.lingers.store(true, Ordering::SeqCst);
        let world = World::on(storage, &[]);
        thread::scope(|scope| {
            for thread in 0..4 {
                let world = &world;
                let dice = Dice::new(100 * seed + thread);
                scope.spawn(move || {
                    let mut player = Player { world, dice, preallocates: true };
                    (0..150).for_each(|_| player.step());
                });
            }
        });
        world.assert_history_is_working();
    }
}
