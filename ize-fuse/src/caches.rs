//! [`KernelCaches`]: tells the kernel to drop what it remembers, after a change that did not pass through the mount.
//!
//! Dropping an entry or pages takes locks in the kernel that a request under way may hold while it waits for us. So it
//! is never done on a thread that serves requests, and whoever calls must hold no lock that a request needs.

use std::cell::Cell;
use std::fmt;
use std::io;

use fuser::Notifier;
use ize_core::model::{FileId, Name};
use ize_core::tree::Invalidator;

use crate::wire;

thread_local! {
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as serving a request.
pub(crate) struct Serving(bool);

impl Serving {
    pub(crate) fn begin() -> Self {
        Self(SERVING.replace(true))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        SERVING.set(self.0);
    }
}

/// What the kernel remembers of a mounted tree: the [`Invalidator`] to hand to `Live::set_invalidator`.
///
/// Call its methods after the change, without holding a lock that a request of the mount could wait for.
#[derive(Clone)]
pub struct KernelCaches {
    notifier: Notifier,
}

impl KernelCaches {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self { notifier }
    }

    /// A mount that has gone remembers nothing, so a failure needs no answer.
    fn tell(&self, send: impl FnOnce(&Notifier) -> io::Result<()>) {
        debug_assert!(!SERVING.get(), "the kernel's caches are to be dropped on a thread that serves requests");
        if let Err(error) = send(&self.notifier) {
            tracing::debug!(%error, "the kernel did not take an invalidation");
        }
    }
}

impl Invalidator for KernelCaches {
    /// Makes the kernel forget what a name stands for, or that there is none, and the folder's listing.
    fn entry(&self, dir: FileId, name: &Name) {
        self.tell(|notifier| notifier.inval_entry(wire::node(dir), name.as_os_str()));
    }

    /// Makes the kernel forget a file's attributes and content.
    fn inode(&self, file: FileId) {
        self.tell(|notifier| notifier.inval_inode(wire::node(file), 0, 0));
    }
}

impl fmt::Debug for KernelCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelCaches").finish_non_exhaustive()
    }
}
