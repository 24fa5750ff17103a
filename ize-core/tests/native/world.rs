//! A backend whose "own repository" is made up: native ids and incoming edits are what a test says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ize_core::model::{OpId, RelPath};
use ize_core::project::{
    Backend, BackendOptions, Backends, CentralDir, NewProject, Project, ProjectInfo, ProjectName, ProjectOptions,
    Settings,
};
use ize_core::storage::{
    Batch, FileSystemStorage, Incoming, IncomingEdit, MemoryStorage, NativeChange, Result, StorageError,
};

type Hook = Box<dyn FnOnce() + Send>;

/// A [`MemoryStorage`] with a made-up repository beside it.
#[derive(Default)]
pub(crate) struct Vault {
    inner: MemoryStorage,
    /// Ids, each with the last operation that it holds, oldest first.
    pub(crate) ids: Mutex<Vec<(String, OpId)>>,
    pub(crate) incoming: Mutex<Option<Incoming>>,
    pub(crate) accepted: Mutex<Vec<String>>,
    /// Called once, when the repository was asked for the second time what came in: for the edits, after whether there
    /// are any.
    pub(crate) asked: Mutex<Option<Hook>>,
    pub(crate) times_asked: AtomicUsize,
    pub(crate) suspended: AtomicBool,
}

impl Vault {
    /// Has others put something into the repository.
    pub(crate) fn put(&self, message: &str, edits: Vec<IncomingEdit>) {
        let changes = vec![NativeChange { id: "ZZZZ2345ABCDEFGH".into(), message: message.into() }];
        let since = self.inner.head().unwrap().op;
        *self.incoming.lock().unwrap() = Some(Incoming { since, changes, edits, conflicts: Vec::new() });
    }
}

impl FileSystemStorage for Vault {
    ize_core::forward_queries!(inner);
    ize_core::forward_upkeep!(inner);

    fn commit(&self, batch: &Batch) -> Result<()> {
        if self.suspended.load(Ordering::SeqCst) {
            return Err(StorageError::Suspended);
        }
        self.inner.commit(batch)
    }
    fn native_id(&self, op: OpId) -> Result<Option<String>> {
        Ok(self.ids.lock().unwrap().iter().find(|(_, last)| *last >= op).map(|(id, _)| id.clone()))
    }
    fn find_native_id(&self, prefix: &str, max: usize) -> Result<Vec<(String, OpId)>> {
        let ids = self.ids.lock().unwrap();
        Ok(ids.iter().filter(|(id, _)| id.starts_with(prefix)).take(max).cloned().collect())
    }
    fn incoming(&self) -> Result<Option<Incoming>> {
        let times = self.times_asked.fetch_add(1, Ordering::SeqCst) + 1;
        let incoming = self.incoming.lock().unwrap().clone();
        let hook = if times == 2 { self.asked.lock().unwrap().take() } else { None };
        if let Some(hook) = hook {
            hook();
        }
        Ok(incoming)
    }
    fn accept_incoming(&self, changes: &[NativeChange]) -> Result<()> {
        *self.incoming.lock().unwrap() = None;
        self.accepted.lock().unwrap().extend(changes.iter().map(|change| change.id.clone()));
        Ok(())
    }
    fn suspend(&self) -> Result<()> {
        self.suspended.store(true, Ordering::SeqCst);
        Ok(())
    }
    fn resume(&self) -> Result<()> {
        self.suspended.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct VaultBackend {
    vaults: Arc<Mutex<HashMap<PathBuf, Arc<Vault>>>>,
}

impl Backend for VaultBackend {
    fn name(&self) -> &'static str {
        "vault"
    }
    fn folder(&self) -> &'static str {
        ".vault"
    }
    fn working_link(&self) -> Option<&'static str> {
        Some(".vault")
    }
    fn create(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>> {
        self.vaults.lock().unwrap().insert(dir.to_owned(), Arc::default());
        self.open(dir, options)
    }
    fn open(&self, dir: &Path, _options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>> {
        Ok(Arc::clone(&self.vaults.lock().unwrap()[dir]) as Arc<dyn FileSystemStorage>)
    }
}

/// A central folder for one test, with one project.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) central: CentralDir,
    pub(crate) backends: Backends,
    vaults: VaultBackend,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("ize"));
        let vaults = VaultBackend::default();
        Self { dir, central, backends: Backends::new().with(vaults.clone()), vaults }
    }

    pub(crate) fn new_project() -> NewProject {
        NewProject::new(ProjectName::new("notes").unwrap(), "vault")
    }

    pub(crate) fn create(&self) -> Project {
        Project::create(&self.central, Self::new_project(), &self.backends, options()).unwrap()
    }

    pub(crate) fn info(&self) -> ProjectInfo {
        self.central.find("notes").unwrap()
    }

    pub(crate) fn open(&self) -> Project {
        Project::open(self.info(), &self.backends, options()).unwrap()
    }

    /// The storage of the project.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vaults.vaults.lock().unwrap()[&self.info().paths.store(".vault")])
    }

    /// A path in the live files.
    pub(crate) fn live(&self, path: &str) -> PathBuf {
        self.info().working().join(path)
    }
}

pub(crate) fn options() -> ProjectOptions {
    ProjectOptions::new(Settings::default())
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::try_from(text).unwrap()
}

pub(crate) fn write(at: &str, content: &str) -> IncomingEdit {
    IncomingEdit::Write { path: path(at), content: content.to_owned().into(), executable: false }
}
