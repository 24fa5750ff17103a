//! A journal's disk that takes its time to sync, and counts.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ize_core::journal::{FsMedium, Medium, MediumFile};

#[derive(Clone, Debug)]
pub(crate) struct SlowMedium {
    inner: Arc<FsMedium>,
    sync_takes: Duration,
    synced: Arc<AtomicU64>,
}

impl SlowMedium {
    pub(crate) fn open(folder: &Path, sync_takes: Duration) -> Self {
        Self { inner: Arc::new(FsMedium::open(folder).unwrap()), sync_takes, synced: Arc::default() }
    }

    /// How many syncs have ended.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }

    fn file(&self, inner: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(SlowFile { inner, sync_takes: self.sync_takes, synced: Arc::clone(&self.synced) })
    }
}

impl Medium for SlowMedium {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.inner.segments()
    }
    fn create(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.inner.create(number, bytes).map(|file| self.file(file))
    }
    fn open(&self, number: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.inner.open(number).map(|file| self.file(file))
    }
    fn remove(&self, number: u64) -> io::Result<()> {
        self.inner.remove(number)
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.inner.sync_folder()
    }
    fn same_session(&self) -> bool {
        self.inner.same_session()
    }
}

#[derive(Debug)]
struct SlowFile {
    inner: Arc<dyn MediumFile>,
    sync_takes: Duration,
    synced: Arc<AtomicU64>,
}

impl MediumFile for SlowFile {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, head: &[u8], data: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(head, data, offset)
    }
    fn zero_from(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.inner.zero_from(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(self.sync_takes);
        self.inner.sync()?;
        self.synced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
