//! What a daemon tells the `ize mount` that started it: one line of JSON through a pipe, which is its standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind, Result};
use crate::output;

/// What has glibc give memory back after a burst (see mallopt(3)): a daemon runs for months, and mostly waits. Else the
/// largest buffer that was ever freed decides how much is kept. The data of a write (1 MiB at most) stays below the threshold:
/// memory that is mapped for each costs a page fault for every 4 KiB. Other C libraries ignore it.
const SMALL_HEAP: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TRIM_THRESHOLD_", "8388608")];

/// A line from the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// Something worth showing while one waits.
    Note(String),
    /// The mount answers.
    Ready(Ready),
    /// It did not work.
    Failed(Failure),
}

/// What there is to know about a mount that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The daemon's process id.
    pub(crate) pid: u32,
    /// Where the project is mounted.
    pub(crate) mount_point: PathBuf,
    /// Notes about what was found: recovery, edits made while unmounted.
    pub(crate) notes: Vec<String>,
}

/// Runs this program again as the daemon, with the given arguments, and waits until it is ready or failed. The daemon
/// leads a session of its own, so that neither Ctrl-C nor the end of this terminal reaches it.
///
/// # Errors
/// What the daemon says; or that it died, with the end of its log.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Ready> {
    for (name, value) in SMALL_HEAP {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(log)?)
        .spawn()
        .map_err(|error| Failure::io("cannot start the daemon", &error))?;
    let stdout = child.stdout.take();
    for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Message::Note(note)) => output::note(note),
            Ok(Message::Ready(ready)) => return Ok(ready),
            Ok(Message::Failed(failure)) => {
                // It is on its way out, and holds locks until it is gone.
                let _ = child.wait();
                return Err(failure);
            }
            // A line that is not ours: a library printed something.
            Err(_) => output::note(line),
        }
    }
    Err(died(&mut child, log))
}

fn died(child: &mut Child, log: &Path) -> Failure {
    let how = match child.wait() {
        Ok(status) => match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => status.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let failure = Failure::new(Kind::Failed, format!("the daemon died before the mount was ready ({how})"))
        .hint(format!("its log is {}", log.display()));
    match last_line(log) {
        Some(line) => failure.hint(format!("the log ends with: {line}")),
        None => failure,
    }
}

fn last_line(log: &Path) -> Option<String> {
    let mut text = Vec::new();
    let mut file = File::open(log).ok()?;
    let len = file.metadata().ok()?.len();
    io::Seek::seek(&mut file, io::SeekFrom::Start(len.saturating_sub(4096))).ok()?;
    file.take(4096).read_to_end(&mut text).ok()?;
    String::from_utf8_lossy(&text).lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

fn open_log(log: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)
        .map_err(|error| Failure::io(format_args!("cannot open the log {}", log.display()), &error))
}

/// The daemon's end of the pipe.
#[derive(Debug)]
pub(crate) struct Parent {
    /// `None` in the foreground.
    pipe: Option<io::Stdout>,
}

impl Parent {
    /// Becomes a daemon: leads a session of its own, keeps no folder busy.
    ///
    /// # Errors
    /// If the current folder cannot be left.
    pub(crate) fn detach() -> Result<Self> {
        // Fails only for a process group leader, which a child that was just spawned is not; and would do no harm.
        let _ = rustix::process::setsid();
        std::env::set_current_dir("/").map_err(|error| Failure::io("cannot change to /", &error))?;
        Ok(Self { pipe: Some(io::stdout()) })
    }

    /// There is no parent: messages are for the person in front of the terminal.
    pub(crate) const fn none() -> Self {
        Self { pipe: None }
    }

    /// Says that the mount works, and lets go of the parent: from now on standard output is `/dev/null`.
    pub(crate) fn ready(&mut self, ready: &Ready) {
        self.send(&Message::Ready(ready.clone()));
        if self.pipe.take().is_some()
            && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null")
        {
            // The parent reads until the pipe is closed, so this must not stay open.
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }

    /// Says that it did not work, and hands the failure back for this process's own end.
    pub(crate) fn report(&mut self, failure: Failure) -> Failure {
        self.send(&Message::Failed(failure.clone()));
        failure
    }

    fn send(&mut self, message: &Message) {
        if let Some(pipe) = &mut self.pipe {
            // A parent that was interrupted does not wait any more; the mount works all the same.
            let _ = writeln!(pipe, "{}", output::json::line(message));
            let _ = pipe.flush();
        }
    }
}
