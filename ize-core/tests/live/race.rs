//! Changes of one name by several programs at the same moment.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ize_core::model::{FileId, Name, View};
use ize_core::storage::{Batch, FileSystemStorage, Finding, MemoryStorage, RefName, RefTarget, Result, StorageInfo};

use crate::world::World;

const SOON: Duration = Duration::from_secs(5);

/// Storage that answers what a name means only when it is let go on.
#[derive(Default)]
struct Slow {
    inner: MemoryStorage,
    is_held: AtomicBool,
    is_asked: AtomicBool,
}

impl Slow {
    /// Comes before the one of [`FileSystemStorage`].
    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        let found = self.inner.entry(view, dir, name);
        if self.is_held.load(Ordering::SeqCst) {
            self.is_asked.store(true, Ordering::SeqCst);
            wait_until(|| !self.is_held.load(Ordering::SeqCst));
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

    fn commit(&self, batch: &Batch) -> Result<()> {
        self.inner.commit(batch)
    }
    fn info(&self) -> Result<StorageInfo> {
        self.inner.info()
    }
    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
        self.inner.set_ref(name, target)
    }
    fn verify(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.inner.verify(report)
    }
    fn repair(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.inner.repair(report)
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
