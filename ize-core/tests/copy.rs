//! Copies are exact: `materialise`, `import` and `export`, compared by an independent comparison.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ize_core::tree::{CopyError, CopyOptions, CopyReport, HostSource, Omission, import, materialise};
use ize_proof::compare::{CompareOptions, compare};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use tempfile::TempDir;

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn set_times(path: &Path, secs: i64, nanos: u32) {
    let time = |tv_sec| Timespec { tv_sec, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time(secs), last_modification: time(secs + 1) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder with a tree, and a place for its copy.
struct Pair {
    _dir: TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        Self { _dir: dir, from, to }
    }

    fn copy(&self) -> Result<CopyReport, CopyError> {
        materialise(&mut HostSource::open(&self.from).unwrap(), open(&self.to).as_fd(), CopyOptions::default())
    }

    fn assert_equal(&self) {
        let differences = compare(&self.from, &self.to, &CompareOptions::default()).unwrap();
        assert!(differences.is_empty(), "{differences:?}");
    }
}

/// One of everything.
fn make_everything(top: &Path) {
    fs::create_dir_all(top.join("sub/deeper")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("file"), vec![7; 1_300_001]).unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    fs::write(top.join("sub/script"), "#!/bin/sh\n").unwrap();
    fs::write(top.join("sub/read only"), "r").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"not utf-8 \xff\xfe")), "x").unwrap();
    fs::write(top.join("n".repeat(255)), "long").unwrap();
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.write_all_at(b"island", 1 << 30).unwrap();
    sparse.write_all_at(&[3; 70_000], 5 << 30).unwrap();
    sparse.set_len(1 << 40).unwrap();
    File::create(top.join("only a hole")).unwrap().set_len(1 << 20).unwrap();
    symlink("file", top.join("link")).unwrap();
    symlink("no/such/thing", top.join("dangling")).unwrap();
    fs::hard_link(top.join("file"), top.join("sub/deeper/other name")).unwrap();
    fs::hard_link(top.join("file"), top.join("empty/third name")).unwrap();
    fs::hard_link(top.join("link"), top.join("sub/linked link")).unwrap();
    rustix::fs::mknodat(CWD, top.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    drop(UnixListener::bind(top.join("socket")).unwrap());
    rustix::fs::setxattr(top.join("file"), "user.color", b"red", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(top.join("sub"), "user.empty", b"", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(top.join("sub/read only"), "user.x", &[9; 3000], XattrFlags::empty()).unwrap();
    chmod(&top.join("sub/read only"), 0o400);
    chmod(&top.join("sub/script"), 0o6755);
    chmod(&top.join("sub/deeper"), 0o1777);
    for (n, name) in ["file", "sub/script", "link", "dangling", "fifo", "sub/deeper", "sub", "empty"].iter().enumerate()
    {
        set_times(&top.join(name), 1_000_000_000 - i64::try_from(n).unwrap() * 86_400, 123_456_789);
    }
    set_times(top, -5, 1);
}

#[test]
fn a_copy_of_a_host_tree_is_exact() {
    let pair = Pair::new();
    make_everything(&pair.from);
    let report = pair.copy().unwrap();
    // Before they are compared: reading them moves it.
    let atime = |top: &Path| fs::symlink_metadata(top.join("sub")).map(|m| (m.atime(), m.atime_nsec())).unwrap();
    assert_eq!(atime(&pair.from), atime(&pair.to));
    pair.assert_equal();
    assert_eq!(report.omitted, []);
    assert_eq!((report.folders, report.symlinks, report.specials, report.hard_links), (4, 2, 2, 3));
    assert_eq!(report.files, 8);
    assert!(report.bytes < 1_400_000, "holes are not written: {} bytes", report.bytes);
    assert!(fs::metadata(pair.to.join("sparse")).unwrap().blocks() < 400);
}

#[test]
fn reading_for_a_copy_leaves_the_source_as_it_was() {
    let pair = Pair::new();
    make_everything(&pair.from);
    pair.copy().unwrap();
    for name in ["file", "sub", "sub/script", "."] {
        let metadata = fs::metadata(pair.from.join(name)).unwrap();
        assert_eq!(metadata.atime() + 1, metadata.mtime(), "{name}");
    }
}

#[test]
fn owners_devices_and_files_without_permissions_are_copied_by_root() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    fs::create_dir(pair.from.join("shut")).unwrap();
    fs::write(pair.from.join("shut/linked"), "x").unwrap();
    fs::hard_link(pair.from.join("shut/linked"), pair.from.join("z")).unwrap();
    fs::create_dir(pair.from.join("other")).unwrap();
    fs::hard_link(pair.from.join("z"), pair.from.join("other/z")).unwrap();
    fs::write(pair.from.join("none"), "secret").unwrap();
    fs::write(pair.from.join("suid"), "run").unwrap();
    rustix::fs::mknodat(CWD, pair.from.join("null"), FileType::CharacterDevice, Mode::RUSR, 259).unwrap();
    for (n, name) in ["shut", "none", "suid", "null", "."].iter().enumerate() {
        std::os::unix::fs::chown(pair.from.join(name), Some(1000 + u32::try_from(n).unwrap()), Some(7)).unwrap();
    }
    rustix::fs::setxattr(pair.from.join("suid"), "trusted.t", b"v", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(pair.from.join("suid"), "security.note", b"s", XattrFlags::empty()).unwrap();
    chmod(&pair.from.join("none"), 0);
    chmod(&pair.from.join("shut"), 0);
    chmod(&pair.from.join("suid"), 0o6711);
    let report = pair.copy().unwrap();
    assert_eq!(report.omitted, []);
    pair.assert_equal();
}

#[test]
fn without_owners_files_of_other_people_lose_their_set_id_bits() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    for name in ["mine", "theirs"] {
        fs::write(pair.from.join(name), "x").unwrap();
    }
    std::os::unix::fs::chown(pair.from.join("theirs"), Some(1234), None).unwrap();
    chmod(&pair.from.join("mine"), 0o4755);
    chmod(&pair.from.join("theirs"), 0o4755);
    let mut options = CopyOptions::default();
    options.owners = false;
    materialise(&mut HostSource::open(&pair.from).unwrap(), open(&pair.to).as_fd(), options).unwrap();
    let of = |name| fs::metadata(pair.to.join(name)).map(|m| (m.uid(), m.mode() & 0o7777)).unwrap();
    assert_eq!(of("mine"), (0, 0o4755));
    assert_eq!(of("theirs"), (0, 0o755));
}

#[test]
fn deep_trees_are_copied_with_few_descriptors() {
    let pair = Pair::new();
    let mut folder = open(&pair.from);
    for depth in 0..3000 {
        rustix::fs::mkdirat(&folder, "down", Mode::RWXU).unwrap();
        if depth % 500 == 0 {
            let file = rustix::fs::openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            rustix::io::write(file, b"here").unwrap();
        }
        folder = rustix::fs::openat(&folder, "down", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let report = pair.copy().unwrap();
    assert_eq!((report.folders, report.files), (3001, 6));
    let mut folder = open(&pair.to);
    for depth in 0..3000 {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, "down", flags, Mode::empty()).unwrap_or_else(|e| panic!("{depth}: {e}"));
    }
    remove_deep(&pair.from);
    remove_deep(&pair.to);
}

/// `remove_dir_all` opens a descriptor for each level.
fn remove_deep(top: &Path) {
    std::process::Command::new("rm").arg("-rf").arg(top).status().unwrap();
}

#[test]
fn three_hundred_levels_compare_equal() {
    let pair = Pair::new();
    let mut path = pair.from.clone();
    for depth in 0..300 {
        path.push("d");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("f"), format!("{depth}")).unwrap();
    }
    for _ in 0..300 {
        set_times(&path, 1_500_000_000, 5);
        path.pop();
    }
    pair.copy().unwrap();
    pair.assert_equal();
}

#[test]
fn nothing_is_written_over() {
    let pair = Pair::new();
    fs::write(pair.from.join("a"), "new").unwrap();
    fs::write(pair.to.join("b"), "old").unwrap();
    assert!(matches!(pair.copy(), Err(CopyError::Occupied(_))));
    assert!(!pair.to.join("a").exists());
}

#[test]
fn a_folder_is_not_copied_into_itself() {
    let pair = Pair::new();
    let inside = pair.from.join("x/inside");
    fs::create_dir_all(&inside).unwrap();
    let error = import(&pair.from, open(&inside).as_fd(), CopyOptions::default()).unwrap_err();
    assert!(matches!(&error, CopyError::IntoItself(path) if path.as_bytes() == b"x/inside"), "{error:?}");
}

#[test]
fn a_tree_with_the_reserved_name_is_refused() {
    let pair = Pair::new();
    fs::create_dir(pair.from.join(".ize")).unwrap();
    let error = import(&pair.from, open(&pair.to).as_fd(), CopyOptions::default()).unwrap_err();
    assert!(matches!(error, CopyError::Reserved));
    fs::rename(pair.from.join(".ize"), pair.from.join("sub")).unwrap();
    fs::create_dir(pair.from.join("sub/.ize")).unwrap();
    import(&pair.from, open(&pair.to).as_fd(), CopyOptions::default()).unwrap();
    pair.assert_equal();
}

#[test]
fn a_missing_source_says_which() {
    let pair = Pair::new();
    let error = import(&pair.from.join("nowhere"), open(&pair.to).as_fd(), CopyOptions::default()).unwrap_err();
    let CopyError::Origin { path, source } = error else { panic!("{error:?}") };
    assert_eq!((path, source.errno()), (pair.from.join("nowhere"), Errno::NOENT));
}

#[test]
fn progress_ends_at_what_the_report_says() {
    let pair = Pair::new();
    make_everything(&pair.from);
    let mut last = Default::default();
    let mut calls = 0;
    let mut note = |progress| {
        last = progress;
        calls += 1;
    };
    let mut options = CopyOptions::default();
    options.progress = Some(&mut note);
    let report = materialise(&mut HostSource::open(&pair.from).unwrap(), open(&pair.to).as_fd(), options).unwrap();
    assert_eq!((last.entries, last.bytes), (report.entries(), report.bytes));
    assert!(calls > 5);
}

#[test]
fn mount_points_are_made_but_not_entered() {
    // /dev has other filesystems mounted in it where there is a /dev/pts.
    let differs = |a: &str, b: &str| -> io::Result<bool> { Ok(fs::metadata(a)?.dev() != fs::metadata(b)?.dev()) };
    if !is_root() || !differs("/dev", "/dev/pts").unwrap_or(false) {
        return;
    }
    let pair = Pair::new();
    let mut source = HostSource::open(Path::new("/dev")).unwrap();
    let report = materialise(&mut source, open(&pair.to).as_fd(), CopyOptions::default()).unwrap();
    assert!(report.omitted.iter().any(|(path, what)| path.as_bytes() == b"pts" && *what == Omission::MountPoint));
    assert_eq!(fs::read_dir(pair.to.join("pts")).unwrap().count(), 0);
}
