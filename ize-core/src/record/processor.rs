//! The worker: takes batches from the queue, in order, and commits them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::chain;
use super::line::Line;
use super::mark;
use super::poison::Poison;
use super::queue::{OpCodeQueue, Taken, Work};
use super::{OP_TARGET, OpCodeCoalescer};
use crate::failpoint;
use crate::journal::{Budget, JournalError, Position, ReadBack, Seq};
use crate::model::{BranchId, OpId};
use crate::storage::{Batch, FileSystemStorage, StorageError};

/// How recorded operations are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorConfig {
    /// How long an operation waits for others to be committed with. Nothing is looked at while nothing is recorded.
    pub poll_interval: Duration,
    /// The most operations in a batch; at least one. A batch also ends before it exceeds 8 MiB of data.
    pub max_batch_size: usize,
    /// Threads, at least one. The log has one order, so one of them makes all commits, one after the other; if there
    /// are more, these meanwhile prepare the batches to come: they read back what was in the journal only, and merge.
    pub worker_threads: usize,
    /// Whether neighbouring operations are merged before they are stored ([`OpCodeCoalescer`]); else every operation is
    /// stored as it came.
    pub enable_compression: bool,
}

impl ProcessorConfig {
    pub(super) const BATCH_BYTES_MAX: u64 = 8 << 20;

    /// Merges the operations of a batch, if that is wanted.
    pub(super) fn merge(&self, batch: Batch) -> Batch {
        if self.enable_compression { OpCodeCoalescer::default().coalesce(batch) } else { batch }
    }
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_millis(50),
            max_batch_size: 4096,
            worker_threads: 1,
            enable_compression: true,
        }
    }
}

/// What the processor asks of its owner, and tells it.
pub(super) trait Upkeep: Send + Sync {
    /// Reads records back.
    fn read_back(&self, from: Position, through: Seq, budget: Budget) -> Result<ReadBack, JournalError>;
    /// Everything up to this record is in storage.
    fn committed(&self, through: Seq);
    /// Nothing was recorded for a while after this operation.
    fn idle(&self, op: OpId);
}

/// Commits what is in a queue, until the queue is closed and empty or storage fails for good.
pub struct OpCodeProcessor {
    queue: Arc<OpCodeQueue>,
    config: ProcessorConfig,
    storage: Arc<dyn FileSystemStorage>,
    branch: BranchId,
    poison: Poison,
    upkeep: Box<dyn Upkeep>,
}

impl std::fmt::Debug for OpCodeProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpCodeProcessor").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl OpCodeProcessor {
    /// How often a commit is tried that the backend refused for a reason of its own.
    const ATTEMPTS_MAX: u32 = 4;
    /// How often a commit is tried while the disk is full and the recorder is being closed.
    const FULL_ATTEMPTS_AT_CLOSE: u32 = 3;
    const PAUSE_MIN: Duration = Duration::from_millis(20);
    const PAUSE_MAX: Duration = Duration::from_secs(2);

    pub(super) fn new(
        queue: Arc<OpCodeQueue>,
        config: ProcessorConfig,
        storage: Arc<dyn FileSystemStorage>,
        branch: BranchId,
        poison: Poison,
        upkeep: Box<dyn Upkeep>,
    ) -> Self {
        Self { queue, config, storage, branch, poison, upkeep }
    }

    /// Works until there is nothing more to do.
    pub(super) fn run(self) {
        // Also when a backend panics, nobody may wait for it for ever.
        let _stop = StopOnDrop { processor: &self, line: None };
        if self.config.worker_threads > 1 { self.run_threads() } else { self.run_alone() }
    }

    fn run_alone(&self) {
        while let Some(taken) = self.prepare() {
            if !self.commit(taken) {
                return;
            }
        }
    }

    /// This thread commits what others prepare meanwhile.
    fn run_threads(&self) {
        let line = Line::new(self.config.worker_threads - 1);
        std::thread::scope(|scope| {
            let _stop = StopOnDrop { processor: self, line: Some(&line) };
            for n in 1..self.config.worker_threads {
                let thread = std::thread::Builder::new().name(format!("ize-prepare-{n}"));
                if let Err(error) = thread.spawn_scoped(scope, || self.prepare_for(&line)) {
                    return self.fail("a thread could not be started", &error);
                }
            }
            while let Some(taken) = line.take() {
                if !self.commit(taken) {
                    return;
                }
            }
        });
    }

    fn prepare_for(&self, line: &Line) {
        let _leave = LeaveOnDrop { processor: self, line };
        while let Some(taken) = self.prepare() {
            if !line.put(taken) {
                return;
            }
        }
    }

    /// Does what the queue asks for until that is to commit a batch, and merges it; `None` if there will be none.
    fn prepare(&self) -> Option<Taken> {
        loop {
            match self.queue.next_work() {
                Work::Batch(mut taken) => {
                    failpoint::pass("batch-taken");
                    taken.batch = self.config.merge(std::mem::take(&mut taken.batch));
                    return Some(taken);
                }
                Work::ReadBack { from, through, budget } => match self.upkeep.read_back(from, through, budget) {
                    Ok(back) => self.queue.refill(back),
                    Err(error) => {
                        self.fail("the journal cannot be read back", &error);
                        self.queue.stop();
                    }
                },
                Work::Idle(op) => self.upkeep.idle(op),
                Work::Finished => return None,
            }
        }
    }

    /// Commits one batch and tells everyone; answers `false` if storage failed for good.
    fn commit(&self, mut taken: Taken) -> bool {
        let started = Instant::now();
        if let Err(error) = self.commit_with_patience(&mut taken) {
            self.fail("storage failed", &error);
            return false;
        }
        failpoint::pass("committed");
        if tracing::enabled!(target: OP_TARGET, tracing::Level::TRACE) {
            for op in &taken.batch.ops {
                let (op, last_op) = (op.id.get(), op.last_id.get());
                tracing::trace!(target: OP_TARGET, op, last_op, batch = taken.ticket, "committed");
            }
        }
        self.queue.settle(&taken, started.elapsed());
        failpoint::pass("settled");
        self.upkeep.committed(taken.through);
        failpoint::pass("batch-done");
        true
    }

    fn note_panic(&self) {
        if std::thread::panicking() {
            tracing::error!("the storage backend panicked, recording stops");
            self.poison.set("the storage backend panicked".to_owned());
        }
    }

    fn fail(&self, what: &str, error: &dyn std::error::Error) {
        let why = chain(error);
        tracing::error!(%why, "{what}, recording stops");
        self.poison.set(why);
    }

    /// Commits a batch. A failed commit stored nothing, so it is tried again where time can help.
    fn commit_with_patience(&self, taken: &mut Taken) -> Result<(), StorageError> {
        let (ops, through) = (taken.batch.ops.len(), taken.through.get());
        let _span = tracing::debug_span!("commit", recorded = taken.ops, ops, through).entered();
        let mut attempts = 0;
        loop {
            let Err(error) = self.try_commit(&mut taken.batch) else { return Ok(()) };
            attempts += 1;
            let pause = (Self::PAUSE_MIN * 2u32.saturating_pow(attempts - 1)).min(Self::PAUSE_MAX);
            match error {
                StorageError::Full if !self.queue.is_closing() || attempts < Self::FULL_ATTEMPTS_AT_CLOSE => {
                    self.queue.wait_while_full(pause);
                }
                // Until the other program is done. Whoever closes the storage resumes it first.
                StorageError::Suspended if !self.queue.is_closing() => self.queue.pause(pause),
                StorageError::Suspended | StorageError::Backend { .. } if attempts < Self::ATTEMPTS_MAX => {
                    self.queue.pause(pause)
                }
                error => return Err(error),
            }
        }
    }

    fn try_commit(&self, batch: &mut Batch) -> Result<(), StorageError> {
        mark::settle(&*self.storage, self.branch, batch)?;
        self.storage.commit(batch)
    }
}

/// Ends all the processor's work when its committing thread does.
struct StopOnDrop<'a> {
    processor: &'a OpCodeProcessor,
    line: Option<&'a Line>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.processor.note_panic();
        self.line.iter().for_each(|line| line.close());
        self.processor.queue.stop();
    }
}

/// Takes a preparing thread out of the line.
struct LeaveOnDrop<'a> {
    processor: &'a OpCodeProcessor,
    line: &'a Line,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.processor.note_panic();
        if std::thread::panicking() {
            self.processor.queue.stop();
        }
        self.line.leave();
    }
}
