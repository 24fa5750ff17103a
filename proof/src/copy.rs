//! Exact copies of trees: holes, hard links, owners, times, extended attributes and special files included.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, mkdirat, mknodat, symlinkat,
};

use crate::content::{self, DataMap};
use crate::folder::{Folder, kind};

/// Copies what is in one folder, and the folder's own attributes, to a new folder.
///
/// # Errors
/// Any error of the filesystem; what was copied until then stays.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    mkdirat(CWD, to, Mode::RWXU)?;
    let source = Folder::open(from)?;
    let target = Folder::open(to)?;
    let mut copier = Copier { links: HashMap::new(), root: to.to_owned() };
    copier.folder(&source, &target, Path::new(""))?;
    copy_xattrs(&source, None, &target)?;
    let stat = source.stat_self()?;
    set_attributes(&target, None, &stat)
}

struct Copier {
    /// Where an inode with several names was copied to, below the root.
    links: HashMap<(u64, u64), PathBuf>,
    root: PathBuf,
}

impl Copier {
    fn folder(&mut self, source: &Folder, target: &Folder, path: &Path) -> io::Result<()> {
        for name in source.names()? {
            self.entry(source, target, &name, &path.join(&name))
                .map_err(|error| io::Error::new(error.kind(), format!("copy of {:?}: {error}", path.join(&name))))?;
        }
        Ok(())
    }

    fn entry(&mut self, source: &Folder, target: &Folder, name: &OsString, path: &Path) -> io::Result<()> {
        let stat = source.stat(name)?;
        let inode = (stat.st_dev, stat.st_ino);
        if kind(&stat) != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode) {
                rustix::fs::linkat(CWD, self.root.join(first), target, name, AtFlags::empty())?;
                return Ok(());
            }
            self.links.insert(inode, path.to_owned());
        }
        match kind(&stat) {
            FileType::Directory => {
                mkdirat(target, name, Mode::RWXU)?;
                self.folder(&source.child(name)?, &target.child(name)?, path)?;
            }
            FileType::RegularFile => copy_file(source, target, name, &stat)?,
            FileType::Symlink => symlinkat(source.readlink(name)?, target, name)?,
            special => mknodat(target, name, special, Mode::RUSR, stat.st_rdev)?,
        }
        copy_xattrs(source, Some(name), target)?;
        set_attributes(target, Some(name), &stat)
    }
}

fn copy_file(source: &Folder, target: &Folder, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let from = source.file(name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
    let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
    rustix::fs::ftruncate(&to, size)?;
    content::copy(from.as_fd(), to.as_fd(), &DataMap::of(from.as_fd(), size)?)
}

fn copy_xattrs(source: &Folder, name: Option<&OsStr>, target: &Folder) -> io::Result<()> {
    for (key, value) in source.xattrs(name)? {
        rustix::fs::lsetxattr(target.proc_path(name), &key, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Sets owner, then mode (changing the owner clears set-user-id), then times.
fn set_attributes(target: &Folder, name: Option<&OsStr>, stat: &Stat) -> io::Result<()> {
    let name = name.unwrap_or(OsStr::new("."));
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(stat) != FileType::Symlink {
        rustix::fs::chmodat(target, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec)? },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec)? },
    };
    Ok(rustix::fs::utimensat(target, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn nanoseconds(raw: u64) -> io::Result<i64> {
    i64::try_from(raw).map_err(io::Error::other)
}
