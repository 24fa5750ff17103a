//! What moves data about: tar, rsync, sed and dd.

use std::fs;
use std::path::Path;

use super::ProgramOptions;
use crate::ize::{Failure, program};

pub(super) fn tar_create(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    program(folder, "tar", &["--create", "--file", "parts.tar", "part-3", "part-4", "part-5"])?;
    program(folder, "tar", &["--compare", "--file", "parts.tar"]).map(drop)
}

pub(super) fn tar_extract(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    fs::create_dir(folder.join("extracted")).map_err(|error| error.to_string())?;
    program(folder, "tar", &["--extract", "--file", "parts.tar", "--directory", "extracted"])?;
    program(folder, "tar", &["--compare", "--file", "parts.tar", "--directory", "extracted"]).map(drop)
}

pub(super) fn rsync_new(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    rsync(folder)
}

/// Copies two parts and makes sure that another run, by checksum, finds nothing to do.
fn rsync(folder: &Path) -> Result<(), Failure> {
    let all = ["--archive", "--hard-links", "--xattrs", "--delete", "part-6", "part-7", "synced/"];
    program(folder, "rsync", &all)?;
    let again = program(folder, "rsync", &[&["--dry-run", "--checksum", "--itemize-changes"], &all[..]].concat())?;
    if again.is_empty() { Ok(()) } else { Err(format!("rsync would do it again: {again}")) }
}

pub(super) fn rsync_changes(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    let changed = folder.join("part-6/changed.txt");
    fs::write(&changed, "changed\n".repeat(3000)).map_err(|error| error.to_string())?;
    fs::remove_dir_all(folder.join("part-7")).map_err(|error| error.to_string())?;
    fs::create_dir(folder.join("part-7")).map_err(|error| error.to_string())?;
    rsync(folder)
}

pub(super) fn sed(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    let script = "find part-8 -name '*.rs' -type f -print0 | xargs -0 sed -i 's/value/replaced/g'";
    program(folder, "sh", &["-c", script])?;
    let left = program(folder, "sh", &["-c", "grep -rlw value part-8 || true"])?;
    if left.is_empty() { Ok(()) } else { Err(format!("not replaced in {left}")) }
}

pub(super) fn dd(folder: &Path, options: &ProgramOptions) -> Result<(), Failure> {
    let count = format!("count={}", options.dd_mib);
    program(folder, "dd", &["if=/dev/urandom", "of=big.bin", "bs=1M", count.as_str(), "conv=fsync", "status=none"])?;
    let size = fs::metadata(folder.join("big.bin")).map_err(|error| error.to_string())?.len();
    if size == u64::from(options.dd_mib) << 20 { Ok(()) } else { Err(format!("big.bin has {size} bytes")) }
}

pub(super) fn dd_sparse(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    program(folder, "dd", &["if=big.bin", "of=islands.bin", "bs=64K", "count=16", "seek=1000", "status=none"])?;
    let overwrite = ["if=/dev/zero", "of=big.bin", "bs=4K", "count=64", "seek=100", "conv=notrunc", "status=none"];
    program(folder, "dd", &overwrite)?;
    fs::remove_file(folder.join("big.bin")).map_err(|error| error.to_string())?;
    fs::remove_dir_all(folder.join("clone")).map_err(|error| error.to_string())?;
    fs::remove_dir_all(folder.join("greeter")).map_err(|error| error.to_string())
}
