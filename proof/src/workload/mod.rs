//! A random workload: the same calls go to two folders, and each must answer the same on both. Whole trees are compared
//! every so many calls, and between two such phases the caller may look at a moment at which nothing moves.

mod call;
mod mapping;
mod plan;
mod shrink;
mod side;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use call::{Answer, Call, Fill, Outcome, SetTime, Slot, StatAnswer};

use crate::compare::{CompareOptions, Difference, compare};
use plan::Plan;
use side::Side;

/// How long a workload is and what it is made from.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadOptions {
    /// Everything random follows from this.
    pub seed: u64,
    /// How many calls, over all threads.
    pub calls: usize,
    /// How many threads.
    pub threads: usize,
    /// How many calls, over all threads, between two comparisons of the whole trees.
    pub phase_calls: usize,
    /// How many calls to print when something differs.
    pub recent_calls: usize,
    /// How many seconds to spend on finding a shorter sequence that fails, too.
    pub shrink_seconds: u64,
}

impl Default for WorkloadOptions {
    fn default() -> Self {
        Self { seed: 1, calls: 100_000, threads: 3, phase_calls: 1000, recent_calls: 30, shrink_seconds: 60 }
    }
}

/// What a workload did: for each name of a call, how often it succeeded and how often it failed, alike on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, (usize, usize)>);

impl Tally {
    fn count(&mut self, call: &Call, outcome: &Outcome) {
        let (succeeded, failed) = self.0.entry(call.name()).or_default();
        *if outcome.is_ok() { succeeded } else { failed } += 1;
    }

    fn add(&mut self, other: &Self) {
        for (name, (succeeded, failed)) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = (sum.0 + succeeded, sum.1 + failed);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> =
            self.0.iter().map(|(name, (succeeded, failed))| format!("{name} {succeeded}+{failed}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Why a workload ended early.
#[derive(Debug)]
pub enum WorkloadError {
    /// A call answered differently on the two sides.
    Answers(Box<Disagreement>),
    /// The trees differ after a phase in which all answers were equal.
    Trees {
        /// The seed.
        seed: u64,
        /// After how many calls.
        calls: usize,
        /// What differs.
        differences: Vec<Difference>,
        /// The calls of the phase.
        phase: Vec<Call>,
    },
    /// The tool itself could not go on.
    Io(io::Error),
    /// What the caller does between phases failed.
    Moment(String),
}

/// A call that answered differently.
#[derive(Debug)]
pub struct Disagreement {
    /// The seed.
    pub seed: u64,
    /// Whose call it was.
    pub thread: usize,
    /// The thread's how manieth call, from 0.
    pub index: usize,
    /// The call.
    pub call: Call,
    /// What the first folder answered.
    pub left: Outcome,
    /// What the second folder answered.
    pub right: Outcome,
    /// The thread's calls before it, oldest first.
    pub recent: Vec<Call>,
    /// A shorter sequence that fails in empty folders, if one was found.
    pub shrunk: Option<Vec<Call>>,
}

impl From<io::Error> for WorkloadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::error::Error for WorkloadError {}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(disagreement) => disagreement.fmt(f),
            Self::Trees { seed, calls, differences, phase } => {
                writeln!(f, "seed {seed}: the trees differ after {calls} calls:")?;
                lines(f, differences)?;
                writeln!(f, "the calls of the phase that touch what differs:")?;
                let names = differences.iter().filter_map(|d| d.path.file_name()).map(|name| format!("{name:?}"));
                let names: Vec<String> = names.map(|name| name.trim_matches('"').to_owned()).collect();
                let touching = |call: &&Call| names.iter().any(|name| call.to_string().contains(name.as_str()));
                lines(f, phase.iter().filter(touching))
            }
            Self::Io(error) => write!(f, "the workload could not go on: {error}"),
            Self::Moment(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, thread, index, call, left, right, recent, shrunk } = self;
        writeln!(f, "seed {seed}, thread {thread}, call {index}: {call}")?;
        writeln!(f, "  first folder:  {left:?}\n  second folder: {right:?}")?;
        match shrunk {
            Some(calls) => {
                writeln!(f, "{} calls show it in empty folders:", calls.len())?;
                lines(f, calls)
            }
            None => {
                writeln!(f, "the last calls of the thread (no shorter sequence was found):")?;
                lines(f, recent)
            }
        }
    }
}

fn lines(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = impl fmt::Display>) -> fmt::Result {
    items.into_iter().try_for_each(|item| writeln!(f, "  {item}"))
}

/// A moment between two phases, at which all threads rest.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// How many calls were made so far.
    pub calls: usize,
}

/// Runs the workload in two folders, which it fills, and tells what it did. `at_moment` is called after each phase.
///
/// # Errors
/// At the first difference; see [`WorkloadError`].
pub fn run(
    left: &Path,
    right: &Path,
    options: &WorkloadOptions,
    at_moment: &mut dyn FnMut(Moment) -> Result<(), String>,
) -> Result<Tally, WorkloadError> {
    prepare(left, options.threads)?;
    prepare(right, options.threads)?;
    let mut workers =
        (0..options.threads).map(|thread| Worker::new(left, right, options, thread)).collect::<Result<Vec<_>, _>>()?;
    let mut calls = 0;
    for phase in 0.. {
        if calls >= options.calls {
            break;
        }
        let share = options.phase_calls / options.threads;
        run_phase(&mut workers, phase, share)?;
        calls += share * options.threads;
        let differences = compare(left, right, &CompareOptions::same_calls())?;
        if !differences.is_empty() {
            let phase = workers.iter().flat_map(|worker| worker.calls[worker.calls.len() - share..].to_vec()).collect();
            return Err(WorkloadError::Trees { seed: options.seed, calls, differences, phase });
        }
        at_moment(Moment { calls }).map_err(WorkloadError::Moment)?;
    }
    let mut tally = Tally::default();
    workers.iter().for_each(|worker| tally.add(&worker.tally));
    Ok(tally)
}

/// Makes the folders that the threads work in, and the two roots alike.
fn prepare(root: &Path, threads: usize) -> io::Result<()> {
    fs::set_permissions(root, PermissionsExt::from_mode(0o755))?;
    fs::create_dir(root.join(Plan::SHARED))?;
    (0..threads).try_for_each(|thread| fs::create_dir(root.join(Plan::own_folder(thread))))
}

fn run_phase(workers: &mut [Worker], phase: usize, share: usize) -> Result<(), WorkloadError> {
    std::thread::scope(|scope| {
        let running: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(move || worker.run(phase, share))).collect();
        let mut first = Ok(());
        for handle in running {
            let result = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            first = first.and(result);
        }
        first
    })
}

/// One thread: what it will do, and where.
struct Worker {
    options: WorkloadOptions,
    thread: usize,
    roots: [PathBuf; 2],
    plan: Plan,
    left: Side,
    right: Side,
    calls: Vec<Call>,
    tally: Tally,
}

impl Worker {
    fn new(left: &Path, right: &Path, options: &WorkloadOptions, thread: usize) -> io::Result<Self> {
        Ok(Self {
            options: *options,
            thread,
            roots: [left.to_owned(), right.to_owned()],
            plan: Plan::new(options.seed, thread),
            left: Side::new(left)?,
            right: Side::new(right)?,
            calls: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Makes so many calls; in every third phase in the folder that all threads share.
    fn run(&mut self, phase: usize, count: usize) -> Result<(), WorkloadError> {
        self.plan.work_in(if phase % 3 == 2 { Plan::SHARED.to_owned() } else { Plan::own_folder(self.thread) });
        for _ in 0..count {
            let call = self.plan.next();
            let (left, right) = (self.left.perform(&call), self.right.perform(&call));
            self.plan.learn(&call, &left);
            self.tally.count(&call, &left);
            self.calls.push(call);
            if left != right {
                return Err(self.disagreement(left, right));
            }
        }
        Ok(())
    }

    fn disagreement(&self, left: Outcome, right: Outcome) -> WorkloadError {
        let index = self.calls.len() - 1;
        let shrunk = shrink::shrink(&self.calls, self.thread, &self.roots, self.options.shrink_seconds);
        WorkloadError::Answers(Box::new(Disagreement {
            seed: self.options.seed,
            thread: self.thread,
            index,
            call: self.calls[index].clone(),
            left,
            right,
            recent: self.calls[index.saturating_sub(self.options.recent_calls)..index].to_vec(),
            shrunk,
        }))
    }
}
