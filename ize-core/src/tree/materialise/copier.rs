//! The way through a tree that is copied: what is no folder first, then down into each folder; a folder gets its own
//! metadata when everything in it is made.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{CopyError, CopyOptions, CopyProgress, CopyReport, Omission, node};
use crate::model::{FileKind, FileMetadata, Name, RelPath};
use crate::storage::Xattr;
use crate::tree::descent::Descent;
use crate::tree::source::{Source, SourceId, SourceNode};
use crate::tree::{TreeError, host};

const BUFFER_BYTES: usize = 256 * 1024;
/// Who owns a folder needs this to get at what is in it.
const SEARCH: u32 = 0o100;

pub(super) struct Copier<'s, 'o> {
    source: &'s mut dyn Source,
    dest: Descent,
    options: CopyOptions<'o>,
    report: CopyReport,
    buffer: Vec<u8>,
    /// Files that have names left to be made.
    linked: HashMap<SourceId, Linked>,
    /// The folders from the top down to where the work is.
    folders: Vec<Folder>,
    /// Folders whose permissions would shut out links to what is in them: they get them at the end.
    shut: Vec<(RelPath, u32)>,
}

struct Linked {
    path: RelPath,
    names_left: u32,
}

struct Folder {
    /// `None` for the top.
    name: Option<Name>,
    metadata: FileMetadata,
    xattrs: Vec<Xattr>,
    /// Folders in it that are still to be copied.
    below: Vec<Name>,
}

/// Why a single entry was not copied: either side may be to blame.
enum Failure {
    Source(TreeError),
    Dest(Errno),
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        Self::Source(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Dest(errno)
    }
}

impl<'s, 'o> Copier<'s, 'o> {
    pub(super) fn new(source: &'s mut dyn Source, dest: OwnedFd, options: CopyOptions<'o>) -> Result<Self, Errno> {
        Ok(Self {
            source,
            dest: Descent::new(dest)?,
            options,
            report: CopyReport::default(),
            buffer: vec![0; BUFFER_BYTES],
            linked: HashMap::new(),
            folders: Vec::new(),
            shut: Vec::new(),
        })
    }

    /// Copies the top, which is no folder, into the destination folder.
    pub(super) fn copy_file(mut self, name: &Name) -> Result<CopyReport, CopyError> {
        let node = self.source.select_top();
        let made = node.map_err(Failure::from).and_then(|node| self.make(name, &node));
        made.map_err(|failure| self.stop(Some(name), failure))?;
        Ok(self.report)
    }

    /// Copies the top, which is a folder, into the destination folder.
    pub(super) fn copy_folder(mut self) -> Result<CopyReport, CopyError> {
        self.enter_top().map_err(|failure| self.stop(None, failure))?;
        while let Some(folder) = self.folders.last_mut() {
            match folder.below.pop() {
                Some(name) => self.descend(name)?,
                None => self.finish_folder()?,
            }
        }
        for (path, mode) in std::mem::take(&mut self.shut) {
            self.shut_folder(&path, mode).map_err(|source| CopyError::Write { path: path.clone(), source })?;
        }
        Ok(self.report)
    }

    fn enter_top(&mut self) -> Result<(), Failure> {
        let node = self.source.select_top()?;
        let xattrs = self.source.xattrs()?;
        self.source.enter()?;
        self.begin_folder(None, node.metadata, xattrs)
    }

    /// Copies what is in the folder that was just entered on both sides, except folders.
    fn begin_folder(&mut self, name: Option<Name>, metadata: FileMetadata, xattrs: Vec<Xattr>) -> Result<(), Failure> {
        self.report.folders += 1;
        self.folders.push(Folder { name, metadata, xattrs, below: Vec::new() });
        loop {
            let names = self.source.more_names()?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.copy_entry(name)?;
            }
            self.tell_progress();
        }
    }

    fn copy_entry(&mut self, name: Name) -> Result<(), Failure> {
        let copied = match self.source.select(&name) {
            Ok(node) if node.metadata.kind == FileKind::Directory => {
                if let Some(folder) = self.folders.last_mut() {
                    folder.below.push(name);
                }
                return Ok(());
            }
            Ok(node) => self.make(&name, &node),
            Err(error) => Err(error.into()),
        };
        copied.or_else(|failure| self.leave_out(&name, failure))
    }

    fn descend(&mut self, name: Name) -> Result<(), CopyError> {
        let entered = match self.source.select(&name) {
            Ok(node) if self.is_destination(&node) => return Err(CopyError::IntoItself(self.path(Some(&name)))),
            Ok(node) => self.enter(&name, &node),
            Err(error) => Err(error.into()),
        };
        entered.or_else(|failure| self.leave_out(&name, failure)).map_err(|failure| self.stop(Some(&name), failure))
    }

    fn is_destination(&self, node: &SourceNode) -> bool {
        let dest = self.dest.top_id();
        (dest.device, dest.inode) == (node.id.device, node.id.inode)
    }

    fn enter(&mut self, name: &Name, node: &SourceNode) -> Result<(), Failure> {
        let xattrs = self.source.xattrs()?;
        if !node.mount_point {
            self.source.enter()?;
        }
        rustix::fs::mkdirat(self.dest.current()?, name.as_os_str(), Mode::RWXU)?;
        self.dest.enter(name.as_os_str())?;
        if !node.mount_point {
            return self.begin_folder(Some(name.clone()), node.metadata, xattrs);
        }
        let path = self.path(Some(name));
        self.report.folders += 1;
        self.report.omit(|| path.clone(), Omission::MountPoint);
        let folder = Folder { name: Some(name.clone()), metadata: node.metadata, xattrs, below: Vec::new() };
        self.set_folder_metadata(&folder, &path)?;
        Ok(self.dest.leave()?)
    }

    fn finish_folder(&mut self) -> Result<(), CopyError> {
        let path = self.path(None);
        let Some(folder) = self.folders.pop() else { return Ok(()) };
        let result = self.set_folder_metadata(&folder, &path).map_err(Failure::from).and_then(|()| {
            if folder.name.is_some() {
                self.source.leave()?;
                self.dest.leave()?;
            }
            Ok(())
        });
        result.map_err(|failure| stop_at(path, failure))
    }

    fn set_folder_metadata(&mut self, folder: &Folder, path: &RelPath) -> Result<(), Errno> {
        let mut metadata = folder.metadata;
        if metadata.mode & SEARCH == 0 && !self.linked.is_empty() {
            self.shut.push((path.clone(), metadata.mode));
            metadata.mode |= 0o700;
        }
        let report = &mut self.report;
        let mut omit = |what| report.omit(|| path.clone(), what);
        node::set_metadata(self.dest.current()?, &metadata, &folder.xattrs, self.options.owners, &mut omit)
    }

    fn shut_folder(&self, path: &RelPath, mode: u32) -> Result<(), Errno> {
        match path.split_last() {
            Some((parent, name)) => host::set_mode(host::open_path(self.open_made(&parent)?, name.as_os_str())?, mode),
            None => host::set_mode(self.dest.top()?, mode),
        }
    }

    /// Makes what is selected, which is no folder.
    fn make(&mut self, name: &Name, node: &SourceNode) -> Result<(), Failure> {
        if let Some(first) = self.first_name(node) {
            return self.make_hard_link(&first, name);
        }
        let xattrs = self.source.xattrs()?;
        let Some(fd) = self.make_inode(name, node)? else { return Ok(()) };
        let folders = &self.folders;
        let report = &mut self.report;
        let mut omit = |what| report.omit(|| path_in(folders, Some(name)), what);
        node::set_metadata(fd, &node.metadata, &xattrs, self.options.owners, &mut omit)?;
        if node.metadata.nlink > 1 {
            let linked = Linked { path: self.path(Some(name)), names_left: node.metadata.nlink - 1 };
            self.linked.insert(node.id, linked);
        }
        Ok(())
    }

    /// Makes an inode with its content, but without its metadata; `None` if the host does not allow that kind.
    fn make_inode(&mut self, name: &Name, node: &SourceNode) -> Result<Option<OwnedFd>, Failure> {
        match node.metadata.kind {
            FileKind::File => self.make_file(name, node).map(Some),
            FileKind::Symlink => {
                let target = self.source.read_link()?;
                self.report.symlinks += 1;
                Ok(Some(node::make_symlink(self.dest.current()?, name, &target)?))
            }
            _ => match node::make_special(self.dest.current()?, name, &node.metadata) {
                Ok(fd) => {
                    self.report.specials += 1;
                    Ok(Some(fd))
                }
                Err(errno @ (Errno::PERM | Errno::NOTSUP | Errno::INVAL)) => {
                    let path = self.path(Some(name));
                    self.report.omit(|| path, Omission::NotMade(errno));
                    Ok(None)
                }
                Err(errno) => Err(errno.into()),
            },
        }
    }

    /// Returns where a file was made already, if it was, and counts this name.
    fn first_name(&mut self, node: &SourceNode) -> Option<RelPath> {
        let linked = self.linked.get_mut(&node.id)?;
        linked.names_left -= 1;
        let path = linked.path.clone();
        if linked.names_left == 0 {
            self.linked.remove(&node.id);
        }
        Some(path)
    }

    fn make_hard_link(&mut self, first: &RelPath, name: &Name) -> Result<(), Failure> {
        let (folder, first) = first.split_last().ok_or(Errno::NOENT)?;
        let folder = self.open_made(&folder)?;
        rustix::fs::linkat(folder, first.as_os_str(), self.dest.current()?, name.as_os_str(), AtFlags::empty())?;
        self.report.hard_links += 1;
        Ok(())
    }

    /// Opens a folder that was made, name by name.
    fn open_made(&self, path: &RelPath) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::openat(self.dest.top()?, OsStr::new("."), flags, Mode::empty())?;
        for name in path.names() {
            folder = rustix::fs::openat(&folder, name.as_os_str(), flags, Mode::empty())?;
        }
        Ok(folder)
    }

    fn make_file(&mut self, name: &Name, node: &SourceNode) -> Result<OwnedFd, Failure> {
        let fd = node::make_file(self.dest.current()?, name)?;
        if let Err(failure) = self.copy_content(&fd, node.metadata.size) {
            // Half a file is worse than none, and its name is in the report or in the error.
            rustix::fs::unlinkat(self.dest.current()?, name.as_os_str(), AtFlags::empty())?;
            return Err(failure);
        }
        self.report.files += 1;
        Ok(fd)
    }

    fn copy_content(&mut self, fd: &OwnedFd, size: u64) -> Result<(), Failure> {
        if size == 0 {
            return Ok(());
        }
        rustix::fs::ftruncate(fd, size)?;
        let mut from = 0;
        loop {
            let extents = self.source.extents(from)?;
            let Some(last) = extents.last() else { return Ok(()) };
            from = last.end();
            for extent in extents {
                self.copy_extent(fd, extent.offset, extent.end().min(size))?;
            }
        }
    }

    fn copy_extent(&mut self, fd: &OwnedFd, mut offset: u64, end: u64) -> Result<(), Failure> {
        while offset < end {
            let len = usize::try_from(end - offset).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let read = self.source.read(offset, &mut self.buffer[..len])?;
            if let (_, Some(errno)) = host::write_all(fd, offset, &self.buffer[..read]) {
                return Err(errno.into());
            }
            if read < len {
                // The file shrank while it was copied.
                return Ok(());
            }
            offset += read as u64;
            self.report.bytes += read as u64;
            self.tell_progress();
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        let so_far = CopyProgress { entries: self.report.entries(), bytes: self.report.bytes };
        if let Some(progress) = &mut self.options.progress {
            progress(so_far);
        }
    }

    /// Notes an entry that the source refused to read, and goes on. Any other failure stops the copy.
    fn leave_out(&mut self, name: &Name, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Source(TreeError::Refused(errno)) => {
                let path = self.path(Some(name));
                self.report.omit(|| path, Omission::Unreadable(errno));
                Ok(())
            }
            other => Err(other),
        }
    }

    fn path(&self, name: Option<&Name>) -> RelPath {
        path_in(&self.folders, name)
    }

    fn stop(&self, name: Option<&Name>, failure: Failure) -> CopyError {
        stop_at(self.path(name), failure)
    }
}

fn path_in(folders: &[Folder], name: Option<&Name>) -> RelPath {
    let names = folders.iter().filter_map(|folder| folder.name.as_ref()).chain(name);
    let bytes = names.map(Name::as_bytes).collect::<Vec<_>>().join(&b'/');
    RelPath::new(bytes).unwrap_or_default()
}

fn stop_at(path: RelPath, failure: Failure) -> CopyError {
    match failure {
        Failure::Source(source) => CopyError::Read { path, source },
        Failure::Dest(source) => CopyError::Write { path, source },
    }
}
