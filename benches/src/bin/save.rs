//! `save FOLDER FILES`: makes so many files of 4 KiB in a folder, 100 to a folder below it. `save FOLDER FILES COUNT`: saves
//! one of them COUNT times as careful editors do (a temporary file is written, synced and renamed over the old one, and
//! the folder is synced) and prints the median of one save and the longest, in milliseconds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const FILE_BYTES: usize = 4096;
const FILES_PER_FOLDER: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|number| number.parse::<u64>().ok());
    let (Some(folder), Some(files)) = (arguments.first(), number(1)) else {
        eprintln!("usage: save FOLDER FILES [COUNT]");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    let done = match number(2) {
        None => (0..files).try_for_each(|file| make(folder, file)),
        Some(count) => save(folder, files, count),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn path(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("folder-{}/file-{file}.txt", file / FILES_PER_FOLDER))
}

/// Lines of text, different in each file and each version.
fn content(file: u64, version: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(file);
    let mut text = format!("version {version} of file {file}\n").into_bytes();
    while text.len() < FILE_BYTES {
        let words = (0..8).map(|_| format!("word{}", rng.u16(..2000))).collect::<Vec<_>>();
        text.extend_from_slice(words.join(" ").as_bytes());
        text.push(b'\n');
    }
    text.truncate(FILE_BYTES);
    text
}

fn make(folder: &Path, file: u64) -> io::Result<()> {
    let path = path(folder, file);
    if file.is_multiple_of(FILES_PER_FOLDER) {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
    }
    fs::write(path, content(file, 0))
}

fn save(folder: &Path, files: u64, count: u64) -> io::Result<()> {
    let mut rng = fastrand::Rng::new();
    let mut times = Vec::new();
    for version in 1..=count {
        let file = rng.u64(..files);
        let path = path(folder, file);
        let (temporary, content) = (path.with_extension("txt.tmp"), content(file, rng.u64(..) + version));
        let begun = Instant::now();
        let mut new = File::create(&temporary)?;
        new.write_all(&content)?;
        new.sync_all()?;
        drop(new);
        fs::rename(&temporary, &path)?;
        File::open(path.parent().unwrap_or(folder))?.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) * 1000.0;
    println!("{:.3} {:.3}", ms(times.get(times.len() / 2)), ms(times.last()));
    Ok(())
}
