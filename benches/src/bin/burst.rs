//! `burst FOLDER MIB [SYNC]`: writes so many MiB to a new file in a folder, 4 KiB at a time, and prints MiB per second, the
//! longest wait for one write and the 99.9th percentile, both in milliseconds. With `SYNC` the file is synced at the end,
//! which counts. `burst FOLDER fresh MIB` does the same with writes of 1 MiB that nothing can compress. `burst FOLDER random
//! WRITERS` has so many threads write 4 KiB at random places, each in a file of 64 MiB of its own, and prints writes per
//! second. `burst FOLDER fsyncs N` writes 4 KiB and syncs them N times and prints the median and the longest, in
//! milliseconds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 4096;
const RANDOM_WRITES: u32 = 20_000;
const RANDOM_BLOCKS: u64 = 16_384;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [folder, "fsyncs", count] => parse(count).and_then(|count| fsyncs(Path::new(folder), count)),
        [folder, "fresh", mib] => parse(mib).and_then(|mib| fresh(Path::new(folder), mib)),
        [folder, "random", writers] => parse(writers).and_then(|writers| random(Path::new(folder), writers)),
        [folder, mib] => parse(mib).and_then(|mib| burst(Path::new(folder), mib, false)),
        [folder, mib, "sync"] => parse(mib).and_then(|mib| burst(Path::new(folder), mib, true)),
        _ => Err(io::Error::other(
            "usage: burst FOLDER MIB [sync] | burst FOLDER fresh MIB | burst FOLDER random WRITERS | burst FOLDER fsyncs N",
        )),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn parse(number: &str) -> io::Result<usize> {
    number.parse().map_err(|_| io::Error::other(format!("'{number}' is no number")))
}

fn burst(folder: &Path, mib: usize, sync: bool) -> io::Result<String> {
    let path = folder.join("burst");
    let mut file = File::create(&path)?;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut block = vec![0; BLOCK_BYTES];
    rng.fill(&mut block);
    let mut waits = Vec::with_capacity(mib << 8);
    let begun = Instant::now();
    for index in 0..mib << 8 {
        // No two blocks are the same.
        block[..8].copy_from_slice(&index.to_le_bytes());
        let write = Instant::now();
        file.write_all(&block)?;
        waits.push(write.elapsed());
    }
    if sync {
        file.sync_all()?;
    }
    let taken = begun.elapsed();
    drop(file);
    fs::remove_file(path)?;
    summary(mib, taken, waits)
}

/// The file stays: what is removed at once need not be stored.
fn fresh(folder: &Path, mib: usize) -> io::Result<String> {
    let mut file = File::create(folder.join("fresh"))?;
    let mut rng = fastrand::Rng::new();
    let mut block = vec![0; 1 << 20];
    let mut waits = Vec::with_capacity(mib);
    for _ in 0..mib {
        rng.fill(&mut block);
        let write = Instant::now();
        file.write_all(&block)?;
        waits.push(write.elapsed());
    }
    let taken = waits.iter().sum();
    summary(mib, taken, waits)
}

fn random(folder: &Path, writers: usize) -> io::Result<String> {
    let mut files = Vec::new();
    for writer in 0..writers {
        let path = folder.join(format!("random-{writer}"));
        let file = File::create(&path)?;
        file.set_len(RANDOM_BLOCKS * BLOCK_BYTES as u64)?;
        files.push((path, file));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let write = |(seed, file)| scope.spawn(move || write_at_random(file, seed));
        let threads: Vec<_> = (1..).zip(files.iter().map(|(_, file)| file)).map(write).collect();
        let panicked = |_| io::Error::other("a thread ended");
        threads.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })?;
    let rate = f64::from(RANDOM_WRITES) * files.len() as f64 / begun.elapsed().as_secs_f64();
    files.iter().try_for_each(|(path, _)| fs::remove_file(path))?;
    Ok(format!("{rate:.0}"))
}

fn write_at_random(file: &File, seed: u64) -> io::Result<()> {
    let (mut rng, mut block) = (fastrand::Rng::with_seed(seed), vec![0; BLOCK_BYTES]);
    for index in 0..RANDOM_WRITES {
        block[..4].copy_from_slice(&index.to_le_bytes());
        file.write_all_at(&block, rng.u64(..RANDOM_BLOCKS) * BLOCK_BYTES as u64)?;
    }
    Ok(())
}

fn summary(mib: usize, taken: Duration, mut waits: Vec<Duration>) -> io::Result<String> {
    waits.sort_unstable();
    let last = waits.len().saturating_sub(1);
    let rate = f64::from(u32::try_from(mib).map_err(io::Error::other)?) / taken.as_secs_f64();
    Ok(format!("{rate:.1} {:.2} {:.2}", ms(waits[last]), ms(waits[last * 999 / 1000])))
}

fn fsyncs(folder: &Path, count: usize) -> io::Result<String> {
    let path = folder.join("fsyncs");
    let mut file = File::create(&path)?;
    let mut waits = Vec::with_capacity(count);
    for _ in 0..count {
        file.write_all(&[7; BLOCK_BYTES])?;
        let sync = Instant::now();
        file.sync_all()?;
        waits.push(sync.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(file);
    fs::remove_file(path)?;
    waits.sort_unstable();
    Ok(format!("{:.2} {:.2}", ms(waits[count / 2]), ms(waits[count - 1])))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
