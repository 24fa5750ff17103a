//! Real mounts for tests.
//!
//! What a test does inside of a mount runs in a process of its own: a process that serves a mount and has files open in
//! it cannot end cleanly.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ize_core::tree::{Granularity, Tree};
use ize_fuse::{DetachMode, Mount, MountOptions, mount};
use tempfile::TempDir;

const INSIDE: &str = "IZE_TEST_INSIDE";
const PATIENCE: Duration = Duration::from_secs(120);

/// Tells whether this machine can mount; with `IZE_REQUIRE_FUSE=1` it must.
pub(crate) fn can_mount() -> bool {
    let usable = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let required = std::env::var_os("IZE_REQUIRE_FUSE").is_some_and(|value| value == "1");
    assert!(usable || !required, "IZE_REQUIRE_FUSE=1, but /dev/fuse cannot be opened");
    if !usable {
        println!("skipped: /dev/fuse cannot be opened");
    }
    usable
}

/// Tells whether the kernel lets this process hand files over to it; says so if not.
pub(crate) fn can_hand_over(mount: &Mount) -> bool {
    if let Some(why) = mount.fallback() {
        println!("skipped: {why}");
    }
    mount.fallback().is_none()
}

/// A tree on a temporary mount point; detached when dropped, also by a panic.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    pub(crate) point: TempDir,
}

impl Mounted {
    pub(crate) fn new(tree: Arc<dyn Tree>) -> Self {
        Self::with(tree, Granularity::Write)
    }

    pub(crate) fn with(tree: Arc<dyn Tree>, granularity: Granularity) -> Self {
        let point = TempDir::new().unwrap();
        let mut options = MountOptions::new(point.path(), "test");
        // Other users need a line in /etc/fuse.conf to do so.
        options.allow_other = rustix::process::geteuid().is_root();
        options.granularity = granularity;
        Self { mount: mount(tree, &options).unwrap(), point }
    }

    pub(crate) fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Before the mount point is removed, which is dropped after this.
        let _ = self.mount.unmount(DetachMode::Lazy);
    }
}

/// In the process that works inside of a mount: the mounted folder.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs the test `name` of this program once more, in a process that works inside of `folder`.
pub(crate) fn run_inside(name: &str, folder: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, folder)
        .spawn()
        .unwrap();
    let status = wait_for(&mut child);
    assert!(status.success(), "{name} failed inside of the mount: {status}");
}

fn wait_for(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("the test hangs inside of the mount");
}
