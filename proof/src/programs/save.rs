//! The ways in which editors save, call by call.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};

use super::ProgramOptions;
use crate::ize::Failure;

/// Writes a temporary file, syncs it and its folder, and renames it over the old one; several times.
pub(super) fn safe(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    told(|| {
        for version in 0..5 {
            let temporary = folder.join(".notes.txt.swp");
            let mut file = File::create(&temporary)?;
            file.write_all(&content(version))?;
            file.sync_all()?;
            fs::rename(&temporary, folder.join("notes.txt"))?;
            File::open(folder)?.sync_all()?;
            holds(&folder.join("notes.txt"), version)?;
        }
        Ok(())
    })
}

/// Moves the old file aside and writes a new one; several times.
pub(super) fn backup(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    told(|| {
        let (path, aside) = (folder.join("draft.txt"), folder.join("draft.txt~"));
        fs::write(&path, content(10))?;
        for version in 11..15 {
            fs::rename(&path, &aside)?;
            fs::write(&path, content(version))?;
            holds(&path, version)?;
            holds(&aside, version - 1)?;
        }
        Ok(())
    })
}

/// Gives files further names, links, modes and attributes.
pub(super) fn metadata(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    told(|| {
        let path = folder.join("notes.txt");
        fs::hard_link(&path, folder.join("notes, too.txt"))?;
        symlink("notes.txt", folder.join("pointer"))?;
        symlink("/nonexistent/elsewhere", folder.join("dangling"))?;
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640))?;
        setxattr(&path, "user.comment", b"second name follows", XattrFlags::empty())?;
        setxattr(folder.join("part-9"), "user.comment", b"on a folder", XattrFlags::empty())?;
        fs::rename(folder.join("part-9"), folder.join("part-nine"))?;
        File::options().append(true).open(folder.join("notes, too.txt"))?.write_all(b"one more line\n")
    })
}

fn content(version: u32) -> Vec<u8> {
    format!("version {version}\n").repeat(400).into_bytes()
}

fn holds(path: &Path, version: u32) -> io::Result<()> {
    if fs::read(path)? == content(version) {
        return Ok(());
    }
    Err(io::Error::other(format!("{} does not hold version {version}", path.display())))
}

fn told(action: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
    action().map_err(|error| error.to_string())
}
