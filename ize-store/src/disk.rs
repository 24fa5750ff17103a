//! Files and folders: durable creation, and what failures mean.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ize_core::disk::{Change, Durable, change, read};
use ize_core::storage::{Result, StorageError};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Tells what a failed call means to a caller of the store.
pub(crate) fn failed(action: impl Into<String>, error: std::io::Error) -> StorageError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::backend(action, error),
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| sync(&dir, Durable::All));
    synced.map_err(|error| failed(format!("syncing {}", dir.display()), error))
}

/// Makes a file with this content appear durably, or replaces it, all or nothing.
pub(crate) fn write_whole(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let (temporary, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let written = change(Change::Path(&temporary), || File::create(&temporary))
        .and_then(|file| write_at(&file, content, 0).and_then(|()| sync(&file, Durable::All)))
        .and_then(|()| rename(&temporary, &path));
    written.map_err(|error| failed(format!("writing {name}"), error))?;
    sync_dir(dir)
}

/// Writes bytes of a file.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    change(Change::Data(file.as_fd(), offset, bytes.len() as u64), || file.write_all_at(bytes, offset))
}

/// Reads bytes of a file, as many as there are up to the length of the buffer, and returns how many.
pub(crate) fn read_some(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
    read(file.as_fd(), offset..offset + bytes.len() as u64, || file.read_at(bytes, offset))
}

/// Fills a buffer with bytes of a file.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    read(file.as_fd(), offset..offset + bytes.len() as u64, || file.read_exact_at(bytes, offset))
}

/// Tells whether a read failed because of what is on the disk: a sector that cannot be read, or the filesystem's own check of it.
pub(crate) fn is_unreadable(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG))
}

/// Makes a file durable.
pub(crate) fn sync(file: &File, durable: Durable) -> std::io::Result<()> {
    change(Change::Sync(file.as_fd(), durable), || match durable {
        Durable::All => file.sync_all(),
        Durable::Data => file.sync_data(),
    })
}

/// Gives a file another name, which may have been another's.
pub(crate) fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    change(Change::Paths([from, to]), || std::fs::rename(from, to))
}

/// Gives a file or folder another name, which may have been another's. That one is gone then.
pub(crate) fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    if !to.is_dir() {
        return rename(from, to);
    }
    // A folder with something in it gives up its name only in exchange.
    change(Change::Paths([from, to]), || {
        Ok::<_, std::io::Error>(renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE)?)
    })?;
    remove_all(from)
}

/// Removes a file, or a folder with all in it, if there is one.
pub(crate) fn remove_all(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => change(Change::Path(path), || std::fs::remove_dir_all(path)),
        Ok(_) => remove(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    change(Change::Path(path), || std::fs::remove_file(path))
}

/// Returns how many bytes a file, or all files in a folder, take on disk.
pub(crate) fn bytes_of(path: &Path) -> Result<u64> {
    let bytes = std::fs::metadata(path).and_then(|metadata| match metadata.is_dir() {
        true => bytes_below(path),
        false => Ok(size_on_disk(&metadata)),
    });
    bytes.map_err(|error| failed("reading a file's size", error))
}

fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += bytes_below(&entry.path())?,
            Ok(metadata) => bytes += size_on_disk(&metadata),
            // An engine may remove its files while they are counted.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(unix)]
fn size_on_disk(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn size_on_disk(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}
