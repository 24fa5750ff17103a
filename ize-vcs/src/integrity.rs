//! Whether the database is what we left. Its engine trusts what it reads, so damage is to be noticed before it is opened.
//!
//! When the database is closed, its hash is noted, with its size and time. If another program wrote it since, the time tells.
//! If nobody wrote it and its content is another one, it is damaged.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use ize_core::storage::Result;

use crate::disk;
use crate::error::failed;
use crate::layout::Layout;

const FILE: &str = "closed";

/// Notes what the database is like now. Nobody may have it open.
///
/// # Errors
/// If the disk fails.
pub(crate) fn note(layout: &Layout) -> Result<()> {
    let (written, hash) = look(layout)?;
    disk::write_whole(&layout.ours(), FILE, format!("{written}\n{hash}\n").as_bytes())
}

/// Looks whether the database is damaged; answers what is wrong. The note is gone afterwards.
///
/// # Errors
/// If the disk fails.
pub(crate) fn check(layout: &Layout) -> Result<Option<String>> {
    if !crate::repository::exists(&layout.database())? {
        return Ok(Some("the repository's database is missing".to_owned()));
    }
    let noted = match std::fs::read_to_string(layout.ours().join(FILE)) {
        Ok(noted) => noted,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading how the repository was closed", error)),
    };
    let (written, hash) = look(layout)?;
    let (noted_written, noted_hash) = noted.trim_end().split_once('\n').unwrap_or_default();
    if noted_written == written && noted_hash != hash {
        return Ok(Some("the repository's database is damaged: it changed although nobody wrote to it".to_owned()));
    }
    disk::remove(&layout.ours(), FILE)?;
    Ok(None)
}

/// Returns when the database was written, with its size, and its hash.
fn look(layout: &Layout) -> Result<(String, String)> {
    let looked = File::open(layout.database()).and_then(|mut file| {
        let metadata = file.metadata()?;
        let written = format!("{} {}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut file, &mut hasher)?;
        Ok((written, hasher.finalize().to_hex().to_string()))
    });
    looked.map_err(|error| failed("reading the repository's database", error))
}
