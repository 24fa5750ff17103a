//! What an edit of a large binary file takes from a Pijul repository: 4 KiB of 50 MB, twenty times. Prints the median and
//! the memory that the process had at most. `cargo run --release --package ize-benches --example large-edit`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ize_benches::Project;
use ize_core::storage::FileSystemStorage;
use ize_store::{Store, StoreOptions};
use ize_vcs::{PijulOptions, PijulStorage};
use tempfile::TempDir;

const SIZE: usize = 50_000_000;
const EDITS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = TempDir::new()?;
    let index = Store::create(dir.path().join("index"), &StoreOptions::default())?;
    let storage = PijulStorage::create(dir.path(), Arc::new(index), &PijulOptions::default())?;
    let mut project = Project::new(0);
    let large = project.create_large(SIZE);
    storage.commit(&project.take())?;
    println!("{SIZE} bytes made: at most {} MiB of memory", peak_mib()?);
    // What matters is how much the edits take: the peak is counted from here.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let mut taken: Vec<Duration> = Vec::new();
    for _ in 0..EDITS {
        let batch = project.overwrite(large, 4096);
        let begun = Instant::now();
        storage.commit(&batch)?;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    println!("an edit of 4096 bytes: {:.2?}, at most {} MiB of memory", taken[EDITS / 2], peak_mib()?);
    Ok(())
}

/// The most memory that this process had.
fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? / 1024)
}
