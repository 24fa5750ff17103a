//! A live tree over a temporary folder, recorded in memory.

#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ize_core::journal::{FsMedium, Medium};
use ize_core::model::{BranchId, RelPath, View};
use ize_core::record::{Recorder, RecorderOptions};
use ize_core::storage::{FileSystemStorage, MemoryStorage};
use ize_core::tree::{CopyOptions, Live, LiveOptions, Snapshot, Tree, export};
use ize_proof::compare::{CompareOptions, compare};
use tempfile::TempDir;

pub(crate) struct TemporaryProject {
    pub(crate) live: Arc<Live>,
    pub(crate) recorder: Arc<Recorder>,
    storage: Arc<dyn FileSystemStorage>,
    folder: TempDir,
}

impl TemporaryProject {
    pub(crate) fn new() -> Self {
        Self::with(RecorderOptions::default(), |journal| Arc::new(FsMedium::open(journal).unwrap()))
    }

    pub(crate) fn with(options: RecorderOptions, medium: impl FnOnce(&Path) -> Arc<dyn Medium>) -> Self {
        let folder = TempDir::new().unwrap();
        let (working, journal) = (folder.path().join("working"), folder.path().join("journal"));
        fs::create_dir(&working).unwrap();
        fs::set_permissions(&working, fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(&journal).unwrap();
        let storage: Arc<dyn FileSystemStorage> = Arc::new(MemoryStorage::new());
        let recorder = Recorder::open_on(Arc::clone(&storage), medium(&journal), BranchId::MAIN, options).unwrap();
        let recorder = Arc::new(recorder);
        let mut options = LiveOptions::default();
        options.own_new_files = true;
        options.floor_bytes = 0;
        let working: OwnedFd = File::open(working).unwrap().into();
        let live = Arc::new(Live::open(working, Arc::clone(&recorder), options).unwrap());
        Self { live, recorder, storage, folder }
    }

    pub(crate) fn tree(&self) -> Arc<dyn Tree> {
        Arc::clone(&self.live) as Arc<dyn Tree>
    }

    pub(crate) fn working(&self) -> PathBuf {
        self.folder.path().join("working")
    }

    pub(crate) fn storage(&self) -> &dyn FileSystemStorage {
        &*self.storage
    }

    /// Fails unless history's newest state, written out, equals `working/`.
    pub(crate) fn assert_history_is_working(&self) {
        let last = self.recorder.recorded();
        self.recorder.wait_committed(last).unwrap();
        let copy = self.folder.path().join("copy");
        let snapshot = Snapshot::new(Arc::clone(&self.storage), View::main(last));
        export(&snapshot, &RelPath::root(), &copy, CopyOptions::default()).unwrap();
        let mut options = CompareOptions::default();
        options.root = false;
        // Space that was allocated and never written is no hole to the host, and one to history.
        options.hole_block_bytes = None;
        let differences = compare(&self.working(), &copy, &options).unwrap();
        assert!(differences.is_empty(), "working (left), history (right): {differences:#?}");
        fs::remove_dir_all(copy).unwrap();
    }
}
