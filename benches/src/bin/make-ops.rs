//! `make-ops FOLDER COUNT [FILES]`: makes about so many changes in a folder: files in 100 folders are made, written in place,
//! renamed and removed. In a mounted project, each is an operation. With FILES, so many files are made first, 1,000 to a
//! folder: one of 10 KiB in each, the others of 200 bytes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fastrand::Rng;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(folder), Some(Ok(count))) = (arguments.first(), arguments.get(1).map(|count| count.parse::<u64>()))
    else {
        eprintln!("usage: make-ops FOLDER COUNT [FILES]");
        return ExitCode::from(2);
    };
    let files = arguments.get(2).and_then(|files| files.parse().ok()).unwrap_or(0);
    match make_files(Path::new(folder), files).and_then(|()| make(Path::new(folder), count)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

/// Many files that nothing happens to afterwards.
fn make_files(folder: &Path, files: usize) -> io::Result<()> {
    let mut data = vec![0; 10 * 1024];
    Rng::with_seed(2).fill(&mut data);
    for file in 0..files {
        let (folder, number) = (folder.join(format!("tree-{}", file / 1000)), file % 1000);
        if number == 0 {
            fs::create_dir(&folder)?;
        }
        let content = if number == 0 { &data[..] } else { &data[number..number + 200] };
        fs::write(folder.join(format!("file-{number:04}.txt")), content)?;
    }
    Ok(())
}

/// Small writes are most of it: each file that is opened gets several.
fn make(folder: &Path, count: u64) -> io::Result<()> {
    let mut rng = Rng::with_seed(1);
    let mut files: Vec<PathBuf> = Vec::new();
    let mut done = 0;
    for index in 0..100 {
        fs::create_dir(folder.join(format!("folder-{index}")))?;
        done += 1;
    }
    let mut data = vec![0; 2048];
    rng.fill(&mut data);
    while done < count {
        let fresh = |done| folder.join(format!("folder-{}/file-{done}", done % 100));
        match rng.u32(0..100) {
            0..10 => {
                let path = fresh(done);
                File::create_new(&path)?;
                files.push(path);
                done += 1;
            }
            10..14 if !files.is_empty() => {
                let (index, to) = (rng.usize(..files.len()), fresh(done));
                fs::rename(&files[index], &to)?;
                files[index] = to;
                done += 1;
                continue;
            }
            14..16 if !files.is_empty() => {
                fs::remove_file(files.swap_remove(rng.usize(..files.len())))?;
                done += 1;
                continue;
            }
            _ => {}
        }
        if files.is_empty() {
            continue;
        }
        let path = &files[rng.usize(..files.len())];
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        for _ in 0..rng.u64(1..16) {
            let size = rng.usize(20..data.len());
            data[..8].copy_from_slice(&done.to_le_bytes());
            file.write_all_at(&data[..size], 512 * rng.u64(0..32))?;
            done += 1;
        }
    }
    Ok(())
}
