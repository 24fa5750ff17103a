//! Making one inode on the host, and giving it the metadata that it is to have.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::Omission;
use crate::disk::{Change, change};
use crate::model::{FileKind, FileMetadata, Name};
use crate::storage::Xattr;
use crate::tree::{SetTime, host};

/// Permission bits while a file is being made: nobody else sees it before it has its own.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

fn entry<'a>(dir: &'a impl AsFd, name: &'a Name) -> Change<'a> {
    Change::Entry(dir.as_fd(), name.as_os_str())
}

/// Makes an empty regular file and opens it for writing.
pub(super) fn make_file(dir: impl AsFd, name: &Name) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    change(entry(&dir, name), || fs::openat(&dir, name.as_os_str(), flags, PRIVATE))
}

/// Makes a symlink.
pub(super) fn make_symlink(dir: impl AsFd, name: &Name, target: &[u8]) -> Result<OwnedFd, Errno> {
    change(entry(&dir, name), || fs::symlinkat(target, &dir, name.as_os_str()))?;
    host::open_path(dir, name.as_os_str())
}

/// Makes a fifo, socket or device.
pub(super) fn make_special(dir: impl AsFd, name: &Name, metadata: &FileMetadata) -> Result<OwnedFd, Errno> {
    let file_type = FileType::from_raw_mode(metadata.kind.type_bits());
    change(entry(&dir, name), || fs::mknodat(&dir, name.as_os_str(), file_type, PRIVATE, metadata.rdev))?;
    host::open_path(dir, name.as_os_str())
}

/// Gives an inode its owner, extended attributes, permissions and times, in the order in which none undoes another.
/// `omit` is told what the host refuses.
pub(in crate::tree) fn set_metadata(
    fd: impl AsFd,
    metadata: &FileMetadata,
    xattrs: &[Xattr],
    owners: bool,
    omit: &mut dyn FnMut(Omission),
) -> Result<(), Errno> {
    // The owner first: chown(2) takes set-user-id bits and file capabilities away.
    let owned = set_owner(&fd, metadata, owners, omit)?;
    // Then attributes: to set user.* the file must be writable, which it may not be with its own permissions.
    for xattr in xattrs {
        let name = std::os::unix::ffi::OsStrExt::from_bytes(xattr.name.as_bytes());
        if let Err(errno) = host::set_xattr(&fd, name, &xattr.value, XattrFlags::empty()) {
            omit(Omission::Xattr(xattr.name.clone(), errno));
        }
    }
    if metadata.kind != FileKind::Symlink {
        let mode = if owned { metadata.mode } else { metadata.mode & 0o1777 };
        if let Err(errno) = host::set_mode(&fd, mode) {
            omit(Omission::Mode(errno));
        }
    }
    host::set_times(&fd, Some(SetTime::To(metadata.atime)), Some(SetTime::To(metadata.mtime)))
}

/// Answers whether owner and group are those that the inode is to have.
fn set_owner(
    fd: impl AsFd,
    metadata: &FileMetadata,
    owners: bool,
    omit: &mut dyn FnMut(Omission),
) -> Result<bool, Errno> {
    let now = host::stat(&fd)?.metadata;
    if (now.uid, now.gid) == (metadata.uid, metadata.gid) {
        return Ok(true);
    }
    if !owners {
        return Ok(false);
    }
    match host::set_owner(&fd, Some(metadata.uid), Some(metadata.gid)) {
        Ok(()) => Ok(true),
        Err(errno) => {
            omit(Omission::Owner(errno));
            Ok(false)
        }
    }
}
