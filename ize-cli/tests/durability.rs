//! The durability modes as people choose them, and the end of a mount in each of them.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Home, can_mount, mounts_below, wait_for};

const MODES: [&str; 3] = ["immediate", "group", "relaxed"];

fn config(home: &Home, text: &str) {
    fs::create_dir_all(home.path(".config/ize")).unwrap();
    fs::write(home.path(".config/ize/config.toml"), text).unwrap();
}

#[test]
fn a_project_keeps_the_durability_that_it_was_made_with_and_a_flag_is_for_one_mount() {
    if !can_mount("a_project_keeps_the_durability_that_it_was_made_with_and_a_flag_is_for_one_mount") {
        return;
    }
    let home = Home::new();
    let place = home.path("p");
    let default = json!({ "mode": "group", "max_delay_ms": 5, "max_pending_ops": 100 });
    home.ok(["init", "plain"]);
    assert_eq!(home.status("plain")["durability"], default);
    home.ok(["init", "p", "--durability", "immediate"]);
    home.ok(["mount", "p", place.to_str().unwrap(), "--create"]);
    assert_eq!(home.status("p")["durability"], json!({ "mode": "immediate" }));
    assert!(home.ok(["status", "p"]).contains("durability immediate\n"));
    home.ok(["unmount", "p"]);
    for mode in MODES {
        home.ok(["mount", "p", "--durability", mode]);
        assert_eq!(home.status("p")["durability"]["mode"], mode);
        home.ok(["unmount", "p"]);
    }
    // Not mounted, it tells what the next mount will do.
    assert_eq!(home.status("p")["durability"]["mode"], "immediate");
}

#[test]
fn settings_choose_the_mode_and_what_group_means() {
    if !can_mount("settings_choose_the_mode_and_what_group_means") {
        return;
    }
    let home = Home::new();
    let place = home.path("p");
    config(&home, "durability = { mode = 'group', max-delay-ms = 20, max-pending-ops = 7 }");
    home.ok(["mount", "p", place.to_str().unwrap(), "--create"]);
    let configured = json!({ "mode": "group", "max_delay_ms": 20, "max_pending_ops": 7 });
    assert_eq!(home.status("p")["durability"], configured);
    assert!(home.ok(["status", "p"]).contains("group (20 ms, 7 operations)"));
    home.ok(["unmount", "p"]);
    home.ok(["mount", "p", "--durability", "relaxed"]);
    assert_eq!(home.status("p")["durability"], json!({ "mode": "relaxed" }));
    home.ok(["unmount", "p"]);
    home.ok(["mount", "p", "--durability", "group"]);
    assert_eq!(home.status("p")["durability"], configured, "the limits hold whoever chooses the mode");
    home.ok(["unmount", "p"]);
}

#[test]
fn a_mode_that_there_is_not_is_an_error_that_names_those_there_are() {
    let home = Home::new();
    home.ok(["init", "p"]);
    let flags = [["mount", "p", "--durability", "sometimes"], ["init", "q", "--durability", "sometimes"]];
    for arguments in flags {
        let refused = home.run(arguments);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(MODES.iter().all(|mode| refused.stderr.contains(mode)), "{}", refused.stderr);
    }
    for text in ["durability = 'sometimes'", "durability = { mode = 'sometimes' }"] {
        config(&home, text);
        let refused = home.run(["status", "p"]);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(MODES.iter().all(|mode| refused.stderr.contains(mode)), "{}", refused.stderr);
        assert!(refused.stderr.contains("config.toml"), "{}", refused.stderr);
    }
}

#[test]
fn sync_returns_when_all_that_was_acknowledged_is_in_history() {
    if !can_mount("sync_returns_when_all_that_was_acknowledged_is_in_history") {
        return;
    }
    for mode in MODES {
        let home = Home::new();
        let place = home.path("p");
        home.ok(["mount", "p", place.to_str().unwrap(), "--create", "--durability", mode]);
        for round in 0..20 {
            fs::write(place.join(format!("file-{round}")), "content").unwrap();
        }
        let synced: u64 = home.ok(["sync", "p"]).trim().strip_prefix('@').unwrap().parse().unwrap();
        let status = home.status("p");
        assert_eq!(status["recorded"].as_u64().unwrap(), synced, "{mode}");
        assert_eq!(status["committed"], status["recorded"], "{mode}");
        home.ok(["unmount", "p"]);
    }
}

/// Writes one numbered file after the other into a folder until it is told to stop, and returns how many were
/// acknowledged. The folder stays the same also when its mount is taken out of sight.
fn write_until(folder: &OwnedFd, stop: &AtomicBool) -> u32 {
    let mut written = 0;
    while !stop.load(Ordering::SeqCst) {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(folder, format!("file-{written}"), flags, Mode::from_raw_mode(0o600)).unwrap();
        let mut file = File::from(file);
        file.write_all(format!("content {written}").as_bytes()).unwrap();
        if written % 5 == 0 {
            file.sync_data().unwrap();
        }
        written += 1;
    }
    written
}

#[test]
fn sigterm_under_writes_loses_nothing_and_leaves_nothing_behind_in_any_mode() {
    if !can_mount("sigterm_under_writes_loses_nothing_and_leaves_nothing_behind_in_any_mode") {
        return;
    }
    for mode in MODES {
        let home = Home::new();
        let place = home.path("p");
        home.ok(["mount", "p", place.to_str().unwrap(), "--create", "--durability", mode]);
        let daemon = home.daemon("p");
        let folder = openat(rustix::fs::CWD, &place, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let stop = AtomicBool::new(false);
        let written = thread::scope(|scope| {
            let writing = scope.spawn(|| write_until(&folder, &stop));
            thread::sleep(Duration::from_millis(200));
            kill_process(Pid::from_raw(daemon).unwrap(), Signal::TERM).unwrap();
            wait_for("the mount to go out of sight", || mounts_below(&home.path("")).is_empty(), false);
            // Those who use it are served until they let go.
            thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::SeqCst);
            writing.join().unwrap()
        });
        assert!(written > 1, "{mode}: nothing was written");
        drop(folder);
        wait_for("the daemon to end", || fs::metadata(format!("/proc/{daemon}")).is_err(), false);
        assert!(fs::read_dir(&place).unwrap().next().is_none(), "{mode}: something lies below the mount");
        let status = home.status("p");
        assert_eq!(status["committed"], status["recorded"], "{mode}");
        assert_eq!(status["poisoned"], json!(null), "{mode}");
        for n in [0, written / 2, written - 1] {
            assert_eq!(home.ok(["cat", "p", &format!("file-{n}")]), format!("content {n}"), "{mode}");
        }
        let rows = home.json(["history", "p", "--json"]);
        let created = rows.iter().filter(|row| row["kind"] == "create").count();
        assert_eq!(created, written as usize, "{mode}: history lacks a file");
        // It can be mounted again, as if nothing had been.
        home.ok(["mount", "p", "--durability", mode]);
        assert_eq!(fs::read_dir(&place).unwrap().count(), written as usize, "{mode}");
        home.ok(["unmount", "p"]);
    }
}
