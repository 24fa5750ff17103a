//! `mount-io WORKLOAD FOLDER`: one workload of scripts/bench-mount in one folder. Prints operations per second, or MiB
//! per second where it moves bytes.
//!
//! - `random-write`: 4 KiB writes at random places of a 64 MiB file
//! - `create`: files are made, written with 4 KiB and closed
//! - `read`: a file of 256 MiB is read in pieces of 128 KiB (the script decides what is cached)
//! - `prepare-read`: makes that file
//! - `stat`: files made by `create` are looked at

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use fastrand::Rng;

const FILES: u32 = 3000;
const WRITES: u32 = 20_000;
const READ_BYTES: u64 = 256 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workload, folder] = &arguments[..] else {
        eprintln!("usage: mount-io WORKLOAD FOLDER");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    let result = match workload.as_str() {
        "random-write" => random_write(folder),
        "create" => create(folder),
        "prepare-read" => prepare_read(folder).map(|()| 0.0),
        "read" => read(folder),
        "stat" => stat(folder),
        other => Err(io::Error::other(format!("unknown workload {other}"))),
    };
    match result {
        Ok(rate) => {
            println!("{rate:.1}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {workload} in {}: {error}", folder.display());
            ExitCode::from(1)
        }
    }
}

/// Runs so many times and returns how often per second.
fn rate(count: u32, mut action: impl FnMut(u32) -> io::Result<()>) -> io::Result<f64> {
    let begun = Instant::now();
    (0..count).try_for_each(&mut action)?;
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn random_write(folder: &Path) -> io::Result<f64> {
    let path = folder.join("random-write");
    let file = File::create(&path)?;
    file.set_len(64 << 20)?;
    let (mut rng, mut block) = (Rng::with_seed(1), vec![0; 4096]);
    let rate = rate(WRITES, |index| {
        block[..4].copy_from_slice(&index.to_le_bytes());
        file.write_all_at(&block, 4096 * rng.u64(0..16_384))
    });
    drop(file);
    fs::remove_file(path)?;
    rate
}

fn create(folder: &Path) -> io::Result<f64> {
    let folder = folder.join("create");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    let mut block = vec![0; 4096];
    rate(FILES, |index| {
        block[..4].copy_from_slice(&index.to_le_bytes());
        fs::write(folder.join(index.to_string()), &block)
    })
}

fn stat(folder: &Path) -> io::Result<f64> {
    let folder = folder.join("create");
    let mut rng = Rng::with_seed(1);
    rate(20 * FILES, |_| fs::metadata(folder.join(rng.u32(0..FILES).to_string())).map(drop))
}

fn prepare_read(folder: &Path) -> io::Result<()> {
    let mut block = vec![0; 1 << 20];
    Rng::with_seed(1).fill(&mut block);
    let file = File::create(folder.join("read"))?;
    for at in (0..READ_BYTES).step_by(block.len()) {
        file.write_all_at(&block, at)?;
    }
    file.sync_all()
}

/// Returns MiB per second.
fn read(folder: &Path) -> io::Result<f64> {
    let file = File::open(folder.join("read"))?;
    let mut block = vec![0; 128 << 10];
    let begun = Instant::now();
    let mut at = 0;
    loop {
        match file.read_at(&mut block, at)? {
            0 => break,
            got => at += got as u64,
        }
    }
    let mib = u32::try_from(at >> 20).map_err(io::Error::other)?;
    Ok(f64::from(mib) / begun.elapsed().as_secs_f64())
}
