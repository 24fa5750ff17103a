//! A small ext4 of its own, on a loop device, for tests of full and read-only disks.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A mounted small disk; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
    mounted: std::path::PathBuf,
}

impl SmallDisk {
    /// Makes a disk of so many MiB. Returns `None`, and says so, where loop devices cannot be had.
    pub fn new(mib: u64) -> Option<Self> {
        let dir = TempDir::new().ok()?;
        let (image, mounted) = (dir.path().join("image"), dir.path().join("disk"));
        std::fs::create_dir(&mounted).ok()?;
        std::fs::File::create(&image).and_then(|file| file.set_len(mib << 20)).ok()?;
        let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        if !made {
            eprintln!("skipped: no loop device can be mounted here");
            return None;
        }
        Some(Self { dir, mounted })
    }

    /// The root of the disk.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Makes the disk read-only, or writable again.
    pub fn read_only(&self, yes: bool) {
        let option = if yes { "remount,ro" } else { "remount,rw" };
        assert!(run(Command::new("mount").args(["-o", option]).arg(&self.mounted)), "mount -o {option} failed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Tests drop what lies on the disk first; after a failed one, lazily is the best there is.
        if !run(Command::new("umount").arg(&self.mounted)) {
            run(Command::new("umount").arg("--lazy").arg(&self.mounted));
        }
        let _ = std::fs::remove_file(self.dir.path().join("image"));
    }
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
