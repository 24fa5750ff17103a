//! The storage itself: opening and closing, and the storage interface.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ize_core::failpoint;
use ize_core::model::{Entry, FileId, FileMetadata, Name, OpCode, OpId, Timestamp, View};
use ize_core::storage::{
    Batch, Binding, DirEntry, Extent, FileSystemStorage, Finding, Head, OpQuery, Ref, RefName, RefTarget, Result,
    SizeOf, StorageError, StorageInfo, Xattr,
};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::channels::Channels;
use crate::error::failed;
use crate::follower::{self, Follower};
use crate::layout::{Layout, Lock};
use crate::ledger::Ledger;
use crate::options::PijulOptions;
use crate::repository::Repository;
use crate::{FORMAT_VERSION, disk};

/// A storage whose history is a Pijul repository, with an index beside it that answers what Pijul cannot answer fast, and
/// holds what Pijul cannot hold.
///
/// One process at a time has it open, once; a lock sees to that.
///
/// # What survives
/// A commit is durable in the index first, then in the repository. What the index has and the repository does not,
/// because the process was killed in between or the repository could not be written, is recorded by the next commit, or
/// when the storage is opened again. So a commit fails only if the index refuses it, or while the repository is suspended.
pub struct PijulStorage {
    layout: Layout,
    index: Arc<dyn FileSystemStorage>,
    options: PijulOptions,
    id: Uuid,
    ledger: RwLock<Ledger>,
    writing: Mutex<Writing>,
    _lock: Lock,
}

/// What only the one writer uses.
struct Writing {
    state: State,
    channels: Channels,
}

/// Whether there is a repository to write to.
enum State {
    /// There is.
    Open(Repository),
    /// Another program works on it.
    Suspended,
    /// It cannot be used, and this is why.
    Broken(String),
}

impl std::fmt::Debug for PijulStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PijulStorage").field("layout", &self.layout).field("id", &self.id).finish_non_exhaustive()
    }
}

impl PijulStorage {
    /// Makes a repository, `.pijul` in the folder `dir`. The index is the caller's: any storage that is in no other use;
    /// what it holds already becomes changes of the repository.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is a repository already; [`StorageError::Locked`]; if the disk fails.
    pub fn create(dir: impl AsRef<Path>, index: Arc<dyn FileSystemStorage>, options: &PijulOptions) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        let lock = layout.create()?;
        follower::begin(&Repository::open(&layout)?)?;
        layout.write_format(Uuid::new_v4())?;
        Self::start(layout, lock, index, options)
    }

    /// Opens a repository with its index. What a crash left unfinished is finished.
    ///
    /// A repository that is damaged does not prevent that: history is in the index. [`FileSystemStorage::verify`] says
    /// what is wrong, and [`FileSystemStorage::repair`] mends it.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is no repository; [`StorageError::Locked`]; [`StorageError::NewerFormat`].
    pub fn open(dir: impl AsRef<Path>, index: Arc<dyn FileSystemStorage>, options: &PijulOptions) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        let lock = layout.lock()?;
        Self::start(layout, lock, index, options)
    }

    fn start(layout: Layout, lock: Lock, index: Arc<dyn FileSystemStorage>, options: &PijulOptions) -> Result<Self> {
        let id = layout.read_format()?;
        let ledger = RwLock::new(Ledger::open(&layout.ours().join("ledger"))?);
        let writing = Mutex::new(Writing { state: State::Suspended, channels: Channels::load(&layout)? });
        let storage = Self { layout, index, options: options.clone(), id, ledger, writing, _lock: lock };
        storage.open_repository(&mut storage.writing.lock())?;
        Ok(storage)
    }

    /// Opens the repository and brings it up to the index.
    fn open_repository(&self, writing: &mut Writing) -> Result<()> {
        let opened = guarded("opening the repository", || Repository::open(&self.layout));
        writing.state = match opened {
            Ok(repository) => State::Open(repository),
            Err(StorageError::Locked) => return Err(StorageError::Locked),
            Err(error) => State::Broken(chain(&error)),
        };
        self.with_follower(writing, |follower| {
            follower.complete_ledger()?;
            failpoint::pass("vcs-ledger-complete");
            follower.open_branches()?;
            follower.follow(None)
        });
        Ok(())
    }

    /// Writes to the repository. What fails is told by [`FileSystemStorage::verify`]: history itself is safe in the index.
    fn with_follower(&self, writing: &mut Writing, work: impl FnOnce(&mut Follower<'_>) -> Result<()>) {
        let Writing { state, channels } = writing;
        let State::Open(repository) = state else { return };
        let mut follower = Follower {
            index: &self.index,
            repository,
            channels,
            ledger: &self.ledger,
            options: &self.options,
            id: self.id,
            layout: &self.layout,
        };
        match guarded("writing to the repository", || work(&mut follower)) {
            Ok(()) => {}
            Err(StorageError::Full) => tracing::warn!("the disk is full, the repository falls behind history"),
            Err(error) => {
                let why = chain(&error);
                tracing::error!(%why, "the repository cannot be written, it falls behind history");
                writing.state = State::Broken(why);
            }
        }
    }
}

/// Does something with the library, which may panic on damaged data.
fn guarded<T>(action: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
            Err(StorageError::Corrupt(format!("{action} panicked: {text}")))
        }
    }
}

/// Writes an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Drop for PijulStorage {
    fn drop(&mut self) {
        // Nothing is lost if this fails: what is not in the ledger is in the repository.
        if let Err(error) = self.ledger.get_mut().sync() {
            tracing::debug!("the ledger was not synced: {error}");
        }
    }
}

impl FileSystemStorage for PijulStorage {
    fn info(&self) -> Result<StorageInfo> {
        let index = self.index.info()?;
        let bytes = disk::bytes_below(&self.layout.dot_pijul());
        let bytes = bytes.map_err(|error| failed("measuring the repository", error))?;
        let mut sizes = vec![SizeOf { part: "repository".to_owned(), bytes }];
        sizes.extend(index.sizes);
        Ok(StorageInfo { backend: "pijul".to_owned(), format_version: FORMAT_VERSION, sizes, ..index })
    }

    fn head(&self) -> Result<Head> {
        self.index.head()
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let mut writing = self.writing.lock();
        if matches!(writing.state, State::Suspended) {
            return Err(StorageError::Suspended);
        }
        self.index.commit(batch)?;
        failpoint::pass("vcs-index-committed");
        self.with_follower(&mut writing, |follower| follower.follow(Some(batch)));
        Ok(())
    }

    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        self.index.ops(query)
    }

    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        self.index.op_at_time(time)
    }

    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        self.index.node(view, file)
    }

    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        self.index.entry(view, dir, name)
    }

    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        self.index.entries(view, dir, after, max)
    }

    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        self.index.names(view, file)
    }

    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        self.index.bindings(view, entry, max)
    }

    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.index.read(view, file, offset, buf)
    }

    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        self.index.extents(view, file, from, max)
    }

    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        self.index.xattrs(view, file)
    }

    fn refs(&self) -> Result<Vec<Ref>> {
        self.index.refs()
    }

    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
        let mut writing = self.writing.lock();
        let is_branch = matches!(target, Some(RefTarget::Branch { .. }));
        if is_branch && matches!(writing.state, State::Suspended) {
            return Err(StorageError::Suspended);
        }
        self.index.set_ref(name, target)?;
        if is_branch {
            failpoint::pass("vcs-branch-in-index");
            self.with_follower(&mut writing, |follower| follower.open_branches());
        }
        Ok(())
    }

    fn verify(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.index.verify(report)
    }

    fn repair(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.index.repair(report)
    }

    fn native_id(&self, op: OpId) -> Result<Option<String>> {
        Ok(self.ledger.read().find(op)?.map(|record| record.hash))
    }

    fn find_native_id(&self, prefix: &str, max: usize) -> Result<Vec<(String, OpId)>> {
        self.ledger.read().find_hashes(&prefix.to_ascii_uppercase(), max)
    }
}
