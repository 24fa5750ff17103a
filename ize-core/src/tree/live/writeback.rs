//! How what was changed in `working/` gets onto its disk, in the background and without stalling the journal.
//!
//! The journal keeps everything since `working/` was last synced as a whole. What lies between two syncs is an *epoch*. In
//! each of them a file's first change in place is announced in the journal before it happens ([`Recorder::note_dirty`]):
//! the host may write the change to disk before the journal's record of it, and after a power cut neither the file's size
//! nor its times would tell (ext4 writes data before the inode). A file that came into being in this epoch, or was
//! emptied in it, needs no such note: there the host's own journal tells.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustix::fs::Advice;
use rustix::io::Errno;

use super::handles::OpenFile;
use super::passthrough::Passthrough;
use crate::disk::{Change, change};
use crate::model::FileId;
use crate::record::{Recorder, TreeSyncDue};

/// How often the host is asked to begin writing what was changed.
const TRICKLE: Duration = Duration::from_millis(500);
/// So many files are told to the host at once; what is beyond waits for the sync.
const WRITTEN_MAX: usize = 1024;
/// A file to which less was written in that time waits for the sync: many small files are gone before it, and to write each
/// by itself holds up those who change names.
const WRITTEN_BYTES_MIN: u64 = 64 << 10;

/// An epoch; it does not end while this is held.
pub(super) type Epoch<'a> = RwLockReadGuard<'a, u64>;

/// Brings `working/` to its disk.
pub(super) struct Writeback {
    recorder: Arc<Recorder>,
    working: OwnedFd,
    passthrough: Arc<Passthrough>,
    epoch: RwLock<u64>,
    /// One sync at a time.
    syncing: Mutex<()>,
    written: Mutex<HashMap<FileId, Written>>,
}

/// What was written to a file, and not told the host yet.
struct Written {
    open: Arc<OpenFile>,
    start: u64,
    end: u64,
    bytes: u64,
}

impl Writeback {
    pub(super) fn new(recorder: Arc<Recorder>, working: OwnedFd, passthrough: Arc<Passthrough>) -> Self {
        Self {
            recorder,
            working,
            passthrough,
            epoch: RwLock::new(1),
            syncing: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Begins a thread that syncs until the recorder is closed or [`Writeback`] is stopped.
    pub(super) fn run(&self) {
        loop {
            match self.recorder.wait_for_tree_sync(TRICKLE) {
                TreeSyncDue::Soon => self.trickle(),
                TreeSyncDue::Now => {
                    if let Err(errno) = self.sync() {
                        tracing::error!(%errno, "working/ could not be synced, recording stops");
                    }
                }
                TreeSyncDue::Never => return,
            }
        }
    }

    /// Holds the epoch that is now.
    pub(super) fn epoch(&self) -> Epoch<'_> {
        self.epoch.read()
    }

    /// Notes that a range of a file was written.
    pub(super) fn wrote(&self, open: &Arc<OpenFile>, offset: u64, len: u64) {
        let mut written = self.written.lock();
        let end = offset + len;
        if let Some(known) = written.get_mut(&open.node.id) {
            (known.start, known.end) = (known.start.min(offset), known.end.max(end));
            known.bytes += len;
        } else if written.len() < WRITTEN_MAX {
            written.insert(open.node.id, Written { open: Arc::clone(open), start: offset, end, bytes: len });
        }
    }

    /// Asks the host to begin writing, without waiting for it.
    fn trickle(&self) {
        let written = std::mem::take(&mut *self.written.lock());
        for file in written.into_values() {
            // This begins the writing of dirty pages, but drops the clean ones between them. So scattered writes are left to
            // the sync. Best effort.
            let span = file.end - file.start;
            if span / 2 > file.bytes || file.bytes < WRITTEN_BYTES_MIN {
                continue;
            }
            let len = std::num::NonZeroU64::new(span);
            let _ = rustix::fs::fadvise(&file.open.fd, file.start, len, Advice::DontNeed);
        }
    }

    /// Makes everything that was recorded until now durable in `working/`, and lets the journal forget it. A failure
    /// poisons the recorder: what the host could not write it may have dropped.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        let _syncing = self.syncing.lock();
        if self.recorder.is_tree_synced() {
            return Ok(());
        }
        self.trickle();
        // The journal first: a tree on disk that is ahead of it would have to go back.
        if let Err(error) = self.recorder.sync() {
            tracing::debug!(error = &error as &dyn std::error::Error, "the journal was not synced");
        }
        let through = {
            // Nobody is between a look at the epoch and a change: what was changed before is synced with its inode, and what
            // is changed afterwards was announced in the new epoch.
            let mut epoch = self.epoch.write();
            *epoch += 1;
            self.recorder.begin_tree_sync()
        };
        // Those that may change at any time are announced in the new epoch before the journal forgets the old one.
        if let Err(error) = self.recorder.note_all_dirty(&self.passthrough.changing()) {
            // The journal keeps what it has; the next sync tries again.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "files were not announced, the tree is not synced"
            );
            return Ok(());
        }
        if let Err(errno) = change(Change::SyncFilesystem(self.working.as_fd()), || rustix::fs::syncfs(&self.working)) {
            self.recorder.poison(format!("working/ could not be synced: {errno}"));
            return Err(errno);
        }
        // What was written meanwhile must not keep its file open until somebody writes again.
        self.written.lock().clear();
        if let Err(error) = self.recorder.finish_tree_sync(through) {
            tracing::debug!(error = &error as &dyn std::error::Error, "the journal was not trimmed");
        }
        Ok(())
    }
}

/// The thread of a [`Writeback`]; it ends when this is dropped.
pub(super) struct WritebackThread {
    writeback: Arc<Writeback>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WritebackThread {
    pub(super) fn start(writeback: &Arc<Writeback>) -> Result<Self, Errno> {
        let working = Arc::clone(writeback);
        let thread = std::thread::Builder::new().name("ize-writeback".to_owned()).spawn(move || working.run());
        let thread = thread.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Self { writeback: Arc::clone(writeback), thread: Some(thread) })
    }
}

impl Drop for WritebackThread {
    fn drop(&mut self) {
        self.writeback.recorder.end_tree_syncs();
        if let Some(thread) = self.thread.take() {
            // A panic there ends nothing but the syncs; the journal keeps what they would have covered.
            let _ = thread.join();
        }
    }
}
