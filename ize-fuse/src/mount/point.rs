//! [`MountPoint`]: attaches `/dev/fuse` to a folder, and detaches exactly that mount again.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::table::{self, Entry};
use super::{DetachMode, MountError, MountOptions, helper};

/// A mount counts as busy while a program ends, or while `df` looks at it. Only what lasts longer is in the way.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

const DEVICE: &str = "/dev/fuse";

/// A mount as the kernel names it, which stays true when folders above it are renamed.
#[derive(Debug)]
pub(super) struct MountPoint {
    path: PathBuf,
    /// What the mount table says. The kernel gives the same id and device to the next mount once ours is gone.
    id: u64,
    device: String,
    /// The id that no other mount ever has, from Linux 6.8 on.
    unique_id: Option<u64>,
}

impl MountPoint {
    /// Mounts, by the kernel's call where we may, else by the helper of the package fuse3. Requests wait in the returned
    /// descriptor.
    pub(super) fn attach(options: &MountOptions) -> Result<(OwnedFd, Self), MountError> {
        let path = suitable(options)?;
        let device = match attach_directly(&path, options) {
            Err(MountError::Refused { source: Errno::PERM, .. } | MountError::Device { source: Errno::ACCESS }) => {
                helper::attach(&path, options)?
            }
            result => result?,
        };
        // Nothing but our own mount can lie on top of the path at this moment, short of a race with another mount there.
        let entry = table::on(&path).map_err(|source| MountError::Table { source })?;
        match entry.filter(Entry::is_ize) {
            Some(entry) => {
                let unique_id = unique_id(&path);
                Ok((device, Self { path, id: entry.id, device: entry.device, unique_id }))
            }
            None => Err(MountError::Session { source: io::Error::other("the mount went away at once") }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts, if the mount is still there.
    pub(super) fn detach(&self, mode: DetachMode) -> Result<(), MountError> {
        let began = Instant::now();
        loop {
            let Some(path) = self.present()? else { return Ok(()) };
            match detach(&path, mode) {
                Err(MountError::Busy { .. }) if began.elapsed() < BUSY_PATIENCE => thread::sleep(BUSY_PAUSE),
                result => return result,
            }
        }
    }

    /// Returns where our mount is, if it is still there. A mount on top of it makes it busy.
    fn present(&self) -> Result<Option<PathBuf>, MountError> {
        let table = table::read().map_err(|source| MountError::Table { source })?;
        let ours = |entry: &&Entry| entry.id == self.id && entry.device == self.device && entry.is_ize();
        let Some(path) = table.iter().find(ours).map(|entry| entry.path.clone()) else { return Ok(None) };
        if !table.iter().rfind(|entry| entry.path == path).is_some_and(|top| ours(&top)) {
            return Err(MountError::Busy { path });
        }
        Ok((unique_id(&path) == self.unique_id).then_some(path))
    }
}

/// Asks for the id of the topmost mount on a path, without a request to the filesystem there.
fn unique_id(path: &Path) -> Option<u64> {
    /// `STATX_MNT_ID_UNIQUE` of `include/uapi/linux/stat.h`.
    const MOUNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let answer = rustix::fs::statx(rustix::fs::CWD, path, flags, MOUNT_ID_UNIQUE).ok()?;
    (answer.stx_mask & MOUNT_ID_UNIQUE.bits() != 0).then_some(answer.stx_mnt_id)
}

/// Checks the mount point and returns its absolute path.
fn suitable(options: &MountOptions) -> Result<PathBuf, MountError> {
    let path = options.mount_point.clone();
    let no_mount_point = |source| MountError::MountPoint { path: path.clone(), source };
    let absolute = match path.canonicalize() {
        Ok(absolute) => absolute,
        Err(error) if is_disconnected(&error) => return Err(MountError::DeadMount { path }),
        Err(error) => return Err(no_mount_point(error)),
    };
    let mounted = table::on(&absolute).map_err(|source| MountError::Table { source })?;
    if is_dead_mount(&absolute) {
        return Err(MountError::DeadMount { path: absolute });
    }
    if !fs::metadata(&absolute).map_err(no_mount_point)?.is_dir() {
        return Err(no_mount_point(Errno::NOTDIR.into()));
    }
    if let Some(entry) = mounted.filter(Entry::is_ize) {
        return Err(MountError::AlreadyMounted { path: absolute, name: entry.source });
    }
    if !options.cover && fs::read_dir(&absolute).map_err(no_mount_point)?.next().is_some() {
        return Err(MountError::NotEmpty { path: absolute });
    }
    Ok(absolute)
}

/// Tells whether the daemon of the filesystem at a path is gone. Only `statvfs` always asks it: the kernel answers a
/// `stat` of a dead mount from its memory.
pub fn is_dead_mount(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_err_and(|error| is_disconnected(&error.into()))
}

fn is_disconnected(error: &io::Error) -> bool {
    [Errno::NOTCONN, Errno::CONNABORTED].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error())
}

/// Tells whether each serving thread can have its own descriptor.
pub(super) fn device_can_be_opened() -> bool {
    open_device().is_ok()
}

fn open_device() -> Result<OwnedFd, MountError> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| MountError::Device { source })
}

fn attach_directly(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid(),
        rustix::process::getgid(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    let refused = |source| MountError::Refused { path: path.to_owned(), source };
    let data = CString::new(data).map_err(|_| refused(Errno::INVAL))?;
    rustix::mount::mount(source(options), path, "fuse.ize", flags, data.as_c_str()).map_err(refused)?;
    Ok(device)
}

/// What the mount table names as the source.
pub(super) fn source(options: &MountOptions) -> String {
    format!("ize:{}", options.name)
}

fn detach(path: &Path, mode: DetachMode) -> Result<(), MountError> {
    let flags = match mode {
        DetachMode::RefuseIfBusy => UnmountFlags::NOFOLLOW,
        DetachMode::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy { path: path.to_owned() }),
        Err(Errno::PERM) => helper::detach(path, mode),
        // Somebody else was quicker.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(source) => Err(MountError::Unmount { path: path.to_owned(), source }),
    }
}

/// Detaches a mount whose daemon is gone, and tells whether there was one.
///
/// # Errors
/// [`MountError`] if the kernel refuses.
pub fn clear_dead_mount(mount_point: &Path) -> Result<bool, MountError> {
    // The path of a dead mount cannot be resolved itself; that of its folder can.
    let path = match (mount_point.parent().map(Path::canonicalize), mount_point.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => mount_point.to_owned(),
    };
    let entry = table::on(&path).map_err(|source| MountError::Table { source })?;
    if entry.is_none_or(|entry| !entry.is_ize()) || !is_dead_mount(&path) {
        return Ok(false);
    }
    detach(&path, DetachMode::Lazy)?;
    Ok(true)
}
