//! The first pass: what in `working/` is not as history says.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{MendReport, PowerCut, Suspects};
use crate::model::{FileId, FileKind, FileMetadata, Name, RelPath};
use crate::tree::Result;
use crate::tree::host::{self, HostId, HostStat};
use crate::tree::live::Live;
use crate::tree::live::past::{Pairs, Past, is_unchanged};

/// A file or folder of history, and where it belongs.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) path: RelPath,
    pub(super) file: FileId,
    pub(super) metadata: FileMetadata,
}

/// How `working/` differs from history.
#[derive(Default)]
pub(super) struct Differences {
    /// Files that are there, with other content or metadata.
    pub(super) changed: Vec<Known>,
    /// Folders that are there, with other metadata.
    pub(super) changed_folders: Vec<Known>,
    /// Folders that are missing; those above come before those below.
    pub(super) missing_folders: Vec<Known>,
    /// Files that are missing.
    pub(super) missing: Vec<Known>,
    /// What is there and not in history; of a folder, not what is in it.
    pub(super) extra: Vec<RelPath>,
    /// Where files with several names were found, by one of them.
    pub(super) placed: HashMap<FileId, RelPath>,
    /// The inodes that stand for files of history.
    pub(super) taken: HashSet<HostId>,
}

impl Differences {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.changed_folders.is_empty()
            && self.missing_folders.is_empty()
            && self.missing.is_empty()
            && self.extra.is_empty()
    }
}

/// A folder that is in both.
struct Folder {
    file: FileId,
    path: RelPath,
}

struct Look<'a> {
    live: &'a Live,
    past: &'a Past,
    suspects: &'a Suspects,
    cut: &'a PowerCut,
    found: Differences,
    pairs: Pairs,
    seen: u64,
}

pub(super) fn look(
    live: &Live,
    past: &Past,
    suspects: &Suspects,
    cut: &PowerCut,
    report: &mut MendReport,
) -> Result<Differences> {
    let mut look = Look { live, past, suspects, cut, found: Differences::default(), pairs: Pairs::default(), seen: 0 };
    let mut folders = vec![Folder { file: FileId::ROOT, path: RelPath::root() }];
    while let Some(folder) = folders.pop() {
        look.folder(&folder, &mut folders)?;
    }
    report.seen = look.seen;
    Ok(look.found)
}

impl Look<'_> {
    fn folder(&mut self, folder: &Folder, below: &mut Vec<Folder>) -> Result<()> {
        let fd = open_folder(self.live, &folder.path)?;
        let stat = host::stat(&*fd)?;
        self.seen += 1;
        let edited = self.is_edited(&stat);
        if let Some(metadata) = self.past.node(folder.file)?
            && !edited
            && !is_unchanged(&metadata, &stat.metadata)
        {
            let known = Known { path: folder.path.clone(), file: folder.file, metadata };
            self.found.changed_folders.push(known);
        }
        let mut known = self.past.entries(folder.file)?;
        for name in host::names_in(&*fd)? {
            let Ok(name) = Name::from_os(&name) else { continue };
            if self.live.is_reserved(folder.file, name.as_os_str()) {
                continue;
            }
            let found = host::stat_entry(&*fd, name.as_os_str())?;
            if found.id.device != stat.id.device {
                known.remove(&name);
                continue;
            }
            let path = folder.path.join(&name);
            let file = known.get(&name).copied();
            if let Some(file) = file
                && let Some(metadata) = self.past.node(file)?
                && self.pairs.pair(file, &metadata, &found)
            {
                self.found.taken.insert(found.id);
                known.remove(&name);
                if metadata.kind == FileKind::Directory {
                    below.push(Folder { file, path });
                } else {
                    self.file(Known { path, file, metadata }, &fd, &name, &found)?;
                }
            } else if !self.is_left_alone(&path, file.is_some(), &found) {
                self.found.extra.push(path);
            } else if file.is_some() {
                // Somebody put something else there.
                known.remove(&name);
            }
        }
        if !edited {
            for (name, file) in known {
                self.missing(folder.path.join(&name), file)?;
            }
        }
        Ok(())
    }

    /// Tells whether something that history does not have here stays: it is ignored, or it was edited later.
    fn is_left_alone(&self, path: &RelPath, is_known: bool, found: &HostStat) -> bool {
        let is_dir = found.metadata.kind == FileKind::Directory;
        self.is_edited(found) || (!is_known && self.live.ignore.read().is_ignored(path, is_dir))
    }

    fn is_edited(&self, found: &HostStat) -> bool {
        self.cut.edited_after.is_some_and(|cut| found.metadata.ctime > cut)
    }

    fn file(&mut self, known: Known, dir: &OwnedFd, name: &Name, found: &HostStat) -> Result<()> {
        self.seen += 1;
        if known.metadata.nlink > 1 {
            self.found.placed.insert(known.file, known.path.clone());
        }
        if self.is_edited(found) {
            return Ok(());
        }
        let mut differs = !is_unchanged(&known.metadata, &found.metadata);
        let fd = || host::open_path(dir, name.as_os_str());
        if known.metadata.kind == FileKind::Symlink && !self.past.has_same_target(known.file, &fd()?)? {
            // It cannot be changed, only made anew.
            self.found.taken.remove(&found.id);
            self.found.extra.push(known.path.clone());
            self.found.missing.push(known);
            return Ok(());
        }
        if !differs && known.metadata.kind == FileKind::File && self.suspects.contains(known.file) {
            let open = host::reopen(&fd()?, OFlags::RDONLY)?;
            differs = !self.past.has_same_content(known.file, &open, known.metadata.size)?;
        }
        if differs {
            self.found.changed.push(known);
        }
        Ok(())
    }

    fn missing(&mut self, path: RelPath, file: FileId) -> Result<()> {
        let Some(metadata) = self.past.node(file)? else { return Ok(()) };
        let known = Known { path, file, metadata };
        if metadata.kind != FileKind::Directory {
            self.found.missing.push(known);
            return Ok(());
        }
        let mut folders = vec![known];
        while let Some(folder) = folders.pop() {
            for (name, file) in self.past.entries(folder.file)? {
                let Some(metadata) = self.past.node(file)? else { continue };
                let known = Known { path: folder.path.join(&name), file, metadata };
                let list = if metadata.kind == FileKind::Directory { &mut folders } else { &mut self.found.missing };
                list.push(known);
            }
            self.found.missing_folders.push(folder);
        }
        Ok(())
    }
}

/// Opens a folder of `working/` by its path, name by name.
pub(super) fn open_folder(live: &Live, path: &RelPath) -> Result<Arc<OwnedFd>, Errno> {
    let root = live.nodes.get(FileId::ROOT)?;
    let mut fd = live.nodes.fd(&root)?;
    for name in path.names() {
        fd = Arc::new(host::open_path(&*fd, name.as_os_str())?);
    }
    Ok(fd)
}

/// Opens what a path names.
pub(super) fn open_entry(live: &Live, path: &RelPath) -> Result<OwnedFd, Errno> {
    let (folder, name) = path.split_last().ok_or(Errno::INVAL)?;
    host::open_path(&*open_folder(live, &folder)?, name.as_os_str())
}
