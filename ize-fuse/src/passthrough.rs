//! Files that the kernel reads and writes itself (`FUSE_PASSTHROUGH`, Linux 6.9): it is handed the file of the tree when one
//! is opened, and does not ask here again before the file is closed.
//!
//! All who have a file open at one time must agree, and share one *backing id* (`fs/fuse/iomode.c`). So once this is on, it
//! is so for every file.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{BackingId, INodeNo, InitFlags, KernelConfig};
use ize_core::tree::{Granularity, Tree};
use parking_lot::Mutex;
use rustix::io::Errno;

/// The files of the tree lie on a filesystem of its own, not on one that lies on another.
const STACK_DEPTH: u32 = 1;

/// Why the kernel does not read and write the files of a mount itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoPassthrough {
    /// It does not know how to.
    #[error("the kernel cannot pass reads and writes through (Linux 6.9 can)")]
    Unsupported,
    /// It does not let this process.
    #[error("passing reads and writes through needs root")]
    NotPermitted,
    /// It does not do so on the filesystem that the files are on.
    #[error("reads and writes cannot be passed through to the filesystem of the live files ({0})")]
    Filesystem(#[source] io::Error),
}

/// Whether it is on, and which files are open.
pub(crate) struct Passthrough {
    wanted: bool,
    is_offered: AtomicBool,
    is_on: AtomicBool,
    open: Mutex<HashMap<INodeNo, Backing>>,
}

struct Backing {
    id: Arc<BackingId>,
    opens: usize,
}

impl Passthrough {
    pub(crate) fn new(granularity: Granularity) -> Self {
        Self {
            wanted: granularity == Granularity::Close,
            is_offered: AtomicBool::new(false),
            is_on: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    /// Asks the kernel for it, if it is wanted.
    pub(crate) fn negotiate(&self, config: &mut KernelConfig) {
        if self.wanted
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(STACK_DEPTH).is_ok()
        {
            self.is_offered.store(true, Ordering::Release);
        }
    }

    /// Tries it with a file of the tree, and if that works has it for every file that is opened from now on. Does nothing
    /// where it is not wanted.
    pub(crate) fn try_on(&self, device: impl AsFd, tree: &dyn Tree) -> Result<(), NoPassthrough> {
        if !self.wanted {
            return Ok(());
        }
        if !self.is_offered.load(Ordering::Acquire) {
            return Err(NoPassthrough::Unsupported);
        }
        let file = tree.unnamed_file().map_err(|error| NoPassthrough::Filesystem(error.errno().into()))?;
        // fuser gives no way to close this id but by the end of the mount; until then the kernel keeps an empty file.
        BackingId::create_raw(device, file).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::PERM) => NoPassthrough::NotPermitted,
            Some(Errno::NOTTY) => NoPassthrough::Unsupported,
            _ => NoPassthrough::Filesystem(error),
        })?;
        tree.begin_passthrough();
        self.is_on.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Returns the backing id of a node that is being opened, made with `register` if nobody else has it open.
    pub(crate) fn open(
        &self,
        node: INodeNo,
        file: &OwnedFd,
        register: impl FnOnce(&OwnedFd) -> io::Result<BackingId>,
    ) -> io::Result<Arc<BackingId>> {
        // Held while it is made: two must not be.
        let mut open = self.open.lock();
        if let Some(backing) = open.get_mut(&node) {
            backing.opens += 1;
            return Ok(Arc::clone(&backing.id));
        }
        let id = Arc::new(register(file)?);
        open.insert(node, Backing { id: Arc::clone(&id), opens: 1 });
        Ok(id)
    }

    /// Notes that a node is closed once. The kernel lets go of a file before it says so.
    pub(crate) fn release(&self, node: INodeNo) {
        if !self.is_on() {
            return;
        }
        let mut open = self.open.lock();
        if let Some(backing) = open.get_mut(&node) {
            backing.opens -= 1;
            if backing.opens == 0 {
                open.remove(&node);
            }
        }
    }
}
