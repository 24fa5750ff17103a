//! The storage itself: opening and closing, and the storage interface.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ize_core::failpoint;
use ize_core::model::OpId;
use ize_core::storage::{
    Batch, FileSystemStorage, Finding, Incoming, NativeChange, RefName, RefTarget, Result, Severity, SizeOf,
    StorageError, StorageInfo,
};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::channels::Channels;
use crate::error::failed;
use crate::follower::{self, Follower};
use crate::incoming::Pending;
use crate::layout::{Layout, Lock};
use crate::ledger::Ledger;
use crate::options::PijulOptions;
use crate::repository::Repository;
use crate::{FORMAT_VERSION, disk, integrity, rebuild};

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
    pending: Option<Pending>,
}

/// Whether there is a repository to write to.
enum State {
    /// There is.
    Open(Box<Repository>),
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
        let writing =
            Mutex::new(Writing { state: State::Suspended, channels: Channels::load(&layout)?, pending: None });
        let storage = Self { layout, index, options: options.clone(), id, ledger, writing, _lock: lock };
        storage.open_repository(&mut storage.writing.lock())?;
        Ok(storage)
    }

    /// Opens the repository and brings it up to the index.
    fn open_repository(&self, writing: &mut Writing) -> Result<()> {
        if let Some(why) = integrity::check(&self.layout)? {
            tracing::error!(%why, "the repository cannot be used, it falls behind history");
            writing.state = State::Broken(why);
            return Ok(());
        }
        let opened = guarded("opening the repository", || Repository::open(&self.layout));
        writing.state = match opened {
            Ok(repository) => State::Open(Box::new(repository)),
            Err(StorageError::Locked) => return Err(StorageError::Locked),
            Err(error) => State::Broken(chain(&error)),
        };
        self.with_follower(writing, |follower| {
            follower.complete_ledger()?;
            failpoint::pass("vcs-ledger-complete");
            *follower.pending = follower.notice()?;
            follower.open_branches()?;
            follower.follow(None)
        });
        Ok(())
    }

    /// Writes to the repository. What fails is told by [`FileSystemStorage::verify`]: history itself is safe in the index.
    fn with_follower(&self, writing: &mut Writing, work: impl FnOnce(&mut Follower<'_>) -> Result<()>) {
        match self.ask_follower(writing, work) {
            None | Some(Ok(())) => {}
            Some(Err(StorageError::Full)) => tracing::warn!("the disk is full, the repository falls behind history"),
            Some(Err(error)) => {
                let why = chain(&error);
                tracing::error!(%why, "the repository cannot be written, it falls behind history");
                writing.state = State::Broken(why);
            }
        }
    }
}

impl PijulStorage {
    /// Does something with the repository; `None` if there is none to work with.
    fn ask_follower<T>(
        &self,
        writing: &mut Writing,
        work: impl FnOnce(&mut Follower<'_>) -> Result<T>,
    ) -> Option<Result<T>> {
        let Writing { state, channels, pending } = writing;
        let State::Open(repository) = state else { return None };
        let mut follower = Follower {
            index: &self.index,
            repository,
            channels,
            ledger: &self.ledger,
            options: &self.options,
            id: self.id,
            layout: &self.layout,
            pending,
        };
        Some(guarded("working with the repository", || work(&mut follower)))
    }

    /// Closes the repository, so that its database is as another program expects it, and notes what it is like.
    fn close_repository(&self, writing: &mut Writing) -> Result<()> {
        self.with_follower(writing, |follower| follower.return_to_main());
        self.ledger.read().sync()?;
        if let State::Open(repository) = std::mem::replace(&mut writing.state, State::Suspended) {
            drop(repository);
            failpoint::pass("vcs-repository-closed");
            integrity::note(&self.layout)?;
        }
        Ok(())
    }

    /// Tells whether a check of the repository finds nothing.
    fn is_whole(&self, writing: &mut Writing) -> bool {
        let is_pending = writing.pending.is_some();
        let mut is_whole = true;
        let mut note = |finding: Finding| is_whole &= finding.severity == Severity::Note;
        let checked = self.ask_follower(writing, |follower| follower.verify(is_pending, &mut note));
        matches!(checked, Some(Ok(()))) && is_whole
    }

    /// Answers about the repository where it is not open.
    fn closed<T>(&self, state: &State) -> Result<T> {
        match state {
            State::Broken(why) => Err(StorageError::Corrupt(why.clone())),
            State::Open(_) | State::Suspended => Err(StorageError::Suspended),
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
        // Nothing is lost if this fails: the next opening looks more closely.
        if let Err(error) = self.close_repository(&mut self.writing.lock()) {
            tracing::debug!("the repository was not closed cleanly: {error}");
        }
    }
}

impl FileSystemStorage for PijulStorage {
    ize_core::forward_queries!(index);

    fn info(&self) -> Result<StorageInfo> {
        let index = self.index.info()?;
        let bytes = disk::bytes_below(&self.layout.dot_pijul());
        let bytes = bytes.map_err(|error| failed("measuring the repository", error))?;
        let mut sizes = vec![SizeOf { part: "repository".to_owned(), bytes }];
        sizes.extend(index.sizes);
        Ok(StorageInfo { backend: "pijul".to_owned(), format_version: FORMAT_VERSION, sizes, ..index })
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
        self.index.verify(report)?;
        let mut writing = self.writing.lock();
        let is_pending = writing.pending.is_some();
        match &writing.state {
            State::Open(_) => {}
            State::Suspended => {
                let what = "another program works on the repository; it was not checked".to_owned();
                report(Finding { severity: Severity::Note, what });
            }
            State::Broken(why) => {
                let what = format!("the repository cannot be used: {why}");
                report(Finding { severity: Severity::Repairable, what });
            }
        }
        match self.ask_follower(&mut writing, |follower| follower.verify(is_pending, report)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                let what = format!("the repository cannot be read: {}", chain(&error));
                report(Finding { severity: Severity::Repairable, what });
                Ok(())
            }
        }
    }

    fn repair(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        self.index.repair(report)?;
        let mut writing = self.writing.lock();
        if matches!(writing.state, State::Suspended) {
            return Err(StorageError::Suspended);
        }
        if self.is_whole(&mut writing) {
            return Ok(());
        }
        writing.state = State::Suspended;
        let (repository, records) = rebuild::put_aside(&self.layout, &mut self.ledger.write())?;
        (writing.channels, writing.pending) = (Channels::new(), None);
        writing.channels.save(&self.layout)?;
        writing.state = State::Open(Box::new(repository));
        self.ask_follower(&mut writing, |follower| follower.restore(records, report)).unwrap_or(Ok(()))
    }

    fn native_id(&self, op: OpId) -> Result<Option<String>> {
        Ok(self.ledger.read().find(op)?.map(|record| record.hash))
    }

    fn find_native_id(&self, prefix: &str, max: usize) -> Result<Vec<(String, OpId)>> {
        self.ledger.read().find_hashes(&prefix.to_ascii_uppercase(), max)
    }

    fn incoming(&self) -> Result<Option<Incoming>> {
        let mut writing = self.writing.lock();
        match self.ask_follower(&mut writing, |follower| follower.incoming()) {
            Some(answer) => answer,
            None => self.closed(&writing.state),
        }
    }

    fn accept_incoming(&self, changes: &[NativeChange]) -> Result<()> {
        let mut writing = self.writing.lock();
        match self.ask_follower(&mut writing, |follower| follower.accept(changes)) {
            Some(answer) => answer,
            None => self.closed(&writing.state),
        }
    }

    fn suspend(&self) -> Result<()> {
        self.close_repository(&mut self.writing.lock())
    }

    fn resume(&self) -> Result<()> {
        let mut writing = self.writing.lock();
        if matches!(writing.state, State::Suspended) { self.open_repository(&mut writing) } else { Ok(()) }
    }
}
