//! The `ize` command as the tests use it: with a central folder and a home of its own, and mounts that are gone when
//! their guard is dropped.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// What went wrong, for people.
pub type Failure = String;

/// In what pieces changes of content are recorded, as `ize` calls it. What takes root falls back to the first.
pub const GRANULARITIES: [&str; 2] = ["write", "close"];

/// Returns the `ize` binary: `$IZE_BIN`, or built by cargo from this workspace.
///
/// # Errors
/// If it cannot be built.
pub fn binary() -> Result<PathBuf, Failure> {
    static BUILT: OnceLock<Result<PathBuf, Failure>> = OnceLock::new();
    match std::env::var_os("IZE_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => BUILT.get_or_init(build).clone(),
    }
}

fn build() -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(cargo)
        // Beside the program a test, and all packages: so cargo chooses the features that `cargo test --workspace`
        // chose, and has nothing to build again.
        .args(["build", "--quiet", "--workspace", "--bin", "ize", "--test", "external_edits"])
        .args(["--message-format=json", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo build --bin ize: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "ize")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.ok_or_else(|| format!("cargo build --bin ize made no program ({})", output.status))
}

/// Tells whether tests that mount can run here. Says so if not; with `IZE_REQUIRE_FUSE` set, that is a failure.
///
/// # Panics
/// If there is no FUSE although `IZE_REQUIRE_FUSE` demands it.
pub fn can_mount() -> bool {
    let usable = fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let required = std::env::var_os("IZE_REQUIRE_FUSE").is_some_and(|value| value != "0" && !value.is_empty());
    assert!(usable || !required, "IZE_REQUIRE_FUSE is set, but /dev/fuse cannot be opened");
    if !usable {
        eprintln!("skipped: /dev/fuse cannot be opened");
    }
    usable
}

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Printed {
    fn new(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Returns standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The `ize` command with a central folder and a home of its own.
#[derive(Debug)]
pub struct Ize {
    binary: PathBuf,
    dir: TempDir,
    /// Variables that every command gets.
    variables: Vec<(String, String)>,
}

impl Ize {
    /// Makes a new central folder below the system's folder for temporary files.
    ///
    /// # Errors
    /// If the binary cannot be built or the folder cannot be made.
    pub fn new() -> Result<Self, Failure> {
        Self::within(&std::env::temp_dir())
    }

    /// Makes a new central folder in a given folder: on a small or broken disk, for example.
    ///
    /// # Errors
    /// If the binary cannot be built or the folder cannot be made.
    pub fn within(parent: &Path) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("ize-").tempdir_in(parent).map_err(|error| error.to_string())?;
        fs::create_dir(dir.path().join("home")).map_err(|error| error.to_string())?;
        Ok(Self { binary: binary()?, dir, variables: Vec::new() })
    }

    /// Sets an environment variable for all commands from now on.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder that holds everything of this instance; tests may put their own things there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The central folder.
    pub fn central_dir(&self) -> PathBuf {
        self.dir.path().join("central")
    }

    /// A command in this environment, without arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("IZE_CENTRAL_DIR", self.central_dir())
            .env("HOME", self.dir.path().join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the command, however it ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn try_run(&self, arguments: &[&OsStr]) -> Result<Printed, Failure> {
        self.output(self.command().args(arguments))
    }

    fn output(&self, command: &mut Command) -> Result<Printed, Failure> {
        command.output().map(Printed::new).map_err(|error| format!("{}: {error}", self.binary.display()))
    }

    /// Runs the command, which must succeed.
    ///
    /// # Errors
    /// If it does not, with what it printed.
    pub fn run(&self, arguments: &[&OsStr]) -> Result<Printed, Failure> {
        let printed = self.try_run(arguments)?;
        match printed.code {
            Some(0) => Ok(printed),
            code => Err(format!("ize {arguments:?} ended with {code:?}: {}{}", printed.stderr, printed.text())),
        }
    }

    /// Runs the command and reads the JSON objects that it prints, one per line.
    ///
    /// # Errors
    /// If it fails or prints something else.
    pub fn json(&self, arguments: &[&OsStr]) -> Result<Vec<Value>, Failure> {
        let printed = self.run(arguments)?;
        let text = printed.text();
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
    }

    /// Returns the last recorded operation, which is exact from then on.
    ///
    /// # Errors
    /// If `ize status` fails.
    pub fn recorded(&self, project: &str) -> Result<u64, Failure> {
        let rows = self.json(&["status", project, "--json"].map(OsStr::new))?;
        let recorded = rows.first().map(|row| row["recorded"].clone());
        recorded.as_ref().and_then(Value::as_u64).ok_or_else(|| format!("status has no `recorded`: {rows:?}"))
    }

    /// Mounts a project, made if there is none, on a folder of this instance.
    ///
    /// # Errors
    /// If `ize mount` fails.
    pub fn mount(&self, project: &str, options: &[&str]) -> Result<Mounted<'_>, Failure> {
        self.mount_at(project, &self.dir.path().join(format!("mnt-{project}")), options, &[])
    }

    /// Mounts a project on any folder. The daemon, and no other command, gets `variables`.
    ///
    /// # Errors
    /// If `ize mount` fails.
    pub fn mount_at(
        &self,
        project: &str,
        path: &Path,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Mounted<'_>, Failure> {
        let mut command = self.command();
        command.args(["mount", project]).arg(path).arg("--create").args(options).envs(variables.iter().copied());
        let printed = self.output(&mut command)?;
        match printed.code {
            Some(0) => Ok(Mounted { ize: self, project: project.to_owned(), path: path.to_owned() }),
            code => Err(format!("ize mount {project} ended with {code:?}: {}{}", printed.stderr, printed.text())),
        }
    }

    /// Writes a path as it was at an operation to a new folder.
    ///
    /// # Errors
    /// If `ize restore` fails.
    pub fn restore_to(&self, project: &str, path: &Path, op: u64, to: &Path) -> Result<(), Failure> {
        let at = format!("@{op}");
        let to: [&OsStr; 2] = ["--to".as_ref(), to.as_os_str()];
        self.run(&["restore".as_ref(), project.as_ref(), path.as_os_str(), at.as_ref(), to[0], to[1]]).map(drop)
    }

    /// Returns a file's content as it was at an operation.
    ///
    /// # Errors
    /// If `ize cat` fails.
    pub fn cat_at(&self, project: &str, path: &Path, op: u64) -> Result<Vec<u8>, Failure> {
        let at = format!("@{op}");
        let arguments: [&OsStr; 5] = ["cat".as_ref(), project.as_ref(), path.as_os_str(), "--at".as_ref(), at.as_ref()];
        self.run(&arguments).map(|printed| printed.stdout)
    }

    /// Runs `ize verify`, which must find nothing.
    ///
    /// # Errors
    /// If it finds something.
    pub fn verify(&self, project: &str) -> Result<(), Failure> {
        self.run(&["verify", project].map(OsStr::new)).map(drop)
    }

    /// Returns the folder with the live files of the only project of this instance.
    ///
    /// # Errors
    /// If there is not exactly one project.
    pub fn working_dir(&self) -> Result<PathBuf, Failure> {
        self.project_dir().map(|dir| dir.join("working"))
    }

    /// Returns the folder of the only project of this instance.
    ///
    /// # Errors
    /// If there is not exactly one.
    pub fn project_dir(&self) -> Result<PathBuf, Failure> {
        let listed = fs::read_dir(self.central_dir().join("projects")).map_err(|error| error.to_string())?;
        let dirs: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        match &dirs[..] {
            [dir] => Ok(dir.clone()),
            other => Err(format!("{} projects instead of one", other.len())),
        }
    }

    /// Finds the processes that serve mounts of this instance, and no others.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn daemons(&self) -> Result<Vec<i32>, Failure> {
        let mark = [b"IZE_CENTRAL_DIR=", self.central_dir().as_os_str().as_bytes()].concat();
        let listed = fs::read_dir("/proc").map_err(|error| error.to_string())?;
        let numbers = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(numbers.filter(|pid| self.is_daemon(*pid, &mark)).collect())
    }

    fn is_daemon(&self, pid: i32, mark: &[u8]) -> bool {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let has = |bytes: &[u8], part: &[u8]| bytes.split(|byte| *byte == 0).any(|one| one == part);
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.binary)
            && has(&read("environ"), mark)
            && has(&read("cmdline"), b"mount")
    }

    /// Kills the daemons of this instance with SIGKILL and waits until they are gone.
    ///
    /// # Errors
    /// If there is none, or it does not go.
    pub fn kill_daemons(&self) -> Result<(), Failure> {
        let daemons = self.daemons()?;
        if daemons.is_empty() {
            return Err("no daemon to kill".into());
        }
        for pid in &daemons {
            let pid = rustix::process::Pid::from_raw(*pid).ok_or("process 0")?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|error| error.to_string())?;
        }
        wait_until_gone(&daemons, Duration::from_secs(30))
    }

    /// Waits until no daemon of this instance is left.
    ///
    /// # Errors
    /// If one is still there after `wait`.
    pub fn daemons_end(&self, wait: Duration) -> Result<(), Failure> {
        wait_until_gone(&self.daemons()?, wait)
    }
}

fn wait_until_gone(pids: &[i32], wait: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + wait;
    while pids.iter().any(|pid| is_running(*pid)) {
        if Instant::now() > deadline {
            return Err(format!("the daemon {pids:?} is still there"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Tells whether a process runs. One that ended but was not waited for does not; its first thread can look like that
/// while others are still ending and hold its files.
fn is_running(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    threads > 1 || state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A mounted project.
#[derive(Debug)]
pub struct Mounted<'a> {
    ize: &'a Ize,
    project: String,
    path: PathBuf,
}

impl Mounted<'_> {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.join(path)
    }

    /// Tells whether the kernel reads and writes its files itself; says so if not, although that was wanted.
    ///
    /// # Errors
    /// If `ize status` fails.
    pub fn is_handed_over(&self) -> Result<bool, Failure> {
        let rows = self.ize.json(&["status", self.project.as_str(), "--json"].map(OsStr::new))?;
        let is_so = rows.first().is_some_and(|row| row["granularity"] == "close");
        if !is_so {
            eprintln!("skipped: the kernel, or this user, cannot have files handed over");
        }
        Ok(is_so)
    }

    /// Unmounts it, which must succeed.
    ///
    /// # Errors
    /// If `ize unmount` fails.
    pub fn unmount(self) -> Result<(), Failure> {
        self.ize.run(&["unmount", self.project.as_str()].map(OsStr::new)).map(drop)
    }

    /// Forgets the guard without unmounting: after the daemon was killed.
    pub fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if !is_mount_point(&self.path) {
            return;
        }
        let unmounted = self.ize.run(&["unmount", self.project.as_str()].map(OsStr::new));
        if unmounted.is_err() {
            // Whatever went wrong, the next test finds no mount here.
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Ize {
    /// Leaves no mount behind that a killed daemon left.
    fn drop(&mut self) {
        let mounts: Vec<PathBuf> =
            mount_points().into_iter().filter(|path| path.starts_with(self.dir.path())).collect();
        for path in mounts.iter().rev() {
            let _ = Command::new("umount").arg("--lazy").arg(path).stderr(Stdio::null()).status();
        }
    }
}

/// Tells whether something is mounted on exactly this path.
pub fn is_mount_point(path: &Path) -> bool {
    mount_points().iter().any(|point| point == path)
}

/// Returns all mount points, in the order in which they were mounted.
fn mount_points() -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(|point| PathBuf::from(unescape(point))).collect()
}

/// Decodes `\040` and the like.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if text[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    OsStr::from_bytes(&out).to_owned()
}

/// Runs a program in a folder; it must succeed.
///
/// # Errors
/// If it cannot be started or fails, with what it printed.
pub fn program(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output: io::Result<Output> =
        Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let printed = output.map(Printed::new).map_err(|error| format!("{program}: {error}"))?;
    match printed.code {
        Some(0) => Ok(printed.text()),
        code => Err(format!("{program} {arguments:?} ended with {code:?}: {}{}", printed.stderr, printed.text())),
    }
}
