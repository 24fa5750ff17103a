//! Rounds in which the daemon is killed at a random moment while writers work in the mount. Whatever a call had
//! acknowledged must be in the folder and in history afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::compare::CompareOptions;
use crate::ize::{Failure, Ize};
use crate::moments::equal;

const PROJECT: &str = "kill";
const WRITERS: usize = 3;

/// How many versions of a file are looked for in history, and in how many of its rows: some rows are renames and deletes.
const VERSIONS_MAX: usize = 6;
const ROWS_MAX: &str = "120";

/// Runs so many rounds in one project and tells how many calls were acknowledged.
///
/// # Errors
/// At the first loss, with the seed and the round.
pub fn rounds(ize: &Ize, count: usize, seed: u64, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, Failure> {
    let mut rng = Rng::with_seed(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(index, rng.fork())).collect();
    let mut acknowledged = 0;
    for round in 0..count {
        let told = one_round(ize, &mut writers, &mut rng);
        acknowledged += told.map_err(|why| format!("seed {seed}, round {round}: {why}"))?;
        progress(round, acknowledged);
    }
    let mounted = ize.mount(PROJECT, &[])?;
    mounted.unmount()?;
    Ok(acknowledged)
}

fn one_round(ize: &Ize, writers: &mut [Writer], rng: &mut Rng) -> Result<usize, Failure> {
    let mounted = ize.mount(PROJECT, &[])?;
    let root = mounted.path().to_owned();
    for writer in writers.iter_mut() {
        writer.begin(&root).map_err(|error| format!("cannot begin: {error}"))?;
    }
    let delay = Duration::from_millis(rng.u64(5..500));
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let running: Vec<_> = writers.iter_mut().map(|writer| scope.spawn(|| writer.work(&root, &stop))).collect();
        std::thread::sleep(delay);
        let killed = ize.kill_daemons();
        stop.store(true, Ordering::Relaxed);
        let counts = running.into_iter().map(|handle| handle.join().unwrap_or_default());
        let sum: usize = counts.sum();
        killed.map(|()| sum)
    })?;
    mounted.abandon();
    let mounted = ize.mount(PROJECT, &[])?;
    check(ize, mounted.path(), writers, rng)?;
    mounted.unmount()?;
    Ok(acknowledged)
}

fn check(ize: &Ize, root: &Path, writers: &mut [Writer], rng: &mut Rng) -> Result<(), Failure> {
    for writer in writers.iter_mut() {
        writer.check_live(root)?;
    }
    let op = ize.recorded(PROJECT)?;
    let restored = ize.dir().join(format!("restored-{op}"));
    ize.restore_to(PROJECT, Path::new("."), op, &restored)?;
    equal("the mount against history", root, &restored, &CompareOptions::history())?;
    equal("working/ against the mount", &ize.working_dir()?, root, &CompareOptions::default())?;
    fs::remove_dir_all(&restored).map_err(|error| error.to_string())?;
    for writer in writers.iter_mut() {
        writer.check_history(ize, op, rng)?;
    }
    ize.verify(PROJECT)
}

/// What a file held each time that a call about it was acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    /// What it holds now; `None` if it was removed.
    now: Option<Vec<u8>>,
    /// Hashes of what it held whenever it was closed after writing, oldest first.
    versions: Vec<[u8; 32]>,
}

/// One thread that works in a folder of its own and remembers what was acknowledged.
#[derive(Debug)]
struct Writer {
    folder: PathBuf,
    rng: Rng,
    files: BTreeMap<PathBuf, Acknowledged>,
    /// What the call that was never answered was about.
    in_flight: Vec<PathBuf>,
}

impl Writer {
    fn new(index: usize, rng: Rng) -> Self {
        Self { folder: PathBuf::from(format!("writer-{index}")), rng, files: BTreeMap::new(), in_flight: Vec::new() }
    }

    fn begin(&mut self, root: &Path) -> io::Result<()> {
        self.in_flight.clear();
        fs::create_dir_all(root.join(&self.folder))
    }

    /// Works until told to stop or until the mount fails; returns how many calls were acknowledged.
    fn work(&mut self, root: &Path, stop: &AtomicBool) -> usize {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            match self.step(root) {
                Ok(()) => count += 1,
                Err(_) => break,
            }
        }
        count
    }

    fn step(&mut self, root: &Path) -> io::Result<()> {
        let path = self.folder.join(format!("file-{}", self.rng.u32(0..12)));
        let exists = self.files.get(&path).is_some_and(|file| file.now.is_some());
        match self.rng.u32(0..10) {
            0..3 => self.save(root, &path),
            3..6 if exists => self.append(root, &path),
            6 | 7 => self.save_by_rename(root, &path),
            8 if exists => self.remove(root, &path),
            9 if exists => self.rename(root, &path),
            _ => self.save(root, &path),
        }
    }

    fn content(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(0..30_000)];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn save(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        let bytes = self.content();
        self.in_flight = vec![path.to_owned()];
        fs::write(root.join(path), &bytes)?;
        self.holds(path, bytes);
        Ok(())
    }

    fn append(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        let more = self.content();
        self.in_flight = vec![path.to_owned()];
        File::options().append(true).open(root.join(path))?.write_all(&more)?;
        let mut bytes = self.files.get(path).and_then(|file| file.now.clone()).unwrap_or_default();
        bytes.extend(more);
        self.holds(path, bytes);
        Ok(())
    }

    fn save_by_rename(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        let bytes = self.content();
        let temporary = path.with_extension("tmp");
        self.in_flight = vec![path.to_owned(), temporary.clone()];
        let mut file = File::create(root.join(&temporary))?;
        file.write_all(&bytes)?;
        if self.rng.bool() {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(root.join(&temporary), root.join(path))?;
        self.files.entry(temporary).or_default().now = None;
        self.holds(path, bytes);
        Ok(())
    }

    fn remove(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        self.in_flight = vec![path.to_owned()];
        fs::remove_file(root.join(path))?;
        self.files.entry(path.to_owned()).or_default().now = None;
        self.in_flight.clear();
        Ok(())
    }

    fn rename(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        let to = self.folder.join(format!("moved-{}", self.rng.u32(0..4)));
        self.in_flight = vec![path.to_owned(), to.clone()];
        fs::rename(root.join(path), root.join(&to))?;
        let bytes = self.files.entry(path.to_owned()).or_default().now.take().unwrap_or_default();
        self.files.entry(to).or_default().now = Some(bytes);
        self.in_flight.clear();
        Ok(())
    }

    fn holds(&mut self, path: &Path, bytes: Vec<u8>) {
        let file = self.files.entry(path.to_owned()).or_default();
        file.versions.push(*blake3::hash(&bytes).as_bytes());
        file.now = Some(bytes);
        self.in_flight.clear();
    }

    /// Compares each file with what was acknowledged, and takes what is there for the call that was never answered.
    fn check_live(&mut self, root: &Path) -> Result<(), Failure> {
        for path in std::mem::take(&mut self.in_flight) {
            let found = fs::read(root.join(&path)).ok();
            self.files.entry(path).or_default().now = found;
        }
        for (path, file) in &self.files {
            let found = match fs::read(root.join(path)) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            };
            if found != file.now {
                let told = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| (bytes.len(), blake3::hash(bytes)));
                let (found, expected) = (told(&found), told(&file.now));
                return Err(format!("{} is {found:?} instead of {expected:?}", path.display()));
            }
        }
        Ok(())
    }

    /// Reads one file as history has it now, and the newest versions of it that were acknowledged.
    fn check_history(&mut self, ize: &Ize, op: u64, rng: &mut Rng) -> Result<(), Failure> {
        let paths: Vec<&PathBuf> = self.files.keys().collect();
        let Some(path) = rng.choice(paths) else { return Ok(()) };
        let file = &self.files[path];
        if let Some(expected) = &file.now
            && ize.cat_at(PROJECT, path, op)? != *expected
        {
            return Err(format!("{} differs in history at @{op}", path.display()));
        }
        let words = ["--ops", "--json", "--limit", ROWS_MAX].map(OsStr::new);
        let rows = ize.json(&[&["history".as_ref(), PROJECT.as_ref(), path.as_os_str()], &words[..]].concat())?;
        let (mut seen, mut unread) = (BTreeSet::new(), String::new());
        for row in &rows {
            let at = row["last_op"].as_u64().ok_or_else(|| format!("history has no `last_op`: {row}"))?;
            match ize.cat_at(PROJECT, path, at) {
                Ok(bytes) => _ = seen.insert(*blake3::hash(&bytes).as_bytes()),
                // After a delete or a rename away there is nothing to read.
                Err(why) => unread.push_str(&format!("  {why}\n")),
            }
        }
        let newest = file.versions.iter().rev().take(VERSIONS_MAX).enumerate();
        let missing: Vec<usize> = newest.filter(|(_, hash)| !seen.contains(*hash)).map(|(index, _)| index).collect();
        if !missing.is_empty() {
            let rows: Vec<String> =
                rows.iter().map(|row| format!("  {} {} {}", row["op"], row["kind"], row["size"])).collect();
            let (path, rows) = (path.display(), rows.join("\n"));
            return Err(format!(
                "{path}: the newest versions number {missing:?} are not in its history:\n{rows}\n{unread}"
            ));
        }
        Ok(())
    }
}
