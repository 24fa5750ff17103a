//! A folder of the host as a source.
//!
//! Names are never joined to paths, and a symlink inside is never followed. As with `cp -a -x`, a folder on which another
//! filesystem is mounted is seen, but not entered.

use std::ffi::OsStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{Source, SourceId, SourceNode};
use crate::model::{FileKind, Name, XattrName};
use crate::storage::{Extent, Xattr};
use crate::tree::descent::Descent;
use crate::tree::host::{self, HostStat};
use crate::tree::{Result, TreeError};

/// How many extents are looked for at a time.
const EXTENTS: usize = 256;

/// A tree of the host's.
pub struct HostSource {
    top: OwnedFd,
    device: u64,
    entered: Option<Descent>,
    selected: Option<Selected>,
}

struct Selected {
    /// An `O_PATH` descriptor.
    fd: OwnedFd,
    stat: HostStat,
    /// Opened for reading, if content was asked for.
    content: Option<OwnedFd>,
}

impl HostSource {
    /// Begins at a path, following it if it is a symlink.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::new(fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?)
    }

    /// Begins at what a descriptor names, which may be an `O_PATH` one.
    ///
    /// # Errors
    /// What the host says.
    pub fn new(top: OwnedFd) -> Result<Self, Errno> {
        let device = host::stat(&top)?.id.device;
        Ok(Self { top, device, entered: None, selected: None })
    }

    fn select_open(&mut self, fd: OwnedFd) -> Result<SourceNode> {
        let stat = host::stat(&fd)?;
        self.selected = Some(Selected { fd, stat, content: None });
        Ok(SourceNode {
            id: SourceId { device: stat.id.device, inode: stat.id.inode },
            metadata: stat.metadata,
            mount_point: stat.metadata.kind == FileKind::Directory && stat.id.device != self.device,
        })
    }

    fn current(&self) -> Result<&Descent, Errno> {
        self.entered.as_ref().ok_or(Errno::NOTDIR)
    }

    fn selected(&self) -> Result<&Selected, Errno> {
        self.selected.as_ref().ok_or(Errno::BADF)
    }
}

impl Selected {
    fn content(&mut self) -> Result<&OwnedFd, Errno> {
        if self.content.is_none() {
            self.content = Some(open_for_reading(&self.fd, OFlags::empty())?);
        }
        self.content.as_ref().ok_or(Errno::BADF)
    }
}

/// Opens for reading, without leaving an access time behind where the host allows that (only to the owner).
fn open_for_reading(fd: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    match host::reopen(&fd, OFlags::RDONLY | OFlags::NOATIME | flags) {
        Err(Errno::PERM) => host::reopen(&fd, OFlags::RDONLY | flags),
        other => other,
    }
}

impl Source for HostSource {
    fn select_top(&mut self) -> Result<SourceNode> {
        let top = self.top.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.select_open(top)
    }

    fn select(&mut self, name: &Name) -> Result<SourceNode> {
        self.selected = None;
        let fd = host::open_path(self.current()?.current()?, name.as_os_str())?;
        self.select_open(fd)
    }

    fn enter(&mut self) -> Result<()> {
        let folder = self.selected.take().ok_or(Errno::NOTDIR)?;
        let fd = open_for_reading(&folder.fd, OFlags::DIRECTORY)?;
        match &mut self.entered {
            Some(entered) => entered.enter_open(fd)?,
            None => self.entered = Some(Descent::new(fd)?),
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.selected = None;
        Ok(self.entered.as_mut().ok_or(Errno::INVAL)?.leave()?)
    }

    fn more_names(&mut self) -> Result<Vec<Name>> {
        let folder = self.current()?.current()?;
        let mut buf = [MaybeUninit::uninit(); 32 * 1024];
        let mut entries = fs::RawDir::new(folder, &mut buf);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            // "." and ".." are no names.
            names.extend(Name::new(entry?.file_name().to_bytes().to_vec()).ok());
            // The rest of a buffer would be lost if reading stopped before its end.
            if entries.is_buffer_empty() && !names.is_empty() {
                break;
            }
        }
        Ok(names)
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let content = self.selected.as_mut().ok_or(Errno::BADF)?.content()?;
        Ok(host::read_full(content, offset, buf)?)
    }

    fn extents(&mut self, from: u64) -> Result<Vec<Extent>> {
        let selected = self.selected.as_mut().ok_or(Errno::BADF)?;
        let size = selected.stat.metadata.size;
        let content = selected.content()?;
        let mut extents = Vec::new();
        let mut from = from;
        while extents.len() < EXTENTS && from < size {
            let Some(extent) = next_extent(content, from, size)? else { break };
            from = extent.end();
            extents.push(extent);
        }
        Ok(extents)
    }

    fn read_link(&mut self) -> Result<Vec<u8>> {
        Ok(host::read_link(&self.selected()?.fd)?)
    }

    fn xattrs(&mut self) -> Result<Vec<Xattr>> {
        let fd = &self.selected()?.fd;
        let names = match host::xattr_names(fd) {
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            other => other?,
        };
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        names.filter_map(|name| read_xattr(fd, name).transpose()).collect()
    }
}

/// Reads an attribute; `None` if it is gone by now.
fn read_xattr(fd: &OwnedFd, name: &[u8]) -> Result<Option<Xattr>> {
    let value = match host::xattr(fd, OsStr::from_bytes(name)) {
        Err(Errno::NODATA) => return Ok(None),
        other => other?,
    };
    let name = XattrName::new(name.to_vec()).map_err(|_| TreeError::from(Errno::INVAL))?;
    Ok(Some(Xattr { name, value: value.into() }))
}

fn next_extent(content: &OwnedFd, from: u64, size: u64) -> Result<Option<Extent>, Errno> {
    let offset = match fs::seek(content, SeekFrom::Data(from)) {
        Err(Errno::NXIO) => return Ok(None),
        other => other?,
    };
    let end = match fs::seek(content, SeekFrom::Hole(offset)) {
        Err(Errno::NXIO) => return Ok(None),
        other => other?.min(size),
    };
    Ok((offset < end).then(|| Extent { offset, len: end - offset }))
}

impl fmt::Debug for HostSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostSource").field("top", &self.top).finish_non_exhaustive()
    }
}
