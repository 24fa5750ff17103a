//! A live tree over a temporary folder, with the reference storage.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ize_core::model::{BranchId, FileId, OpId};
use ize_core::record::{Recorder, RecorderOptions};
use ize_core::storage::{FileSystemStorage, MemoryStorage};
use ize_core::tree::{
    Caller, Handle, IgnoreRules, Live, LiveOptions, OpenMode, ReconcileOptions, ReconcileReport, Tree,
};

pub(crate) struct World {
    pub(crate) live: Arc<Live>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) storage: Arc<dyn FileSystemStorage>,
    folder: tempfile::TempDir,
}

pub(crate) const RW: OpenMode =
    OpenMode { read: true, write: true, append: false, truncate: false, exclusive: false, sync: false, direct: false };

impl World {
    pub(crate) fn new() -> Self {
        Self::with_rules(&[])
    }

    pub(crate) fn with_rules(rules: &[&str]) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), rules)
    }

    pub(crate) fn on(storage: Arc<dyn FileSystemStorage>, rules: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("working")).unwrap();
        std::fs::create_dir(folder.path().join("journal")).unwrap();
        Self::open(folder, storage, rules)
    }

    fn open(folder: tempfile::TempDir, storage: Arc<dyn FileSystemStorage>, rules: &[&str]) -> Self {
        let options = RecorderOptions::default();
        let journal = folder.path().join("journal");
        let recorder = Recorder::open(Arc::clone(&storage), &journal, BranchId::MAIN, options).unwrap();
        let recorder = Arc::new(recorder);
        let working: OwnedFd = File::open(folder.path().join("working")).unwrap().into();
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        let mut options = LiveOptions::default();
        options.ignore = IgnoreRules::new(&rules, None);
        options.floor_bytes = 0;
        // Few descriptors, so that they are given up and opened again all the time.
        options.descriptors_max = 64;
        let live = Arc::new(Live::open(working, Arc::clone(&recorder), options).unwrap());
        Self { live, recorder, storage, folder }
    }

    /// Closes the project, lets something happen to `working/`, and opens it again.
    pub(crate) fn struck(self, strike: impl FnOnce(&std::path::Path)) -> Self {
        let (folder, storage) = self.close();
        strike(&folder.path().join("working"));
        Self::open(folder, storage, &[])
    }

    /// Closes the project and opens it again.
    pub(crate) fn reopened_with(self, rules: &[&str]) -> Self {
        let (folder, storage) = self.close();
        Self::open(folder, storage, rules)
    }

    fn close(self) -> (tempfile::TempDir, Arc<dyn FileSystemStorage>) {
        let Self { live, recorder, storage, folder } = self;
        drop(live);
        recorder.close().unwrap();
        (folder, storage)
    }

    /// Closes the project, lets somebody edit `working/`, opens it again and reconciles.
    pub(crate) fn reopened(self, edit: impl FnOnce(&std::path::Path)) -> (Self, ReconcileReport) {
        let world = self.struck(edit);
        let report = world.live.reconcile(ReconcileOptions::default()).unwrap();
        (world, report)
    }

    pub(crate) fn working(&self) -> PathBuf {
        self.folder.path().join("working")
    }

    /// Waits until everything is in the storage, and returns the last operation.
    pub(crate) fn settle(&self) -> OpId {
        let last = self.recorder.recorded();
        self.recorder.wait_committed(last).unwrap();
        last
    }

    pub(crate) fn caller() -> Caller {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Caller { pid: std::process::id(), uid, gid }
    }

    pub(crate) fn make_dir(&self, parent: FileId, name: &str) -> FileId {
        self.live.make_directory(Self::caller(), parent, OsStr::new(name), 0o755).unwrap().file
    }

    pub(crate) fn create(&self, parent: FileId, name: &str) -> (FileId, Handle) {
        let (stat, handle) = self.live.create(Self::caller(), parent, OsStr::new(name), 0o644, RW).unwrap();
        (stat.file, handle)
    }

    pub(crate) fn write_new(&self, parent: FileId, name: &str, content: &[u8]) -> FileId {
        let (file, handle) = self.create(parent, name);
        self.live.write(Self::caller(), handle, 0, content).unwrap();
        self.live.flush(handle).unwrap();
        self.live.release(handle);
        file
    }

    pub(crate) fn rename(&self, from: (FileId, &str), to: (FileId, &str)) {
        let mode = ize_core::tree::RenameMode::Replace;
        self.live.rename(Self::caller(), (from.0, OsStr::new(from.1)), (to.0, OsStr::new(to.1)), mode).unwrap();
    }
}
