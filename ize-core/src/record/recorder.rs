//! The recorder: the one place where operations get their ids.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::error::chain;
use super::poison::Poison;
use super::recovery::replay;
use super::shared::{Caretaker, Log, Shared};
use super::syncer::{self, Syncer};
use super::tree_sync::{TreeSync, TreeSyncDue, UnsyncedTree};
use super::{
    DurabilityMode, OP_TARGET, OpCodeProcessor, OpCodeQueue, OpDraft, ProcessorConfig, QueueLimits, QueueStats,
    RecordError, Result,
};
use crate::failpoint;
use crate::journal::{FsMedium, Journal, JournalError, JournalOptions, Medium, RecoveryReport, Seq, TreeSyncPoint};
use crate::model::{BranchId, FileId, Landmark, OpId, Timestamp};
use crate::storage::FileSystemStorage;

/// By how much the thread that commits is nicer than the others: enough that a program which waits for an answer comes
/// first, and little enough that it gets on beside programs that compute all the time.
const COMMIT_NICENESS: i32 = 5;

/// How a recorder works.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// What a returned operation survives.
    pub durability: DurabilityMode,
    /// Whether an operation is acknowledged only once storage holds it, in any mode: for backends whose commits are what
    /// their users wait for.
    pub commits_first: bool,
    /// How operations are committed.
    pub processor: ProcessorConfig,
    /// How the journal is laid out.
    pub journal: JournalOptions,
    /// The bounds of the queue.
    pub queue: QueueLimits,
    /// After this long without another one, the last operation becomes a landmark.
    pub idle_gap: Duration,
    /// The journal also keeps what was recorded since the tree was last synced ([`Recorder::finish_tree_sync`]), so that
    /// the tree can be brought back after a power cut.
    pub guards_tree: bool,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            durability: DurabilityMode::default(),
            commits_first: false,
            processor: ProcessorConfig::default(),
            journal: JournalOptions::default(),
            queue: QueueLimits::default(),
            idle_gap: Duration::from_secs(2),
            guards_tree: false,
        }
    }
}

/// How far a recorder has come.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderStatus {
    /// The last recorded operation.
    pub recorded: OpId,
    /// The last operation that is in storage.
    pub committed: OpId,
    /// Operations that are recorded but not committed.
    pub pending_ops: u64,
    /// The bytes of data that these brought.
    pub pending_bytes: u64,
    /// What the journal takes on disk, space that is set aside included.
    pub journal_bytes: u64,
    /// The most that it takes; then recording waits.
    pub journal_bytes_max: u64,
    /// Why nothing can be recorded any more, if so.
    pub poisoned: Option<String>,
    /// What went through the queue.
    pub queue: QueueStats,
}

/// Records operations of one branch of a project: journal first, then storage, in one dense order.
///
/// Thread-safe. One process at a time; the journal's folder is locked.
pub struct Recorder {
    shared: Arc<Shared>,
    storage: Arc<dyn FileSystemStorage>,
    branch: BranchId,
    durability: DurabilityMode,
    commits_first: bool,
    next_file: AtomicU64,
    data_bytes_max: u64,
    recovery: RecoveryReport,
    unsynced: UnsyncedTree,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("branch", &self.branch).field("status", &self.status()).finish()
    }
}

/// Room for one operation: whoever holds it can record without waiting and without finding the disk full.
#[derive(Debug)]
#[must_use]
pub struct Reservation<'a> {
    shared: &'a Shared,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.shared.release(self.bytes);
    }
}

impl Recorder {
    /// Opens the journal in a folder, commits what it holds to `storage`, and starts the worker.
    ///
    /// # Errors
    /// [`JournalError::Locked`] and [`JournalError::Damaged`] as [`RecordError::Journal`]; [`RecordError::Gap`];
    /// [`RecordError::Storage`] if storage refuses what the journal holds; [`RecordError::Unsupported`].
    pub fn open(
        storage: Arc<dyn FileSystemStorage>,
        journal_dir: &Path,
        branch: BranchId,
        options: RecorderOptions,
    ) -> Result<Self> {
        Self::open_on(storage, Arc::new(FsMedium::open(journal_dir)?), branch, options)
    }

    /// Like [`Recorder::open`], on any medium.
    ///
    /// # Errors
    /// As [`Recorder::open`].
    pub fn open_on(
        storage: Arc<dyn FileSystemStorage>,
        medium: Arc<dyn Medium>,
        branch: BranchId,
        options: RecorderOptions,
    ) -> Result<Self> {
        check_options(&options)?;
        let mut journal = Journal::open(medium, options.journal)?;
        let recovery = journal.recovery();
        let resume = replay(&journal, &*storage, branch, &options.processor)?;
        if recovery != RecoveryReport::default() {
            tracing::info!(replayed = resume.replayed, head = %resume.op, ?recovery, "journal replayed");
        }
        failpoint::pass("replayed");
        // Everything in it is committed now.
        if !options.guards_tree {
            journal.clear()?;
        }
        let (data_bytes_max, last_seq) = (journal.data_bytes_max(), journal.last_seq());
        let tree = options.guards_tree.then(|| TreeSync::new(last_seq, recovery.records == 0));
        let poison = Poison::default();
        let queue = OpCodeQueue::new(
            options.queue,
            options.processor.clone(),
            options.idle_gap,
            resume.op,
            last_seq,
            poison.clone(),
        );
        let stored = Mutex::new(last_seq);
        let shared = Arc::new(Shared {
            log: Mutex::new(Log { journal, recorded: resume.op, marked: resume.marked, closed: false }),
            queue: Arc::new(queue),
            poison,
            room: Condvar::new(),
            recorded: AtomicU64::new(resume.op.get()),
            appended: AtomicU64::new(last_seq.get()),
            synced: AtomicU64::new(last_seq.get()),
            syncer: Syncer::new(options.durability),
            tree,
            stored,
        });
        if !resume.marked {
            shared.queue.expect_idle();
        }
        let upkeep = Box::new(Caretaker(shared.clone()));
        let processor = OpCodeProcessor::new(
            shared.queue.clone(),
            options.processor,
            storage.clone(),
            branch,
            shared.poison.clone(),
            upkeep,
        );
        let threads = start_threads(&shared, processor, options.commits_first)?;
        Ok(Self {
            shared,
            storage,
            branch,
            durability: options.durability,
            commits_first: options.commits_first,
            next_file: AtomicU64::new(resume.file.next().get()),
            data_bytes_max,
            recovery,
            unsynced: resume.unsynced,
            threads: Mutex::new(threads),
        })
    }

    /// Keeps room in the journal for one operation with `bytes` of data. Waits while the journal is as long as it may be
    /// ([`JournalOptions::bytes_max`]); this is the only place where recording waits for storage. An operation without
    /// data, as those are that make space, may make the journal a little longer.
    ///
    /// # Errors
    /// [`RecordError::Full`] if the disk is full; [`RecordError::TooLarge`] beyond [`Recorder::data_bytes_max`];
    /// [`RecordError::Poisoned`]; [`RecordError::Closed`].
    pub fn reserve(&self, bytes: u64) -> Result<Reservation<'_>> {
        self.check_size(bytes)?;
        self.shared.reserve(bytes)?;
        Ok(Reservation { shared: &self.shared, bytes })
    }

    /// Records an operation, like [`Recorder::reserve`] and [`Recorder::record`], but never waits for storage.
    ///
    /// # Errors
    /// [`RecordError::QueueFull`] where `reserve` would wait; then nothing was recorded. Else as the two.
    pub fn try_enqueue(&self, draft: OpDraft) -> Result<OpId> {
        let bytes = draft.data.size();
        self.check_size(bytes)?;
        match self.shared.log()?.journal.reserve(bytes) {
            Err(JournalError::AtLimit) => return Err(RecordError::QueueFull),
            outcome => outcome?,
        }
        self.record(Reservation { shared: &self.shared, bytes }, draft)
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        self.shared.poison.check()?;
        let bytes_max = self.data_bytes_max;
        if bytes > bytes_max { Err(RecordError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Records an operation that was applied to the tree, and returns its id. When this returns the operation survives a
    /// killed process, and what [`DurabilityMode`] says. Unless it is a landmark it may be stored as a part of a merged
    /// operation ([`super::OpCodeCoalescer`]), and no view shows the moment right after it: see [`Recorder::barrier`].
    ///
    /// # Errors
    /// [`RecordError::Poisoned`], now and ever after, if it could not be recorded; [`RecordError::Closed`].
    pub fn record(&self, reservation: Reservation<'_>, draft: OpDraft) -> Result<OpId> {
        let id = self.append(reservation, draft)?;
        if self.commits_first || self.durability == DurabilityMode::Immediate {
            self.wait_settled()?;
        }
        Ok(id)
    }

    /// As [`Recorder::record`], but never waits for the disk: for callers that hold locks, and acknowledge the operation
    /// only from [`Recorder::settle`]. When this returns the operation survives a killed process.
    ///
    /// # Errors
    /// As [`Recorder::record`].
    pub fn append(&self, reservation: Reservation<'_>, draft: OpDraft) -> Result<OpId> {
        let mut log = self.shared.log()?;
        let op = draft.at(log.recorded.next(), self.branch, Timestamp::now());
        let place = log.journal.end();
        let seq = match log.journal.append_op(&op) {
            Ok(seq) => seq,
            Err(error) => {
                drop(log);
                return Err(self.shared.fail("an operation could not be journalled", &error));
            }
        };
        let id = op.id;
        tracing::trace!(target: OP_TARGET, op = id.get(), seq = seq.get(), file = op.op_type.file().get(), "journalled");
        log.recorded = id;
        log.marked = op.landmark.is_some();
        log.journal.release(reservation.bytes);
        if let Some(tree) = &self.shared.tree {
            tree.recorded(seq, op.data.size());
        }
        self.shared.appended.store(seq.get(), Ordering::Release);
        // Under the lock, so that the queue has the log's order.
        self.shared.queue.push(op, seq, place);
        // Once the queue has it: who is told of it may wait for its commit.
        self.shared.recorded.store(id.get(), Ordering::Release);
        drop(log);
        // Its room was given back already.
        std::mem::forget(reservation);
        self.shared.syncer.recorded();
        Ok(id)
    }

    /// Calls back once every operation that was recorded so far is as durable as the [`DurabilityMode`] promises of one
    /// that is acknowledged: in immediate mode after a sync, on the sync thread; in the others at once. Where storage
    /// comes first ([`RecorderOptions::commits_first`]), after it was committed.
    ///
    /// The callback must be quick, and wait neither for a lock that is held while recording nor for another sync. It gets
    /// the errors of [`Recorder::sync`].
    pub fn settle(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        match self.durability {
            // A commit is durable by itself.
            _ if self.commits_first => self.shared.queue.on_committed(self.recorded(), Box::new(then)),
            DurabilityMode::Immediate => self.shared.on_durable(Box::new(then)),
            DurabilityMode::GroupCommit { .. } | DurabilityMode::Relaxed => then(Ok(())),
        }
    }

    /// Waits for what [`Recorder::settle`] calls back for.
    ///
    /// # Errors
    /// As [`Recorder::sync`].
    pub fn wait_settled(&self) -> Result<()> {
        syncer::wait(|then| self.settle(then))
    }

    /// Calls back once every operation that was recorded so far is durable, in any mode: at once if it is already, else on
    /// the sync thread. All who wait at one time share one sync. For the callback the rules of [`Recorder::settle`] hold.
    pub fn on_durable(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.shared.on_durable(Box::new(then));
    }

    /// Makes a recorded operation a landmark; if it was merged with later ones before this call, the merged operation.
    ///
    /// # Errors
    /// [`RecordError::UnknownOp`]; [`RecordError::Full`]; [`RecordError::Poisoned`]; [`RecordError::Closed`].
    pub fn mark(&self, op: OpId, landmark: Landmark) -> Result<()> {
        let log = self.shared.log()?;
        self.shared.mark(log, op, landmark)
    }

    /// Makes the last recorded operation a landmark, if it is none yet, and returns it: an id that can be shown to people.
    /// [`OpId::ZERO`] if nothing was ever recorded.
    ///
    /// # Errors
    /// As [`Recorder::mark`].
    pub fn barrier(&self) -> Result<OpId> {
        let log = self.shared.log()?;
        let op = log.recorded;
        if log.marked || op == OpId::ZERO {
            return Ok(op);
        }
        self.shared.mark(log, op, Landmark::Barrier)?;
        Ok(op)
    }

    /// Returns a file id that was never given out before.
    pub fn allocate_file(&self) -> FileId {
        FileId::new(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the most data that one operation may bring.
    pub fn data_bytes_max(&self) -> u64 {
        self.data_bytes_max
    }

    /// Returns the last recorded operation.
    pub fn recorded(&self) -> OpId {
        OpId::new(self.shared.recorded.load(Ordering::Acquire))
    }

    /// Returns the last operation that is in storage.
    pub fn committed(&self) -> OpId {
        self.shared.queue.committed()
    }

    /// Waits until storage holds `op`, and all landmarks that were made before this call.
    ///
    /// # Errors
    /// [`RecordError::UnknownOp`]; [`RecordError::Poisoned`] if storage failed before.
    pub fn wait_committed(&self, op: OpId) -> Result<()> {
        self.shared.queue.wait_committed(op)
    }

    /// Makes every operation that was recorded durable, and returns the last one. This is what `fsync` in a mount means.
    /// Waits; never to be called from a callback of [`Recorder::on_durable`].
    ///
    /// # Errors
    /// [`RecordError::Poisoned`], now and ever after, if the disk failed; [`RecordError::Closed`].
    pub fn sync(&self) -> Result<OpId> {
        let op = self.shared.log()?.recorded;
        syncer::wait(|then| self.shared.on_durable(then))?;
        Ok(op)
    }

    /// Makes it durable that the content of a file may change in place before an operation tells of it. To be called, for
    /// a file that was there when the tree was last synced, before the first such change since then.
    ///
    /// # Errors
    /// [`RecordError::Full`]; [`RecordError::Poisoned`]; [`RecordError::Closed`].
    pub fn note_dirty(&self, file: FileId) -> Result<()> {
        self.shared.note_dirty(file)
    }

    /// As [`Recorder::note_dirty`], but does not wait for the disk: it is enough that a killed process leaves the note.
    ///
    /// # Errors
    /// As [`Recorder::note_dirty`].
    pub fn note_suspect(&self, file: FileId) -> Result<()> {
        self.shared.note_suspect(file)
    }

    /// As [`Recorder::note_dirty`], for files that may change at any time. To be called between
    /// [`Recorder::begin_tree_sync`] and [`Recorder::finish_tree_sync`]: what it notes is not something that the tree's
    /// next sync would make durable.
    ///
    /// # Errors
    /// As [`Recorder::note_dirty`].
    pub fn note_all_dirty(&self, files: &[FileId]) -> Result<()> {
        self.shared.note_all_dirty(files)
    }

    /// Returns up to where a sync of the tree that begins now makes the tree durable. After the sync it goes to
    /// [`Recorder::finish_tree_sync`].
    pub fn begin_tree_sync(&self) -> TreeSyncPoint {
        let op = self.recorded();
        TreeSyncPoint { seq: self.shared.tree.as_ref().map_or(Seq::ZERO, TreeSync::begin), op }
    }

    /// Takes note that the tree was synced after [`Recorder::begin_tree_sync`] had answered `through`: the journal keeps
    /// nothing before it any more that storage has.
    ///
    /// # Errors
    /// [`RecordError::Poisoned`]; [`RecordError::Closed`].
    pub fn finish_tree_sync(&self, through: TreeSyncPoint) -> Result<()> {
        self.shared.tree_was_synced(through)
    }

    /// Waits until the tree ought to be synced, but no longer than `patience` while something is not synced. Answers
    /// [`TreeSyncDue::Never`] if the recorder is closed, or does not guard a tree.
    pub fn wait_for_tree_sync(&self, patience: Duration) -> TreeSyncDue {
        self.shared.tree.as_ref().map_or(TreeSyncDue::Never, |tree| tree.wait(patience))
    }

    /// Lets [`Recorder::wait_for_tree_sync`] answer [`TreeSyncDue::Never`] from now on.
    pub fn end_tree_syncs(&self) {
        self.shared.tree.iter().for_each(TreeSync::close);
    }

    /// Tells whether the journal keeps what the tree may lose in a power cut.
    pub fn guards_tree(&self) -> bool {
        self.shared.tree.is_some()
    }

    /// Tells whether everything that was recorded is synced in the tree.
    pub fn is_tree_synced(&self) -> bool {
        self.shared.tree.as_ref().is_none_or(TreeSync::is_synced)
    }

    /// Returns what the journal told of the tree when it was opened.
    pub fn unsynced(&self) -> &UnsyncedTree {
        &self.unsynced
    }

    /// Stops recording for good: a change was applied to the tree but could not be recorded. What was recorded is still
    /// committed.
    pub fn poison(&self, why: String) {
        self.shared.poison.set(why);
        self.shared.queue.wake();
    }

    /// Tells how far recording has come.
    pub fn status(&self) -> RecorderStatus {
        let (pending_ops, pending_bytes) = self.shared.queue.pending();
        let (journal_bytes, journal_bytes_max) = {
            let log = self.shared.log.lock();
            (log.journal.bytes(), log.journal.bytes_max())
        };
        RecorderStatus {
            recorded: self.recorded(),
            committed: self.committed(),
            pending_ops,
            pending_bytes,
            journal_bytes,
            journal_bytes_max,
            poisoned: self.shared.poison.why().map(str::to_owned),
            queue: self.shared.queue.stats(),
        }
    }

    /// Tells what opening the journal found.
    pub fn recovery(&self) -> RecoveryReport {
        self.recovery
    }

    /// Returns what an acknowledged operation survives.
    pub fn durability(&self) -> DurabilityMode {
        self.durability
    }

    /// Returns the storage.
    pub fn storage(&self) -> &Arc<dyn FileSystemStorage> {
        &self.storage
    }

    /// Returns the branch that is recorded.
    pub fn branch(&self) -> BranchId {
        self.branch
    }

    /// Makes the last operation a landmark, answers who waits for a sync, commits everything, empties the journal and ends
    /// the threads. Dropping the
    /// recorder does the same. Whoever still changes the tree must be stopped before: a change whose room was reserved but
    /// that comes too late is answered [`RecordError::Closed`]. The journal stays locked until the recorder is dropped.
    ///
    /// # Errors
    /// [`RecordError::Closed`] if it was closed before; [`RecordError::Poisoned`] if something could not be recorded or
    /// committed: then the journal keeps what storage does not hold.
    pub fn close(&self) -> Result<()> {
        failpoint::pass("close");
        let barrier = match self.barrier() {
            Err(RecordError::Closed) => return Err(RecordError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        self.shared.log.lock().closed = true;
        self.shared.queue.close();
        self.shared.syncer.close();
        for thread in self.threads.lock().drain(..) {
            // A panic of the worker was noted as poison.
            let _ = thread.join();
        }
        failpoint::pass("drained");
        self.shared.tree.iter().for_each(TreeSync::close);
        if self.shared.queue.is_settled() && self.shared.tree.as_ref().is_none_or(TreeSync::is_synced) {
            self.shared.log.lock().journal.clear()?;
        }
        failpoint::pass("closed");
        self.shared.poison.check()?;
        barrier
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.close()
            && !matches!(error, RecordError::Closed)
        {
            tracing::warn!(error = %chain(&error), "closing the recorder");
        }
    }
}

fn check_options(options: &RecorderOptions) -> Result<()> {
    if options.processor.worker_threads == 0 || options.processor.max_batch_size == 0 || options.queue.ops_max == 0 {
        return Err(RecordError::Unsupported("a processor without threads, batches or queue"));
    }
    Ok(())
}

/// Where processors are scarce, programs that work in the project come before this thread, and before those that it starts:
/// only who asks history for what was just recorded waits for a commit.
fn give_way() {
    if let Err(error) = rustix::process::nice(COMMIT_NICENESS) {
        tracing::debug!(%error, "commits are made at the same priority as everything else");
    }
}

fn start_threads(shared: &Arc<Shared>, processor: OpCodeProcessor, commits_first: bool) -> Result<Vec<JoinHandle<()>>> {
    let committing = move || {
        if !commits_first {
            give_way();
        }
        processor.run();
    };
    let mut threads = vec![spawn("ize-commit", committing)?];
    let syncing = shared.clone();
    match spawn("ize-sync", move || syncing.run_syncer()) {
        Ok(thread) => threads.push(thread),
        Err(error) => {
            // Else the worker would wait for work for ever.
            shared.queue.close();
            return Err(error);
        }
    }
    Ok(threads)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| JournalError::Io { action: "starting a thread", source }.into())
}
