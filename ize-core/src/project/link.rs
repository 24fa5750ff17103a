//! The link at the root of the live files that leads programs for the backend's own format to its folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Backend, ProjectError, ProjectInfo, Result};
use crate::tree::Live;

/// Refuses a folder that is a repository of the backend's format itself: it is not to become a project's tree, nor to be
/// copied into one.
pub(super) fn check(folder: Option<&Path>, backend: &dyn Backend) -> Result<()> {
    let (Some(folder), Some(name)) = (folder, backend.working_link()) else { return Ok(()) };
    // A link was left by a project that is gone.
    let is_own = |found: fs::Metadata| !found.is_symlink();
    if fs::symlink_metadata(folder.join(name)).is_ok_and(is_own) {
        let why = format!(
            "it holds '{name}': it is a repository of that format already, and its changes would not be in the project's \
             history"
        );
        return Err(ProjectError::NotAdoptable { folder: folder.to_owned(), why });
    }
    Ok(())
}

/// Makes the link, or makes it what it is to be. Something else of that name is left: it is not the project's.
pub(super) fn mend(info: &ProjectInfo, live: &Live, backend: &dyn Backend) -> Result<()> {
    let Some(name) = backend.working_link() else { return Ok(()) };
    let target = target(info, backend);
    let working = live.working()?;
    let failed = |errno: Errno| ProjectError::io("link", info.working().join(name))(errno.into());
    match rustix::fs::readlinkat(&*working, name, Vec::new()) {
        Ok(found) if found.as_bytes() == target.as_os_str().as_encoded_bytes() => return Ok(()),
        Ok(_) => rustix::fs::unlinkat(&*working, name, AtFlags::empty()).map_err(failed)?,
        Err(Errno::NOENT) => {}
        Err(Errno::INVAL) => {
            tracing::warn!(name, "something else is where the link to the repository belongs; it is left there");
            return Ok(());
        }
        Err(errno) => return Err(failed(errno)),
    }
    rustix::fs::symlinkat(&target, &*working, name).map_err(failed)
}

/// Relative where the live files lie beside the backend's folder, so that a project can be moved.
fn target(info: &ProjectInfo, backend: &dyn Backend) -> PathBuf {
    match &info.toml.working {
        None => Path::new("..").join(backend.folder()),
        Some(_) => info.paths.store(backend.folder()),
    }
}

/// Removes links at the root of an adopted folder that lead into a project that is being deleted.
pub(super) fn remove(info: &ProjectInfo) -> Result<()> {
    let Some(working) = &info.toml.working else { return Ok(()) };
    let entries = match fs::read_dir(working) {
        // The folder itself may be gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(ProjectError::io("read", working))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(&info.paths.dir)) {
            fs::remove_file(&path).map_err(ProjectError::io("remove", path))?;
        }
    }
    Ok(())
}
