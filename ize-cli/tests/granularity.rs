//! `--granularity close`: what a file holds when it is closed is recorded.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use support::{Home, can_mount, wait_for};

/// Tells whether a mount can have this granularity here: it takes root, and Linux 6.9.
fn can_hand_over(home: &Home, test: &str) -> bool {
    if !can_mount(test) || !geteuid().is_root() {
        return false;
    }
    let mounted = home.run(["mount", "p", home.path("p").to_str().unwrap(), "--create", "--granularity", "close"]);
    assert_eq!(mounted.code, 0, "{}", mounted.stderr);
    let falls_back = mounted.stderr.contains("granularity 'write'");
    // Whichever it is, the status tells.
    let status = home.run(["status", "p", "--json"]).stdout;
    assert_eq!(status.contains(r#""granularity":"close""#), !falls_back, "{status}");
    if falls_back {
        eprintln!("skipped {test}: {}", mounted.stderr);
    }
    !falls_back
}

/// In the process that keeps a file open: the file.
const WRITER: &str = "IZE_TEST_WRITER";

/// A process that has a file open and writes to it. A process of its own, because whoever starts another one closes all
/// files there, and each close is a save.
struct Writer {
    process: Child,
    told: BufReader<ChildStdout>,
}

impl Writer {
    fn start(test: &str, file: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(WRITER, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        Self { process, told }
    }

    /// Has it overwrite the file's beginning.
    fn write(&mut self, text: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{text}").unwrap();
        let wanted = format!("wrote {text}");
        let mut line = String::new();
        while line.trim_end() != wanted {
            line.clear();
            assert!(self.told.read_line(&mut line).unwrap() > 0, "the writer ended");
        }
    }

    /// Has it close the file.
    fn end(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }

    /// The process itself.
    fn run(file: &Path) {
        let file = OpenOptions::new().write(true).open(file).unwrap();
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            file.write_all_at(line.as_bytes(), 0).unwrap();
            println!("\nwrote {line}");
        }
    }
}

#[test]
fn saves_are_recorded_open_files_are_synced_and_brought_back() {
    let test = "saves_are_recorded_open_files_are_synced_and_brought_back";
    if let Some(file) = std::env::var_os(WRITER) {
        return Writer::run(Path::new(&file));
    }
    let home = Home::new();
    if !can_hand_over(&home, test) {
        return;
    }
    let file = home.path("p/f");
    fs::write(&file, "one").unwrap();
    let mut writer = Writer::start(test, &file);
    writer.write("two");
    assert_eq!(home.ok(["cat", "p", "f"]), "one");
    home.ok(["sync", "p"]);
    assert_eq!(home.ok(["cat", "p", "f"]), "two");
    writer.write("six");
    let moment_of = |text: &str| {
        let rows = home.json(["history", "p", "f", "--ops", "--json"]);
        let mut ops = rows.iter().filter_map(|row| row["op"].as_u64()).map(|op| format!("@{op}"));
        ops.find(|op| home.ok(["cat", "p", "f", "--at", op]) == text)
    };
    // A restore keeps what the open file held.
    home.ok(["restore", "p", "f", &moment_of("one").unwrap()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    assert!(moment_of("six").is_some());
    writer.write("end");
    writer.end();
    assert_eq!(home.ok(["cat", "p", "f"]), "end");
    home.ok(["unmount", "p"]);
}

#[test]
fn what_was_not_closed_when_the_daemon_was_killed_is_found_at_the_next_mount() {
    let home = Home::new();
    if !can_hand_over(&home, "what_was_not_closed_when_the_daemon_was_killed_is_found_at_the_next_mount") {
        return;
    }
    let file = home.path("p/f");
    fs::write(&file, vec![b'.'; 10_000]).unwrap();
    let open = OpenOptions::new().read(true).write(true).open(&file).unwrap();
    open.write_all_at(b"written", 5000).unwrap();
    let pid = home.daemon("p");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    wait_for("the daemon to end", || !Path::new(&format!("/proc/{pid}/root")).exists(), false);
    drop(open);
    home.ok(["mount", "p", "--granularity", "close"]);
    assert_eq!(&home.ok(["cat", "p", "f"])[4999..5008], ".written.");
    home.ok(["unmount", "p"]);
    home.ok(["verify", "p"]);
}
