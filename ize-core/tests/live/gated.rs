//! A journal's disk whose syncs end only when a test lets them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ize_core::journal::{FsMedium, Medium, MediumFile};
use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    failing: AtomicBool,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        let mut shut = self.shut.lock();
        while *shut {
            self.opened.wait(&mut shut);
        }
        if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("simulated failure")) } else { Ok(()) }
    }
}

/// A real folder behind a gate for syncs.
#[derive(Clone, Debug)]
pub(crate) struct GatedMedium {
    inner: Arc<FsMedium>,
    gate: Arc<Gate>,
}

impl GatedMedium {
    pub(crate) fn open(folder: &Path) -> Self {
        Self { inner: Arc::new(FsMedium::open(folder).unwrap()), gate: Arc::default() }
    }

    pub(crate) fn hold_syncs(&self) {
        *self.gate.shut.lock() = true;
    }

    pub(crate) fn let_syncs_end(&self) {
        *self.gate.shut.lock() = false;
        self.gate.opened.notify_all();
    }

    pub(crate) fn fail_syncs(&self) {
        self.gate.failing.store(true, Ordering::SeqCst);
    }

    fn file(&self, inner: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(GatedFile { inner, gate: Arc::clone(&self.gate) })
    }
}

impl Medium for GatedMedium {
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
struct GatedFile {
    inner: Arc<dyn MediumFile>,
    gate: Arc<Gate>,
}

impl MediumFile for GatedFile {
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
        self.gate.pass()?;
        self.inner.sync()
    }
}
