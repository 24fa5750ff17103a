//! Files and folders: durable creation, and what failures mean.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use ize_core::storage::{Result, StorageError};

/// Tells what a failed call means to a caller of the store.
pub(crate) fn failed(action: impl Into<String>, error: std::io::Error) -> StorageError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::backend(action, error),
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| failed(format!("syncing {}", dir.display()), error))
}

/// Makes a file with this content appear durably, or replaces it, all or nothing.
pub(crate) fn write_whole(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, dir.join(name)));
    written.map_err(|error| failed(format!("writing {name}"), error))?;
    sync_dir(dir)
}

/// Returns how many bytes a file takes on disk.
pub(crate) fn bytes_of(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|error| failed("reading a file's size", error))?;
    Ok(size_on_disk(&metadata))
}

#[cfg(unix)]
fn size_on_disk(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn size_on_disk(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}
