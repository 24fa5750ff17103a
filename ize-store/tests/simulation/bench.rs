//! One project, many power cuts.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ize_core::disk::simulation::{self, Event, Failing, Fault};
use ize_core::model::View;
use ize_core::project::{
    Backend, BackendOptions, Backends, CentralDir, NewProject, Project, ProjectName, ProjectOptions, Settings,
};
use ize_core::record::DurabilityMode;
use ize_core::storage::{FileSystemStorage, StorageError};
use ize_store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::tree::Tree;
use crate::volume::{Ordering, Volume};
use crate::workload::{Log, Program};

const NAME: &str = "crash";
/// So many power cuts are tried on what one workload noted.
const STATES_PER_WORKLOAD: u64 = 50;
/// Where folders are in memory.
const MEMORY: &str = "/dev/shm";

/// The store, with packs that are soon full.
struct SmallPacks;

impl Backend for SmallPacks {
    fn name(&self) -> &'static str {
        "store"
    }

    fn create(&self, dir: &Path, _: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        Ok(Arc::new(Store::create(dir, &options())?))
    }

    fn open(&self, dir: &Path, _: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        Ok(Arc::new(Store::open(dir, &options())?))
    }
}

fn options() -> StoreOptions {
    StoreOptions::default().compression(false).pack_bytes_max(256 << 10)
}

/// What came of many power cuts.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) violations: Vec<String>,
    states: u64,
    cut_twice: u64,
    events: usize,
    seconds: f64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} of them cut off again during recovery, of workloads with {} changes of the disk, in {:.0} s: {} violations",
            self.states,
            self.cut_twice,
            self.events,
            self.seconds,
            self.violations.len()
        )
    }
}

/// Runs workloads and power cuts in one durability mode.
pub(crate) struct Bench {
    name: &'static str,
    durability: DurabilityMode,
    dir: TempDir,
    backends: Backends,
}

impl Bench {
    pub(crate) fn new(name: &'static str, durability: DurabilityMode) -> Self {
        let parent = if Path::new(MEMORY).is_dir() { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("ize-crash-").tempdir_in(parent).unwrap();
        Self { name, durability, dir, backends: Backends::new().with(SmallPacks) }
    }

    pub(crate) fn run(&self, states: u64, seed: u64) -> Told {
        let (mut told, begun) = (Told::default(), Instant::now());
        let mut seed = seed;
        while told.states < states {
            self.one_workload(seed, STATES_PER_WORKLOAD.min(states - told.states), &mut told);
            seed += 1;
        }
        told.seconds = begun.elapsed().as_secs_f64();
        told
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, central: &Path) -> Result<Project, String> {
        let central = CentralDir::new(central);
        let info = central.find(NAME).map_err(|error| told(&error))?;
        Project::open(info, &self.backends, self.options()).map_err(|error| told(&error))
    }

    fn options(&self) -> ProjectOptions {
        let mut settings = Settings::default();
        (settings.durability, settings.floor_bytes) = (self.durability, Some(0));
        settings.processor.poll_interval = Some(Duration::from_millis(1));
        settings.processor.max_batch_size = Some(16);
        ProjectOptions::new(settings)
    }

    /// Makes a project with some files, and closes it.
    fn project(&self, origin: &Path, rng: &mut Rng) {
        let new = NewProject::new(ProjectName::new(NAME).unwrap(), "store");
        let project = Project::create(&CentralDir::new(origin), new, &self.backends, self.options()).unwrap();
        Program::new(&project, rng).run(25);
        project.close().unwrap();
    }

    /// Notes what one workload changes, and cuts the power at many moments of it.
    fn one_workload(&self, seed: u64, states: u64, told: &mut Told) {
        let mut rng = Rng::with_seed(seed);
        let origin = self.path("origin");
        // What is there before was synced long ago.
        self.project(&origin, &mut rng);
        let before = Volume::read(&origin).unwrap();

        simulation::start(None);
        let project = self.open(&origin).unwrap();
        let calls = rng.usize(5..50);
        let log = Program::new(&project, &mut rng).run(calls);
        let mut open = Some(project);
        if rng.u32(0..3) == 0 {
            let project = open.take().unwrap();
            project.close().unwrap();
        }
        // The power is gone: what is closed later is not noted.
        let (events, _) = simulation::stop();
        drop(open);
        told.events += events.len();
        for number in 0..states {
            let mut rng = rng.fork();
            let cut = PowerCut { bench: self, before: &before, events: &events, log: &log };
            if let Err(why) = cut.try_one(&mut rng, &mut told.cut_twice) {
                told.violations.push(format!("{}, seed {seed}, state {number}: {why}", self.name));
            }
            told.states += 1;
        }
        fs::remove_dir_all(&origin).unwrap();
    }
}

impl Bench {
    /// Runs one workload again and again, each time with other calls to the disk failing; then opens the project without a
    /// failure. `stride` leaves calls out. Returns how often, and what was wrong.
    pub(crate) fn fail_each_call(&self, fault: Fault, count: u64, seed: u64, stride: u64) -> (u64, Vec<String>) {
        let (mut runs, mut wrong) = (0, Vec::new());
        // None fails yet: so many there are.
        let (calls, _) = self.fail_once(Failing { fault, first: u64::MAX, count }, seed);
        for first in
            (1..=calls).skip(usize::try_from(seed % stride).unwrap_or(0)).step_by(usize::try_from(stride).unwrap_or(1))
        {
            let (_, outcome) = self.fail_once(Failing { fault, first, count }, seed);
            if let Err(why) = outcome {
                wrong.push(format!("{}, {fault:?} at call {first} of {calls}, {count} times: {why}", self.name));
            }
            runs += 1;
        }
        (runs, wrong)
    }

    fn fail_once(&self, failing: Failing, seed: u64) -> (u64, Result<(), String>) {
        let mut rng = Rng::with_seed(seed);
        let origin = self.path("failing");
        self.project(&origin, &mut rng);
        simulation::start(Some(failing));
        // Opening may fail, too; then it must be possible later.
        let project = self.open(&origin).ok();
        let log = project.as_ref().map(|project| Program::new(project, &mut rng).run_until_failure(25).0);
        let (_, calls) = simulation::stop();
        // It tells of a failure again, or not; what counts is what is there afterwards.
        let _ = project.as_ref().map(Project::close);
        drop(project);
        let outcome = self.check_after_failure(&origin, log.as_ref());
        let _ = fs::remove_dir_all(&origin);
        (calls, outcome)
    }

    fn check_after_failure(&self, origin: &Path, log: Option<&Log>) -> Result<(), String> {
        let project = self.open(origin).map_err(|why| format!("cannot be opened: {why}"))?;
        same_everywhere(&project)
            .and_then(|(tree, _)| log.map_or(Ok(()), |log| log.check(&tree, log.all_returned())))?;
        let mut findings = Vec::new();
        project.verify(false, &mut |finding| findings.push(finding.what)).map_err(|error| told(&error))?;
        if findings.is_empty() { Ok(()) } else { Err(format!("verify finds {findings:?}")) }
    }
}

impl Bench {
    /// Opens a state that was kept, cut off after each change that opening makes, and opened again: the tree must become the
    /// same as without. Tells what was not.
    pub(crate) fn cut_recovery_everywhere(&self, kept: &Path, seed: u64) -> Vec<String> {
        let before = Volume::read(kept).unwrap();
        let folder = self.path("state");
        let put = |volume: &Volume| {
            let _ = fs::remove_dir_all(&folder);
            volume.write(&folder).unwrap();
            another_session(&folder).unwrap();
        };
        put(&before);
        let before = Volume::read(&folder).unwrap();
        simulation::start(None);
        let project = self.open(&folder).unwrap();
        let expected = Tree::of_host(&project.info().working()).unwrap();
        let (events, _) = simulation::stop();
        drop(project);
        let mut wrong = Vec::new();
        for at in 0..=events.len() {
            for ordering in Ordering::ALL {
                put(&before.cut(&events[..at], ordering, &mut Rng::with_seed(seed)));
                let opened = self.open(&folder).and_then(|project| same_everywhere(&project).map(|(tree, _)| tree));
                let told = match opened {
                    Ok(tree) if tree.is_state(&expected) => continue,
                    Ok(tree) => expected.difference(&tree),
                    Err(why) => why,
                };
                let last: Vec<String> =
                    events[..at].iter().rev().take(3).map(|event| format!("{event:.200?}")).collect();
                wrong
                    .push(format!("{ordering:?}, recovery cut off after {at} of {}: {told}\n  {last:?}", events.len()));
            }
        }
        wrong
    }
}

/// Checks that `working/` is what history says; returns the tree and the last operation.
fn same_everywhere(project: &Project) -> Result<(Tree, u64), String> {
    let head = project.barrier().map_err(|error| told(&error))?;
    let working = Tree::of_host(&project.info().working()).map_err(|error| error.to_string())?;
    let history = Tree::of_history(&**project.recorder().storage(), View::new(project.recorder().branch(), head))?;
    if working != history {
        return Err(format!("working/ is not what history says at {head}:\n{}", working.difference(&history)));
    }
    Ok((working, head.get()))
}

/// One moment of one workload.
struct PowerCut<'a> {
    bench: &'a Bench,
    before: &'a Volume,
    events: &'a [Event],
    log: &'a Log,
}

impl PowerCut<'_> {
    fn try_one(&self, rng: &mut Rng, cut_twice: &mut u64) -> Result<(), String> {
        let at = rng.usize(0..=self.events.len());
        let ordering = Ordering::choose(rng);
        let volume = self.before.cut(&self.events[..at], ordering, rng);
        let folder = self.bench.path("state");
        let mut bounds = self.log.bounds(at, self.bench.durability == DurabilityMode::Immediate);
        let where_ = format!("{ordering:?}, after {at} of {} changes", self.events.len());
        let told = self.put(&volume, &folder).and_then(|()| {
            if rng.u32(0..5) == 0 {
                *cut_twice += 1;
                self.cut_again(&folder, ordering, &mut bounds, rng)?;
            }
            self.check(&folder, bounds, rng)
        });
        if let (Err(_), Some(keep)) = (&told, std::env::var_os("IZE_CRASH_KEEP")) {
            self.keep(&volume, at, Path::new(&keep));
        }
        let told = told.map_err(|why| format!("{where_}: {why}"));
        let _ = fs::remove_dir_all(&folder);
        told
    }

    /// Keeps a state that was not recovered as it should be, and what led to it.
    fn keep(&self, volume: &Volume, at: usize, dir: &Path) {
        let dir = dir.join(format!("{}-{}-{at}", self.bench.name, fs::read_dir(dir).map_or(0, Iterator::count)));
        fs::create_dir_all(&dir).unwrap();
        self.put(volume, &dir.join("state")).unwrap();
        let told = |event: &Event| match event {
            Event::Data(inode, offset, bytes) => format!("Data({inode}, {offset}, {} bytes)", bytes.len()),
            Event::Whole(inode, bytes) => format!("Whole({inode}, {} bytes)", bytes.len()),
            other => format!("{other:?}"),
        };
        let lines: Vec<String> =
            self.events[..at].iter().enumerate().map(|(n, event)| format!("{n} {}", told(event))).collect();
        fs::write(dir.join("changes"), lines.join("\n")).unwrap();
        fs::write(dir.join("calls"), self.log.told().join("\n")).unwrap();
    }

    /// Puts a volume into a folder, as the next boot finds it.
    fn put(&self, volume: &Volume, folder: &Path) -> Result<(), String> {
        volume.write(folder).map_err(|error| format!("the state cannot be made: {error}"))?;
        another_session(folder).map_err(|error| format!("the state cannot be made: {error}"))
    }

    /// Recovers, and cuts the power meanwhile.
    fn cut_again(
        &self,
        folder: &Path,
        ordering: Ordering,
        bounds: &mut (usize, usize),
        rng: &mut Rng,
    ) -> Result<(), String> {
        let before = Volume::read(folder).map_err(|error| error.to_string())?;
        simulation::start(None);
        let opened = self.bench.open(folder);
        let (events, _) = simulation::stop();
        drop(opened.map_err(|why| format!("cannot be opened: {why}"))?);
        let at = rng.usize(0..=events.len());
        let volume = before.cut(&events[..at], ordering, rng);
        fs::remove_dir_all(folder).map_err(|error| error.to_string())?;
        let _ = bounds;
        self.put(&volume, folder).map_err(|why| format!("cut off again after {at} of {}: {why}", events.len()))
    }

    fn check(&self, folder: &Path, bounds: (usize, usize), rng: &mut Rng) -> Result<(), String> {
        let project = self.bench.open(folder).map_err(|why| format!("cannot be opened: {why}"))?;
        let head = self.check_open(&project, bounds)?;
        if rng.u32(0..8) == 0 {
            let mut findings = Vec::new();
            project.verify(false, &mut |finding| findings.push(finding.what)).map_err(|error| told(&error))?;
            if !findings.is_empty() {
                return Err(format!("verify finds {findings:?}"));
            }
        }
        if rng.u32(0..4) != 0 {
            return Ok(());
        }
        project.close().map_err(|error| told(&error))?;
        drop(project);
        let project = self.bench.open(folder).map_err(|why| format!("cannot be opened a second time: {why}"))?;
        let again = self.check_open(&project, bounds)?;
        if !project.found().is_clean() || head != again {
            return Err(format!("opening once more changed something: {head} to {again}, {:?}", project.found()));
        }
        Ok(())
    }

    fn check_open(&self, project: &Project, bounds: (usize, usize)) -> Result<u64, String> {
        let (tree, head) = same_everywhere(project)?;
        self.log.check(&tree, bounds)?;
        Ok(head)
    }
}

/// Makes every note of the session that wrote the files one of another mount.
fn another_session(folder: &Path) -> std::io::Result<()> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "working") {
                another_session(&path)?;
            }
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if !["lock", "session", "tree.toml"].contains(&name) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        if text.contains(boot.trim()) {
            fs::write(&path, another_mount(&text, boot.trim()))?;
        }
    }
    Ok(())
}

/// A session is the boot's id and the mount's number; without a number, another boot must do.
fn another_mount(text: &str, boot: &str) -> String {
    let Some((before, after)) = text.split_once(boot) else { return text.to_owned() };
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).count();
    let skipped = after.len() - after.trim_start_matches(['\n', '\\', 'n']).len();
    let number = digits(&after[skipped..]);
    if number == 0 {
        return format!("{before}00000000-0000-0000-0000-000000000000{after}");
    }
    format!("{before}{boot}{}7{}", &after[..skipped + number], &after[skipped + number..])
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
