//! Rounds in which the daemon is killed at a random moment while writers work in the mount. Whatever a call had
//! acknowledged must be in the folder and in history afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::compare::CompareOptions;
use crate::ize::{Failure, Ize};
use crate::moments::equal;

const WRITERS: usize = 3;

/// The link in the live files of a project with the backend `pijul`.
const REPOSITORY: &str = ".pijul";

/// How many versions of a file are looked for in history, and in how many of its rows: some rows are renames and deletes.
const VERSIONS_MAX: usize = 6;
const ROWS_MAX: &str = "120";

/// The three durability modes, as `ize` calls them. None of them may lose anything to a killed process.
pub const MODES: [&str; 3] = ["immediate", "group", "relaxed"];

/// Runs so many rounds in one project and tells how many calls were acknowledged.
///
/// # Errors
/// At the first loss, with the seed and the round.
pub fn rounds(ize: &Ize, count: usize, seed: u64, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, Failure> {
    let mut writers = Writers::new("kill", WRITERS, seed);
    let mut acknowledged = 0;
    for round in 0..count {
        let told = one_round(ize, &mut writers);
        acknowledged += told.map_err(|why| format!("seed {seed}, round {round}: {why}"))?;
        progress(round, acknowledged);
    }
    ize.mount(&writers.project, &[])?.unmount()?;
    Ok(acknowledged)
}

fn one_round(ize: &Ize, writers: &mut Writers) -> Result<usize, Failure> {
    let mounted = ize.mount(&writers.project, &[])?;
    let root = mounted.path().to_owned();
    writers.begin(&root)?;
    let delay = Duration::from_millis(writers.rng.u64(5..500));
    let acknowledged = writers.work_while(&root, || {
        std::thread::sleep(delay);
        ize.kill_daemons()
    })?;
    mounted.abandon();
    let mounted = ize.mount(&writers.project, &[])?;
    writers.check(ize, mounted.path())?;
    mounted.unmount()?;
    Ok(acknowledged)
}

/// Some threads that work in a mount and remember what was acknowledged to them.
#[derive(Debug)]
pub struct Writers {
    project: String,
    writers: Vec<Writer>,
    rng: Rng,
}

impl Writers {
    /// So many writers for a project.
    pub fn new(project: &str, count: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let writers = (0..count).map(|index| Writer::new(index, rng.fork())).collect();
        Self { project: project.to_owned(), writers, rng }
    }

    /// Makes their folders.
    ///
    /// # Errors
    /// If the mount fails.
    pub fn begin(&mut self, root: &Path) -> Result<(), Failure> {
        let mut begun = self.writers.iter_mut().map(|writer| writer.begin(root));
        begun.try_for_each(|begun| begun).map_err(|error| format!("cannot begin: {error}"))
    }

    /// Lets them work until `event` has returned or the mount fails; returns how many calls were acknowledged.
    ///
    /// # Errors
    /// Those of the event.
    pub fn work_while(&mut self, root: &Path, event: impl FnOnce() -> Result<(), Failure>) -> Result<usize, Failure> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers = self.writers.iter_mut();
            let running: Vec<_> = writers.map(|writer| scope.spawn(|| writer.work(root, &stop))).collect();
            let happened = event();
            stop.store(true, Ordering::Relaxed);
            let counts = running.into_iter().map(|handle| handle.join().unwrap_or_default());
            let sum: usize = counts.sum();
            happened.map(|()| sum)
        })
    }

    /// Lets the first of them make so many calls, or until the mount fails. Tells whether it did not.
    pub fn work_steps(&mut self, root: &Path, count: usize) -> bool {
        let writer = &mut self.writers[0];
        (0..count).all(|_| writer.step(root).is_ok())
    }

    /// Lets the first of them write so much to one file, in pieces of 1 MiB. Tells whether the mount did not fail.
    pub fn work_bytes(&mut self, root: &Path, mib: usize) -> bool {
        self.writers[0].write_large(root, mib).is_ok()
    }

    /// Checks that everything acknowledged is in the mount and in history, that these agree with `working/`, and that the
    /// project verifies.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, ize: &Ize, root: &Path) -> Result<(), Failure> {
        for writer in &mut self.writers {
            writer.check_live(root)?;
        }
        let op = ize.recorded(&self.project)?;
        equal_everywhere(ize, &self.project, root, op)?;
        for writer in &self.writers {
            writer.check_history(ize, &self.project, op, &mut self.rng)?;
        }
        ize.verify(&self.project)
    }
}

/// Checks that a mount, what history has at an operation, and `working/` are the same.
///
/// # Errors
/// With what differs.
pub fn equal_everywhere(ize: &Ize, project: &str, root: &Path, op: u64) -> Result<(), Failure> {
    let restored = ize.dir().join(format!("restored-{op}"));
    ize.restore_to(project, Path::new("."), op, &restored)?;
    equal("the mount against history", root, &restored, &CompareOptions::history())?;
    // The link to a repository is no part of the tree, and is not to be seen in the mount.
    let working = CompareOptions::default().skip(REPOSITORY);
    equal("working/ against the mount", &ize.working_dir()?, root, &working)?;
    let seen = |name: OsString| (name == REPOSITORY).then(|| format!("{REPOSITORY} is seen in the mount"));
    let names = fs::read_dir(root).map_err(|error| error.to_string())?.flatten().map(|entry| entry.file_name());
    if let Some(why) = names.into_iter().find_map(seen) {
        return Err(why);
    }
    fs::remove_dir_all(&restored).map_err(|error| error.to_string())
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

    fn write_large(&mut self, root: &Path, mib: usize) -> io::Result<()> {
        let path = self.folder.join("large");
        self.in_flight = vec![path.clone()];
        let mut piece = vec![0; 1 << 20];
        let (mut file, mut all) = (File::create(root.join(&path))?, Vec::new());
        for _ in 0..mib {
            self.rng.fill(&mut piece);
            file.write_all(&piece)?;
            all.extend_from_slice(&piece);
        }
        self.holds(&path, all);
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
    fn check_history(&self, ize: &Ize, project: &str, op: u64, rng: &mut Rng) -> Result<(), Failure> {
        // Some were only ever named in the call that was never answered.
        let known = |file: &Acknowledged| file.now.is_some() || !file.versions.is_empty();
        let paths: Vec<&PathBuf> = self.files.iter().filter(|(_, file)| known(file)).map(|(path, _)| path).collect();
        let Some(path) = rng.choice(paths) else { return Ok(()) };
        let file = &self.files[path];
        if let Some(expected) = &file.now
            && ize.cat_at(project, path, op)? != *expected
        {
            return Err(format!("{} differs in history at @{op}", path.display()));
        }
        let words = ["--ops", "--json", "--limit", ROWS_MAX].map(OsStr::new);
        let rows = ize.json(&[&["history".as_ref(), project.as_ref(), path.as_os_str()], &words[..]].concat())?;
        let (mut seen, mut unread) = (BTreeSet::new(), String::new());
        for row in &rows {
            let at = row["last_op"].as_u64().ok_or_else(|| format!("history has no `last_op`: {row}"))?;
            match ize.cat_at(project, path, at) {
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
