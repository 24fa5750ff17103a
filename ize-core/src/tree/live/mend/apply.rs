//! The third pass: `working/` becomes what history says.
//!
//! Nothing here is recorded: history has it already.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::MendReport;
use super::look::{Differences, Known, open_entry, open_folder};
use crate::disk::{Change, change};
use crate::model::{FileId, FileKind, FileMetadata, Name, RelPath};
use crate::tree::live::past::{Past, Print};
use crate::tree::live::{Live, RESERVED_NAME};
use crate::tree::materialise::{self, set_metadata};
use crate::tree::{CopyError, Result, Snapshot, TreeError, host};

/// What the owner needs of a file or folder in order to change it.
const OWNER_ACCESS: u32 = 0o700;

struct Apply<'a> {
    live: &'a Live,
    past: &'a Past,
    snapshot: Snapshot,
    differences: &'a Differences,
    report: &'a mut MendReport,
    /// Folders whose own metadata has to be set when all else is done.
    folders: BTreeSet<RelPath>,
    /// Extra files, where they were put aside.
    aside: HashMap<Print, Vec<Name>>,
    placed: HashMap<FileId, RelPath>,
}

pub(super) fn apply(live: &Live, past: &Past, differences: &Differences, report: &mut MendReport) -> Result<()> {
    let mut apply = Apply {
        live,
        past,
        snapshot: Snapshot::new(past.storage.clone(), past.view),
        differences,
        report,
        folders: differences.changed_folders.iter().map(|known| known.path.clone()).collect(),
        aside: HashMap::new(),
        placed: differences.placed.clone(),
    };
    apply.put_extras_aside()?;
    for folder in &differences.missing_folders {
        apply.make_folder(folder)?;
    }
    for known in &differences.missing {
        apply.place(known)?;
    }
    for known in &differences.changed {
        apply.mend(known)?;
    }
    apply.remove_aside()?;
    apply.finish_folders()
}

impl Apply<'_> {
    /// Opens a folder whose entries are going to change.
    fn open_for_change(&mut self, path: &RelPath) -> Result<Arc<OwnedFd>> {
        let fd = open_folder(self.live, path)?;
        self.folders.insert(path.clone());
        allow_owner(&fd)?;
        Ok(fd)
    }

    /// Moves what history does not have into a folder of its own, so that its name is free and its content may serve.
    fn put_extras_aside(&mut self) -> Result<()> {
        let Some(aside) = self.open_aside(!self.differences.extra.is_empty())? else { return Ok(()) };
        let mut number = host::names_in(&*aside)?.len();
        for path in &self.differences.extra {
            let Some((folder, name)) = path.split_last() else { continue };
            let folder = self.open_for_change(&folder)?;
            if host::stat_entry(&*folder, name.as_os_str())?.metadata.kind == FileKind::Directory {
                // Its `..` is going to change.
                allow_owner(&host::open_path(&*folder, name.as_os_str())?)?;
            }
            loop {
                let to = format!("{number}");
                number += 1;
                let (from, to) = ((folder.as_fd(), name.as_os_str()), (aside.as_fd(), OsStr::new(&to)));
                let moved = change(Change::Entries([from, to]), || {
                    fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)
                });
                match moved {
                    Err(Errno::EXIST) => {}
                    other => break other?,
                }
            }
            self.report.removed += 1;
        }
        self.note_aside(&aside)
    }

    /// Opens the folder for what is put aside, making it if `make` says so.
    fn open_aside(&mut self, make: bool) -> Result<Option<Arc<OwnedFd>>> {
        let root = RelPath::root();
        if make {
            let root = self.open_for_change(&root)?;
            match make_folder(&root, OsStr::new(RESERVED_NAME)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        match host::open_path(&*open_folder(self.live, &root)?, RESERVED_NAME.as_ref()) {
            // It is there though nothing was made: an earlier try was interrupted.
            Ok(fd) => {
                self.folders.insert(root);
                Ok(Some(Arc::new(fd)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn note_aside(&mut self, aside: &OwnedFd) -> Result<()> {
        for name in host::names_in(aside)? {
            let Ok(name) = Name::from_os(&name) else { continue };
            let found = host::stat_entry(aside, name.as_os_str())?;
            let whole = found.metadata.kind == FileKind::File && found.metadata.size > 0;
            // One name of a file that is in its place under another one must not become a file of its own.
            if whole && !self.differences.taken.contains(&found.id) && found.metadata.nlink == 1 {
                self.aside.entry(Print::of(&found.metadata)).or_default().push(name);
            }
        }
        Ok(())
    }

    fn remove_aside(&mut self) -> Result<()> {
        let Some(aside) = self.open_aside(false)? else { return Ok(()) };
        remove_all(&aside)?;
        let root = self.open_for_change(&RelPath::root())?;
        Ok(remove(&root, OsStr::new(RESERVED_NAME), AtFlags::REMOVEDIR)?)
    }

    fn make_folder(&mut self, known: &Known) -> Result<()> {
        let Some((folder, name)) = known.path.split_last() else { return Ok(()) };
        let folder = self.open_for_change(&folder)?;
        make_folder(&folder, name.as_os_str())?;
        self.folders.insert(known.path.clone());
        self.report.created += 1;
        Ok(())
    }

    /// Puts a missing file in its place: another name of it, the same content from elsewhere, or its content from history.
    fn place(&mut self, known: &Known) -> Result<()> {
        let Some((folder, name)) = known.path.split_last() else { return Ok(()) };
        let folder = self.open_for_change(&folder)?;
        if let Some(first) = self.placed.get(&known.file) {
            host::link(open_entry(self.live, first)?, &*folder, name.as_os_str())?;
            self.report.created += 1;
            return Ok(());
        }
        match self.find_aside(known)? {
            Some((aside, from)) => {
                let (from, to) = ((aside.as_fd(), from.as_os_str()), (folder.as_fd(), name.as_os_str()));
                change(Change::Entries([from, to]), || fs::renameat(from.0, from.1, to.0, to.1))?;
                self.report.renamed += 1;
                self.report.removed = self.report.removed.saturating_sub(1);
                self.set_metadata(known, &host::open_path(&*folder, name.as_os_str())?)?;
            }
            None => {
                let folder = host::reopen_directory(&*folder)?;
                materialise::make_one(&self.snapshot, &known.path, folder, &name).map_err(copy_error)?;
                self.report.created += 1;
            }
        }
        if known.metadata.nlink > 1 {
            self.placed.insert(known.file, known.path.clone());
        }
        Ok(())
    }

    fn find_aside(&mut self, known: &Known) -> Result<Option<(Arc<OwnedFd>, Name)>> {
        let Some(names) = self.aside.get_mut(&Print::of(&known.metadata)) else { return Ok(None) };
        let root = open_folder(self.live, &RelPath::root())?;
        let aside = Arc::new(host::open_path(&*root, RESERVED_NAME.as_ref())?);
        for (at, name) in names.iter().enumerate() {
            let fd = host::open_path(&*aside, name.as_os_str())?;
            allow_owner(&fd)?;
            let fd = host::reopen(&fd, OFlags::RDONLY)?;
            if self.past.has_same_content(known.file, &fd, known.metadata.size)? {
                return Ok(Some((aside, names.swap_remove(at))));
            }
        }
        Ok(None)
    }

    /// Gives a file that is there the content and metadata that it should have.
    fn mend(&mut self, known: &Known) -> Result<()> {
        let fd = open_entry(self.live, &known.path)?;
        if known.metadata.kind == FileKind::File {
            allow_owner(&fd)?;
            self.mend_content(known, &host::reopen(&fd, OFlags::RDWR)?)?;
        }
        self.set_metadata(known, &fd)?;
        self.report.mended += 1;
        Ok(())
    }

    fn mend_content(&self, known: &Known, fd: &OwnedFd) -> Result<()> {
        let size = known.metadata.size;
        if host::stat(fd)?.metadata.size != size {
            change(Change::Inode(fd.as_fd()), || fs::ftruncate(fd, size))?;
        }
        self.past.differences(known.file, fd, size, &mut |start, _, expected| {
            let hole = expected.iter().all(|byte| *byte == 0) && self.is_hole(known, start, expected.len())?;
            let len = expected.len() as u64;
            if hole && punch(fd, start, len).is_ok() {
                return Ok(true);
            }
            match host::write_all(fd, start, expected) {
                (_, Some(errno)) => Err(errno.into()),
                _ => Ok(true),
            }
        })
    }

    fn is_hole(&self, known: &Known, start: u64, len: usize) -> Result<bool> {
        let extents = self.past.storage.extents(self.past.view, known.file, start, 1)?;
        Ok(extents.first().is_none_or(|extent| extent.offset >= start + len as u64))
    }

    fn set_metadata(&self, known: &Known, fd: &OwnedFd) -> Result<()> {
        let xattrs = self.past.storage.xattrs(self.past.view, known.file)?;
        remove_other_xattrs(fd, &xattrs)?;
        // Without privilege some of it is refused, as it was when it was made.
        let mut refused = |what| tracing::warn!(path = %known.path, "{what}");
        let owners = rustix::process::geteuid().is_root();
        Ok(set_metadata(fd, &known.metadata, &xattrs, owners, &mut refused)?)
    }

    /// Gives the folders their metadata, those below before those above.
    fn finish_folders(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.folders).into_iter().rev() {
            let Some(file) = self.past.resolve(&path)? else { continue };
            let Some(metadata) = self.past.node(file)? else { continue };
            let fd = open_folder(self.live, &path)?;
            if !has_same_attributes(&metadata, &host::stat(&*fd)?.metadata) {
                self.set_metadata(&Known { path, file, metadata }, &fd)?;
            }
        }
        Ok(())
    }
}

fn has_same_attributes(was: &FileMetadata, now: &FileMetadata) -> bool {
    (was.mode, was.uid, was.gid, was.mtime) == (now.mode, now.uid, now.gid, now.mtime) && was.ctime == now.ctime
}

/// Lets the owner change what a descriptor names; its permissions are set anew afterwards.
fn allow_owner(fd: &OwnedFd) -> Result<(), Errno> {
    let mode = host::stat(fd)?.metadata.mode;
    if mode & OWNER_ACCESS == OWNER_ACCESS || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    host::set_mode(fd, mode | OWNER_ACCESS)
}

fn remove_other_xattrs(fd: &OwnedFd, wanted: &[crate::storage::Xattr]) -> Result<(), Errno> {
    let names = match host::xattr_names(fd) {
        Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => return Ok(()),
        other => other?,
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !wanted.iter().any(|xattr| xattr.name.as_bytes() == name) {
            // What the system itself keeps there it may refuse to give up.
            let _ = host::remove_xattr(fd, std::os::unix::ffi::OsStrExt::from_bytes(name));
        }
    }
    Ok(())
}

fn make_folder(dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let dir = dir.as_fd();
    change(Change::Entry(dir, name), || fs::mkdirat(dir, name, Mode::RWXU))
}

fn remove(dir: impl AsFd, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
    let dir = dir.as_fd();
    change(Change::Entry(dir, name), || fs::unlinkat(dir, name, flags))
}

fn punch(fd: &OwnedFd, start: u64, len: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    change(Change::Zeros(fd.as_fd(), start, len), || fs::fallocate(fd, flags, start, len))
}

/// Removes everything in a folder, without going up or down by paths.
fn remove_all(top: &OwnedFd) -> Result<(), Errno> {
    let mut folders = vec![(host::reopen_directory(top)?, host::names_in(top)?)];
    while let Some((fd, names)) = folders.last_mut() {
        let Some(name) = names.pop() else {
            folders.pop();
            if let Some((parent, names)) = folders.last_mut()
                && let Some(name) = names.pop()
            {
                remove(parent, &name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        if host::stat_entry(&*fd, &name)?.metadata.kind == FileKind::Directory {
            let below = host::open_path(&*fd, &name)?;
            allow_owner(&below)?;
            // Once more, to be removed when it is empty.
            names.push(name);
            folders.push((host::reopen_directory(&below)?, host::names_in(&below)?));
        } else {
            remove(fd, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn copy_error(error: CopyError) -> TreeError {
    match error {
        CopyError::Read { source, .. } | CopyError::Origin { source, .. } => source,
        CopyError::Write { source, .. } | CopyError::Destination { source, .. } => source.into(),
        CopyError::NotThere(_) => Errno::NOENT.into(),
        CopyError::Occupied(_) | CopyError::Reserved | CopyError::IntoItself(_) => Errno::EXIST.into(),
    }
}
