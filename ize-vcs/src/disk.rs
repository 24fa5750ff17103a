//! Files and folders of ours: durable, all or nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use ize_core::storage::Result;

use crate::error::failed;

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| failed(format!("syncing {}", dir.display()), error))
}

/// Makes a file's content durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_data());
    synced.map_err(|error| failed(format!("syncing {}", path.display()), error))
}

/// Makes everything on the filesystem of a folder durable.
pub(crate) fn sync_filesystem(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    synced.map_err(|error| failed("syncing the repository's filesystem", error))
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

/// Removes a file durably; it may be missing.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<()> {
    match std::fs::remove_file(dir.join(name)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(format!("removing {name}"), error)),
    }
}

/// Returns how many bytes a folder and everything below it take on disk.
pub(crate) fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;

    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += bytes_below(&entry.path())?;
        }
    }
    Ok(bytes)
}
