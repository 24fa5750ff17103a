//! A program in the live tree: one call after the other, and the state after each of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use ize_core::disk::simulation;
use ize_core::model::FileId;
use ize_core::project::Project;
use ize_core::tree::{
    Allocation, Caller, Live, OpenMode, RenameMode, SetAttributes, SetTime, SyncScope, Tree as _, TreeError, XattrMode,
};

use crate::tree::Tree;

type Told<T = ()> = Result<T, TreeError>;

const FILES_MAX: usize = 14;
const WRITE: OpenMode =
    OpenMode { read: true, write: true, append: false, truncate: false, exclusive: false, sync: false, direct: false };
const CALLER: Caller = Caller { pid: 1, uid: 0, gid: 0 };

/// When a call began and returned, in changes of the disk.
#[derive(Clone, Copy, Debug)]
struct Times {
    begun: usize,
    returned: usize,
}

/// What was promised, and what the tree was after each call.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The tree after so many calls; the first before all of them.
    states: Vec<Tree>,
    calls: Vec<Times>,
    /// So many changes of the disk later, so many calls were durable.
    synced: Vec<(usize, usize)>,
    what: Vec<String>,
}

impl Log {
    /// Returns between which numbers of calls must have been kept, if the power was cut after so many changes.
    pub(crate) fn bounds(&self, changes: usize, is_immediate: bool) -> (usize, usize) {
        // One that changed nothing begins and returns at the same change.
        let is_begun = |call: &&Times| call.begun < changes || call.returned <= changes;
        let begun = self.calls.iter().filter(is_begun).count();
        let returned = self.calls.iter().filter(|call| call.returned <= changes).count();
        let synced = self.synced.iter().filter(|(at, _)| *at <= changes).map(|(_, calls)| *calls).max().unwrap_or(0);
        (if is_immediate { returned } else { synced }, begun)
    }

    /// Tells of all calls, for people.
    pub(crate) fn told(&self) -> Vec<String> {
        let calls = self.calls.iter().zip(&self.what);
        let mut lines: Vec<String> =
            calls.map(|(call, what)| format!("{} to {}: {what}", call.begun, call.returned)).collect();
        lines.push(format!("synced: {:?}", self.synced));
        lines
    }

    /// Returns how many calls returned without a failure, and how many were begun.
    pub(crate) fn all_returned(&self) -> (usize, usize) {
        (self.calls.iter().filter(|call| call.returned != usize::MAX).count(), self.calls.len())
    }

    /// Checks that a tree is one of the allowed states.
    pub(crate) fn check(&self, found: &Tree, (least, most): (usize, usize)) -> Result<(), String> {
        let fitting: Vec<usize> =
            (0..self.states.len()).filter(|number| self.states[*number].is_state(found)).collect();
        if fitting.iter().any(|number| (least..=most).contains(number)) {
            return Ok(());
        }
        let told = format!("between {least} and {most} calls had to be kept");
        if let Some(number) = fitting.last() {
            return Err(format!("{told}, and {number} were"));
        }
        let nearest = (least..=most).min_by_key(|number| self.states[*number].difference(found).len()).unwrap_or(least);
        let what = nearest.checked_sub(1).map_or("the beginning", |call| self.what[call].as_str());
        let difference = self.states[nearest].difference(found);
        Err(format!(
            "{told}, and the tree is no state at all; nearest: {nearest} ({what}); expected, found:\n{difference}"
        ))
    }
}

/// What the program knows.
pub(crate) struct Program<'a> {
    rng: &'a mut Rng,
    project: &'a Project,
    live: &'a Live,
    working: PathBuf,
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
    serial: u64,
    log: Log,
}

impl<'a> Program<'a> {
    /// Begins with what is there.
    pub(crate) fn new(project: &'a Project, rng: &'a mut Rng) -> Self {
        let working = project.info().working();
        let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::from([PathBuf::new()]));
        let mut below = vec![working.clone()];
        while let Some(folder) = below.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path().strip_prefix(&working).unwrap().to_owned();
                if entry.file_type().unwrap().is_dir() {
                    below.push(entry.path());
                    folders.insert(path);
                } else if entry.file_type().unwrap().is_file() {
                    files.insert(path);
                }
            }
        }
        let log = Log { states: vec![Tree::of_host(&working).unwrap()], ..Log::default() };
        Self { serial: rng.u64(1000..), rng, live: project.live(), project, working, files, folders, log }
    }

    /// Makes so many calls, none of which may fail.
    pub(crate) fn run(self, calls: usize) -> Log {
        let (log, failure) = self.run_until_failure(calls);
        assert!(failure.is_none(), "a call failed: {failure:?}");
        log
    }

    /// Makes so many calls, or until something other than the call itself fails. The last state in the log is the one in
    /// which a failed call left the tree.
    pub(crate) fn run_until_failure(mut self, calls: usize) -> (Log, Option<String>) {
        for _ in 0..calls {
            let begun = simulation::count();
            let made = self.call();
            let settled = self.live.wait_settled();
            let what = match made {
                Ok(what) => what,
                // Refused: nothing may come of it.
                Err(TreeError::Refused(errno)) => format!("refused: {errno}"),
                Err(error) => return self.failed(begun, format!("{error:?}")),
            };
            if let Err(error) = settled {
                return self.failed(begun, format!("{what}: {error:?}"));
            }
            self.log.calls.push(Times { begun, returned: simulation::count() });
            self.log.states.push(Tree::of_host(&self.working).unwrap());
            self.log.what.push(what);
            if let Err(error) = self.pause_or_sync() {
                return (self.log, Some(error));
            }
        }
        (self.log, None)
    }

    fn failed(mut self, begun: usize, what: String) -> (Log, Option<String>) {
        self.log.calls.push(Times { begun, returned: usize::MAX });
        self.log.states.push(Tree::of_host(&self.working).unwrap());
        self.log.what.push(what.clone());
        (self.log, Some(what))
    }

    fn pause_or_sync(&mut self) -> Result<(), String> {
        match self.rng.u32(0..20) {
            // The worker commits meanwhile.
            0..3 => std::thread::sleep(Duration::from_micros(self.rng.u64(100..4000))),
            3 => {
                self.project.sync().map_err(|error| format!("sync: {error:?}"))?;
                self.note_synced();
            }
            4 | 5 => self.sync_file().map_err(|error| format!("fsync: {error:?}"))?,
            _ => {}
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Told {
        let Some(path) = self.file() else { return Ok(()) };
        let handle = self.live.open(CALLER, self.node(&path)?, WRITE)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let scope = if self.rng.bool() { SyncScope::File } else { SyncScope::Data };
        self.live.sync(handle, scope, Box::new(move |outcome| sender.send(outcome).expect("somebody waits")));
        receiver.recv().expect("a sync always answers")?;
        self.note_synced();
        self.live.release(handle);
        Ok(())
    }

    fn note_synced(&mut self) {
        self.log.synced.push((simulation::count(), self.log.calls.len()));
    }

    fn node(&self, path: &Path) -> Told<FileId> {
        let mut node = FileId::ROOT;
        for name in path {
            node = self.live.lookup(node, name)?.file;
        }
        Ok(node)
    }

    fn place<'p>(&self, path: &'p Path) -> Told<(FileId, &'p OsStr)> {
        let name = path.file_name().expect("a path of the workload has a name");
        Ok((self.node(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn file(&mut self) -> Option<PathBuf> {
        self.rng.choice(&self.files).cloned()
    }

    fn new_path(&mut self) -> PathBuf {
        self.serial += 1;
        let folder = self.rng.choice(&self.folders).cloned().unwrap_or_default();
        folder.join(format!("n{}", self.serial % 10_000))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(1..18_000)];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn call(&mut self) -> Told<String> {
        let Some(path) = self.file() else { return self.create() };
        match self.rng.u32(0..30) {
            0..4 if self.files.len() < FILES_MAX => self.create(),
            0..11 => self.write(&path),
            11 | 12 => self.truncate(&path),
            13 => self.empty(&path),
            14 => self.punch(&path),
            15..18 => self.rename(&path),
            18 | 19 => self.unlink(&path),
            20 => self.exchange(&path),
            21 => self.link(&path),
            22 => self.symlink(),
            23 => self.make_folder(),
            24 => self.rename_folder(),
            25 => self.remove_folder(),
            26 => self.attributes(&path),
            27 => self.xattr(&path),
            28 => self.refused(&path),
            _ => self.write(&path),
        }
    }

    fn create(&mut self) -> Told<String> {
        let path = self.new_path();
        let (dir, name) = self.place(&path)?;
        let (_, handle) = self.live.create(CALLER, dir, name, 0o644, WRITE)?;
        self.live.release(handle);
        self.files.insert(path.clone());
        Ok(format!("create {}", path.display()))
    }

    fn write(&mut self, path: &Path) -> Told<String> {
        let (file, bytes) = (self.node(path)?, self.bytes());
        let size = self.live.stat(file, None)?.metadata.size;
        let offset = match self.rng.u32(0..5) {
            0 => size,
            1 => self.rng.u64(0..size + 9000),
            _ => self.rng.u64(0..=size.saturating_sub(1)),
        };
        let handle = self.live.open(CALLER, file, WRITE)?;
        self.live.write(CALLER, handle, offset, &bytes)?;
        if self.rng.bool() {
            self.live.flush(handle)?;
        }
        self.live.release(handle);
        Ok(format!("write {} {offset}+{} of {size}", path.display(), bytes.len()))
    }

    fn truncate(&mut self, path: &Path) -> Told<String> {
        let file = self.node(path)?;
        let size = self.rng.u64(0..30_000);
        self.live.set_attributes(CALLER, file, None, &SetAttributes { size: Some(size), ..Default::default() })?;
        Ok(format!("truncate {} to {size}", path.display()))
    }

    fn empty(&mut self, path: &Path) -> Told<String> {
        let handle = self.live.open(CALLER, self.node(path)?, OpenMode { truncate: true, ..WRITE })?;
        self.live.release(handle);
        Ok(format!("empty {}", path.display()))
    }

    fn punch(&mut self, path: &Path) -> Told<String> {
        let handle = self.live.open(CALLER, self.node(path)?, WRITE)?;
        let (offset, len) = (self.rng.u64(0..20_000), self.rng.u64(1..9000));
        let punched = self.live.allocate(CALLER, handle, Allocation::PunchHole, offset, len);
        self.live.release(handle);
        punched.map(|()| format!("punch {} {offset}+{len}", path.display()))
    }

    fn rename(&mut self, path: &Path) -> Told<String> {
        let over = self.file().filter(|other| other != path && self.rng.bool());
        let to = over.unwrap_or_else(|| self.new_path());
        self.live.rename(CALLER, self.place(path)?, self.place(&to)?, RenameMode::Replace)?;
        // Two names of one file stay both.
        if !self.working.join(path).exists() {
            self.files.remove(path);
        }
        self.files.insert(to.clone());
        Ok(format!("rename {} to {}", path.display(), to.display()))
    }

    fn exchange(&mut self, path: &Path) -> Told<String> {
        let Some(other) = self.file().filter(|other| other != path) else { return Ok("nothing".to_owned()) };
        self.live.rename(CALLER, self.place(path)?, self.place(&other)?, RenameMode::Exchange)?;
        Ok(format!("exchange {} and {}", path.display(), other.display()))
    }

    fn unlink(&mut self, path: &Path) -> Told<String> {
        let (dir, name) = self.place(path)?;
        self.live.unlink(CALLER, dir, name)?;
        self.files.remove(path);
        Ok(format!("unlink {}", path.display()))
    }

    fn link(&mut self, path: &Path) -> Told<String> {
        let (file, to) = (self.node(path)?, self.new_path());
        let (dir, name) = self.place(&to)?;
        self.live.link(CALLER, file, dir, name)?;
        self.files.insert(to.clone());
        Ok(format!("link {} to {}", path.display(), to.display()))
    }

    fn symlink(&mut self) -> Told<String> {
        let path = self.new_path();
        let (dir, name) = self.place(&path)?;
        self.live.make_symlink(CALLER, dir, name, b"some/where")?;
        Ok(format!("symlink {}", path.display()))
    }

    fn make_folder(&mut self) -> Told<String> {
        if self.folders.len() > 5 {
            return Ok("nothing".to_owned());
        }
        let path = self.new_path();
        let (dir, name) = self.place(&path)?;
        self.live.make_directory(CALLER, dir, name, 0o755)?;
        self.folders.insert(path.clone());
        Ok(format!("mkdir {}", path.display()))
    }

    fn rename_folder(&mut self) -> Told<String> {
        let folders: Vec<PathBuf> = self.folders.iter().filter(|path| path.components().count() > 0).cloned().collect();
        let Some(from) = self.rng.choice(folders) else { return Ok("nothing".to_owned()) };
        let to = self.new_path();
        self.live.rename(CALLER, self.place(&from)?, self.place(&to)?, RenameMode::Replace)?;
        let moved = |path: &PathBuf| path.strip_prefix(&from).map_or(path.clone(), |rest| join(&to, rest));
        self.files = self.files.iter().map(moved).collect();
        self.folders = self.folders.iter().map(moved).collect();
        Ok(format!("rename folder {} to {}", from.display(), to.display()))
    }

    fn remove_folder(&mut self) -> Told<String> {
        let folders: Vec<PathBuf> = self.folders.iter().filter(|path| path.components().count() > 0).cloned().collect();
        let Some(path) = self.rng.choice(folders) else { return Ok("nothing".to_owned()) };
        let (dir, name) = self.place(&path)?;
        // Mostly refused: it is not empty.
        self.live.remove_directory(CALLER, dir, name)?;
        self.folders.remove(&path);
        Ok(format!("rmdir {}", path.display()))
    }

    fn attributes(&mut self, path: &Path) -> Told<String> {
        let file = self.node(path)?;
        let mode = Some(0o600 | self.rng.u32(0..0o100));
        let attributes = if self.rng.bool() {
            SetAttributes { mode, ..Default::default() }
        } else {
            let time = ize_core::model::Timestamp::from_nanos(self.rng.i64(0..1 << 60).into());
            SetAttributes { mtime: Some(SetTime::To(time)), ..Default::default() }
        };
        self.live.set_attributes(CALLER, file, None, &attributes)?;
        Ok(format!("attributes {} {attributes:?}", path.display()))
    }

    fn xattr(&mut self, path: &Path) -> Told<String> {
        let (file, name) = (self.node(path)?, OsStr::new("user.note"));
        if self.rng.u32(0..3) == 0 {
            self.live.remove_xattr(CALLER, file, name)?;
        } else {
            let value = self.serial.to_be_bytes();
            self.live.set_xattr(CALLER, file, name, &value, XattrMode::Either)?;
        }
        Ok(format!("xattr {}", path.display()))
    }

    /// What must not be done, and must not come back.
    fn refused(&mut self, path: &Path) -> Told<String> {
        let (dir, name) = self.place(path)?;
        match self.rng.u32(0..3) {
            0 => self.live.make_directory(CALLER, dir, name, 0o755).map(drop)?,
            1 => self.live.remove_directory(CALLER, dir, name)?,
            _ => self.live.unlink(CALLER, dir, OsStr::new("not-there"))?,
        }
        Ok("what should be refused".to_owned())
    }
}

fn join(to: &Path, rest: &Path) -> PathBuf {
    // An empty rest would leave a slash behind.
    if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) }
}
