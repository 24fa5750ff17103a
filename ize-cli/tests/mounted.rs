//! The command with real mounts: what people do, and what goes wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use support::{Home, can_mount, mounts_below, wait_for};

fn mounted(name: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let place = home.path(name);
    home.ok(["mount", name, place.to_str().unwrap(), "--create"]);
    (home, place)
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn the_session_of_the_readme_works() {
    if !can_mount("the_session_of_the_readme_works") {
        return;
    }
    let (home, notes) = mounted("notes");
    fs::write(notes.join("todo.txt"), "buy milk\n").unwrap();
    fs::write(notes.join("todo.txt"), "oops\n").unwrap();
    let history = home.ok(["history", "notes", "todo.txt"]);
    let rows: Vec<&str> = history.lines().collect();
    assert!(rows[0].starts_with("CHANGE"), "{history}");
    let create = rows.last().unwrap();
    assert!(rows[1].contains("write") && create.contains("create"), "{history}");
    let first = create.split_whitespace().next().unwrap();
    assert_eq!(home.ok(["cat", "notes", "todo.txt", "--at", first]), "buy milk\n");
    home.ok(["restore", "notes", "todo.txt", first]);
    assert_eq!(fs::read_to_string(notes.join("todo.txt")).unwrap(), "buy milk\n");
    home.ok(["unmount", "notes"]);
    assert!(mounts_below(&home.path("")).is_empty());
    // Unmounted, history is there and so is the past of the restore.
    assert_eq!(home.ok(["cat", "notes", "todo.txt"]), "buy milk\n");
    let rows = home.json(["history", "notes", "todo.txt", "--json"]);
    assert_eq!(rows[0]["size"], 9);
    let overwritten = rows.iter().find(|row| row["size"] == 5).unwrap()["change"].as_str().unwrap();
    assert_eq!(home.ok(["cat", "notes", "todo.txt", "--at", overwritten]), "oops\n");
}

#[test]
fn every_command_sees_what_was_acknowledged_before_it_started() {
    if !can_mount("every_command_sees_what_was_acknowledged_before_it_started") {
        return;
    }
    let (home, place) = mounted("p");
    for round in 0..20 {
        let text = format!("round {round}");
        fs::write(place.join("a"), &text).unwrap();
        assert_eq!(home.ok(["cat", "p", "a"]), text);
    }
    let status = home.status("p");
    assert_eq!(status["mountpoint"], place.to_str().unwrap());
    assert!(status["recorded"].as_u64().unwrap() >= 40);
    assert_eq!(status["backend"], "store");
    for field in ["committed", "pending_ops", "pending_bytes"] {
        assert!(status[field].is_u64(), "{status}");
    }
}

#[test]
fn status_tells_of_the_queue_in_json_and_for_prometheus() {
    if !can_mount("status_tells_of_the_queue_in_json_and_for_prometheus") {
        return;
    }
    let (home, place) = mounted("p");
    for n in 0..20 {
        fs::write(place.join(format!("{n}")), [7; 1000]).unwrap();
    }
    home.ok(["sync", "p"]);
    let status = home.status("p");
    let queue = &status["queue"];
    let number = |field: &str| queue[field].as_f64().unwrap_or_else(|| panic!("{field} in {status}"));
    assert_eq!(number("total_enqueued"), 40.0, "twenty creations and twenty writes");
    assert_eq!(number("total_dequeued"), number("total_enqueued"));
    assert_eq!((number("current_size"), number("spilled"), number("utilization")), (0.0, 0.0, 0.0));
    assert!(number("peak_size") >= 1.0 && number("peak_size") <= number("capacity"), "{status}");
    assert!(number("total_bytes_processed") >= 20_000.0 && number("throughput_mbps") > 0.0, "{status}");
    assert!(number("operations_per_second") > 0.0 && number("average_batch_size") >= 1.0, "{status}");
    assert!(status["journal_bytes_max"].as_u64().unwrap() >= status["sizes"]["journal"].as_u64().unwrap());

    home.ok(["init", "q"]);
    let metrics = home.ok(["status", "--metrics"]);
    let value = |sample: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{sample} in {metrics}")).parse::<f64>().unwrap()
    };
    assert_eq!(value("ize_queue_enqueued_total{project=\"p\"}"), number("total_enqueued"));
    assert_eq!(value("ize_committed_operations_total{project=\"p\"}"), status["committed"].as_f64().unwrap());
    assert_eq!((value("ize_mounted{project=\"p\"}"), value("ize_mounted{project=\"q\"}")), (1.0, 0.0));
    assert!(value("ize_size_bytes{project=\"p\",part=\"packs\"}") > 0.0);
    // Each metric is introduced once, with its samples behind it, and described in the documentation.
    let described = include_str!("../../docs/metrics.md");
    let mut introduced = std::collections::BTreeSet::new();
    let mut name = "";
    for line in metrics.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            name = help.split(' ').next().unwrap();
            assert!(introduced.insert(name), "{name} twice");
            assert!(described.contains(&format!("`{name}`")), "{name} is not described");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(kind == format!("{name} counter") || kind == format!("{name} gauge"), "{line}");
        } else {
            assert!(line.starts_with(&format!("{name}{{")), "{line}");
        }
    }
    assert!(home.run(["status", "--metrics", "--json"]).code == 2);
}

#[test]
fn any_setting_can_be_given_to_one_mount() {
    if !can_mount("any_setting_can_be_given_to_one_mount") {
        return;
    }
    let home = Home::new();
    let place = home.path("p");
    let mount = |settings: &[&str]| {
        let flags = settings.iter().flat_map(|set| ["--set", set]);
        home.run(["mount", "p", place.to_str().unwrap(), "--create"].into_iter().chain(flags))
    };
    let limit = || home.status("p")["journal_bytes_max"].as_u64().unwrap();
    let mounted = mount(&["journal-bytes-max=64 MiB", "processor.worker_threads=3", "processor.enable-compression=no"]);
    assert_eq!(mounted.code, 0, "{}", mounted.stderr);
    assert_eq!(limit(), 64 << 20);
    for n in 0..50 {
        fs::write(place.join("a"), format!("{n}")).unwrap();
    }
    assert_eq!(home.ok(["cat", "p", "a"]), "49");
    home.ok(["unmount", "p"]);
    assert_ne!(limit(), 64 << 20, "it was for that mount");
    let refused = mount(&["procesor.worker-threads=3"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--set") && refused.stderr.contains("hint:"), "{}", refused.stderr);
}

#[test]
fn the_log_follows_an_operation_from_the_request_to_the_commit() {
    if !can_mount("the_log_follows_an_operation_from_the_request_to_the_commit") {
        return;
    }
    let home = Home::new();
    let place = home.path("p");
    let mount = ["mount", "p", place.to_str().unwrap(), "--create"];
    let out = home.command().env("IZE_LOG", "info,ize::op=trace").args(mount).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    fs::write(place.join("a"), "x").unwrap();
    home.ok(["sync", "p"]);
    let log = fs::read_to_string(home.status("p")["log"].as_str().unwrap()).unwrap();
    let op = log
        .lines()
        .find(|line| line.contains("request{what=\"write\"}") && line.contains("journalled"))
        .and_then(|line| line.split(" op=").nth(1)?.split(' ').next())
        .unwrap_or_else(|| panic!("no write in {log}"));
    let steps = ["journalled", "queued", "committed"];
    let at = steps.map(|step| log.lines().position(|line| line.contains(&format!("{step} op={op}"))));
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?} in {log}");
}

#[test]
fn inside_a_mount_a_dot_stands_for_the_project_and_paths_are_relative() {
    if !can_mount("inside_a_mount_a_dot_stands_for_the_project_and_paths_are_relative") {
        return;
    }
    let (home, place) = mounted("p");
    fs::create_dir_all(place.join("src/deep")).unwrap();
    fs::write(place.join("src/main.rs"), "fn main() {}").unwrap();
    let cat = |dir: &str, path: &str| home.run_in(&place.join(dir), ["cat", ".", path]).stdout;
    assert_eq!(cat("src", "main.rs"), "fn main() {}");
    assert_eq!(cat("src/deep", "../main.rs"), "fn main() {}");
    assert_eq!(cat("", place.join("src/main.rs").to_str().unwrap()), "fn main() {}");
    assert_eq!(home.ok(["cat", "p", place.join("src/main.rs").to_str().unwrap()]), "fn main() {}");
    let outside = home.run_in(&place.join("src"), ["cat", ".", "../../x"]);
    assert_eq!(outside.code, 2, "{}", outside.stderr);
    assert!(outside.stderr.contains("outside") && outside.stderr.contains("hint:"), "{}", outside.stderr);
    let outside = home.run(["history", "p", "/etc/passwd"]);
    assert_eq!(outside.code, 2, "{}", outside.stderr);
}

#[test]
fn a_second_mount_of_a_project_is_refused_and_says_where_it_is_mounted() {
    if !can_mount("a_second_mount_of_a_project_is_refused_and_says_where_it_is_mounted") {
        return;
    }
    let (home, place) = mounted("p");
    let again = home.run(["mount", "p", home.path("q").to_str().unwrap(), "--create"]);
    assert_eq!(again.code, 4);
    assert!(again.stderr.contains("~/p"), "{}", again.stderr);
    let other = home.run(["mount", "other", place.to_str().unwrap(), "--create"]);
    assert_eq!(other.code, 4, "{}", other.stderr);
    let deleted = home.run(["delete", "p", "--yes"]);
    assert_eq!(deleted.code, 4, "{}", deleted.stderr);
}

#[test]
fn a_mount_point_that_is_missing_or_not_empty_is_refused() {
    if !can_mount("a_mount_point_that_is_missing_or_not_empty_is_refused") {
        return;
    }
    let home = Home::new();
    home.ok(["init", "p"]);
    let missing = home.run(["mount", "p", "missing"]);
    assert_eq!(missing.code, 3, "{}", missing.stderr);
    assert!(missing.stderr.contains("hint: "), "{}", missing.stderr);
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/a"), "a").unwrap();
    let full = home.run(["mount", "p", "full"]);
    assert_eq!(full.code, 4, "{}", full.stderr);
    assert!(full.stderr.contains("not empty") && full.stderr.contains("hint: "), "{}", full.stderr);
    assert_eq!(fs::read(home.path("full/a")).unwrap(), b"a");
    let nowhere = home.run(["mount", "p"]);
    assert_eq!(nowhere.code, 2, "{}", nowhere.stderr);
}

#[test]
fn a_busy_unmount_names_who_holds_the_mount_and_loses_nothing() {
    if !can_mount("a_busy_unmount_names_who_holds_the_mount_and_loses_nothing") {
        return;
    }
    let (home, place) = mounted("p");
    let mut open = fs::File::create(place.join("a")).unwrap();
    open.write_all(b"before").unwrap();
    let busy = home.run(["unmount", "p"]);
    assert_eq!(busy.code, 4, "{}", busy.stderr);
    assert!(busy.stderr.contains(&std::process::id().to_string()), "{}", busy.stderr);
    open.write_all(b" after").unwrap();
    drop(open);
    home.ok(["unmount", "p"]);
    assert_eq!(home.ok(["cat", "p", "a"]), "before after");
}

#[test]
fn projects_of_one_name_in_two_central_folders_are_not_confused() {
    if !can_mount("projects_of_one_name_in_two_central_folders_are_not_confused") {
        return;
    }
    let (ours, our_place) = mounted("same");
    let (theirs, their_place) = mounted("same");
    let place_of = |home: &Home| PathBuf::from(home.json(["list", "--json"])[0]["mountpoint"].as_str().unwrap());
    assert_eq!((place_of(&ours), place_of(&theirs)), (our_place.clone(), their_place.clone()));
    let lost = ours.run_in(&their_place, ["history", "."]);
    assert_eq!(lost.code, 3, "a mount of another central folder is no project of ours: {}", lost.stdout);
    let open = fs::File::create(our_place.join("a")).unwrap();
    let busy = ours.run(["unmount", "same"]);
    assert_eq!(busy.code, 4, "{}", busy.stderr);
    assert!(busy.stderr.contains(&our_place.display().to_string()), "{}", busy.stderr);
    assert!(busy.stderr.contains(&std::process::id().to_string()), "{}", busy.stderr);
    drop(open);
    ours.ok(["unmount", "same"]);
    assert!(ours.json(["list", "--json"])[0]["mountpoint"].is_null());
    theirs.ok(["unmount", "same"]);
}

#[test]
fn umount_from_outside_and_signals_end_a_mount_as_unmount_does() {
    if !can_mount("umount_from_outside_and_signals_end_a_mount_as_unmount_does") {
        return;
    }
    let (home, place) = mounted("p");
    let end: [&dyn Fn(i32); 3] = [
        &|_| {
            let umount = std::process::Command::new("umount").arg(&place).output().unwrap();
            assert!(umount.status.success(), "{}", String::from_utf8_lossy(&umount.stderr));
        },
        &|pid| signal(pid, Signal::TERM),
        &|pid| signal(pid, Signal::INT),
    ];
    for (round, end) in end.iter().enumerate() {
        let text = format!("round {round}");
        fs::write(place.join("a"), &text).unwrap();
        end(home.daemon("p"));
        wait_for("the daemon to end", || home.status("p")["pid"].is_null(), false);
        assert!(mounts_below(&place).is_empty());
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "the mount point is empty again");
        assert_eq!(home.ok(["cat", "p", "a"]), text);
        home.ok(["mount", "p"]);
    }
}

#[test]
fn a_dead_mount_of_a_killed_daemon_is_cleared_and_nothing_acknowledged_is_lost() {
    if !can_mount("a_dead_mount_of_a_killed_daemon_is_cleared_and_nothing_acknowledged_is_lost") {
        return;
    }
    let (home, place) = mounted("p");
    fs::write(place.join("a"), "acknowledged").unwrap();
    let pid = home.daemon("p");
    signal(pid, Signal::KILL);
    wait_for("the mount to be dead", || fs::metadata(place.join("a")).is_err(), false);
    assert_eq!(home.ok(["cat", "p", "a"]), "acknowledged", "a dead mount does not keep history closed");
    home.ok(["mount", "p"]);
    assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "acknowledged");
    assert_eq!(mounts_below(&place).len(), 1);
    home.ok(["verify", "p"]);
}

#[test]
fn an_adopted_folder_is_covered_by_its_mount_and_plain_files_afterwards() {
    if !can_mount("an_adopted_folder_is_covered_by_its_mount_and_plain_files_afterwards") {
        return;
    }
    let home = Home::new();
    let folder = home.path("code");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old"), "old").unwrap();
    home.ok(["init", "code", "--in-place", folder.to_str().unwrap()]);
    home.ok(["mount", "code"]);
    assert_eq!(fs::read_to_string(folder.join("old")).unwrap(), "old");
    fs::write(folder.join("new"), "new").unwrap();
    home.ok(["unmount", "code"]);
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "new");
    // Edited while nobody looked: found at the next mount, and both versions can be read.
    fs::write(folder.join("old"), "edited outside").unwrap();
    home.ok(["mount", "code"]);
    let rows = home.json(["history", "code", "old", "--json"]);
    assert!(rows[0]["kind"].as_str().unwrap().starts_with("external-"), "{rows:?}");
    assert_eq!(home.ok(["cat", "code", "old"]), "edited outside");
    let before = rows.last().unwrap()["change"].as_str().unwrap().to_owned();
    assert_eq!(home.ok(["cat", "code", "old", "--at", &before]), "old");
    home.ok(["unmount", "code"]);
}

#[test]
fn a_read_only_mount_refuses_changes() {
    if !can_mount("a_read_only_mount_refuses_changes") {
        return;
    }
    let (home, place) = mounted("p");
    fs::write(place.join("a"), "a").unwrap();
    home.ok(["unmount", "p"]);
    home.ok(["mount", "p", "--read-only"]);
    assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "a");
    let refused = fs::write(place.join("a"), "b").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_restore_while_mounted_is_seen_at_once_and_can_be_undone() {
    if !can_mount("a_restore_while_mounted_is_seen_at_once_and_can_be_undone") {
        return;
    }
    let (home, place) = mounted("p");
    fs::create_dir(place.join("d")).unwrap();
    fs::write(place.join("d/a"), "one").unwrap();
    fs::write(place.join("d/b"), "two").unwrap();
    let before = format!("@{}", home.status("p")["recorded"]);
    fs::remove_dir_all(place.join("d")).unwrap();
    fs::write(place.join("c"), "three").unwrap();
    let after = format!("@{}", home.status("p")["recorded"]);
    let plan = home.ok(["restore", "p", ".", &before, "--dry-run"]);
    assert!(plan.contains("d/a") && plan.contains('c'), "{plan}");
    assert!(place.join("c").exists(), "a dry run changes nothing");
    home.ok(["restore", "p", ".", &before]);
    assert_eq!(fs::read_to_string(place.join("d/a")).unwrap(), "one");
    assert!(!place.join("c").exists());
    home.ok(["restore", "p", ".", &after]);
    assert_eq!(fs::read_to_string(place.join("c")).unwrap(), "three");
    assert!(!place.join("d").exists());
    let out = home.path("out");
    home.ok(["restore", "p", ".", &before, "--to", out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(out.join("d/b")).unwrap(), "two");
    assert!(!place.join("d").exists(), "--to leaves the project alone");
}

#[test]
fn in_the_foreground_the_process_serves_until_a_signal() {
    if !can_mount("in_the_foreground_the_process_serves_until_a_signal") {
        return;
    }
    let home = Home::new();
    let place = home.path("p");
    let mut command = home.command();
    command.args(["mount", "p", place.to_str().unwrap(), "--create", "--foreground"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let outer = fs::metadata(home.path("")).unwrap().dev();
    wait_for("the mount", || fs::metadata(&place).is_ok_and(|metadata| metadata.dev() != outer), false);
    fs::write(place.join("a"), "a").unwrap();
    signal(i32::try_from(child.id()).unwrap(), Signal::INT);
    assert!(child.wait().unwrap().success());
    assert_eq!(home.ok(["cat", "p", "a"]), "a");
}
