//! Open files and folders, by number.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::Node;
use crate::model::{Actor, OpId};
use crate::tree::{Handle, OpenMode};

/// An open file.
pub(super) struct OpenFile {
    pub(super) node: Arc<Node>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) mode: OpenMode,
    /// Who opened it; writes are theirs, whichever thread the kernel sends them from.
    pub(super) actor: Arc<Actor>,
    /// The last operation that was recorded through this handle and is no landmark yet; 0 for none.
    unmarked: AtomicU64,
    /// The kernel reads and writes the file itself.
    handed_over: AtomicBool,
}

impl OpenFile {
    pub(super) fn new(node: Arc<Node>, fd: OwnedFd, mode: OpenMode, actor: Arc<Actor>) -> Self {
        let (unmarked, handed_over) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { node, fd: Arc::new(fd), mode, actor, unmarked, handed_over }
    }

    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    pub(super) fn note_written(&self, op: OpId) {
        self.unmarked.fetch_max(op.get(), Ordering::AcqRel);
    }

    pub(super) fn take_unmarked(&self) -> Option<OpId> {
        match self.unmarked.swap(0, Ordering::AcqRel) {
            0 => None,
            op => Some(OpId::new(op)),
        }
    }
}

/// An open folder.
pub(super) struct OpenDirectory {
    pub(super) node: Arc<Node>,
    /// Locked while entries are read: its position belongs to one reader at a time.
    pub(super) fd: Mutex<OwnedFd>,
}

#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: RwLock<HashMap<Handle, Arc<OpenFile>>>,
    directories: RwLock<HashMap<Handle, Arc<OpenDirectory>>>,
}

impl Handles {
    fn next(&self) -> Handle {
        Handle::new(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn add_file(&self, file: OpenFile) -> Handle {
        let handle = self.next();
        self.files.write().insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn file(&self, handle: Handle) -> Result<Arc<OpenFile>, Errno> {
        self.files.read().get(&handle).map(Arc::clone).ok_or(Errno::BADF)
    }

    pub(super) fn remove_file(&self, handle: Handle) -> Option<Arc<OpenFile>> {
        self.files.write().remove(&handle)
    }

    pub(super) fn add_directory(&self, directory: OpenDirectory) -> Handle {
        let handle = self.next();
        self.directories.write().insert(handle, Arc::new(directory));
        handle
    }

    pub(super) fn directory(&self, handle: Handle) -> Result<Arc<OpenDirectory>, Errno> {
        self.directories.read().get(&handle).map(Arc::clone).ok_or(Errno::BADF)
    }

    pub(super) fn remove_directory(&self, handle: Handle) {
        self.directories.write().remove(&handle);
    }
}
