//! Rounds in which the power is cut: the disk that holds a whole project, live files included, is cut off while programs
//! work in the mount; the daemon is killed, the disk mounted again, the project mounted again.
//!
//! Each worker makes its calls one after the other in a folder of its own and keeps the state after each of them. What is
//! found afterwards must be one of these states per worker: not before what was promised to be durable, not after what was
//! begun, and over all workers a state that existed: nothing is there that began after something missing had returned.

mod ledger;
mod state;
mod worker;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;

use crate::disk::{Filesystem, SmallDisk};
use crate::ize::{Failure, Ize};
use crate::kill::equal_everywhere;
use ledger::{Clock, Kept};
use state::State;
use worker::Worker;

const PROJECT: &str = "power";
const DISK_MIB: u64 = 320;

/// What rounds are made of.
#[derive(Clone, Copy, Debug)]
pub struct PowerCut {
    /// What the disk is formatted as.
    pub filesystem: Filesystem,
    /// The durability mode, as `ize` calls it.
    pub mode: &'static str,
    /// The granularity, as `ize` calls it.
    pub granularity: &'static str,
    /// Everything random follows from this, except for what the kernel and the daemon do meanwhile.
    pub seed: u64,
}

/// Runs so many rounds on one disk in one project, and tells how many calls were acknowledged. `None` where there are no
/// such disks.
///
/// # Errors
/// At the first broken promise, with the seed and the round.
pub fn rounds(cut: PowerCut, count: usize, progress: &mut dyn FnMut(usize, usize)) -> Result<Option<usize>, Failure> {
    let Some(disk) = SmallDisk::with(cut.filesystem, DISK_MIB) else { return Ok(None) };
    let ize = Ize::within(disk.path())?
        .with_variable("IZE_DURABILITY", cut.mode)
        .with_variable("IZE_GRANULARITY", cut.granularity);
    let mut rng = Rng::with_seed(cut.seed);
    let mount_point = TempDir::new().map_err(|error| error.to_string())?;
    let mut bench = Bench { cut, disk: &disk, ize: &ize, mount_point: mount_point.path().to_owned() };
    // One worker in every other round: then every call is one step of the one log.
    let mut workers: Vec<Worker> = (0..3).map(|index| Worker::new(index, cut.granularity, rng.fork())).collect();
    let mut acknowledged = 0;
    for round in 0..count {
        let active = if round % 2 == 0 { 1 } else { workers.len() };
        let told = bench.round(&mut workers, active, &mut rng);
        acknowledged += told.map_err(|why| format!("{cut:?}, round {round}: {why}"))?;
        progress(round, acknowledged);
    }
    Ok(Some(acknowledged))
}

struct Bench<'a> {
    cut: PowerCut,
    disk: &'a SmallDisk,
    ize: &'a Ize,
    mount_point: PathBuf,
}

impl Bench<'_> {
    fn round(&mut self, workers: &mut [Worker], active: usize, rng: &mut Rng) -> Result<usize, Failure> {
        let mounted = self.ize.mount_at(PROJECT, &self.mount_point, &[], &[])?;
        let working = self.ize.working_dir()?;
        for worker in workers.iter_mut() {
            worker.begin(mounted.path())?;
        }
        // What was there before the round is there to stay.
        self.ize.run(&["sync".as_ref(), PROJECT.as_ref()])?;
        let (clock, stop) = (Clock::default(), AtomicBool::new(false));
        let delay = Duration::from_millis(rng.u64(20..600));
        let root = mounted.path().to_owned();
        let cut_at = std::thread::scope(|scope| {
            let (busy, _) = workers.split_at_mut(active);
            for worker in busy {
                let work = || worker.work(&root, &working, &clock, &stop);
                scope.spawn(work);
            }
            std::thread::sleep(delay);
            // What returns from now on may have been too late.
            let at = clock.now();
            let happened = self.cut_power().map(|()| at);
            stop.store(true, Ordering::Relaxed);
            happened
        })?;
        mounted.abandon();
        self.disk.restart().map_err(|error| error.to_string())?;
        let mounted = self.ize.mount_at(PROJECT, &self.mount_point, &[], &[])?;
        let acknowledged = workers.iter().map(Worker::acknowledged).sum();
        self.check(workers, mounted.path(), cut_at)?;
        mounted.unmount()?;
        Ok(acknowledged)
    }

    fn cut_power(&self) -> Result<(), Failure> {
        let cut = self.disk.cut_power().map_err(|error| format!("cutting the power: {error}"));
        // Also when that failed, nobody may wait for the mount any more.
        // It may be gone already: the index is mapped into memory, and storing to it without a disk ends a process (SIGBUS).
        let killed =
            self.ize.kill_daemons().or_else(|why| if self.ize.daemons()?.is_empty() { Ok(()) } else { Err(why) });
        let quiet = |command: &mut Command| command.stderr(Stdio::null()).status().map(drop);
        quiet(Command::new("umount").arg("--lazy").arg(&self.mount_point)).map_err(|error| error.to_string())?;
        cut.and(killed)
    }

    fn check(&self, workers: &mut [Worker], root: &Path, cut_at: u64) -> Result<(), Failure> {
        let op = self.ize.recorded(PROJECT)?;
        let mut kept = Vec::new();
        for worker in workers.iter_mut() {
            let found = State::read(&root.join(worker.folder())).map_err(|error| error.to_string())?;
            kept.push(worker.settle(found, self.cut.mode == "immediate", cut_at)?);
        }
        Kept::is_one_cut(&kept)?;
        equal_everywhere(self.ize, PROJECT, root, op)?;
        self.ize.verify(PROJECT)
    }
}
