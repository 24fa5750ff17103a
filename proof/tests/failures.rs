//! What goes wrong for people: each case gives an error that says what and a hint that says what to do, ends with the
//! documented exit code, and loses nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ize_proof::disk::SmallDisk;
use ize_proof::ize::{Ize, Printed, can_mount, is_mount_point};

const NOT_FOUND: i32 = 3;
const IN_THE_WAY: i32 = 4;
const DAMAGED: i32 = 5;
const CANNOT_WRITE: i32 = 6;

/// Runs a command that must fail in the documented way, and returns what it said.
fn fails(ize: &Ize, arguments: &[&str], code: i32) -> String {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    is_failure(&ize.try_run(&arguments).unwrap(), &format!("ize {arguments:?}"), code)
}

fn is_failure(printed: &Printed, what: &str, code: i32) -> String {
    assert_eq!(printed.code, Some(code), "{what}: {printed:?}");
    let lines: Vec<&str> = printed.stderr.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("error: ")), "{what}: no error: {printed:?}");
    assert!(lines.iter().any(|line| line.starts_with("hint: ")), "{what}: no hint: {printed:?}");
    assert!(!printed.stderr.contains("panicked"), "{what}: {printed:?}");
    printed.stderr.clone()
}

fn runs(ize: &Ize, arguments: &[&str]) -> String {
    ize.run(&arguments.iter().map(OsStr::new).collect::<Vec<_>>()).unwrap().text()
}

/// A project that holds a file with two versions and is not mounted; returns the operation of the first version.
fn with_history(ize: &Ize) -> u64 {
    let mounted = ize.mount("notes", &[]).unwrap();
    fs::write(mounted.join("a.txt"), "first\n").unwrap();
    let first = ize.recorded("notes").unwrap();
    fs::write(mounted.join("a.txt"), "second\n").unwrap();
    let mut noise = vec![0; 400_000];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    fs::write(mounted.join("noise"), noise).unwrap();
    mounted.unmount().unwrap();
    first
}

/// Both versions are still there, and everything checks out.
fn lost_nothing(ize: &Ize, first: u64) {
    assert_eq!(ize.cat_at("notes", Path::new("a.txt"), first).unwrap(), b"first\n");
    assert_eq!(runs(ize, &["cat", "notes", "a.txt"]), "second\n");
    ize.verify("notes").unwrap();
}

#[test]
fn a_project_cannot_be_mounted_twice() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let mounted = ize.mount("notes", &[]).unwrap();
    let other = ize.dir().join("other");
    fs::create_dir(&other).unwrap();
    let said = fails(&ize, &["mount", "notes", other.to_str().unwrap()], IN_THE_WAY);
    assert!(said.contains(mounted.path().to_str().unwrap()), "it says where: {said}");
    fs::write(mounted.join("b.txt"), "still mounted\n").unwrap();
    lost_nothing(&ize, first);
    mounted.unmount().unwrap();
    assert!(!is_mount_point(&other));
}

#[test]
fn a_mount_point_that_is_not_empty_is_refused() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let full = ize.dir().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "mine\n").unwrap();
    fails(&ize, &["mount", "notes", full.to_str().unwrap()], IN_THE_WAY);
    assert!(!is_mount_point(&full));
    assert_eq!(fs::read_to_string(full.join("mine")).unwrap(), "mine\n");
    lost_nothing(&ize, first);
}

#[test]
fn an_unknown_project_is_named() {
    let ize = Ize::new().unwrap();
    runs(&ize, &["init", "notes"]);
    for command in [
        &["status", "nots"][..],
        &["history", "nots"],
        &["mount", "nots"],
        &["unmount", "nots"],
        &["sync", "nots"],
        &["cat", "nots", "a.txt"],
        &["restore", "nots", ".", "@1"],
        &["verify", "nots"],
        &["delete", "nots", "--yes"],
    ] {
        let said = fails(&ize, command, NOT_FOUND);
        assert!(said.contains("nots"), "{said}");
    }
}

#[test]
fn a_busy_mount_is_not_torn_away() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let mounted = ize.mount("notes", &[]).unwrap();
    let mut held = File::options().append(true).open(mounted.join("a.txt")).unwrap();
    fails(&ize, &["unmount", "notes"], IN_THE_WAY);
    held.write_all(b"third\n").unwrap();
    drop(held);
    assert_eq!(fs::read_to_string(mounted.join("a.txt")).unwrap(), "second\nthird\n");
    mounted.unmount().unwrap();
    assert_eq!(ize.cat_at("notes", Path::new("a.txt"), first).unwrap(), b"first\n");
    assert_eq!(runs(&ize, &["cat", "notes", "a.txt"]), "second\nthird\n");
    ize.verify("notes").unwrap();
}

#[test]
fn a_full_disk_refuses_writes_but_not_unlink_and_truncate() {
    if !can_mount() {
        return;
    }
    let Some(disk) = SmallDisk::new(192) else { return };
    let ize = Ize::within(disk.path()).unwrap();
    let first = with_history(&ize);
    let mounted = ize.mount("notes", &[]).unwrap();
    let mut filler = File::create(mounted.join("filler")).unwrap();
    let mut written = 0_u64;
    let mut rng = fastrand::Rng::with_seed(2);
    let error = loop {
        let mut block = vec![0; 256 * 1024];
        rng.fill(&mut block);
        match filler.write_all(&block) {
            Ok(()) => written += block.len() as u64,
            Err(error) => break error,
        }
        assert!(written < 1 << 30, "the disk is never full");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    drop(filler);
    assert!(fs::metadata(mounted.join("filler")).unwrap().len() >= written);
    File::options().write(true).open(mounted.join("filler")).unwrap().set_len(1000).unwrap();
    fs::remove_file(mounted.join("noise")).unwrap();
    fs::rename(mounted.join("filler"), mounted.join("kept")).unwrap();
    lost_nothing(&ize, first);
    mounted.unmount().unwrap();
    lost_nothing(&ize, first);
    assert_eq!(ize.run(&["cat", "notes", "kept"].map(OsStr::new)).unwrap().stdout.len(), 1000);
}

#[test]
fn a_copy_that_does_not_fit_is_refused_whole() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let ize = Ize::within(disk.path()).unwrap();
    let source = tempfile::TempDir::new().unwrap();
    let mut noise = vec![0; 100 << 20];
    fastrand::Rng::with_seed(3).fill(&mut noise);
    fs::write(source.path().join("large"), noise).unwrap();
    fails(&ize, &["init", "large", "--from", source.path().to_str().unwrap()], CANNOT_WRITE);
    assert_eq!(runs(&ize, &["list", "--json"]), "", "half a project is left");
}

#[test]
fn a_read_only_disk_can_be_read_and_refuses_the_rest() {
    if !can_mount() {
        return;
    }
    let Some(disk) = SmallDisk::new(128) else { return };
    let ize = Ize::within(disk.path()).unwrap();
    let first = with_history(&ize);
    let mount_point = ize.dir().join("empty");
    fs::create_dir(&mount_point).unwrap();
    disk.read_only(true);
    fails(&ize, &["init", "other"], CANNOT_WRITE);
    fails(&ize, &["mount", "notes", mount_point.to_str().unwrap()], CANNOT_WRITE);
    assert!(!is_mount_point(&mount_point));
    disk.read_only(false);
    lost_nothing(&ize, first);
}

/// The files of the store whose names end so, or do not.
fn store_files(ize: &Ize, packs: bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![ize.project_dir().unwrap().join("store")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let is_pack = path.extension().is_some_and(|extension| extension == "pack");
            match path.is_dir() {
                true => folders.push(path),
                false if is_pack == packs && entry.metadata().unwrap().len() > 0 => files.push(path),
                false => {}
            }
        }
    }
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    assert!(!files.is_empty(), "no such files in the store");
    files
}

/// Inverts bytes of a file, from one offset on, so many.
fn damage(path: &Path, offset: u64, count: usize) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; count];
    let got = file.read_at(&mut bytes, offset).unwrap();
    bytes.truncate(got);
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, offset).unwrap();
}

#[test]
fn a_damaged_index_is_told_and_rebuilt_from_packs() {
    if !can_mount() {
        return;
    }
    for (offset, count) in [(0, 4096), (4096, 200_000), (9000, 40)] {
        let ize = Ize::new().unwrap();
        let first = with_history(&ize);
        damage(&store_files(&ize, false)[0], offset, count);
        let verified = ize.try_run(&["verify", "notes"].map(OsStr::new)).unwrap();
        if verified.code != Some(0) {
            is_failure(&verified, &format!("verify after damage at {offset}"), DAMAGED);
        }
        runs(&ize, &["verify", "notes", "--repair"]);
        lost_nothing(&ize, first);
        let mounted = ize.mount("notes", &[]).unwrap();
        assert_eq!(fs::read_to_string(mounted.join("a.txt")).unwrap(), "second\n");
        mounted.unmount().unwrap();
    }
}

#[test]
fn a_damaged_pack_is_told_and_all_else_stays_readable() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    with_history(&ize);
    let pack = &store_files(&ize, true)[0];
    let middle = fs::metadata(pack).unwrap().len() / 2;
    // The middle of the pack lies in the noise, which does not compress.
    damage(pack, middle, 8);
    let verified = ize.try_run(&["verify", "notes"].map(OsStr::new)).unwrap();
    is_failure(&verified, "verify", DAMAGED);
    assert!(verified.text().contains("pack"), "it says where: {verified:?}");
    fails(&ize, &["cat", "notes", "noise"], DAMAGED);
    assert_eq!(runs(&ize, &["cat", "notes", "a.txt"]), "second\n");
    // The live file is not damaged, and stays.
    let mounted = ize.mount("notes", &[]).unwrap();
    assert_eq!(fs::metadata(mounted.join("noise")).unwrap().len(), 400_000);
    mounted.unmount().unwrap();
}

#[test]
fn a_project_of_a_newer_ize_is_left_alone() {
    let ize = Ize::new().unwrap();
    runs(&ize, &["init", "notes"]);
    let description = ize.project_dir().unwrap().join("meta/project.toml");
    let text = fs::read_to_string(&description).unwrap();
    let newer: Vec<String> = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some((key, _)) if key.contains("format") => format!("{key}= 999"),
            _ => line.to_owned(),
        })
        .collect();
    let newer = newer.join("\n") + "\n";
    assert_ne!(newer, text, "no format version in {text}");
    fs::write(&description, &newer).unwrap();
    let mount_point = ize.dir().join("empty");
    fs::create_dir(&mount_point).unwrap();
    for command in [&["mount", "notes", mount_point.to_str().unwrap()][..], &["history", "notes"], &["verify", "notes"]]
    {
        fails(&ize, command, DAMAGED);
    }
    assert_eq!(fs::read_to_string(&description).unwrap(), newer);
}

#[test]
fn a_path_outside_the_project_is_refused() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    for path in ["/etc/passwd", "../../../../etc/passwd", "a.txt/../../x"] {
        for command in [&["cat", "notes", path][..], &["history", "notes", path], &["restore", "notes", path, "@1"]] {
            let arguments: Vec<&OsStr> = command.iter().map(OsStr::new).collect();
            let printed = ize.try_run(&arguments).unwrap();
            assert!(matches!(printed.code, Some(2 | NOT_FOUND)), "{command:?}: {printed:?}");
            is_failure(&printed, &format!("{command:?}"), printed.code.unwrap());
            assert!(printed.stdout.is_empty());
        }
    }
    lost_nothing(&ize, first);
}

#[test]
fn a_revision_that_does_not_exist_is_told() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    for revision in ["@99999999", "zzzzzzzzzzzz", "no-such-snapshot"] {
        fails(&ize, &["cat", "notes", "a.txt", "--at", revision], NOT_FOUND);
        fails(&ize, &["restore", "notes", "a.txt", revision], NOT_FOUND);
    }
    lost_nothing(&ize, first);
}

#[test]
fn a_time_before_everything_is_told() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    fails(&ize, &["cat", "notes", "a.txt", "--at", "2001-01-01T00:00:00Z"], NOT_FOUND);
    fails(&ize, &["restore", "notes", "a.txt", "2001-01-01T00:00:00Z"], NOT_FOUND);
    lost_nothing(&ize, first);
}

#[test]
fn a_file_that_was_never_there_is_told() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let at = format!("@{first}");
    for path in ["never.txt", "no/such/folder", "a.txt/below"] {
        fails(&ize, &["cat", "notes", path], NOT_FOUND);
        fails(&ize, &["history", "notes", path], NOT_FOUND);
        fails(&ize, &["restore", "notes", path, &at], NOT_FOUND);
    }
    // This one came later.
    fails(&ize, &["cat", "notes", "noise", "--at", &at], NOT_FOUND);
    lost_nothing(&ize, first);
}

#[test]
fn restoring_out_over_something_is_refused() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let full = ize.dir().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "mine\n").unwrap();
    let at = format!("@{first}");
    fails(&ize, &["restore", "notes", ".", &at, "--to", full.to_str().unwrap()], IN_THE_WAY);
    assert_eq!(fs::read_to_string(full.join("mine")).unwrap(), "mine\n");
    lost_nothing(&ize, first);
}

#[test]
fn a_dead_mount_is_cleared_by_the_next_one() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let first = with_history(&ize);
    let mounted = ize.mount("notes", &[]).unwrap();
    fs::write(mounted.join("b.txt"), "acknowledged\n").unwrap();
    ize.kill_daemons().unwrap();
    assert!(fs::read_dir(mounted.path()).is_err());
    mounted.abandon();
    let mounted = ize.mount("notes", &[]).unwrap();
    assert_eq!(fs::read_to_string(mounted.join("b.txt")).unwrap(), "acknowledged\n");
    mounted.unmount().unwrap();
    lost_nothing(&ize, first);
}
