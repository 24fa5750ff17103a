//! A live tree on a journal's disk whose syncs end only when a test lets them, and which can be full.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ize_core::journal::{FsMedium, Medium, MediumFile};
use ize_core::model::BranchId;
use ize_core::record::{Recorder, RecorderOptions};
use ize_core::storage::MemoryStorage;
use ize_core::tree::{Live, LiveOptions};
use parking_lot::{Condvar, Mutex};

/// A tree whose journal is on such a disk.
pub(crate) struct Gated {
    pub(crate) live: Arc<Live>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) disk: GatedMedium,
    _folder: tempfile::TempDir,
}

impl Gated {
    pub(crate) fn new(options: RecorderOptions, sync_working: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("working")).unwrap();
        let disk = GatedMedium::open(&folder.path().join("journal"));
        let storage = Arc::new(MemoryStorage::new());
        let recorder = Recorder::open_on(storage, Arc::new(disk.clone()), BranchId::MAIN, options).unwrap();
        let recorder = Arc::new(recorder);
        let working: OwnedFd = File::open(folder.path().join("working")).unwrap().into();
        let mut options = LiveOptions::default();
        options.floor_bytes = 0;
        options.sync_working = sync_working;
        let live = Arc::new(Live::open(working, Arc::clone(&recorder), options).unwrap());
        Self { live, recorder, disk, _folder: folder }
    }
}

#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    failing: AtomicBool,
    full: AtomicBool,
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

/// A real folder behind a gate for syncs and new segments.
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

    /// From now on there is no room for a new segment, or there is again.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.gate.full.store(is_full, Ordering::SeqCst);
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
        if self.gate.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
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
