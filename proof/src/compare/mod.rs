//! The comparison of two trees: names, kinds, content, holes, modes, owners, times, symlinks, hard links, extended
//! attributes and device numbers.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::content::{self, DataMap};
use crate::folder::{Folder, kind};

/// What to compare beside names, kinds, content, modes, owners, symlinks, hard links, extended attributes and rdev.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompareOptions {
    /// Compare modification times, in nanoseconds.
    pub mtimes: bool,
    /// Compare which blocks of this many bytes hold data (`SEEK_DATA`); `None` leaves holes alone.
    pub hole_block_bytes: Option<u64>,
    /// Data on the left that reads as zeros may be a hole on the right. A hole on the left still must be one on the right.
    pub zeros_may_become_holes: bool,
    /// Compare the attributes of the two folders themselves, too.
    pub root: bool,
    /// Names that are passed over in the two folders themselves (not below).
    pub skip: Vec<OsString>,
    /// Stop after this many differences.
    pub differences_max: usize,
}

impl Default for CompareOptions {
    /// Everything, and holes by blocks of 4 KiB.
    fn default() -> Self {
        Self {
            mtimes: true,
            hole_block_bytes: Some(4096),
            zeros_may_become_holes: false,
            root: true,
            skip: Vec::new(),
            differences_max: 50,
        }
    }
}

impl CompareOptions {
    /// For two folders that lived through the same calls at different times: without times and holes.
    pub fn same_calls() -> Self {
        Self { mtimes: false, hole_block_bytes: None, ..Self::default() }
    }

    /// For a tree on the left and what history has of it on the right: zeros that were written come back as holes.
    pub fn history() -> Self {
        Self { zeros_may_become_holes: true, ..Self::default() }
    }

    /// Passes over a name in the two folders themselves.
    pub fn skip(mut self, name: impl Into<OsString>) -> Self {
        self.skip.push(name.into());
        self
    }
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, below the two folders; empty for the folders themselves.
    pub path: PathBuf,
    /// What differs.
    pub aspect: Aspect,
    /// What the left and the right side have, for people.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.path, self.aspect, self.detail)
    }
}

/// What can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Aspect {
    Name,
    Kind,
    Size,
    Content,
    Holes,
    Mode,
    Owner,
    Mtime,
    Target,
    Links,
    Xattrs,
    Rdev,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Size => "size",
            Self::Content => "content",
            Self::Holes => "holes",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Target => "symlink target",
            Self::Links => "hard links",
            Self::Xattrs => "extended attributes",
            Self::Rdev => "device number",
        })
    }
}

/// Compares two folders and returns what differs, in the order of the paths.
///
/// # Errors
/// If one of them cannot be read. A name that vanishes while it is looked at is such an error.
pub fn compare(left: &Path, right: &Path, options: &CompareOptions) -> io::Result<Vec<Difference>> {
    let mut comparison = Comparison { options, found: Vec::new(), links: Links::default() };
    let (left, right) = (Folder::open(left)?, Folder::open(right)?);
    if options.root {
        comparison.attributes(Path::new(""), &left.stat_self()?, &right.stat_self()?);
        comparison.xattrs(Path::new(""), &left, &right, None)?;
    }
    comparison.folder(Path::new(""), &left, &right)?;
    Ok(comparison.found)
}

/// Which inode on one side is which on the other.
#[derive(Default)]
struct Links {
    left_to_right: HashMap<(u64, u64), (u64, u64)>,
    right_to_left: HashMap<(u64, u64), (u64, u64)>,
}

struct Comparison<'a> {
    options: &'a CompareOptions,
    found: Vec<Difference>,
    links: Links,
}

impl Comparison<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.options.differences_max
    }

    fn differ(&mut self, path: &Path, aspect: Aspect, detail: String) {
        if !self.is_full() {
            self.found.push(Difference { path: path.to_owned(), aspect, detail });
        }
    }

    fn folder(&mut self, path: &Path, left: &Folder, right: &Folder) -> io::Result<()> {
        let (left_names, right_names) = (self.names(path, left)?, self.names(path, right)?);
        let only = |these: &[OsString], those: &[OsString]| -> Vec<OsString> {
            these.iter().filter(|name| those.binary_search(name).is_err()).cloned().collect()
        };
        for name in only(&left_names, &right_names) {
            self.differ(&path.join(name), Aspect::Name, "only on the left".into());
        }
        for name in only(&right_names, &left_names) {
            self.differ(&path.join(name), Aspect::Name, "only on the right".into());
        }
        for name in left_names.iter().filter(|name| right_names.binary_search(name).is_ok()) {
            if self.is_full() {
                break;
            }
            let path = path.join(name);
            self.entry(&path, left, right, name)
                .map_err(|error| io::Error::new(error.kind(), format!("comparison of {path:?}: {error}")))?;
        }
        Ok(())
    }

    fn names(&self, path: &Path, folder: &Folder) -> io::Result<Vec<OsString>> {
        let mut names = folder.names()?;
        if path == Path::new("") {
            names.retain(|name| !self.options.skip.contains(name));
        }
        Ok(names)
    }

    fn entry(&mut self, path: &Path, left: &Folder, right: &Folder, name: &OsStr) -> io::Result<()> {
        let (left_stat, right_stat) = (left.stat(name)?, right.stat(name)?);
        let (left_kind, right_kind) = (kind(&left_stat), kind(&right_stat));
        if left_kind != right_kind {
            self.differ(path, Aspect::Kind, format!("{left_kind:?} against {right_kind:?}"));
            return Ok(());
        }
        self.attributes(path, &left_stat, &right_stat);
        self.xattrs(path, left, right, Some(name))?;
        match left_kind {
            FileType::Directory => return self.folder(path, &left.child(name)?, &right.child(name)?),
            FileType::RegularFile => self.content(path, left, right, name, (&left_stat, &right_stat))?,
            FileType::Symlink => self.target(path, left, right, name)?,
            _ => {}
        }
        self.same_links(path, &left_stat, &right_stat);
        Ok(())
    }

    fn attributes(&mut self, path: &Path, left: &Stat, right: &Stat) {
        if left.st_mode != right.st_mode {
            self.differ(path, Aspect::Mode, format!("{:o} against {:o}", left.st_mode, right.st_mode));
        }
        if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid) {
            let detail = format!("{}:{} against {}:{}", left.st_uid, left.st_gid, right.st_uid, right.st_gid);
            self.differ(path, Aspect::Owner, detail);
        }
        let (left_mtime, right_mtime) = ((left.st_mtime, left.st_mtime_nsec), (right.st_mtime, right.st_mtime_nsec));
        if self.options.mtimes && left_mtime != right_mtime {
            self.differ(path, Aspect::Mtime, format!("{left_mtime:?} against {right_mtime:?}"));
        }
        if left.st_rdev != right.st_rdev {
            self.differ(path, Aspect::Rdev, format!("{} against {}", left.st_rdev, right.st_rdev));
        }
    }

    fn xattrs(&mut self, path: &Path, left: &Folder, right: &Folder, name: Option<&OsStr>) -> io::Result<()> {
        let (left, right) = (left.xattrs(name)?, right.xattrs(name)?);
        let only = |these: &[(OsString, Vec<u8>)], those: &[(OsString, Vec<u8>)]| -> Vec<String> {
            let unlike = these.iter().filter(|xattr| !those.contains(xattr));
            unlike.map(|(key, value)| format!("{key:?} ({} bytes, {})", value.len(), blake3::hash(value))).collect()
        };
        if left != right {
            self.differ(path, Aspect::Xattrs, format!("{:?} against {:?}", only(&left, &right), only(&right, &left)));
        }
        Ok(())
    }

    fn target(&mut self, path: &Path, left: &Folder, right: &Folder, name: &OsStr) -> io::Result<()> {
        let (left, right) = (left.readlink(name)?, right.readlink(name)?);
        if left != right {
            self.differ(path, Aspect::Target, format!("{left:?} against {right:?}"));
        }
        Ok(())
    }

    fn content(
        &mut self,
        path: &Path,
        left: &Folder,
        right: &Folder,
        name: &OsStr,
        stats: (&Stat, &Stat),
    ) -> io::Result<()> {
        if stats.0.st_size != stats.1.st_size {
            self.differ(path, Aspect::Size, format!("{} against {}", stats.0.st_size, stats.1.st_size));
            return Ok(());
        }
        let size = u64::try_from(stats.0.st_size).map_err(io::Error::other)?;
        let (left, right) = (left.file(name)?, right.file(name)?);
        let (left_map, right_map) = (DataMap::of(&left, size)?, DataMap::of(&right, size)?);
        // What neither side calls data reads as zeros on both.
        if let Some(offset) = content::first_difference(&left, &right, &left_map.union(&right_map))? {
            self.differ(path, Aspect::Content, format!("first at byte {offset} of {size}"));
        }
        if let Some(block_bytes) = self.options.hole_block_bytes {
            let (left_map, right_map) = (left_map.rounded(block_bytes), right_map.rounded(block_bytes));
            let same = left_map == right_map;
            let fewer = self.options.zeros_may_become_holes && left_map.union(&right_map) == left_map;
            if !same && !fewer {
                self.differ(path, Aspect::Holes, left_map.first_difference(&right_map));
            }
        }
        Ok(())
    }

    fn same_links(&mut self, path: &Path, left: &Stat, right: &Stat) {
        if left.st_nlink == 1 && right.st_nlink == 1 {
            return;
        }
        let (left_inode, right_inode) = ((left.st_dev, left.st_ino), (right.st_dev, right.st_ino));
        let expected_right = *self.links.left_to_right.entry(left_inode).or_insert(right_inode);
        let expected_left = *self.links.right_to_left.entry(right_inode).or_insert(left_inode);
        if expected_right != right_inode || expected_left != left_inode {
            let detail =
                format!("{} names on the left, {} on the right, of other files", left.st_nlink, right.st_nlink);
            self.differ(path, Aspect::Links, detail);
        }
    }
}
