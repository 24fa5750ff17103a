//! Kills at chosen steps: the daemon of a real mount ends at one step of its own work, and what it had acknowledged must
//! be there when the project is mounted again.
//!
//! The steps are `failpoint::pass("...")` in the sources of the other crates; `ize` must be built with its feature
//! `failpoints`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::ize::{Failure, Ize, Mounted};
use crate::kill::{MODES, Writers};

const PROJECT: &str = "steps";

/// How many calls the writer makes.
const CALLS: usize = 40;
/// More than two segments of the journal.
const BULK_MIB: usize = 40;

/// When a step is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While a program works in the mount.
    Serving,
    /// The same, where the kernel writes to the files itself.
    HandedOver,
    /// While a program writes much.
    Bulk,
    /// While the project is mounted again after another kill.
    Recovering,
    /// The same, but the project takes the kill for a power cut, and its files were damaged.
    Mending,
    /// While it is unmounted.
    Closing,
}

/// A kill: at which step, when, and at which of its passes.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// The step's name.
    pub step: &'static str,
    /// When it is to come.
    pub when: When,
    /// At which of its passes.
    pub pass: u64,
}

/// Finds the names of all steps below the `src` folders of the workspace.
///
/// # Errors
/// If the sources cannot be read.
pub fn in_source() -> Result<BTreeSet<String>, Failure> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = BTreeSet::new();
    for package in ["ize-core", "ize-store", "ize-fuse", "ize-cli"] {
        collect(&workspace.join(package).join("src"), &mut names).map_err(|error| format!("{package}: {error}"))?;
    }
    Ok(names)
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let calls = text.split("failpoint::pass(\"").skip(1).filter_map(|rest| rest.split('"').next());
        names.extend(calls.map(str::to_owned));
    }
    Ok(())
}

/// Kills a daemon once, and checks what is there afterwards.
///
/// # Errors
/// If the step never came, or anything was lost.
pub fn kill_once(kill: Kill, seed: u64) -> Result<(), Failure> {
    let mode = MODES[usize::try_from(seed % 3).unwrap_or(0)];
    let granularity = if kill.when == When::HandedOver { "close" } else { "write" };
    let ize = Ize::new()?.with_variable("IZE_DURABILITY", mode).with_variable("IZE_GRANULARITY", granularity);
    if kill.when == When::HandedOver && !ize.mount(PROJECT, &[])?.is_handed_over()? {
        return Ok(());
    }
    let mut writers = Writers::new(PROJECT, 1, seed);
    let told = run(&ize, &mut writers, kill);
    told.map_err(|why| format!("{kill:?}, durability {mode}: {why}"))
}

fn run(ize: &Ize, writers: &mut Writers, kill: Kill) -> Result<(), Failure> {
    match kill.when {
        When::Serving | When::HandedOver | When::Bulk => while_serving(ize, writers, kill)?,
        When::Recovering | When::Mending => while_recovering(ize, writers, kill)?,
        When::Closing => while_closing(ize, writers, kill)?,
    }
    if !ize.daemons()?.is_empty() {
        return Err("the step never came".to_owned());
    }
    let mounted = ize.mount(PROJECT, &[])?;
    writers.check(ize, mounted.path())?;
    mounted.unmount()
}

fn mount_to_die(ize: &Ize, kill: Kill) -> Result<Mounted<'_>, Failure> {
    let at = format!("{}:{}", kill.step, kill.pass);
    ize.mount_at(PROJECT, &ize.dir().join("mnt"), &[], &[("IZE_KILL_AT", &at)])
}

fn while_serving(ize: &Ize, writers: &mut Writers, kill: Kill) -> Result<(), Failure> {
    let mounted = mount_to_die(ize, kill)?;
    let root = mounted.path().to_owned();
    let mut works = writers.begin(&root).is_ok();
    for _ in 0..2 {
        works = works
            && match kill.when {
                When::Bulk => writers.work_bytes(&root, BULK_MIB / 2),
                _ => writers.work_steps(&root, CALLS / 2),
            };
        if works {
            // What happens behind the calls comes to its end; the answer does not matter.
            ize.try_run(&["sync", PROJECT].map(OsStr::new))?;
        }
    }
    ize.daemons_end(Duration::from_secs(3)).map_err(|_| "the step never came".to_owned())?;
    mounted.abandon();
    Ok(())
}

fn while_recovering(ize: &Ize, writers: &mut Writers, kill: Kill) -> Result<(), Failure> {
    let mounted = ize.mount(PROJECT, &[])?;
    let root = mounted.path().to_owned();
    writers.begin(&root)?;
    if !writers.work_steps(&root, CALLS) {
        return Err("the mount failed before anything was killed".to_owned());
    }
    ize.kill_daemons()?;
    mounted.abandon();
    if kill.when == When::Mending {
        feign_power_cut(ize)?;
    }
    match mount_to_die(ize, kill) {
        Ok(mounted) => {
            mounted.unmount()?;
            Err("the step never came".to_owned())
        }
        Err(_) => ize.daemons_end(Duration::from_secs(3)),
    }
}

/// Makes the project believe that its disk was mounted anew, and damages what it will look at.
fn feign_power_cut(ize: &Ize) -> Result<(), Failure> {
    let told = |error: std::io::Error| error.to_string();
    let project = ize.project_dir()?;
    let state = project.join("meta/tree.toml");
    let text = std::fs::read_to_string(&state).map_err(told)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(told)?;
    let session = format!("session = \"{}\\n0\\n\"\n", boot.trim());
    let mut lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("session")).ok_or("the project has no session")?;
    // The value may be written over several lines.
    let end = lines[start + 1..].iter().position(|line| line.contains(" = ")).map_or(lines.len(), |n| start + 1 + n);
    lines.splice(start..end, [session.trim_end()]);
    std::fs::write(&state, lines.join("\n")).map_err(told)?;
    std::fs::write(project.join("working/never-recorded"), "bytes").map_err(told)
}

fn while_closing(ize: &Ize, writers: &mut Writers, kill: Kill) -> Result<(), Failure> {
    let mounted = mount_to_die(ize, kill)?;
    let root = mounted.path().to_owned();
    writers.begin(&root)?;
    if !writers.work_steps(&root, CALLS) {
        return Err("the mount failed before it was unmounted".to_owned());
    }
    mounted.abandon();
    // Its answer cannot come.
    ize.try_run(&["unmount", PROJECT].map(OsStr::new))?;
    ize.daemons_end(Duration::from_secs(3)).map_err(|_| "the step never came".to_owned())
}
