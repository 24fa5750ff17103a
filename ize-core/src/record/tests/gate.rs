//! A storage whose commits can be held up or made to fail.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::model::{Entry, FileId, FileMetadata, Name, OpCode, OpId, Timestamp, View};
use crate::storage::{
    Batch, Binding, DirEntry, Extent, FileSystemStorage, Finding, Head, MemoryStorage, OpQuery, Ref, RefName,
    RefTarget, Result, StorageError, StorageInfo, Xattr,
};

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

    fn info(&self) -> Result<StorageInfo> {
        self.inner.info()
    }
    fn head(&self) -> Result<Head> {
        self.inner.head()
    }
    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        self.inner.ops(query)
    }
    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        self.inner.op_at_time(time)
    }
    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        self.inner.node(view, file)
    }
    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        self.inner.entry(view, dir, name)
    }
    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        self.inner.entries(view, dir, after, max)
    }
    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        self.inner.names(view, file)
    }
    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        self.inner.bindings(view, entry, max)
    }
    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.inner.read(view, file, offset, buf)
    }
    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        self.inner.extents(view, file, from, max)
    }
    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        self.inner.xattrs(view, file)
    }
    fn refs(&self) -> Result<Vec<Ref>> {
        self.inner.refs()
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
