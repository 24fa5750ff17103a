//! The second pass: what was found and history never had is recorded before it is overwritten or removed.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::look::{Differences, Known, open_entry, open_folder};
use super::{PowerCut, Suspects};
use crate::model::{Entry, FileId, FileKind, FileMetadata, Name, OpId, RelPath, View};
use crate::tree::Result;
use crate::tree::host;
use crate::tree::live::Live;
use crate::tree::live::past::{BLOCK_BYTES, Past, Print};
use crate::tree::live::record_tree::{Arrivals, Spot, next_data};

/// What a disk writes as a whole, at least.
const SECTOR_BYTES: usize = 512;
/// How many versions of a file found content is compared with.
const VERSIONS_MAX: usize = 64;
/// How many earlier files of the same name found content is compared with.
const FORMER_MAX: usize = 4;

/// A file at some moment: what was found may be that.
#[derive(Clone, Copy)]
struct Version {
    file: FileId,
    view: View,
}

struct Save<'a> {
    live: &'a Live,
    past: &'a Past,
    newest: &'a Past,
    suspects: &'a Suspects,
    cut: &'a PowerCut,
    /// Missing files: what was found under another name may be one of them.
    missing: HashMap<Print, Vec<&'a Known>>,
}

/// Records unknown content, and returns how many files had any.
pub(super) fn save(
    live: &Live,
    past: &Past,
    newest: &Past,
    suspects: &Suspects,
    cut: &PowerCut,
    differences: &Differences,
) -> Result<u64> {
    let mut missing: HashMap<Print, Vec<&Known>> = HashMap::new();
    for known in &differences.missing {
        missing.entry(Print::of(&known.metadata)).or_default().push(known);
    }
    let save = Save { live, past, newest, suspects, cut, missing };
    let mut saved = 0;
    for known in differences.changed.iter().filter(|known| known.metadata.kind == FileKind::File) {
        let fd = open_entry(live, &known.path)?;
        if !save.is_known_change(known, &fd)? {
            live.record_as_found(newest, known.file, &fd)?;
            saved += 1;
        }
    }
    for path in &differences.extra {
        saved += u64::from(save.extra(path)?);
    }
    Ok(saved)
}

impl Save<'_> {
    /// Tells whether history has whatever a file holds in place of what it should hold.
    fn is_known_change(&self, known: &Known, fd: &OwnedFd) -> Result<bool> {
        let found = host::stat(fd)?.metadata;
        let fd = host::reopen(fd, OFlags::RDONLY)?;
        let mut versions = vec![Version { file: known.file, view: self.newest.view }];
        let at = |op| Version { file: known.file, view: View::new(self.past.view.branch, op) };
        versions.extend(self.suspects.ops(known.file).take(VERSIONS_MAX).map(at));
        versions.push(at(self.cut.synced));
        versions.extend(self.former_at(&known.path)?);
        let mut is_known = true;
        let end = found.size.max(known.metadata.size);
        self.past.differences(known.file, &fd, end, &mut |start, ours, theirs| {
            is_known = self.is_known_block(start, ours, Some(theirs), &versions)?;
            Ok(is_known)
        })?;
        Ok(is_known)
    }

    /// Tells whether each sector of a block is zeros, or what a version has there.
    fn is_known_block(&self, start: u64, found: &[u8], expected: Option<&[u8]>, versions: &[Version]) -> Result<bool> {
        let sectors = found.len().div_ceil(SECTOR_BYTES);
        let mut unknown: Vec<usize> = (0..sectors)
            .filter(|sector| {
                let found = sector_of(found, *sector);
                found.iter().any(|byte| *byte != 0) && expected.is_none_or(|block| sector_of(block, *sector) != found)
            })
            .collect();
        let mut block = vec![0; found.len()];
        for version in versions {
            if unknown.is_empty() {
                break;
            }
            block.fill(0);
            self.past.storage.read(version.view, version.file, start, &mut block)?;
            unknown.retain(|sector| sector_of(&block, *sector) != sector_of(found, *sector));
        }
        Ok(unknown.is_empty())
    }

    /// Returns the files that a path named before, each as it was last under that name.
    fn former_at(&self, path: &RelPath) -> Result<Vec<Version>> {
        let Some((folder, name)) = path.split_last() else { return Ok(Vec::new()) };
        match self.past.resolve(&folder)? {
            Some(dir) => self.former(dir, &name),
            None => Ok(Vec::new()),
        }
    }

    fn former(&self, dir: FileId, name: &Name) -> Result<Vec<Version>> {
        let entry = Entry::new(dir, name.clone());
        let bindings = self.past.storage.bindings(self.newest.view, &entry, FORMER_MAX + 1)?;
        let mut until = OpId::new(u64::MAX);
        let mut former = Vec::new();
        for binding in bindings {
            let view = View::new(self.past.view.branch, until.prev());
            former.extend(binding.file.map(|file| Version { file, view }));
            until = binding.at;
        }
        Ok(former)
    }

    /// Records something that history does not have here, if there is anything in it that history never had.
    fn extra(&self, path: &RelPath) -> Result<bool> {
        let Some((folder, name)) = path.split_last() else { return Ok(false) };
        let Some(dir) = self.past.resolve(&folder)? else { return Ok(false) };
        if self.is_known_extra(path, self.former(dir, &name)?)? {
            return Ok(false);
        }
        let parent = open_folder(self.live, &folder)?;
        let fd = host::open_path(&*parent, name.as_os_str())?;
        if let Some(entry) = self.free_entry(dir, &name)? {
            let spot = Spot { entry, path: path.clone() };
            Arrivals::new(self.live, true).record_all(&parent, &spot, &fd)?;
        }
        Ok(true)
    }

    /// Returns the entry, or one beside it if that is bound in history.
    fn free_entry(&self, dir: FileId, name: &Name) -> Result<Option<Entry>> {
        let beside = (0..100u32).filter_map(|n| match n {
            0 => Some(name.clone()),
            n => Name::new([name.as_bytes(), format!(".found-{n}").as_bytes()].concat()).ok(),
        });
        for name in beside {
            let entry = Entry::new(dir, name);
            if self.live.bindings.get(&entry)?.is_none() {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Tells whether history has all that is in a file or folder.
    fn is_known_extra(&self, path: &RelPath, former: Vec<Version>) -> Result<bool> {
        let mut found = vec![(path.clone(), former)];
        while let Some((path, former)) = found.pop() {
            let fd = open_entry(self.live, &path)?;
            let metadata = host::stat(&fd)?.metadata;
            let is_known = match metadata.kind {
                FileKind::File => self.is_known_file(&fd, &metadata, &former)?,
                FileKind::Symlink => self.is_known_symlink(&fd, &former)?,
                FileKind::Directory => {
                    for name in host::names_in(&fd)? {
                        let Ok(name) = Name::from_os(&name) else { continue };
                        let former = self.former_below(&former, &name)?;
                        found.push((path.join(&name), former));
                    }
                    true
                }
                // Nothing is in these.
                FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => true,
            };
            if !is_known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn former_below(&self, folders: &[Version], name: &Name) -> Result<Vec<Version>> {
        let mut former = Vec::new();
        for folder in folders {
            former.extend(self.former(folder.file, name)?);
        }
        Ok(former)
    }

    fn is_known_file(&self, fd: &OwnedFd, metadata: &FileMetadata, former: &[Version]) -> Result<bool> {
        let fd = host::reopen(fd, OFlags::RDONLY)?;
        for known in self.missing.get(&Print::of(metadata)).map(Vec::as_slice).unwrap_or_default() {
            if self.past.has_same_content(known.file, &fd, metadata.size)? {
                return Ok(true);
            }
        }
        let mut block = vec![0; BLOCK_BYTES];
        let mut offset = 0;
        while let Some((start, stop)) = next_data(&fd, offset, metadata.size)? {
            let want = usize::try_from(stop - start).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = host::read_full(&fd, start, &mut block[..want])?;
            if read == 0 {
                break;
            }
            if !self.is_known_block(start, &block[..read], None, former)? {
                return Ok(false);
            }
            offset = start + read as u64;
        }
        Ok(true)
    }

    fn is_known_symlink(&self, fd: &OwnedFd, former: &[Version]) -> Result<bool> {
        for version in former {
            let past = Past { storage: self.past.storage.clone(), view: version.view };
            if past.has_same_target(version.file, fd)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn sector_of(block: &[u8], sector: usize) -> &[u8] {
    let start = sector * SECTOR_BYTES;
    &block[start..block.len().min(start + SECTOR_BYTES)]
}
