//! What a mounted folder costs: workloads that run in several folders by turns, and a report of how long each took.
//!
//! `scripts/bench-mount` mounts the folders; the program `bench-mount` runs this.

mod files;
mod fio;
mod open_file;
mod programs;
mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use report::Report;

/// A folder to measure in.
#[derive(Clone, Debug)]
pub struct Target {
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
}

/// What the workloads of one run share: prepared once, outside all targets.
#[derive(Clone, Debug)]
pub struct Material {
    /// A real git repository, to be cloned.
    pub repository: PathBuf,
    /// An archive of its files, to be extracted.
    pub archive: PathBuf,
    /// A small Rust package without dependencies, to be built.
    pub package: PathBuf,
}

/// In what a figure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds per call or file.
    Micros,
    /// Milliseconds for the whole.
    Millis,
    /// MiB per second. Ratios are of times nevertheless.
    MibPerSecond,
}

/// One measurement in one folder.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was measured.
    pub workload: &'static Workload,
    /// How long a unit of it took, in seconds: a call, a file, a MiB, or the whole.
    pub secs: f64,
}

impl Sample {
    /// Takes the time of so many units of work.
    fn of(workload: &'static Workload, units: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let begun = Instant::now();
        work()?;
        Ok(Self { workload, secs: begun.elapsed().as_secs_f64() / f64::from(units) })
    }
}

/// A workload, as a report names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name in the JSON report.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What is told of it.
    pub unit: Unit,
}

/// Some workloads that belong together, because one leaves what the next works with.
type Group = fn(&Path, &Material, &mut Vec<Sample>) -> io::Result<()>;

const GROUPS: [(&str, Group); 4] =
    [("files", files::run), ("open file", open_file::run), ("fio", fio::run), ("programs", programs::run)];

/// Runs all workloads once in each folder, a group at a time in one after the other, and adds what they took to a report on the
/// same folders. Each round begins with another folder: who comes later has the disk that the ones before it left. `between`
/// hears what was just done and how long that took, and comes back when the machine is at rest.
///
/// # Errors
/// If a workload fails, with its group and folder; if `between` does.
pub fn run(
    targets: &[Target],
    round: usize,
    material: &Material,
    report: &mut Report,
    mut between: impl FnMut(&str, Duration) -> io::Result<()>,
) -> io::Result<()> {
    for (group, run) in GROUPS {
        for (at, target) in targets.iter().enumerate().cycle().skip(round).take(targets.len()) {
            let (begun, mut samples) = (Instant::now(), Vec::new());
            run(&target.folder, material, &mut samples)
                .map_err(|error| io::Error::other(format!("{group} in {}: {error}", target.folder.display())))?;
            samples.into_iter().for_each(|sample| report.add(at, &sample));
            between(&format!("{group}, {}", target.name), begun.elapsed())?;
        }
    }
    Ok(())
}
