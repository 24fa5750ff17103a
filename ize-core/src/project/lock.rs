//! One process at a time opens a project: a lock on a file, which the kernel releases when the process ends, however.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{ProjectError, ProjectPaths, Result};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The right to open a project. Released when dropped.
#[derive(Debug)]
pub struct ProjectLock {
    file: File,
}

impl Drop for ProjectLock {
    fn drop(&mut self) {
        // Also where another process has a copy of the descriptor: see `ProjectLock::descriptor`.
        let _ = self.file.unlock();
    }
}

impl ProjectLock {
    /// Takes the lock of a project, waiting at most `wait` for another process to release it.
    ///
    /// # Errors
    /// [`ProjectError::InUse`] with the holder's process id, or what the operating system says.
    pub fn acquire(paths: &ProjectPaths, wait: Duration) -> Result<Self> {
        Self::acquire_file(&paths.lock(), wait)
    }

    /// Tells which process holds a project, if any does (0 if it could not be told).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn holder(paths: &ProjectPaths) -> Result<Option<u32>> {
        match Self::acquire_file(&paths.lock(), Duration::ZERO) {
            Ok(_) => Ok(None),
            Err(ProjectError::InUse { holder }) => Ok(Some(holder.unwrap_or(0))),
            Err(error) => Err(error),
        }
    }

    /// Returns the descriptor that the lock is held by. A process with a copy of it goes on holding the lock if this one
    /// is killed.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn acquire_file(path: &Path, wait: Duration) -> Result<Self> {
        let deadline = Instant::now() + wait;
        let mut file = open(path).map_err(ProjectError::io("open", path))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(ProjectError::InUse { holder: read_holder(&mut file) }),
                Err(TryLockError::Error(source)) => return Err(ProjectError::io("lock", path)(source)),
            }
        }
        // The number only serves messages: on a read-only disk the lock works without it.
        let _ = write_holder(&mut file);
        Ok(Self { file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    match writable {
        Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => {
            File::open(path)
        }
        other => other,
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = ProjectLock::acquire_file(&path, Duration::ZERO).unwrap();
        match ProjectLock::acquire_file(&path, Duration::from_millis(20)) {
            Err(ProjectError::InUse { holder }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        ProjectLock::acquire_file(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_waiting_owner_gets_the_lock_when_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = ProjectLock::acquire_file(&path, Duration::ZERO).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ProjectLock::acquire_file(&path, Duration::from_secs(10)));
            thread::sleep(Duration::from_millis(30));
            drop(first);
            waiting.join().unwrap().unwrap();
        });
    }
}
