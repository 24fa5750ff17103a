//! What the program `fio` measures, each with a file of its own. It does not drop the kernel's cache first: below a mount there
//! is another one, which it would not reach.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::{Material, Sample, Unit, Workload};

/// A job of fio.
struct Job {
    workload: Workload,
    /// fio's `rw`.
    pattern: &'static str,
    block: &'static str,
    size: &'static str,
    /// Further options.
    more: &'static [&'static str],
}

const fn job(
    (key, title, unit): (&'static str, &'static str, Unit),
    pattern: &'static str,
    (block, size): (&'static str, &'static str),
    more: &'static [&'static str],
) -> Job {
    Job { workload: Workload { key, title, unit }, pattern, block, size, more }
}

static JOBS: [Job; 5] = [
    job(("fio-randwrite", "fio, 4 KiB random write", Unit::Micros), "randwrite", ("4k", "64m"), &[]),
    job(("fio-randread", "fio, 4 KiB random read", Unit::Micros), "randread", ("4k", "64m"), &[]),
    job(("fio-write", "fio, 1 MiB sequential write", Unit::MibPerSecond), "write", ("1m", "256m"), &[]),
    job(("fio-read", "fio, 1 MiB sequential read", Unit::MibPerSecond), "read", ("1m", "256m"), &[]),
    job(
        ("fio-fsync", "fio, write 4 KiB and fsync", Unit::Micros),
        "randwrite",
        ("4k", "16m"),
        &["--fsync=1", "--number_ios=1000"],
    ),
];

#[derive(Deserialize)]
struct Output {
    jobs: Vec<JobOutput>,
}

#[derive(Deserialize)]
struct JobOutput {
    read: Direction,
    write: Direction,
    sync: Syncs,
}

#[derive(Deserialize)]
struct Syncs {
    lat_ns: Latency,
}

#[derive(Deserialize)]
struct Direction {
    /// Per second.
    bw_bytes: f64,
    total_ios: u64,
    lat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    mean: f64,
}

pub(super) fn run(folder: &Path, _: &Material, samples: &mut Vec<Sample>) -> io::Result<()> {
    for job in &JOBS {
        samples.push(Sample { workload: &job.workload, secs: measure(job, folder)? });
    }
    Ok(())
}

fn measure(job: &Job, folder: &Path) -> io::Result<f64> {
    let file = folder.join("fio");
    let output = Command::new("fio")
        .args([
            "--name=job",
            "--ioengine=psync",
            "--output-format=json",
            "--randrepeat=0",
            "--fallocate=none",
            "--invalidate=0",
        ])
        .arg(format!("--filename={}", file.display()))
        .args([format!("--rw={}", job.pattern), format!("--bs={}", job.block), format!("--size={}", job.size)])
        .args(job.more)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("fio: {}", String::from_utf8_lossy(&output.stderr))));
    }
    fs::remove_file(file)?;
    let output: Output = serde_json::from_slice(&output.stdout)?;
    let done = output.jobs.first().ok_or_else(|| io::Error::other("fio measured nothing"))?;
    let sync_ns = done.sync.lat_ns.mean;
    let done = if done.read.total_ios > 0 { &done.read } else { &done.write };
    Ok(match job.workload.unit {
        Unit::MibPerSecond => f64::from(1 << 20) / done.bw_bytes,
        Unit::Micros | Unit::Millis => (done.lat_ns.mean + sync_ns) / 1e9,
    })
}
