//! A held folder: everything in a tree is reached from a descriptor and one name, so the depth of a tree and the length
//! of its paths do not matter.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
}

impl Folder {
    /// Opens the root of a tree.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a folder in this one.
    pub(crate) fn child(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(&self.fd, name, flags, Mode::empty())? })
    }

    /// Opens a file in this folder for reading.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?)
    }

    /// Returns the names in the folder, ordered.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns what `lstat` says of a name.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Returns what `stat` says of the folder itself.
    pub(crate) fn stat_self(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.fd)?)
    }

    /// Returns the target of a symlink.
    pub(crate) fn readlink(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(OsString::from_vec(rustix::fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes()))
    }

    /// Returns the extended attributes of a name, ordered; of the folder itself for `None`.
    pub(crate) fn xattrs(&self, name: Option<&OsStr>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let path = self.proc_path(name);
        let mut list = vec![0; 64 * 1024];
        let listed = match rustix::fs::llistxattr(&path, &mut list[..]) {
            Ok(listed) => listed,
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut xattrs = Vec::new();
        for key in list[..listed].split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
            let key = OsStr::from_bytes(key);
            let mut value = vec![0; 64 * 1024];
            let size = rustix::fs::lgetxattr(&path, key, &mut value[..])?;
            value.truncate(size);
            xattrs.push((key.to_owned(), value));
        }
        xattrs.sort();
        Ok(xattrs)
    }

    /// Returns a short path to a name, for calls that have no form with a descriptor.
    pub(crate) fn proc_path(&self, name: Option<&OsStr>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        path.push(name.unwrap_or(OsStr::new(".")));
        path
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns the kind of an inode.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
