//! A small disk of its own, on a loop device, for tests of full and read-only disks and of power cuts.

#![allow(unsafe_code, reason = "the ioctl that cuts a filesystem off has no safe form; this is its only use here")]

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use rustix::ioctl::{Setter, ioctl, opcode};
use tempfile::TempDir;

/// `FS_IOC_SHUTDOWN`, and its way that leaves the log as it is on the disk; see include/uapi/linux/fs.h and ext4.h.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
const WITHOUT_LOG_FLUSH: u32 = 2;

/// What a disk is formatted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4, as `mkfs` makes it.
    #[default]
    Ext4,
    /// XFS, as `mkfs` makes it; at least 300 MiB.
    Xfs,
}

impl Filesystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    fn make(self, image: &Path) -> bool {
        match self {
            Self::Ext4 => run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image)),
            Self::Xfs => run(Command::new("mkfs.xfs").arg("-q").arg(image)),
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Filesystem {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Ext4, Self::Xfs].into_iter().find(|known| known.name() == name).ok_or(format!("'{name}' is not known"))
    }
}

/// A mounted small disk; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
    mounted: PathBuf,
}

impl SmallDisk {
    /// Makes an ext4 disk of so many MiB. Returns `None`, and says so, where loop devices cannot be had.
    pub fn new(mib: u64) -> Option<Self> {
        Self::with(Filesystem::Ext4, mib)
    }

    /// Makes a disk of so many MiB. Returns `None`, and says so, where loop devices, or such disks, cannot be had.
    pub fn with(filesystem: Filesystem, mib: u64) -> Option<Self> {
        let dir = TempDir::new().ok()?;
        let mounted = dir.path().join("disk");
        let disk = Self { dir, mounted };
        std::fs::create_dir(&disk.mounted).ok()?;
        std::fs::File::create(disk.image()).and_then(|file| file.set_len(mib << 20)).ok()?;
        if filesystem.make(&disk.image()) && disk.mount() {
            return Some(disk);
        }
        eprintln!("skipped: no {filesystem} on a loop device can be mounted here");
        None
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self) -> bool {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mounted))
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

    /// Cuts the filesystem off from its disk at once, as a power cut does: what is not on the disk never gets there, and
    /// every call from now on fails.
    ///
    /// # Errors
    /// If the filesystem cannot do that.
    pub fn cut_power(&self) -> io::Result<()> {
        let root = File::open(&self.mounted)?;
        // SAFETY: the call reads one u32, which lives until it returns, and keeps nothing.
        unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH))? };
        Ok(())
    }

    /// Mounts the disk again after [`SmallDisk::cut_power`]; the filesystem recovers from its log.
    ///
    /// # Errors
    /// If somebody still uses the disk, or it cannot be mounted.
    pub fn restart(&self) -> io::Result<()> {
        for (what, done) in [("unmounted", run(Command::new("umount").arg(&self.mounted))), ("mounted", self.mount())] {
            if !done {
                return Err(io::Error::other(format!("the disk could not be {what}")));
            }
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Tests drop what lies on the disk first; after a failed one, lazily is the best there is.
        if !run(Command::new("umount").arg(&self.mounted)) {
            run(Command::new("umount").arg("--lazy").arg(&self.mounted));
        }
        let _ = std::fs::remove_file(self.image());
    }
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
