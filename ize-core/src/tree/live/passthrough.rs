//! Files that the kernel reads and writes itself: which they are, and how what changed in them gets into history.
//!
//! What is written to such a file does not come here. Its *version* is taken when a descriptor is closed or synced, when its
//! name or metadata changes, and when the tree is synced or closed: the file is read, and what differs from history is
//! recorded. Whether anything changed its size and times tell, but for stores through a mapping: a page that was writable
//! already changes without moving them. So when the tree is synced or closed, each file that can have been mapped since it was
//! opened is compared by content: there is no telling when a mapping ends.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::cells::{Cells, Changed};
use super::handles::OpenFile;
use super::past::Past;
use super::record_tree::Steps;
use super::{Live, Node, recording};
use crate::model::{Actor, FileId, FileKind, FileMetadata, Landmark, OpData, OpId, OpType, RangeKind, Timestamp, View};
use crate::tree::host;
use crate::tree::{Granularity, Handle, Result};

/// How often a file is read that changes meanwhile: from a clone of it after the first time. Where there are no clones, what
/// was read is recorded then, but is no save.
const TRIES_MAX: usize = 3;
/// Closed files that may still be mapped; what becomes of more is found when the project is next opened.
const WATCHED_MAX: usize = 16 * 1024;
/// Hashes of cells that are kept, over all files: 16 MiB of them.
const CELLS_MAX: usize = 1 << 20;
/// Within this time a file may change twice and have the same times.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The files of a tree that the kernel reads and writes itself.
#[derive(Default)]
pub(super) struct Passthrough {
    is_on: AtomicBool,
    table: Mutex<Table>,
    /// How many hashes of cells are kept.
    cells: AtomicUsize,
}

#[derive(Default)]
struct Table {
    files: HashMap<FileId, Arc<PassedFile>>,
    /// Those that nobody has open, the longest closed first, each once; some were opened again since.
    closed: VecDeque<FileId>,
}

/// A file that was opened for writing.
struct PassedFile {
    node: Arc<Node>,
    state: Mutex<State>,
}

struct State {
    /// Open descriptors that can write.
    writers: usize,
    /// It is among the closed ones of the table.
    is_listed: bool,
    /// One of them could also read: so it can have mapped the file, and the mapping may still be there.
    is_mappable: bool,
    /// Whose changes they are: who opened it last.
    actor: Arc<Actor>,
    /// What the host said of it when history last had all that is in it.
    seen: Print,
    /// It may have changed although the host says the same of it.
    is_suspect: bool,
    /// History lacks something: the last version could not be recorded, or changed meanwhile.
    is_behind: bool,
    /// What history has.
    cells: Option<Cells>,
}

/// How a version is to be taken.
#[derive(Clone, Copy)]
struct Take<'a> {
    /// A descriptor of the file that can be read, if there is one.
    fd: Option<&'a Arc<OwnedFd>>,
    /// What its last operation is.
    landmark: Option<Landmark>,
    /// A file that may be mapped is compared by content, whatever the host says of it.
    is_thorough: bool,
}

/// What moves when a file is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print {
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

impl Print {
    const fn of(metadata: &FileMetadata) -> Self {
        Self { size: metadata.size, mtime: metadata.mtime, ctime: metadata.ctime }
    }

    /// Tells whether it changed just now: the next change may not move the times.
    fn is_fresh(&self) -> bool {
        let age = Timestamp::now().as_nanos().saturating_sub(self.ctime.as_nanos());
        age < i128::try_from(CLOCK_TICK.as_nanos()).unwrap_or(i128::MAX)
    }
}

impl Passthrough {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    fn get(&self, node: &Node) -> Option<Arc<PassedFile>> {
        if self.is_on() { self.table.lock().files.get(&node.id).map(Arc::clone) } else { None }
    }

    fn all(&self) -> Vec<Arc<PassedFile>> {
        if self.is_on() { self.table.lock().files.values().map(Arc::clone).collect() } else { Vec::new() }
    }

    /// Returns the files that may change at any time without anybody's asking.
    pub(super) fn changing(&self) -> Vec<FileId> {
        self.all().iter().filter_map(|passed| passed.node.history()).collect()
    }

    /// Tells whether somebody has a file open for writing.
    fn has_writers(&self, node: &Node) -> bool {
        self.get(node).is_some_and(|passed| passed.state.lock().writers > 0)
    }

    /// Notes one more descriptor that can write. The caller holds the file's lock.
    fn begin(&self, open: &OpenFile, metadata: &FileMetadata) {
        let state = State {
            writers: 0,
            is_listed: false,
            is_mappable: false,
            actor: Arc::clone(&open.actor),
            seen: Print::of(metadata),
            is_suspect: false,
            is_behind: false,
            cells: (metadata.size == 0).then(|| Cells::empty(0)),
        };
        let new = || Arc::new(PassedFile { node: Arc::clone(&open.node), state: Mutex::new(state) });
        let passed = Arc::clone(self.table.lock().files.entry(open.node.id).or_insert_with(new));
        let mut state = passed.state.lock();
        state.writers += 1;
        state.is_mappable |= open.mode.read;
        state.actor = Arc::clone(&open.actor);
    }

    /// Notes that such a descriptor is closed, and returns a file that is not watched any more. The caller holds the file's
    /// lock.
    fn end(&self, node: &Node) -> Option<FileId> {
        let passed = self.get(node)?;
        let mut state = passed.state.lock();
        state.writers = state.writers.saturating_sub(1);
        if state.writers > 0 {
            return None;
        }
        let mut table = self.table.lock();
        if !state.is_mappable && !state.is_behind {
            self.keep_cells(&mut state, None);
            table.files.remove(&node.id);
            return Some(node.id);
        }
        if !state.is_listed {
            state.is_listed = true;
            table.closed.push_back(node.id);
        }
        drop(state);
        if table.closed.len() > WATCHED_MAX { self.remove_longest_closed(&mut table) } else { None }
    }

    fn remove_longest_closed(&self, table: &mut Table) -> Option<FileId> {
        let node = table.closed.pop_front()?;
        let passed = Arc::clone(table.files.get(&node)?);
        // Whoever holds it works with the file: it is not to be waited for while the table is locked.
        let Some(mut state) = passed.state.try_lock() else {
            table.closed.push_back(node);
            return None;
        };
        state.is_listed = false;
        if state.writers > 0 {
            return None;
        }
        self.keep_cells(&mut state, None);
        table.files.remove(&node);
        Some(node)
    }

    /// Keeps what history has, if there is room for it.
    fn keep_cells(&self, state: &mut State, cells: Option<Cells>) {
        if let Some(old) = state.cells.take() {
            self.cells.fetch_sub(old.count(), Ordering::Relaxed);
        }
        let Some(cells) = cells else { return };
        let count = cells.count();
        if self.cells.fetch_add(count, Ordering::Relaxed) + count > CELLS_MAX {
            self.cells.fetch_sub(count, Ordering::Relaxed);
        } else {
            state.cells = Some(cells);
        }
    }

    /// Notes that what history has of a file's content was changed otherwise than by taking a version.
    pub(super) fn forget_content(&self, node: &Node) {
        if let Some(passed) = self.get(node) {
            let mut state = passed.state.lock();
            self.keep_cells(&mut state, None);
            state.is_suspect = true;
        }
    }

    /// As [`Passthrough::forget_content`], for all files.
    pub(super) fn forget_all_content(&self) {
        self.all().iter().for_each(|passed| self.forget_content(&passed.node));
    }

    /// Forgets all files: nobody can change one any more.
    pub(super) fn clear(&self) {
        let table = std::mem::take(&mut *self.table.lock());
        for passed in table.files.into_values() {
            self.keep_cells(&mut passed.state.lock(), None);
        }
    }
}

impl Live {
    /// Lets the kernel pass reads and writes through from now on.
    pub(super) fn begin_passthrough(&self) {
        self.passthrough.is_on.store(true, Ordering::Release);
    }

    /// Tells in what pieces changes of content are recorded.
    pub fn granularity(&self) -> Granularity {
        if self.passthrough.is_on() { Granularity::Close } else { Granularity::Write }
    }

    /// Makes a file without a name in `working/`.
    pub(super) fn make_unnamed(&self) -> Result<OwnedFd> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*self.working()?, c".", flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?)
    }

    /// Tells whether a file that is opened for writing must be announced first, which waits for the disk.
    pub(super) fn is_to_announce_open(&self, node: FileId) -> bool {
        let Ok(node) = self.nodes.get(node) else { return false };
        self.passthrough.is_on()
            && node.kind == FileKind::File
            && node.history().is_some()
            && !node.is_covered(*self.writeback.epoch())
    }

    /// Hands the file behind a handle to the kernel, which reads and writes it from then on.
    pub(super) fn hand_over(&self, handle: Handle) -> Result<Option<Arc<OwnedFd>>> {
        if !self.passthrough.is_on() {
            return Ok(None);
        }
        let open = self.handles.file(handle)?;
        if open.mode.write {
            // Before the lock, which others may need; under it this is nearly always found to be done.
            drop(self.announce(&open.node)?);
            let _held = self.locks.change(&[open.node.lock_id()]);
            // Held until the file is in the table, where the next epoch finds it.
            let _epoch = self.announce(&open.node)?;
            if let (true, Some(file)) = (open.mode.read, open.node.history()) {
                // A new file need not be announced, but a store through a mapping of it may leave no trace.
                self.recorder.note_suspect(file).map_err(recording)?;
            }
            self.passthrough.begin(&open, &host::stat(&open.fd)?.metadata);
        }
        open.hand_over();
        Ok(Some(Arc::clone(&open.fd)))
    }

    /// Notes that a handle is closed whose file was handed over.
    pub(super) fn take_back(&self, open: &OpenFile) {
        if open.mode.write && open.is_handed_over() {
            let _held = self.locks.change(&[open.node.lock_id()]);
            let gone = self.passthrough.end(&open.node);
            // It may have been forgotten while it was watched.
            gone.into_iter().for_each(|node| self.nodes.forget(node, 0));
        }
    }

    /// Records what changed in a file that was handed over, and tells whether anything did.
    pub(super) fn record_version(&self, open: &OpenFile, landmark: Landmark) -> Result<bool> {
        if !open.mode.write {
            return Ok(false);
        }
        let Some(passed) = self.passthrough.get(&open.node) else { return Ok(false) };
        let _held = self.locks.change(&[open.node.lock_id()]);
        let take = Take { fd: Some(&open.fd), landmark: Some(landmark), is_thorough: false };
        Ok(self.take_version(&passed, take)?.is_some())
    }

    /// Records what changed in any file that was handed over. A mapping can change one after it was closed.
    ///
    /// # Errors
    /// If a file cannot be read, or what changed cannot be recorded.
    pub fn record_versions(&self) -> Result<()> {
        for passed in self.passthrough.all() {
            let _held = self.locks.change(&[passed.node.lock_id()]);
            let take = Take { fd: None, landmark: Some(Landmark::Close), is_thorough: true };
            match self.take_version(&passed, take) {
                // It has no name any more.
                Err(error) if error.errno() == Errno::STALE => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// As [`Live::record_versions`], once nobody can change a file any more. Nothing is to be handed over afterwards.
    ///
    /// # Errors
    /// As [`Live::record_versions`].
    pub fn end_passthrough(&self) -> Result<()> {
        let recorded = self.record_versions();
        self.passthrough.is_on.store(false, Ordering::Release);
        self.passthrough.clear();
        recorded
    }

    /// Records what changed in a file, if it was handed over, before something else of it is recorded. The caller holds the
    /// file's lock.
    pub(super) fn catch_up(&self, node: &Node) -> Result<()> {
        match self.passthrough.get(node) {
            Some(passed) => {
                let take = Take { fd: None, landmark: None, is_thorough: false };
                self.take_version(&passed, take).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Notes that a change of a file was recorded, with what the host said of it then.
    pub(super) fn note_recorded(&self, node: &Node, metadata: &FileMetadata) {
        if let Some(passed) = self.passthrough.get(node) {
            let mut state = passed.state.lock();
            // Somebody may have written just before: the times do not tell any more.
            state.is_suspect |= state.writers > 0 || state.is_mappable;
            state.seen = Print::of(metadata);
        }
    }

    /// Tells whether what is written to a file does not come here, so that its changes are recorded with its version.
    pub(super) fn is_handed_over(&self, node: &Node) -> bool {
        self.passthrough.has_writers(node)
    }

    /// Records what changed in a file. The caller holds the file's lock.
    fn take_version(&self, passed: &PassedFile, take: Take<'_>) -> Result<Option<OpId>> {
        let mut state = passed.state.lock();
        let Some(file) = passed.node.history() else { return Ok(None) };
        let is_suspect = state.is_suspect || state.is_behind || (take.is_thorough && state.is_mappable);
        let found = match take.fd {
            Some(fd) => host::stat(fd)?,
            None => self.nodes.stat(&passed.node)?,
        };
        if !is_suspect && Print::of(&found.metadata) == state.seen {
            return Ok(None);
        }
        let fd = match take.fd {
            Some(fd) => Arc::clone(fd),
            None => Arc::new(self.nodes.open(&passed.node, OFlags::RDONLY)?),
        };
        let mut content = None;
        state.is_behind = true;
        for nth in 0..TRIES_MAX {
            let mut before = host::stat(&fd)?.metadata;
            if !before.is_linked() {
                state.is_behind = false;
                return Ok(content);
            }
            // Not at once: the host writes all of a file to the disk before it clones it.
            let clone = if nth > 0 { self.clone_of(&fd) } else { None };
            if let Some(clone) = &clone {
                before.size = host::stat(clone)?.metadata.size;
            }
            let print = Print::of(&before);
            let mut steps = Steps::by(self, Arc::clone(&state.actor), file);
            let source = clone.as_ref().unwrap_or(&fd);
            let differs = self.push_differences(&mut steps, &mut state, file, source, &before)?;
            if !differs && print != state.seen {
                push_times(&mut steps, file, &state.seen, &before)?;
            }
            let rests = clone.is_some() || Print::of(&host::stat(&fd)?.metadata) == print;
            let last = steps.finish(take.landmark.filter(|_| rests && (differs || content.is_some())))?;
            if differs || content.is_some() {
                content = last.or(content);
            }
            state.seen = print;
            state.is_suspect = print.is_fresh();
            if rests {
                state.is_behind = false;
                return Ok(content);
            }
        }
        tracing::debug!(%file, "a file changes all the time: what was read of it is no save");
        Ok(content)
    }

    /// Returns a file without a name that has what another one has at this moment and shares its extents, where the host's
    /// filesystem can make one.
    fn clone_of(&self, fd: &OwnedFd) -> Option<OwnedFd> {
        let clone = self.make_unnamed().ok()?;
        rustix::fs::ioctl_ficlone(&clone, fd).ok().map(|()| clone)
    }

    /// Adds operations for what differs between a file's content and history; tells whether anything does.
    fn push_differences(
        &self,
        steps: &mut Steps<'_>,
        state: &mut State,
        file: FileId,
        fd: &OwnedFd,
        now: &FileMetadata,
    ) -> Result<bool> {
        let known = state.cells.take().inspect(|cells| {
            self.passthrough.cells.fetch_sub(cells.count(), Ordering::Relaxed);
        });
        let (mut cells, old_size) = match known {
            Some(cells) if cells.suit(now.size) => (cells, state.seen.size),
            Some(_) if state.seen.size == 0 => (Cells::empty(now.size), 0),
            _ => self.cells_of_history(file, now.size)?,
        };
        let mut size = old_size;
        if now.size < old_size {
            let op_type = OpType::FileTruncate { file, old_size, new_size: now.size };
            steps.push_on_file(op_type, OpData::None, *now)?;
            cells.truncate(now.size);
            size = now.size;
        }
        let mut differs = now.size != old_size;
        cells.update(fd, now.size, &mut |offset, changed| {
            differs = true;
            let (op_type, data) = match changed {
                Changed::Data(bytes) => {
                    let (len, data) = (bytes.len() as u64, Bytes::copy_from_slice(bytes));
                    size = size.max(offset + len);
                    (OpType::FileWrite { file, offset, size: len }, OpData::Inline(data))
                }
                // Behind the end there is nothing to be made a hole.
                Changed::Zeros(_) if offset >= size => return Ok(()),
                Changed::Zeros(len) => {
                    let len = len.min(size - offset);
                    (OpType::Range { file, kind: RangeKind::Punch, offset, size: len }, OpData::None)
                }
            };
            steps.push_on_file(op_type, data, FileMetadata { size, ..*now })
        })?;
        if size != now.size {
            let op_type = OpType::FileTruncate { file, old_size: size, new_size: now.size };
            steps.push_on_file(op_type, OpData::None, *now)?;
        }
        self.passthrough.keep_cells(state, Some(cells));
        Ok(differs)
    }

    /// Learns from history what it has of a file's content, and how large the file is there: that may be neither what the
    /// host said before nor what it says now, if a version was recorded in part.
    fn cells_of_history(&self, file: FileId, new_size: u64) -> Result<(Cells, u64)> {
        self.recorder.wait_committed(self.recorder.recorded()).map_err(recording)?;
        let past = Past { storage: Arc::clone(self.recorder.storage()), view: View::latest(self.recorder.branch()) };
        let size = past.node(file)?.map_or(0, |metadata| metadata.size);
        let mut cells = Cells::empty(size.max(new_size));
        past.each_block(file, size, cells.bytes_of_one(), &mut |offset, block| cells.learn(offset, block))?;
        Ok((cells, size))
    }
}

/// Adds an operation for times that moved although the content is the same.
fn push_times(steps: &mut Steps<'_>, file: FileId, was: &Print, now: &FileMetadata) -> Result<()> {
    let touch =
        OpType::Touch { file, old_atime: now.atime, old_mtime: was.mtime, new_atime: now.atime, new_mtime: now.mtime };
    steps.push_on_file(touch, OpData::None, *now)
}
