//! What `fsync(2)` means in the live tree, without making the calling thread wait.
//!
//! The journal is synced by the recorder's own thread. Where the file in `working/` is to be synced too (in an adopted
//! folder, and if the kernel writes to it or it is ignored, so that the journal has nothing of it), that happens
//! meanwhile on [`crate::tree::DiskThreads`]: it may take long, and must hold up neither who serves requests nor who syncs the journal.

use std::os::fd::AsFd;
use std::sync::mpsc;

use rustix::io::Errno;

use super::{Live, recording};
use crate::disk::Durable;
use crate::model::Landmark;
use crate::record::RecordError;
use crate::tree::host;
use crate::tree::{Handle, Result, SyncScope, Then, TreeError};

impl Live {
    /// Waits for what [`Tree::settle`](crate::tree::Tree::settle) calls back for: before a change is acknowledged to
    /// somebody who called without an adapter.
    ///
    /// # Errors
    /// [`TreeError::Recording`].
    pub fn wait_settled(&self) -> Result<()> {
        self.recorder.wait_settled().map_err(recording)
    }

    pub(super) fn sync_file(&self, handle: Handle, scope: SyncScope, then: Then) {
        let open = match self.handles.file(handle) {
            Ok(open) => open,
            Err(errno) => return then(Err(errno.into())),
        };
        // After each write through a descriptor that waits for the disk the kernel asks for a sync of its own: that is not
        // a save, and the close will be.
        let is_handed_over = open.is_handed_over();
        let marked = match scope {
            SyncScope::File | SyncScope::Data if is_handed_over => self.record_version(&open, Landmark::Sync).map(drop),
            SyncScope::File | SyncScope::Data if !open.mode.sync => self.mark_written(&open, Landmark::Sync).map(drop),
            _ => Ok(()),
        };
        if let Err(error) = marked {
            return then(Err(error));
        }
        // The journal has nothing of a file that is ignored.
        let is_only_there = is_handed_over || open.node.history().is_none();
        self.make_durable(then, is_only_there, move || match scope {
            SyncScope::File => host::sync(&open.fd, Durable::All),
            SyncScope::Data | SyncScope::Write => host::sync(&open.fd, Durable::Data),
        });
    }

    pub(super) fn sync_folder(&self, handle: Handle, then: Then) {
        // A descriptor of its own: listings through the handle go on meanwhile.
        let folder = self.handles.directory(handle).and_then(|directory| {
            let fd = rustix::io::fcntl_dupfd_cloexec(directory.fd.lock().as_fd(), 0)?;
            Ok((directory.node.history().is_none(), fd))
        });
        match folder {
            Ok((is_ignored, folder)) => {
                // Where there are rules, a recorded folder may have names of ignored files.
                let is_only_there = is_ignored || !self.ignore.read().is_empty();
                self.make_durable(then, is_only_there, move || host::sync(&folder, Durable::All));
            }
            Err(errno) => then(Err(errno.into())),
        }
    }

    /// Makes the journal durable, and where that is wanted, or what was written is only in `working/`, what `sync_working`
    /// syncs; then calls back.
    fn make_durable(
        &self,
        then: Then,
        is_only_there: bool,
        sync_working: impl FnOnce() -> Result<(), Errno> + Send + 'static,
    ) {
        if !self.sync_working && !is_only_there {
            return self.recorder.on_durable(|outcome| then(outcome.map_err(recording)));
        }
        let (sender, journal) = mpsc::sync_channel(1);
        self.recorder.on_durable(move |outcome| {
            // Whoever left this waits for it.
            let _ = sender.send(outcome);
        });
        self.disk.run(move || {
            let working = sync_working();
            let journal = journal.recv().unwrap_or(Err(RecordError::Closed)).map_err(recording);
            then(journal.and(working.map_err(TreeError::from)));
        });
    }
}
