//! [`mount`] and [`Mount`]: the life of a mount, from the kernel's first request to its last.
//!
//! We attach and detach the mount point ourselves and give fuser only the descriptor of `/dev/fuse`. fuser 0.18 would
//! unmount the *path* when its session ends, and after an `umount` from outside that can be somebody else's mount. Here
//! only that mount is ever detached which carries the ids that the kernel gave to ours.

mod error;
mod helper;
mod point;
mod table;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fuser::{BackgroundSession, Config, Session, SessionACL};
use ize_core::tree::{Granularity, Tree};
use parking_lot::{Condvar, Mutex};
use rustix::fs::Mode;

use crate::adapter::Adapter;
use crate::caches::KernelCaches;
use crate::passthrough::{NoPassthrough, Passthrough};

pub use error::MountError;
use point::MountPoint;
pub use point::{clear_dead_mount, is_dead_mount};

/// How to mount.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MountOptions {
    /// The folder to cover.
    pub mount_point: PathBuf,
    /// The name of the project: the mount table shows it as the source `ize:<name>`.
    pub name: String,
    /// Whether changes are refused by the kernel already.
    pub read_only: bool,
    /// Whether other users may enter. Permissions are checked either way.
    pub allow_other: bool,
    /// Whether the mount point may hold something, which the mount then hides.
    pub cover: bool,
    /// How many threads serve requests.
    pub threads: usize,
    /// In what pieces changes of content are recorded. Where the kernel does not let this process have
    /// [`Granularity::Close`], it is [`Granularity::Write`]; see [`Mount::fallback`].
    pub granularity: Granularity,
}

impl MountOptions {
    /// Serving threads unless told otherwise: enough that a few requests that wait for the disk do not hold up the rest.
    pub const THREADS_DEFAULT: usize = 4;

    /// Mounts `name` on the empty folder `mount_point`, writable, for its owner only.
    pub fn new(mount_point: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            mount_point: mount_point.into(),
            name: name.into(),
            read_only: false,
            allow_other: false,
            cover: false,
            threads: Self::THREADS_DEFAULT,
            granularity: Granularity::Write,
        }
    }
}

/// What to do with a mount that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachMode {
    /// Leave it mounted and say so.
    RefuseIfBusy,
    /// Take it out of the tree of folders at once; those who use it keep it until they let go.
    Lazy,
}

/// Mounts a tree. When this returns, programs can work in it.
///
/// The umask of the process becomes 0, because the kernel has applied the umask of the program that asks.
///
/// # Errors
/// [`MountError`] if the mount point does not suit or the kernel refuses.
pub fn mount(tree: Arc<dyn Tree>, options: &MountOptions) -> Result<Mount, MountError> {
    let (device, point) = MountPoint::attach(options)?;
    rustix::process::umask(Mode::empty());
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = point::device_can_be_opened();
    // The kernel knows who may enter (`allow_other`). fuser's own check goes by the user id of each request, and would
    // refuse a program that opened a file and then changed its user.
    let passthrough = Arc::new(Passthrough::new(options.granularity));
    let adapter = Adapter::new(Arc::clone(&tree), Arc::clone(&passthrough));
    let session = Session::from_fd(adapter, device, SessionACL::All, config).and_then(|session| {
        let fallback = passthrough.try_on(&session, &*tree).err();
        Ok((session.spawn()?, fallback))
    });
    match session {
        Ok((session, fallback)) => Mount::start(session, point, fallback),
        Err(source) => {
            detach_quietly(&point);
            Err(MountError::Session { source })
        }
    }
}

/// Detaches where there is nobody to tell.
fn detach_quietly(point: &MountPoint) {
    if let Err(error) = point.detach(DetachMode::Lazy) {
        tracing::warn!(%error, "a mount could not be detached");
    }
}

/// A mounted tree. Dropping it detaches the mount point lazily and does not wait.
pub struct Mount {
    point: Arc<MountPoint>,
    caches: KernelCaches,
    fallback: Option<NoPassthrough>,
    ended: Arc<Ended>,
}

/// Says when the session is over, and keeps how it ended.
#[derive(Default)]
struct Ended {
    /// The mount was detached on request. However the session ends then, that is what was asked for.
    detached: AtomicBool,
    result: Mutex<Option<Result<(), Arc<io::Error>>>>,
    changed: Condvar,
}

impl Mount {
    fn start(
        session: BackgroundSession,
        point: MountPoint,
        fallback: Option<NoPassthrough>,
    ) -> Result<Self, MountError> {
        let caches = KernelCaches::new(session.notifier());
        let (point, ended) = (Arc::new(point), Arc::new(Ended::default()));
        let waiter = {
            let (point, ended) = (Arc::clone(&point), Arc::clone(&ended));
            move || {
                let result = session.join().map_err(Arc::new);
                // An unmount ends the session well. After an abort of the connection the mount is still there, and dead.
                if result.is_err() {
                    detach_quietly(&point);
                }
                *ended.result.lock() = Some(result);
                ended.changed.notify_all();
            }
        };
        let mount = Self { point, caches, fallback, ended };
        thread::Builder::new()
            .name("ize-mount".to_owned())
            .spawn(waiter)
            .map_err(|source| MountError::Session { source })?;
        Ok(mount)
    }

    /// Returns the absolute path that was covered.
    pub fn mount_point(&self) -> &Path {
        self.point.path()
    }

    /// Returns what drops the kernel's memory of the tree.
    pub fn caches(&self) -> KernelCaches {
        self.caches.clone()
    }

    /// Tells why each write is recorded although [`Granularity::Close`] was asked for, if so.
    pub fn fallback(&self) -> Option<&NoPassthrough> {
        self.fallback.as_ref()
    }

    /// Tells whether the session is over.
    pub fn has_ended(&self) -> bool {
        self.ended.result.lock().is_some()
    }

    /// Waits until the session is over: unmounted from here or from outside, and nobody uses it any more.
    ///
    /// # Errors
    /// [`MountError::Session`] if it broke.
    pub fn wait(&self) -> Result<(), MountError> {
        let mut result = self.ended.result.lock();
        loop {
            match &*result {
                Some(Ok(())) => return Ok(()),
                Some(Err(source)) if self.ended.detached.load(Ordering::Acquire) => {
                    tracing::warn!(
                        error = &**source as &dyn std::error::Error,
                        "the session of a detached mount broke"
                    );
                    return Ok(());
                }
                Some(Err(source)) => return Err(MountError::Session { source: copy_of(source) }),
                None => self.ended.changed.wait(&mut result),
            }
        }
    }

    /// Unmounts, and waits until the session is over unless the mount was detached while in use. A mount that has gone
    /// already is a success.
    ///
    /// # Errors
    /// [`MountError::Busy`] if a program works in it.
    pub fn unmount(&self, mode: DetachMode) -> Result<(), MountError> {
        if !self.has_ended() {
            // Before: the session may be over at once.
            self.ended.detached.store(true, Ordering::Release);
            self.point.detach(mode).inspect_err(|_| self.ended.detached.store(false, Ordering::Release))?;
        }
        match mode {
            DetachMode::RefuseIfBusy => self.wait(),
            DetachMode::Lazy => Ok(()),
        }
    }
}

/// Errors cannot be cloned, and several threads may wait.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.has_ended() {
            detach_quietly(&self.point);
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("point", &self.point).field("ended", &self.has_ended()).finish_non_exhaustive()
    }
}
