//! What the journal is written to: a folder of numbered segment files, behind a trait so that tests can be the disk.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::JournalError;
use super::blank::{self, Ahead, BLANK};
use crate::disk::{Change, Durable, change};
use crate::session::Session;

/// A folder of segments. Whoever holds a medium is the only one to use it.
pub trait Medium: Debug + Send + Sync {
    /// Returns the numbers of all segments, in ascending order.
    ///
    /// # Errors
    /// Those of the folder.
    fn segments(&self) -> io::Result<Vec<u64>>;

    /// Makes a new segment of `bytes` zeros, for which space is set aside where the medium can do that.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no space; then there is no segment either.
    fn create(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn MediumFile>>;

    /// Opens a segment.
    ///
    /// # Errors
    /// Those of the file.
    fn open(&self, number: u64) -> io::Result<Arc<dyn MediumFile>>;

    /// Removes a segment.
    ///
    /// # Errors
    /// Those of the folder.
    fn remove(&self, number: u64) -> io::Result<()>;

    /// Makes the creation and removal of segments durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_folder(&self) -> io::Result<()>;

    /// Tells whether the system has been running, with this filesystem mounted, all the time since the medium was last
    /// opened for writing. Then all that was ever written is there, synced or not.
    fn same_session(&self) -> bool;

    /// Returns how much may still be written; `None` if the medium cannot tell.
    ///
    /// # Errors
    /// Those of the folder.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// One segment of a [`Medium`].
pub trait MediumFile: Debug + Send + Sync {
    /// Returns the length in bytes.
    ///
    /// # Errors
    /// Those of the file.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// Those of the file; it is an error if the file ends before `buf` is full.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes `head` at `offset` and `data` right behind it: one system call unless the system takes less than all. Nothing
    /// was written behind `offset` before, and it may be made zeros.
    ///
    /// # Errors
    /// Those of the file; then any part may have been written.
    fn write_at(&self, head: &[u8], data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything from `offset` zeros and the file `bytes` long.
    ///
    /// # Errors
    /// Those of the file.
    fn zero_from(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// Those of the disk. A failed sync is never tried again: the system may have dropped what it could not write.
    fn sync(&self) -> io::Result<()>;
}

/// A folder on a filesystem. Locked as long as it lives.
#[derive(Debug)]
pub struct FsMedium {
    folder: PathBuf,
    handle: File,
    _lock: File,
    same_session: bool,
    /// Whether segments are blanked ahead of the records.
    blanks: bool,
}

impl FsMedium {
    const LOCK: &'static str = "lock";

    /// Opens the folder, makes it if it is missing, and locks it.
    ///
    /// # Errors
    /// [`JournalError::Locked`] if another process (or another medium in this one) holds it; else those of the system.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        std::fs::create_dir_all(folder).map_err(JournalError::io("making the journal's folder"))?;
        let handle = File::open(folder).map_err(JournalError::io("opening the journal's folder"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(Self::LOCK))
            .map_err(JournalError::io("opening the journal's lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked),
            Err(TryLockError::Error(source)) => return Err(JournalError::io("locking the journal")(source)),
        }
        let same_session = exchange_session(&mut lock).map_err(JournalError::io("noting the session"))?;
        let blanks = blank::pays_off(&handle);
        Ok(Self { folder: folder.to_owned(), handle, _lock: lock, same_session, blanks })
    }

    fn file(&self, file: File) -> Arc<dyn MediumFile> {
        Arc::new(FsFile { file, ahead: self.blanks.then(|| Mutex::new(Ahead::default())) })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}.seg"))
    }
}

/// Writes this session into the lock file and tells whether it was there already.
fn exchange_session(lock: &mut File) -> io::Result<bool> {
    // Where it cannot be told, a power cut cannot be told from a killed process; then the milder reading is right.
    let Some(now) = Session::of(&*lock)? else { return Ok(false) };
    let mut before = String::new();
    // What cannot be read was not written by this session.
    if lock.take(256).read_to_string(&mut before).is_ok() && Session::parse(&before).as_ref() == Some(&now) {
        return Ok(true);
    }
    lock.set_len(0)?;
    lock.write_all_at(now.to_string().as_bytes(), 0)?;
    // Durable before any record: else a record of this session might be judged by an earlier one.
    lock.sync_all()?;
    Ok(false)
}

fn parse_segment_name(name: &std::ffi::OsStr) -> Option<u64> {
    let number = name.to_str()?.strip_suffix(".seg")?;
    (number.len() == 16 && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.parse().ok())?
}

impl Medium for FsMedium {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            numbers.extend(parse_segment_name(&entry?.file_name()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn MediumFile>> {
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = change(Change::Path(&path), || options.open(&path))?;
        if let Err(error) = change(Change::Inode(file.as_fd()), || allocate(&file, bytes)) {
            // Best effort: an empty segment is harmless, recovery takes it for one that was never used.
            let _ = change(Change::Path(&path), || std::fs::remove_file(&path));
            return Err(error);
        }
        Ok(self.file(file))
    }

    fn open(&self, number: u64) -> io::Result<Arc<dyn MediumFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(number))?;
        Ok(self.file(file))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let path = self.path(number);
        change(Change::Path(&path), || std::fs::remove_file(&path))
    }

    fn sync_folder(&self) -> io::Result<()> {
        change(Change::Sync(self.handle.as_fd(), Durable::All), || self.handle.sync_all())
    }

    fn same_session(&self) -> bool {
        self.same_session
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let stat = rustix::fs::fstatvfs(&self.handle)?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }
}

/// Sets space aside; where the filesystem cannot, the file is at least as long.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    file.set_len(bytes)
}

#[derive(Debug)]
struct FsFile {
    file: File,
    ahead: Option<Mutex<Ahead>>,
}

impl MediumFile for FsFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, head: &[u8], data: &[u8], offset: u64) -> io::Result<()> {
        let bytes = (head.len() + data.len()) as u64;
        change(Change::Data(self.file.as_fd(), offset, bytes), || self.write_both(head, data, offset))?;
        self.blank_behind(offset + bytes);
        Ok(())
    }

    fn zero_from(&self, offset: u64, bytes: u64) -> io::Result<()> {
        change(Change::Inode(self.file.as_fd()), || self.file.set_len(offset))?;
        change(Change::Inode(self.file.as_fd()), || self.file.set_len(bytes.max(offset)))
    }

    fn sync(&self) -> io::Result<()> {
        change(Change::Sync(self.file.as_fd(), Durable::Data), || self.file.sync_data())
    }
}

impl FsFile {
    /// Best effort: without it, syncs take longer.
    fn blank_behind(&self, end: u64) {
        let Some(range) = self.ahead.as_ref().and_then(|ahead| ahead.lock().next(end, Instant::now())) else { return };
        let Ok(len) = self.bytes() else { return };
        let bytes = range.end.min(len).saturating_sub(range.start);
        let Some(blank) = usize::try_from(bytes).ok().and_then(|bytes| BLANK.get(..bytes)) else { return };
        if let Err(error) =
            change(Change::Zeros(self.file.as_fd(), range.start, bytes), || self.file.write_all_at(blank, range.start))
        {
            tracing::debug!(%error, "a journal segment was not blanked ahead");
        }
    }

    fn write_both(&self, head: &[u8], data: &[u8], offset: u64) -> io::Result<()> {
        if data.is_empty() {
            return self.file.write_all_at(head, offset);
        }
        let written = loop {
            match rustix::io::pwritev(&self.file, &[IoSlice::new(head), IoSlice::new(data)], offset) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        // A short write is no error: the rest follows.
        let offset = offset + written as u64;
        if written < head.len() {
            self.file.write_all_at(&head[written..], offset)?;
            self.file.write_all_at(data, offset + (head.len() - written) as u64)
        } else if written < head.len() + data.len() {
            self.file.write_all_at(&data[written - head.len()..], offset)
        } else {
            Ok(())
        }
    }
}
