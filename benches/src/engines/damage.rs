//! What becomes of damage: bytes of an engine's files are changed, and another process opens and reads them all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ize_core::storage::StorageError;
use ize_store::engine::conformance::apply;
use ize_store::engine::{Constructor, Step, Table};

const PAGE_BYTES: usize = 4096;
/// A process that reads for longer is taken to read forever.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All rows are there: what was damaged held none of them.
    Unharmed,
    /// Opening or reading told of it.
    Detected,
    /// Other rows were read than were written, and nothing was said.
    Wrong,
    /// It panicked.
    Panicked,
    /// The process was ended by a signal.
    Crashed,
    /// It did not come to an end.
    Hung,
}

impl Outcome {
    /// All of them, the best first.
    pub const ALL: [Self; 6] = [Self::Unharmed, Self::Detected, Self::Wrong, Self::Panicked, Self::Crashed, Self::Hung];

    /// Returns what it is called.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unharmed => "no row was hit",
            Self::Detected => "detected",
            Self::Wrong => "wrong rows, silently",
            Self::Panicked => "panicked",
            Self::Crashed => "crashed",
            Self::Hung => "never ended",
        }
    }
}

/// How bytes are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit of one byte is another.
    Bit,
    /// A page of 4 KiB is zeros.
    Page,
}

/// How often each outcome came.
pub type Outcomes = BTreeMap<Outcome, usize>;

/// Fills new tables at a path, and tells what reading them gives.
///
/// # Errors
/// If the engine fails.
pub fn fill(engine: &dyn Constructor, path: &Path) -> Result<u64, StorageError> {
    let tables = engine.create(path)?;
    let mut rng = Rng::with_seed(3);
    for _ in 0..20 {
        let used = [Table::Files, Table::Dirents, Table::Extents, Table::Content];
        let rows = (0..400).map(|at| {
            let key = (0..16).map(|_| rng.u8(1..)).collect();
            (used[at % used.len()], key, Some(vec![9; rng.usize(20..120)]))
        });
        apply(&*tables, rows.collect::<Vec<_>>());
    }
    drop(tables);
    digest(engine, path)
}

/// Opens tables and reads every row.
///
/// # Errors
/// If the engine tells of damage.
pub fn digest(engine: &dyn Constructor, path: &Path) -> Result<u64, StorageError> {
    let tables = engine.open(path)?;
    let snapshot = tables.snapshot()?;
    let (mut digest, mut rows) = (0_u64, 0_u64);
    for table in Table::ALL {
        snapshot.scan(table, &[0], &mut |key, value| {
            for byte in [&[table as u8], key, value].into_iter().flatten() {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            rows += 1;
            // Damage may tie rows into a ring.
            Ok(if rows < 1_000_000 { Step::Next } else { Step::Stop })
        })?;
    }
    Ok(digest ^ rows)
}

/// Damages a copy of tables again and again. `reader` is a program that gets the copy's path as its last argument, and
/// prints what [`digest`] gives, or ends with 1 if that is an error.
///
/// # Errors
/// If files cannot be copied, or the program cannot be started.
pub fn trials(
    path: &Path,
    expected: u64,
    damage: Damage,
    times: usize,
    reader: &dyn Fn() -> Command,
) -> io::Result<Outcomes> {
    let copy = path.with_file_name("copy");
    let pages = pages_in_use(path)?;
    let mut rng = Rng::with_seed(4);
    let mut outcomes = Outcomes::new();
    for _ in 0..times {
        copy_all(path, &copy)?;
        let (file, offset) = &pages[rng.usize(..pages.len())];
        harm(&within(&copy, file), *offset, damage, &mut rng)?;
        let mut command = reader();
        command.arg(&copy).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        *outcomes.entry(outcome(command.spawn()?, expected)?).or_default() += 1;
        remove_all(&copy)?;
    }
    Ok(outcomes)
}

fn outcome(mut child: Child, expected: u64) -> io::Result<Outcome> {
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                child.kill()?;
                child.wait()?;
                return Ok(Outcome::Hung);
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let printed = child.stdout.take().map_or_else(|| Ok(String::new()), io::read_to_string)?;
    Ok(outcome_of(status, printed.trim(), expected))
}

fn outcome_of(status: ExitStatus, printed: &str, expected: u64) -> Outcome {
    match (status.code(), status.signal()) {
        (_, Some(_)) => Outcome::Crashed,
        (Some(0), _) if printed == expected.to_string() => Outcome::Unharmed,
        (Some(0), _) => Outcome::Wrong,
        (Some(1), _) => Outcome::Detected,
        _ => Outcome::Panicked,
    }
}

/// Finds the pages that hold something, as file below `path` and offset. Locks and logs for people are left out.
fn pages_in_use(path: &Path) -> io::Result<Vec<(PathBuf, usize)>> {
    let mut pages = Vec::new();
    for file in files_below(path)? {
        let bytes = fs::read(within(path, &file))?;
        let used = bytes.chunks(PAGE_BYTES).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        pages.extend(used.map(|(at, _)| (file.clone(), at * PAGE_BYTES)));
    }
    Ok(pages)
}

/// A file of an engine: in its folder, or the engine's only one, which has no name here.
fn within(path: &Path, file: &Path) -> PathBuf {
    if file.as_os_str().is_empty() { path.to_owned() } else { path.join(file) }
}

fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![PathBuf::new()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let (name, path) = entry.map(|entry| (PathBuf::from(entry.file_name()), entry.path()))?;
        let text = name.to_string_lossy().to_lowercase();
        if path.is_dir() {
            files.extend(files_below(&path)?.into_iter().map(|file| name.join(file)));
        } else if !text.starts_with("lock") && text != "log" {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

fn harm(file: &Path, offset: usize, damage: Damage, rng: &mut Rng) -> io::Result<()> {
    let mut bytes = fs::read(file)?;
    let end = bytes.len().min(offset + PAGE_BYTES);
    match damage {
        Damage::Bit => bytes[rng.usize(offset..end)] ^= 1 << rng.u8(..8),
        Damage::Page => bytes[offset..end].fill(0),
    }
    fs::write(file, bytes)
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove_all(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_damage_is_told_from_how_the_reader_ended() {
        let ended = |raw, printed| outcome_of(ExitStatus::from_raw(raw), printed, 42);
        assert_eq!(ended(0, "42"), Outcome::Unharmed);
        assert_eq!(ended(0, "41"), Outcome::Wrong);
        assert_eq!(ended(1 << 8, ""), Outcome::Detected);
        assert_eq!(ended(101 << 8, ""), Outcome::Panicked);
        assert_eq!(ended(11, "42"), Outcome::Crashed);
    }

    #[test]
    fn a_changed_row_changes_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, path) = (ize_store::Engine::Redb, dir.path().join("tables"));
        let expected = fill(&engine, &path).unwrap();
        assert_eq!(digest(&engine, &path).unwrap(), expected);
        let tables = Constructor::open(&engine, &path).unwrap();
        apply(&*tables, [(Table::Refs, vec![1], Some(vec![1]))]);
        drop(tables);
        assert_ne!(digest(&engine, &path).unwrap(), expected);
    }

    #[test]
    fn pages_that_hold_something_are_found_in_files_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/a"), [vec![0; PAGE_BYTES], vec![1; 10]].concat()).unwrap();
        fs::write(dir.path().join("LOCK"), "1").unwrap();
        assert_eq!(pages_in_use(dir.path()).unwrap(), [(PathBuf::from("in/a"), PAGE_BYTES)]);
        assert_eq!(pages_in_use(&dir.path().join("in/a")).unwrap(), [(PathBuf::new(), PAGE_BYTES)]);
    }
}
