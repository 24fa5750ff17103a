//! A storage whose commits can be held up or made to fail.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::storage::{Batch, FileSystemStorage, MemoryStorage, Result, StorageError};

type Failure = Box<dyn Fn() -> StorageError + Send>;

#[derive(Default)]
pub(super) struct GatedStorage {
    inner: MemoryStorage,
    shut: Mutex<bool>,
    opened: Condvar,
    failures: Mutex<Vec<Failure>>,
    pub(super) attempts: AtomicU64,
    pub(super) batch_ops_max: AtomicU64,
}

impl GatedStorage {
    /// Holds up all commits until [`GatedStorage::open_gate`].
    pub(super) fn shut_gate(&self) {
        *self.shut.lock() = true;
    }

    pub(super) fn open_gate(&self) {
        *self.shut.lock() = false;
        self.opened.notify_all();
    }

    /// Makes the next `times` commits fail.
    pub(super) fn fail(&self, times: usize, failure: impl Fn() -> StorageError + Send + Clone + 'static) {
        self.failures.lock().extend((0..times).map(|_| Box::new(failure.clone()) as Failure));
    }
}

impl FileSystemStorage for GatedStorage {
    crate::forward_queries!(inner);
    crate::forward_upkeep!(inner);

    fn commit(&self, batch: &Batch) -> Result<()> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        self.batch_ops_max.fetch_max(batch.ops.len() as u64, Ordering::SeqCst);
        let mut shut = self.shut.lock();
        while *shut {
            self.opened.wait(&mut shut);
        }
        if let Some(failure) = self.failures.lock().pop() {
            return Err(failure());
        }
        self.inner.commit(batch)
    }
}
