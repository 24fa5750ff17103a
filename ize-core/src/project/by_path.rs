//! Changing and reading the live tree by path, as a program would through a mount.

use std::ffi::OsStr;

use super::restore::own_caller;
use super::{Project, ProjectError, Result, Revision};
use crate::model::{FileId, FileMetadata, Name, RelPath};
use crate::storage::FileSystemStorageExt;
use crate::tree::{Handle, Live, OpenMode, RenameMode, Tree};

const READ_BYTES: usize = 256 * 1024;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Paths are relative to the project's root. Symlinks on the way are not followed.
impl Project {
    /// Writes a file: a new one, or all of an old one.
    ///
    /// # Errors
    /// What the tree refuses: the folder is not there, the path is a folder, the disk is nearly full.
    pub fn write(&self, path: impl AsRef<[u8]>, content: &[u8]) -> Result<()> {
        self.put(path.as_ref(), content, OpenMode { write: true, truncate: true, ..OpenMode::default() })
    }

    /// Adds to the end of a file; a new one if there is none.
    ///
    /// # Errors
    /// As [`Project::write`].
    pub fn append(&self, path: impl AsRef<[u8]>, content: &[u8]) -> Result<()> {
        self.put(path.as_ref(), content, OpenMode { write: true, append: true, ..OpenMode::default() })
    }

    /// Reads a whole file as it is now. For the past see [`Project::read_at`].
    ///
    /// # Errors
    /// [`ProjectError::NotFound`]; what the tree refuses.
    pub fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = parse(path.as_ref())?;
        let node = Held::find(self.live(), &path)?;
        let handle = self.live().open(own_caller(), node.file, OpenMode { read: true, ..OpenMode::default() })?;
        let content = read_all(self.live(), handle);
        self.live().release(handle);
        content
    }

    /// Reads a whole file, or a symlink's target, as it was at a revision.
    ///
    /// # Errors
    /// [`ProjectError::Revision`] if there is no such revision; [`ProjectError::NotFound`].
    pub fn read_at(&self, path: impl AsRef<[u8]>, revision: &Revision) -> Result<Vec<u8>> {
        let reader = self.reader()?;
        let view = reader.resolve(revision)?;
        let file = reader.find(view, &parse(path.as_ref())?)?.file;
        let mut content = Vec::new();
        reader.storage().copy_content(view, file, &mut content)?;
        Ok(content)
    }

    /// Returns the metadata of what is at a path now.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`].
    pub fn metadata(&self, path: impl AsRef<[u8]>) -> Result<FileMetadata> {
        let node = Held::find(self.live(), &parse(path.as_ref())?)?;
        Ok(self.live().stat(node.file, None)?.metadata)
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// What the tree refuses.
    pub fn make_dir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let (folder, name) = self.place(path.as_ref())?;
        let made = self.live().make_directory(own_caller(), folder.file, name.as_os_str(), FOLDER_MODE)?;
        self.live().forget(made.file, 1);
        self.acknowledge()
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// What the tree refuses.
    pub fn symlink(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Result<()> {
        let (folder, name) = self.place(path.as_ref())?;
        let made = self.live().make_symlink(own_caller(), folder.file, name.as_os_str(), target.as_ref())?;
        self.live().forget(made.file, 1);
        self.acknowledge()
    }

    /// Renames a file or folder; what is at the new path is replaced, as rename(2) does.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`]; what the tree refuses.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (old_folder, old) = self.place(from.as_ref())?;
        let (new_folder, new) = self.place(to.as_ref())?;
        let from = (old_folder.file, old.as_os_str());
        let to = (new_folder.file, new.as_os_str());
        self.live().rename(own_caller(), from, to, RenameMode::Replace)?;
        self.acknowledge()
    }

    /// Removes a file, a symlink or an empty folder.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`]; what the tree refuses.
    pub fn remove(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let is_folder = self.metadata(path.as_ref())?.kind == crate::model::FileKind::Directory;
        let (folder, name) = self.place(path.as_ref())?;
        if is_folder {
            self.live().remove_directory(own_caller(), folder.file, name.as_os_str())?;
        } else {
            self.live().unlink(own_caller(), folder.file, name.as_os_str())?;
        }
        self.acknowledge()
    }

    /// Returns the names in a folder, in order.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`]; what the tree refuses.
    pub fn entries(&self, path: impl AsRef<[u8]>) -> Result<Vec<Name>> {
        let folder = Held::find(self.live(), &parse(path.as_ref())?)?;
        let handle = self.live().open_directory(folder.file)?;
        let mut names = Vec::new();
        let read = self.live().read_directory(handle, 0, &mut |entry| {
            names.extend(Name::from_os(entry.name).ok());
            true
        });
        self.live().release_directory(handle);
        read?;
        names.sort();
        Ok(names)
    }

    fn put(&self, path: &[u8], content: &[u8], mode: OpenMode) -> Result<()> {
        let (folder, name) = self.place(path)?;
        let (stat, handle) = self.live().create(own_caller(), folder.file, name.as_os_str(), FILE_MODE, mode)?;
        let written = write_all(self.live(), handle, content);
        let flushed = self.live().flush(handle);
        self.live().release(handle);
        self.live().forget(stat.file, 1);
        written?;
        flushed?;
        self.acknowledge()
    }

    /// Waits until what was changed is as durable as the project's mode promises of a call that returned.
    fn acknowledge(&self) -> Result<()> {
        Ok(self.live().wait_settled()?)
    }

    /// Finds the folder in which a path's last name is, or is going to be.
    fn place(&self, path: &[u8]) -> Result<(Held<'_>, Name)> {
        let path = parse(path)?;
        let root = || ProjectError::InvalidPath { path: ".".into(), source: crate::model::InvalidName::Empty };
        let (folder, name) = path.split_last().ok_or_else(root)?;
        Ok((Held::find(self.live(), &folder)?, name))
    }
}

/// A node with a lookup reference that is given back.
struct Held<'a> {
    live: &'a Live,
    file: FileId,
}

impl<'a> Held<'a> {
    fn find(live: &'a Live, path: &RelPath) -> Result<Self> {
        let mut held = Self { live, file: FileId::ROOT };
        for name in path.names() {
            held = held.child(name.as_os_str()).map_err(|error| not_found(error, path))?;
        }
        Ok(held)
    }

    fn child(&self, name: &OsStr) -> crate::tree::Result<Self> {
        let stat = self.live.lookup(self.file, name)?;
        Ok(Self { live: self.live, file: stat.file })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.file != FileId::ROOT {
            self.live.forget(self.file, 1);
        }
    }
}

fn not_found(error: crate::tree::TreeError, path: &RelPath) -> ProjectError {
    match error.errno() {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            ProjectError::NotFound { path: path.clone(), when: "now".into() }
        }
        _ => error.into(),
    }
}

fn parse(path: &[u8]) -> Result<RelPath> {
    RelPath::new(path)
        .map_err(|source| ProjectError::InvalidPath { path: String::from_utf8_lossy(path).into_owned(), source })
}

fn write_all(live: &Live, handle: Handle, content: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < content.len() {
        done += live.write(own_caller(), handle, done as u64, &content[done..])?;
    }
    Ok(())
}

fn read_all(live: &Live, handle: Handle) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let begin = content.len();
        content.resize(begin + READ_BYTES, 0);
        let read = live.read(handle, begin as u64, &mut content[begin..])?;
        content.truncate(begin + read);
        if read == 0 {
            return Ok(content);
        }
    }
}
