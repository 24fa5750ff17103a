//! Noting every change of the disk in one order, failing any of them, and bytes that cannot be read.
//!
//! What a call did is read back from the files after it. While changes are noted, all of them in this process are made one
//! at a time, so the notes have the order of what happened. One simulation at a time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Change, Durable};

/// The metadata of a file or folder, and what only a symlink has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Kind and mode, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Extended attributes.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// The target of a symlink.
    pub target: Option<OsString>,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The folder's inode.
    pub dir: u64,
    /// The name.
    pub name: OsString,
    /// The inode that it names now.
    pub inode: Option<u64>,
}

/// A change that was noted.
#[derive(Clone, Debug)]
pub enum Event {
    /// Entries changed, all at once.
    Bind(Vec<Binding>),
    /// What an inode is like now.
    Inode(u64, Inode),
    /// Bytes were written.
    Data(u64, u64, Vec<u8>),
    /// A range became zeros: inode, offset, length.
    Zeros(u64, u64, u64),
    /// A whole file was replaced, durably.
    Whole(u64, Vec<u8>),
    /// A file or folder became durable.
    Sync(u64, Durable),
    /// Everything became durable.
    SyncAll,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`, and nothing was done.
    Io,
    /// `ENOSPC`, and nothing was done.
    Full,
    /// A write to a live file writes its first half, and says so; other calls do not fail.
    Short,
}

/// Which calls fail: from the `first` on (1 is the next), so many.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// How.
    pub fault: Fault,
    /// The first of them.
    pub first: u64,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Notes {
    events: Vec<Event>,
    calls: u64,
    failing: Option<Failing>,
}

impl Notes {
    /// Returns how a call fails.
    fn fault(&self, call: u64) -> Option<Fault> {
        let fails = |failing: &Failing| (failing.first..failing.first.saturating_add(failing.count)).contains(&call);
        self.failing.filter(fails).map(|failing| failing.fault)
    }
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static NOTES: Mutex<Option<Notes>> = Mutex::new(None);

/// Begins to note changes, and to fail calls.
pub fn start(failing: Option<Failing>) {
    *NOTES.lock() = Some(Notes { failing, ..Notes::default() });
    IS_ON.store(true, Ordering::SeqCst);
}

/// Returns how many changes were noted so far.
pub fn count() -> usize {
    NOTES.lock().as_ref().map_or(0, |notes| notes.events.len())
}

/// Stops, and returns what was noted and how many calls were made.
pub fn stop() -> (Vec<Event>, u64) {
    IS_ON.store(false, Ordering::SeqCst);
    NOTES.lock().take().map_or((Vec::new(), 0), |notes| (notes.events, notes.calls))
}

pub(super) fn observe<T, E: From<Errno>>(what: Change<'_>, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    if !IS_ON.load(Ordering::Relaxed) {
        return call();
    }
    let mut guard = NOTES.lock();
    let Some(notes) = guard.as_mut() else { return call() };
    notes.calls += 1;
    match notes.fault(notes.calls) {
        Some(Fault::Io) => return Err(Errno::IO.into()),
        Some(Fault::Full) => return Err(Errno::NOSPC.into()),
        Some(Fault::Short) | None => {}
    }
    let done = call();
    // A call that was refused may have done a part of it.
    note(what, done.is_ok(), &mut notes.events);
    done
}

/// Bytes that the disk cannot read. The files stay open: no other gets the inode of one that is removed.
static UNREADABLE: Mutex<Vec<(File, Range<u64>)>> = Mutex::new(Vec::new());

/// From now on the disk cannot read these bytes of a file (`EIO`), whether or not changes are noted.
///
/// # Errors
/// If the file cannot be opened.
pub fn make_unreadable(path: &Path, bytes: Range<u64>) -> std::io::Result<()> {
    UNREADABLE.lock().push((File::open(path)?, bytes));
    Ok(())
}

pub(super) fn look_at(file: BorrowedFd<'_>, bytes: &Range<u64>) -> Result<(), Errno> {
    for (other, range) in &*UNREADABLE.lock() {
        let (file, other) = (rustix::fs::fstat(file)?, rustix::fs::fstat(other)?);
        let is_same = (file.st_dev, file.st_ino) == (other.st_dev, other.st_ino);
        if is_same && range.start < bytes.end && bytes.start < range.end {
            return Err(Errno::IO);
        }
    }
    Ok(())
}

/// Returns what the next call writes of these bytes.
pub(crate) fn shortened(bytes: &[u8]) -> &[u8] {
    if !IS_ON.load(Ordering::Relaxed) {
        return bytes;
    }
    let is_short = NOTES.lock().as_ref().is_some_and(|notes| notes.fault(notes.calls + 1) == Some(Fault::Short));
    if is_short { &bytes[..bytes.len().div_ceil(2)] } else { bytes }
}

pub(super) fn note_whole(path: &Path) {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let mut guard = NOTES.lock();
    let Some(notes) = guard.as_mut() else { return };
    if let Ok(bytes) = std::fs::read(path) {
        let stat = |path: Option<&Path>| path.and_then(|path| rustix::fs::stat(path).ok());
        let (Some(file), Some(dir)) = (stat(Some(path)), stat(path.parent())) else { return };
        // Whole from the moment on at which it has its name.
        notes.events.push(Event::Whole(file.st_ino, bytes));
        note(Change::Path(path), true, &mut notes.events);
        notes.events.push(Event::Sync(dir.st_ino, Durable::All));
    }
}

fn note(what: Change<'_>, is_done: bool, events: &mut Vec<Event>) {
    match what {
        Change::Entry(dir, name) => note_entries(&[(dir, name)], events),
        Change::Entries(entries) => note_entries(&entries, events),
        Change::Path(path) => note_paths(&[path], events),
        Change::Paths(paths) => note_paths(&paths, events),
        Change::Inode(file) => note_inode(file, events),
        Change::Data(file, offset, len) => {
            note_data(file, offset, len, events);
            note_inode(file, events);
        }
        Change::Zeros(file, offset, len) => {
            if let Ok(stat) = rustix::fs::fstat(file) {
                events.push(Event::Zeros(stat.st_ino, offset, len));
            }
            note_inode(file, events);
        }
        Change::Sync(file, durable) if is_done => {
            events.extend(rustix::fs::fstat(file).map(|stat| Event::Sync(stat.st_ino, durable)).ok());
        }
        Change::SyncFilesystem(_) if is_done => events.push(Event::SyncAll),
        Change::Sync(..) | Change::SyncFilesystem(_) => {}
    }
}

fn note_paths(paths: &[&Path], events: &mut Vec<Event>) {
    let open = |path: &Path| -> Option<(OwnedFd, OsString)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path.parent()?, flags, Mode::empty()).ok()?;
        Some((dir, path.file_name()?.to_owned()))
    };
    let opened: Vec<(OwnedFd, OsString)> = paths.iter().filter_map(|path| open(path)).collect();
    let entries: Vec<(BorrowedFd<'_>, &OsStr)> = opened.iter().map(|(dir, name)| (dir.as_fd(), &**name)).collect();
    note_entries(&entries, events);
}

fn note_entries(entries: &[(BorrowedFd<'_>, &OsStr)], events: &mut Vec<Event>) {
    let mut bindings = Vec::new();
    for (dir, name) in entries {
        let Ok(about) = rustix::fs::fstat(dir) else { continue };
        let named = rustix::fs::statat(dir, *name, AtFlags::SYMLINK_NOFOLLOW).ok();
        bindings.push(Binding { dir: about.st_ino, name: (*name).to_owned(), inode: named.map(|named| named.st_ino) });
    }
    // What an entry names is there before it is named: a name without an inode is nothing that a disk could show.
    for (dir, name) in entries {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(dir, *name, flags, Mode::empty()) {
            note_inode(file.as_fd(), events);
        }
    }
    events.push(Event::Bind(bindings));
    entries.iter().for_each(|(dir, _)| note_inode(*dir, events));
}

fn note_inode(file: BorrowedFd<'_>, events: &mut Vec<Event>) {
    if let Ok(stat) = rustix::fs::fstat(file) {
        events.push(Event::Inode(stat.st_ino, about(file, &stat)));
    }
}

fn proc_link(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn note_data(file: BorrowedFd<'_>, offset: u64, len: u64, events: &mut Vec<Event>) {
    // The descriptor may be one for writing only.
    let (Ok(stat), Ok(readable)) = (rustix::fs::fstat(file), File::open(proc_link(file))) else { return };
    let end = offset.saturating_add(len).min(u64::try_from(stat.st_size).unwrap_or(0));
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap_or(0)];
    if readable.read_exact_at(&mut bytes, offset).is_ok() {
        events.push(Event::Data(stat.st_ino, offset, bytes));
    }
}

/// Returns what an inode is like; `file` is any descriptor of it.
pub fn about(file: impl AsFd, stat: &Stat) -> Inode {
    let file = file.as_fd();
    let is_symlink = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let target = is_symlink.then(|| rustix::fs::readlinkat(file, c"", Vec::new()).ok()).flatten();
    Inode {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        xattrs: if is_symlink { Vec::new() } else { xattrs(file) },
        target: target.map(|target| OsString::from_vec(target.into_bytes())),
    }
}

fn xattrs(file: BorrowedFd<'_>) -> Vec<(OsString, Vec<u8>)> {
    let (link, mut list) = (proc_link(file), vec![0; 4096]);
    let Ok(len) = rustix::fs::listxattr(link.as_str(), &mut list[..]) else { return Vec::new() };
    let mut found = Vec::new();
    for name in list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        if let Ok(len) = rustix::fs::getxattr(link.as_str(), name, &mut value[..]) {
            value.truncate(len);
            found.push((OsStr::from_bytes(name).to_owned(), value));
        }
    }
    found
}
