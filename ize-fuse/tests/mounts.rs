//! The life of a mount: how it begins, how it ends, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod mirror;
mod mounted;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ize_core::model::{FileId, Name};
use ize_core::tree::{Invalidator, Tree};
use ize_fuse::{DetachMode, Mount, MountError, MountOptions, clear_dead_mount, mount};
use mirror::Mirror;
use mounted::{Mounted, can_mount};
use tempfile::TempDir;

fn tree(folder: &Path) -> Arc<dyn Tree> {
    Arc::new(Mirror::new(folder))
}

fn mounted_on(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let path = path.to_str().unwrap();
    table.lines().filter(|line| line.split(' ').nth(1) == Some(path)).map(str::to_owned).collect()
}

fn umount(path: &Path) -> bool {
    let command: &[&str] = if rustix::process::geteuid().is_root() { &["umount"] } else { &["fusermount3", "-u"] };
    Command::new(command[0]).args(&command[1..]).arg(path).stderr(Stdio::null()).status().unwrap().success()
}

/// Waits for what other processes do.
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that works in a folder until it is killed.
struct Worker(std::process::Child);

impl Worker {
    fn new(folder: &Path) -> Self {
        let worker = Self(Command::new("sleep").arg("600").current_dir(folder).spawn().unwrap());
        let cwd = format!("/proc/{}/cwd", worker.0.id());
        soon("the worker is there", || fs::read_link(&cwd).is_ok_and(|cwd| cwd == folder));
        worker
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_mount_is_ready_at_once_and_gone_after_unmount() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "content").unwrap();
    let mounted = Mounted::new(tree(folder.path()));
    assert_eq!(fs::read(mounted.path().join("a")).unwrap(), b"content");
    let lines = mounted_on(mounted.path());
    assert!(lines.len() == 1 && lines[0].starts_with("ize:test "), "{lines:?}");
    for option in ["fuse.ize", "nosuid", "nodev", "default_permissions"] {
        assert!(lines[0].contains(option), "{option}: {lines:?}");
    }
    assert_eq!(lines[0].contains("allow_other"), rustix::process::geteuid().is_root());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    assert!(mounted.mount.has_ended());
    assert!(mounted_on(mounted.path()).is_empty());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
}

/// The kernel gives the numbers of a mount that is gone to the next one.
#[test]
fn the_end_of_a_mount_leaves_later_mounts_alone() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let tree = tree(folder.path());
            std::thread::spawn(move || {
                for _ in 0..30 {
                    let mounted = Mounted::new(Arc::clone(&tree));
                    assert!(umount(mounted.path()));
                    let next = Mounted::new(Arc::clone(&tree));
                    drop(mounted);
                    std::thread::sleep(Duration::from_millis(3));
                    assert_eq!(mounted_on(next.path()).len(), 1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_busy_mount_stays_and_says_so() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mounted = Mounted::new(tree(folder.path()));
    let worker = Worker::new(mounted.path());
    assert!(matches!(mounted.mount.unmount(DetachMode::RefuseIfBusy), Err(MountError::Busy { .. })));
    assert!(fs::write(mounted.path().join("still"), "there").is_ok());
    mounted.mount.unmount(DetachMode::Lazy).unwrap();
    assert!(mounted_on(mounted.path()).is_empty());
    assert!(!mounted.mount.has_ended(), "the worker still uses it");
    drop(worker);
    mounted.mount.wait().unwrap();
}

#[test]
fn an_umount_from_outside_ends_the_session_and_leaves_the_mount_underneath() {
    if !can_mount() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root mounts a tmpfs");
        return;
    }
    let folder = TempDir::new().unwrap();
    let (below, above) = (Mirror::new(folder.path()), Mirror::new(folder.path()));
    let below = Mounted::new(Arc::new(below));
    // A mount of another kind between the two.
    assert!(Command::new("mount").args(["-t", "tmpfs", "between"]).arg(below.path()).status().unwrap().success());
    let above = mount(Arc::new(above), &MountOptions::new(below.path(), "above")).unwrap();
    assert_eq!(mounted_on(below.path()).len(), 3);
    let covered = below.mount.unmount(DetachMode::RefuseIfBusy);
    assert!(matches!(covered, Err(MountError::Busy { .. })), "{covered:?}");
    assert!(umount(below.path()));
    above.wait().unwrap();
    drop(above);
    let left = mounted_on(below.path());
    assert!(umount(below.path()));
    assert_eq!(left.len(), 2, "{left:?}");
    below.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
}

#[test]
fn a_folder_is_covered_by_its_own_content() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "plain").unwrap();
    let tree = tree(folder.path());
    let refused = mount(Arc::clone(&tree), &MountOptions::new(folder.path(), "in-place"));
    assert!(matches!(refused, Err(MountError::NotEmpty { .. })));
    let mut options = MountOptions::new(folder.path(), "in-place");
    options.cover = true;
    let mount = mount(tree, &options).unwrap();
    assert_eq!(mount.mount_point(), folder.path());
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"plain");
    fs::write(folder.path().join("b"), "made inside").unwrap();
    mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"made inside");
}

#[test]
fn mount_points_that_do_not_suit_are_refused() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let try_on = |path: &Path| mount(tree(folder.path()), &MountOptions::new(path, "x")).map(drop);
    let missing = folder.path().join("missing");
    assert!(matches!(try_on(&missing), Err(MountError::MountPoint { path, .. }) if path == missing));
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    assert!(matches!(try_on(&file), Err(MountError::MountPoint { .. })));
    assert!(matches!(try_on(folder.path()), Err(MountError::NotEmpty { .. })));
    let mounted = Mounted::new(tree(TempDir::new().unwrap().path()));
    let again = try_on(mounted.path());
    assert!(matches!(again, Err(MountError::AlreadyMounted { name, .. }) if name == "ize:test"));
}

#[test]
fn a_read_only_mount_refuses_changes() {
    if !can_mount() {
        return;
    }
    let (folder, point) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(folder.path().join("a"), "content").unwrap();
    let mut options = MountOptions::new(point.path(), "odd, \\ name");
    options.read_only = true;
    let mount = mount(tree(folder.path()), &options).unwrap();
    assert_eq!(fs::read(point.path().join("a")).unwrap(), b"content");
    assert_eq!(fs::write(point.path().join("b"), "").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    mount.unmount(DetachMode::RefuseIfBusy).unwrap();
}

#[test]
fn dropping_a_mount_detaches_it() {
    if !can_mount() {
        return;
    }
    let (folder, point) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mount: Mount = mount(tree(folder.path()), &MountOptions::new(point.path(), "x")).unwrap();
    drop(mount);
    assert!(mounted_on(point.path()).is_empty());
}

/// Clears a dead mount, also after a panic.
struct DeadMount<'a>(&'a Path);

impl Drop for DeadMount<'_> {
    fn drop(&mut self) {
        let _ = clear_dead_mount(self.0);
    }
}

#[test]
fn a_dead_mount_is_told_apart_and_cleared() {
    if !can_mount() {
        return;
    }
    if let Some(point) = mounted::inside() {
        // The daemon, which the other process kills.
        let folder = TempDir::new().unwrap();
        let mount = mount(tree(folder.path()), &MountOptions::new(point, "dead")).unwrap();
        mount.wait().unwrap();
        return;
    }
    let point = TempDir::new().unwrap();
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["a_dead_mount_is_told_apart_and_cleared", "--exact"])
        .env("IZE_TEST_INSIDE", point.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    soon("the daemon mounts", || mounted_on(point.path()).len() == 1);
    // A mount that lives is left alone.
    assert!(!clear_dead_mount(point.path()).unwrap());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let _cleared = DeadMount(point.path());
    soon("the mount is dead", || fs::read_dir(point.path()).is_err());
    let options = MountOptions::new(point.path(), "next");
    let folder = TempDir::new().unwrap();
    assert!(matches!(mount(tree(folder.path()), &options), Err(MountError::DeadMount { .. })));
    assert!(clear_dead_mount(point.path()).unwrap());
    assert!(!clear_dead_mount(point.path()).unwrap());
    mount(tree(folder.path()), &options).unwrap().unmount(DetachMode::RefuseIfBusy).unwrap();
}

#[test]
fn an_aborted_connection_does_not_leave_a_dead_mount() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mounted = Mounted::new(tree(folder.path()));
    let device = fs::metadata(mounted.path()).unwrap().dev();
    let abort = format!("/sys/fs/fuse/connections/{}/abort", rustix::fs::minor(device));
    if fs::write(&abort, "1").is_err() {
        println!("skipped: {abort} cannot be written");
        return;
    }
    assert!(matches!(mounted.mount.wait(), Err(MountError::Session { .. })));
    assert!(mounted_on(mounted.path()).is_empty());
}

#[test]
fn references_are_given_back() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    for index in 0..300 {
        fs::write(folder.path().join(index.to_string()), "").unwrap();
    }
    let mirror = Arc::new(Mirror::new(folder.path()));
    let mounted = Mounted::new(Arc::clone(&mirror) as Arc<dyn Tree>);
    let listed = Command::new("ls").arg("-l").arg(mounted.path()).output().unwrap();
    assert!(listed.status.success());
    assert!(mirror.nodes_held() >= 300);
    // The kernel gives an inode back when its name is gone and nobody uses it.
    for index in 0..300 {
        fs::remove_file(mounted.path().join(index.to_string())).unwrap();
    }
    soon("all references come back", || mirror.nodes_held() == 0);
}

/// The kernel remembers what it saw until it is told, and then sees what is there.
#[test]
fn changes_beside_the_mount_are_seen_once_they_are_announced() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (changed, made) = (folder.path().join("changed"), folder.path().join("made"));
    fs::write(&changed, "one").unwrap();
    let mounted = Mounted::new(tree(folder.path()));
    let inside = |path: &Path| mounted.path().join(path.file_name().unwrap());
    let listed = || fs::read_dir(mounted.path()).unwrap().count();
    assert_eq!(fs::read(inside(&changed)).unwrap(), b"one");
    assert!(!inside(&made).exists() && listed() == 1);

    fs::write(&changed, "two, longer").unwrap();
    fs::write(&made, "").unwrap();
    assert_eq!(fs::read(inside(&changed)).unwrap(), b"one");
    assert!(!inside(&made).exists());

    let caches = mounted.mount.caches();
    caches.inode(FileId::new(fs::metadata(&changed).unwrap().ino()));
    caches.entry(FileId::ROOT, &Name::try_from("made").unwrap());
    assert_eq!(fs::read(inside(&changed)).unwrap(), b"two, longer");
    assert!(inside(&made).exists());
    assert_eq!(listed(), 2);

    fs::remove_file(&made).unwrap();
    caches.entry(FileId::ROOT, &Name::try_from("made").unwrap());
    assert!(!inside(&made).exists() && listed() == 1);
    // What the kernel never saw is no error, and neither is a mount that has gone.
    caches.inode(FileId::new(1 << 40));
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    caches.inode(FileId::ROOT);
}
