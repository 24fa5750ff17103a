//! Projects whose history is a Pijul repository. The program `pijul` is played by a script here;
//! `scripts/pijul-interop` works with the real one.
#![cfg(feature = "pijul")]
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Home, can_mount, mounts_below, wait_for};

fn mounted(test: &str) -> Option<(Home, PathBuf)> {
    if !can_mount(test) {
        return None;
    }
    let home = Home::new();
    let place = home.path("book");
    home.ok(["mount", "book", place.to_str().unwrap(), "--create", "--backend", "pijul"]);
    Some((home, place))
}

fn working(home: &Home) -> PathBuf {
    PathBuf::from(home.json(["list", "--json"])[0]["working"].as_str().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Puts a script where `ize` finds it as `pijul`.
fn play_pijul(home: &Home, script: &str) {
    let folder = home.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pijul");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn pijul(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command();
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).args(["pijul", "book", "--"]).args(arguments).current_dir(home.path(""));
    command
}

/// Starts `ize pijul` with a command that waits, and returns once that runs, with its process id.
fn start_waiting(home: &Home) -> (Child, i32) {
    let started = home.path("started");
    let _ = fs::remove_file(&started);
    let script = format!("echo $$ > {0}.new && mv {0}.new {0}; exec sleep 1000", started.display());
    play_pijul(home, &script);
    let child = pijul(home, &["record"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the command to start", || started.exists(), false);
    (child, fs::read_to_string(started).unwrap().trim().parse().unwrap())
}

#[test]
fn a_session_with_hashes_works() {
    let Some((home, book)) = mounted("a_session_with_hashes_works") else { return };
    fs::write(book.join("one.txt"), "first\n").unwrap();
    fs::write(book.join("one.txt"), "second\n").unwrap();
    fs::create_dir(book.join("part")).unwrap();
    fs::rename(book.join("one.txt"), book.join("part/1.txt")).unwrap();
    assert_eq!(home.status("book")["backend"], "pijul");
    let history = home.ok(["history", "book", "part/1.txt"]);
    assert!(history.lines().next().unwrap().starts_with("CHANGE        HASH          TIME"), "{history}");
    let rows = home.json(["history", "book", "part/1.txt", "--json"]);
    let hashes: Vec<&str> = rows.iter().map(|row| row["hash"].as_str().unwrap()).collect();
    assert!(hashes.iter().all(|hash| hash.len() == 53 && *hash == hash.to_uppercase()), "{hashes:?}");
    for (row, hash) in history.lines().skip(1).zip(&hashes) {
        assert_eq!(row.split_whitespace().nth(1).unwrap(), &hash[..12]);
    }
    let created = rows.iter().rfind(|row| row["size"] == 6).unwrap();
    let first = created["hash"].as_str().unwrap();
    for hash in [first, &first[..12]] {
        assert_eq!(home.ok(["cat", "book", "one.txt", "--at", hash]), "first\n");
    }
    home.ok(["restore", "book", "one.txt", &first[..12]]);
    assert_eq!(fs::read_to_string(book.join("one.txt")).unwrap(), "first\n");
    let unknown = home.run(["cat", "book", "one.txt", "--at", "7777ZZZZ7777"]);
    assert_eq!(unknown.code, 3, "{}", unknown.stderr);
    home.ok(["sync", "book"]);
    home.ok(["verify", "book"]);
    home.ok(["unmount", "book"]);
    home.ok(["verify", "book"]);
    assert_eq!(home.ok(["cat", "book", "one.txt", "--at", first]), "first\n");
    assert!(home.ok(["list"]).contains("pijul"));
}

#[test]
fn in_immediate_mode_each_operation_is_a_change_when_the_call_returns() {
    let test = "in_immediate_mode_each_operation_is_a_change_when_the_call_returns";
    let Some((home, book)) = mounted(test) else { return };
    home.ok(["unmount", "book"]);
    home.ok(["mount", "book", "--durability", "immediate"]);
    let folder = working(&home).join(".pijul/changes");
    let changes = || -> usize {
        let folders = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        folders.filter(|path| path.is_dir()).map(|path| fs::read_dir(path).unwrap().count()).sum()
    };
    let before = changes();
    let mut file = fs::File::create(book.join("a")).unwrap();
    assert_eq!(changes(), before + 1, "the creation");
    for round in 2..5 {
        file.write_all(format!("line {round}\n").as_bytes()).unwrap();
        assert_eq!(changes(), before + round, "a write to an open file");
    }
    fs::rename(book.join("a"), book.join("b")).unwrap();
    assert_eq!(changes(), before + 5, "the renaming");
    drop(file);
    home.ok(["unmount", "book"]);
    home.ok(["verify", "book"]);
}

#[test]
fn the_repository_is_linked_in_the_live_files_and_never_seen_in_the_mount() {
    let test = "the_repository_is_linked_in_the_live_files_and_never_seen_in_the_mount";
    let Some((home, book)) = mounted(test) else { return };
    fs::write(book.join("a"), "a").unwrap();
    let working = working(&home);
    assert_eq!(names(&working), [".pijul", "a"]);
    assert!(working.join(".pijul/pristine").is_dir());
    assert_eq!(names(&book), ["a"]);
    assert!(fs::symlink_metadata(book.join(".pijul")).is_err());
    assert!(fs::create_dir(book.join(".pijul")).is_err());
    assert!(fs::write(book.join(".pijul"), "x").is_err());
    assert!(fs::rename(book.join("a"), book.join(".pijul")).is_err());
    let rows = home.json(["history", "book", "--ops", "--json"]);
    assert!(rows.iter().all(|row| !row["path"].as_str().unwrap().contains(".pijul")), "{rows:?}");
    // A killed daemon and a lost link change nothing of that.
    kill(home.daemon("book"));
    fs::remove_file(working.join(".pijul")).unwrap();
    Command::new("umount").arg("-l").arg(&book).output().unwrap();
    home.ok(["mount", "book"]);
    assert_eq!((names(&working), names(&book)), (vec![".pijul".into(), "a".into()], vec!["a".to_owned()]));
    home.ok(["restore", "book", ".", "@0"]);
    assert_eq!((names(&working), names(&book)), (vec![".pijul".to_owned()], Vec::new()));
    home.ok(["unmount", "book"]);
}

#[test]
fn the_command_runs_in_the_live_files_and_what_it_does_comes_into_history() {
    let test = "the_command_runs_in_the_live_files_and_what_it_does_comes_into_history";
    let Some((home, book)) = mounted(test) else { return };
    fs::write(book.join("a"), "mine").unwrap();
    // Known to the kernel before it is changed behind its back.
    assert_eq!(fs::read_to_string(book.join("a")).unwrap(), "mine");
    play_pijul(
        &home,
        "pwd; test -d .pijul/changes || exit 9; printf theirs > a.tmp; mv a.tmp a; printf new > b; echo \"$@\"; exit 7",
    );
    for mount in [true, false] {
        let ran = pijul(&home, &["pull", "--all"]).output().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(7), "{text}{errors}");
        assert_eq!(text, format!("{}\npull --all\n", working(&home).display()));
        if mount {
            assert_eq!(fs::read_to_string(book.join("a")).unwrap(), "theirs");
            assert_eq!(names(&book), ["a", "b"]);
            home.ok(["unmount", "book"]);
            fs::write(working(&home).join("a"), "mine").unwrap();
        }
        assert_eq!(home.ok(["cat", "book", "a"]), "theirs", "mounted: {mount}");
        let kinds: Vec<_> = home.json(["history", "book", "a", "--json"]);
        assert_eq!(kinds[0]["kind"], "external-write");
    }
    home.ok(["verify", "book"]);
}

#[test]
fn without_the_command_there_is_a_hint_and_nothing_stays_suspended() {
    let test = "without_the_command_there_is_a_hint_and_nothing_stays_suspended";
    let Some((home, book)) = mounted(test) else { return };
    let mut command = pijul(&home, &["log"]);
    let empty = home.path("empty");
    fs::create_dir(&empty).unwrap();
    let ran = command.env("PATH", empty).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{errors}");
    assert!(errors.contains("cargo install pijul --version 1.0.0-beta.26"), "{errors}");
    fs::write(book.join("a"), "a").unwrap();
    home.ok(["sync", "book"]);
    home.ok(["unmount", "book"]);
    home.ok(["init", "other"]);
    let ran = home.run(["pijul", "other", "--", "log"]);
    assert!(ran.code == 2 && ran.stderr.contains("'store'"), "{}", ran.stderr);
}

#[test]
fn while_the_command_runs_work_goes_on_and_killing_anything_loses_nothing() {
    let test = "while_the_command_runs_work_goes_on_and_killing_anything_loses_nothing";
    let Some((home, book)) = mounted(test) else { return };
    fs::write(book.join("a"), "before").unwrap();
    for killed in ["ize", "pijul"] {
        let (mut ize, command) = start_waiting(&home);
        fs::write(book.join("a"), killed).unwrap();
        assert_eq!(fs::read_to_string(book.join("a")).unwrap(), killed);
        assert!(home.run(["history", "book"]).code == 0, "history can be read");
        for refused in
            [home.run(["sync", "book"]), home.run(["unmount", "book"]), home.run(["pijul", "book", "--", "x"])]
        {
            assert_eq!(refused.code, 4, "{}", refused.stderr);
        }
        if killed == "ize" {
            ize.kill().unwrap();
            ize.wait().unwrap();
            assert_eq!(home.run(["sync", "book"]).code, 4, "the command still runs");
            kill(command);
        } else {
            kill(command);
            assert_eq!(ize.wait().unwrap().code(), Some(137));
        }
        wait_for("the repository to be taken back", || home.run(["sync", "book"]).code == 0, false);
        assert_eq!(home.ok(["cat", "book", "a"]), killed);
    }
    // The daemon is killed meanwhile.
    let (mut ize, command) = start_waiting(&home);
    fs::write(book.join("a"), "daemon").unwrap();
    kill(home.daemon("book"));
    Command::new("umount").arg("-l").arg(&book).output().unwrap();
    kill(command);
    ize.wait().unwrap();
    home.ok(["mount", "book"]);
    assert_eq!(home.ok(["cat", "book", "a"]), "daemon");
    home.ok(["verify", "book"]);
    home.ok(["unmount", "book"]);
    // Not mounted, the command holds the project.
    let (mut ize, command) = start_waiting(&home);
    ize.kill().unwrap();
    ize.wait().unwrap();
    let refused = home.run(["mount", "book"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    kill(command);
    wait_for("the lock", || home.run(["verify", "book"]).code == 0, false);
    assert!(mounts_below(&home.path("")).is_empty());
}

#[test]
fn a_repository_is_not_adopted_and_a_project_keeps_its_backend() {
    let home = Home::new();
    let folder = home.path("mine");
    fs::create_dir_all(folder.join(".pijul")).unwrap();
    for flag in ["--in-place", "--from"] {
        let ran = home.run(["init", "book", flag, folder.to_str().unwrap(), "--backend", "pijul"]);
        assert!(ran.code == 2 && ran.stderr.contains("holds '.pijul'"), "{}", ran.stderr);
    }
    home.ok(["init", "plain"]);
    let place = home.path("plain");
    let ran = home.run(["mount", "plain", place.to_str().unwrap(), "--create", "--backend", "pijul"]);
    assert!(ran.code == 2 && ran.stderr.contains("backend 'store'"), "{}", ran.stderr);
    // In place, with a folder that is none.
    fs::remove_dir(folder.join(".pijul")).unwrap();
    fs::write(folder.join("a"), "a").unwrap();
    home.ok(["init", "book", "--in-place", folder.to_str().unwrap(), "--backend", "pijul"]);
    assert_eq!(names(&folder), [".pijul", "a"]);
    let rows = home.json(["history", "book", "--json"]);
    assert!(rows.iter().all(|row| row["hash"].is_string()), "{rows:?}");
    home.ok(["delete", "book", "--yes"]);
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn a_store_is_exported_to_a_repository_with_its_working_copy() {
    let test = "a_store_is_exported_to_a_repository_with_its_working_copy";
    if !can_mount(test) {
        return;
    }
    let home = Home::new();
    let notes = home.path("notes");
    home.ok(["mount", "notes", notes.to_str().unwrap(), "--create"]);
    fs::create_dir(notes.join("part")).unwrap();
    fs::write(notes.join("part/a.txt"), "one\n").unwrap();
    fs::write(notes.join("part/a.txt"), "two\n").unwrap();
    fs::write(notes.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(notes.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let inside = home.run(["export", "notes", "--to", "pijul", notes.join("x").to_str().unwrap()]);
    assert_eq!(inside.code, 2, "{}", inside.stderr);
    let dest = home.path("exported");
    let said = home.ok(["export", "notes", "--to", "pijul", dest.to_str().unwrap()]);
    assert!(said.starts_with("exported ") && said.ends_with("changes to ~/exported\n"), "{said}");
    assert_eq!(names(&dest), [".pijul", "part", "run.sh"]);
    assert_eq!(fs::read_to_string(dest.join("part/a.txt")).unwrap(), "two\n");
    assert_eq!(fs::metadata(dest.join("run.sh")).unwrap().permissions().mode() & 0o100, 0o100);
    assert_eq!(names(&notes), ["part", "run.sh"]);
    home.ok(["unmount", "notes"]);
    let again = home.run(["export", "notes", "--to", "pijul", dest.to_str().unwrap()]);
    assert_eq!(again.code, 2, "the folder is not empty: {}", again.stderr);
}
