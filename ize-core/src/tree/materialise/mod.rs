//! Copying a tree to a folder of the host, exactly: names, kinds, content, holes, permission bits, owners, times,
//! symlinks, hard links, special files and extended attributes.
//!
//! Nothing that exists is overwritten. What the host refuses for a single file (a device without privilege, an attribute
//! that the filesystem does not have) is noted in the [`CopyReport`] and does not stop the rest.

mod copier;
mod node;

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::copier::Copier;
pub(super) use self::node::set_metadata;
use super::source::{HostSource, SnapshotSource, Source};
use super::{Snapshot, TreeError, host};
use crate::model::{FileKind, Name, RelPath, XattrName};

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Names made so far.
    pub entries: u64,
    /// Bytes of content written so far.
    pub bytes: u64,
}

/// How to copy.
#[non_exhaustive]
pub struct CopyOptions<'a> {
    /// Owners and groups are kept, not only contents and permissions. Needs privilege for other people's files. Without
    /// it, a file that gets another owner loses its set-user-id and set-group-id bits, as with `cp -p`.
    pub owners: bool,
    /// Is told now and then how far the copy is.
    pub progress: Option<&'a mut dyn FnMut(CopyProgress)>,
}

impl Default for CopyOptions<'_> {
    /// Keeps owners if the process is privileged.
    fn default() -> Self {
        Self { owners: rustix::process::geteuid().is_root(), progress: None }
    }
}

impl fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOptions").field("owners", &self.owners).finish_non_exhaustive()
    }
}

/// What could not be copied of a file, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Omission {
    /// It could not be read, so it is missing.
    Unreadable(Errno),
    /// The host refused to make it (a device without privilege), so it is missing.
    NotMade(Errno),
    /// Another filesystem is mounted there; the folder was made, but not what is in it.
    MountPoint,
    /// The owner could not be set.
    Owner(Errno),
    /// The permission bits could not be set.
    Mode(Errno),
    /// An extended attribute could not be set.
    Xattr(XattrName, Errno),
}

impl Omission {
    /// Tells whether the copy lacks content: something that is more than a note.
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::NotMade(_))
    }
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(errno) => write!(f, "could not be read ({errno})"),
            Self::NotMade(errno) => write!(f, "could not be made ({errno})"),
            Self::MountPoint => f.write_str("another filesystem is mounted there; its content was left out"),
            Self::Owner(errno) => write!(f, "its owner could not be set ({errno})"),
            Self::Mode(errno) => write!(f, "its permissions could not be set ({errno})"),
            Self::Xattr(name, errno) => write!(f, "its attribute {name} could not be set ({errno})"),
        }
    }
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Regular files made, hard links to earlier ones not counted.
    pub files: u64,
    /// Folders made, the top included.
    pub folders: u64,
    /// Symlinks made.
    pub symlinks: u64,
    /// Fifos, sockets and devices made.
    pub specials: u64,
    /// Names made for files that had been made already.
    pub hard_links: u64,
    /// Bytes of content written; holes are not written.
    pub bytes: u64,
    /// What could not be copied, the first [`CopyReport::OMITTED_MAX`] of it.
    pub omitted: Vec<(RelPath, Omission)>,
    /// How much could not be copied.
    pub omitted_count: u64,
}

impl CopyReport {
    /// The most omissions that are listed.
    pub const OMITTED_MAX: usize = 1000;

    fn omit(&mut self, path: impl FnOnce() -> RelPath, what: Omission) {
        self.omitted_count += 1;
        if self.omitted.len() < Self::OMITTED_MAX {
            self.omitted.push((path(), what));
        }
    }

    /// Returns how many names were made.
    pub const fn entries(&self) -> u64 {
        self.files + self.folders + self.symlinks + self.specials + self.hard_links
    }
}

/// Why a copy was not made, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The destination is there already and is no empty folder; nothing was touched.
    #[error("{} exists already", .0.display())]
    Occupied(PathBuf),
    /// The destination could not be opened or made.
    #[error("{} could not be made", path.display())]
    Destination {
        /// The destination.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The tree to copy from could not be opened.
    #[error("{} could not be opened", path.display())]
    Origin {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// The path was not there at that moment.
    #[error("{0} was not there at that moment")]
    NotThere(RelPath),
    /// The tree has an entry `.ize` at its top, a name that is reserved.
    #[error("the folder has an entry named .ize, which is reserved")]
    Reserved,
    /// The destination lies inside the tree that is copied.
    #[error("the destination lies inside the folder that is copied, at {0}")]
    IntoItself(RelPath),
    /// History could not be read; what was copied until then is there.
    #[error("{path} could not be read")]
    Read {
        /// Where, below the top.
        path: RelPath,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// The destination could not be written; what was copied until then is there.
    #[error("{path} could not be written")]
    Write {
        /// Where, below the top.
        path: RelPath,
        /// Why.
        #[source]
        source: Errno,
    },
}

/// The name at a project's root that Ize keeps for itself.
const RESERVED: &str = ".ize";

/// Copies a folder into an empty folder. The folder's own metadata is copied too.
///
/// # Errors
/// [`CopyError`]; [`CopyError::Occupied`] if `dest` is not empty.
pub fn materialise(
    source: &mut dyn Source,
    dest: BorrowedFd<'_>,
    options: CopyOptions<'_>,
) -> Result<CopyReport, CopyError> {
    let dest_error = |source| CopyError::Destination { path: PathBuf::from("."), source };
    let dest = host::reopen_directory(dest).map_err(dest_error)?;
    if !host::names_in(&dest).map_err(dest_error)?.is_empty() {
        return Err(CopyError::Occupied(PathBuf::from(".")));
    }
    Copier::new(source, dest, options).map_err(dest_error)?.copy_folder()
}

/// Copies a folder of the host into an empty folder that becomes a project's tree.
///
/// # Errors
/// [`CopyError`]; [`CopyError::Reserved`] if the folder has an entry `.ize`.
pub fn import(from: &Path, dest: BorrowedFd<'_>, options: CopyOptions<'_>) -> Result<CopyReport, CopyError> {
    let origin_error = |source| CopyError::Origin { path: from.to_path_buf(), source };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(from, flags, Mode::empty()).map_err(|errno| origin_error(errno.into()))?;
    match host::stat_entry(&top, OsStr::new(RESERVED)) {
        Err(Errno::NOENT) => {}
        Ok(_) => return Err(CopyError::Reserved),
        Err(errno) => return Err(origin_error(errno.into())),
    }
    let mut source = HostSource::new(top).map_err(|errno| origin_error(errno.into()))?;
    materialise(&mut source, dest, options)
}

/// Copies what a path named at some moment to the host.
///
/// A folder becomes `dest`, which is made or must be empty. Anything else becomes `dest`, which must not exist, or, if
/// `dest` is a folder, an entry of it under its old name.
///
/// # Errors
/// [`CopyError`]; [`CopyError::NotThere`]; [`CopyError::Occupied`].
pub fn export(
    snapshot: &Snapshot,
    path: &RelPath,
    dest: &Path,
    options: CopyOptions<'_>,
) -> Result<CopyReport, CopyError> {
    let read_error = |source: TreeError| match source.errno() {
        Errno::NOENT | Errno::NOTDIR => CopyError::NotThere(path.clone()),
        _ => CopyError::Read { path: path.clone(), source },
    };
    let mut source = SnapshotSource::new(snapshot, path).map_err(read_error)?;
    let kind = source.select_top().map_err(read_error)?.metadata.kind;
    match path.split_last() {
        Some((_, name)) if kind != FileKind::Directory => export_file(&mut source, &name, dest, options),
        _ => materialise(&mut source, make_folder(dest)?.as_fd(), options).map_err(|error| match error {
            CopyError::Occupied(_) => CopyError::Occupied(dest.to_path_buf()),
            CopyError::Destination { source, .. } => CopyError::Destination { path: dest.to_path_buf(), source },
            other => other,
        }),
    }
}

/// Makes what a path named at some moment, which was no folder, under a name in a folder.
pub(super) fn make_one(
    snapshot: &Snapshot,
    path: &RelPath,
    folder: OwnedFd,
    name: &Name,
) -> Result<CopyReport, CopyError> {
    let read_error = |source| CopyError::Read { path: path.clone(), source };
    let mut source = SnapshotSource::new(snapshot, path).map_err(read_error)?;
    let dest_error = |source| CopyError::Destination { path: PathBuf::from("."), source };
    Copier::new(&mut source, folder, CopyOptions::default()).map_err(dest_error)?.copy_file(name)
}

/// Opens a folder, making it if there is nothing.
fn make_folder(dest: &Path) -> Result<OwnedFd, CopyError> {
    let dest_error = |source| CopyError::Destination { path: dest.to_path_buf(), source };
    match rustix::fs::mkdir(dest, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(dest_error(errno)),
    }
    match open_folder(dest) {
        Err(Errno::NOTDIR) => Err(CopyError::Occupied(dest.to_path_buf())),
        other => other.map_err(dest_error),
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn export_file(
    source: &mut SnapshotSource,
    old_name: &Name,
    dest: &Path,
    options: CopyOptions<'_>,
) -> Result<CopyReport, CopyError> {
    let dest_error = |source| CopyError::Destination { path: dest.to_path_buf(), source };
    let (folder, name) = match open_folder(dest) {
        Ok(folder) => (folder, old_name.clone()),
        Err(Errno::NOENT) => {
            let name = dest.file_name().and_then(|name| Name::from_os(name).ok()).ok_or(dest_error(Errno::NOENT))?;
            let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (open_folder(parent).map_err(dest_error)?, name)
        }
        Err(Errno::NOTDIR) => return Err(CopyError::Occupied(dest.to_path_buf())),
        Err(errno) => return Err(dest_error(errno)),
    };
    Copier::new(source, folder, options).map_err(dest_error)?.copy_file(&name).map_err(|error| match error {
        CopyError::Write { source: Errno::EXIST, .. } => CopyError::Occupied(dest.to_path_buf()),
        other => other,
    })
}
