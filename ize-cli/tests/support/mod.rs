//! What the tests of mounts share: a private central folder, the real binary, and a mount that is gone when the test is.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Tells whether this machine can mount. With `IZE_REQUIRE_FUSE=1` it must; else a line says that the test is skipped.
pub(crate) fn can_mount(test: &str) -> bool {
    let possible = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    if !possible {
        assert!(std::env::var_os("IZE_REQUIRE_FUSE").is_none_or(|value| value != "1"), "/dev/fuse cannot be opened");
        eprintln!("skipped {test}: /dev/fuse cannot be opened");
    }
    possible
}

/// A home folder of its own.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ize"));
        command.env_clear().env("HOME", self.path("")).env("PATH", std::env::var_os("PATH").unwrap()).env("TZ", "UTC");
        // For coverage and sanitizers; harmless else.
        if let Some(value) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", value);
        }
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        ran(self.command().args(arguments).current_dir(self.path("")).output().unwrap())
    }

    pub(crate) fn run_in<S: AsRef<OsStr>>(&self, dir: &Path, arguments: impl IntoIterator<Item = S>) -> Ran {
        ran(self.command().args(arguments).current_dir(dir).output().unwrap())
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Runs a command with `--json` and returns its objects.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<Value> {
        self.ok(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the status of a project.
    pub(crate) fn status(&self, name: &str) -> Value {
        self.json(["status", name, "--json"]).remove(0)
    }

    /// Returns the process that serves a project's mount.
    pub(crate) fn daemon(&self, name: &str) -> i32 {
        i32::try_from(self.status(name)["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let home = self.path("");
        // A test that failed may have left mounts; nothing of them may outlive it.
        for mount in mounts_below(&home) {
            let _ = Command::new("umount").arg("-l").arg(mount).output();
        }
        wait_for("the daemons to end", || !daemons_run(&home), std::thread::panicking());
    }
}

fn daemons_run(home: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let is_zombie = line.is_empty();
        let text = String::from_utf8_lossy(&line);
        !is_zombie && text.contains("--serve") && text.contains(&*home.to_string_lossy())
    })
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder)).collect()
}

/// Waits until something holds, at most half a minute.
pub(crate) fn wait_for(what: &str, holds: impl Fn() -> bool, give_up: bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        if Instant::now() > deadline {
            assert!(give_up, "waited in vain for {what}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
