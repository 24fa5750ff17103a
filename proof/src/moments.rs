//! Moments of a mounted project: exact copies of the tree, each with the operation that was recorded last. Afterwards
//! history must give back every one of them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use tempfile::TempDir;

use crate::compare::{CompareOptions, compare};
use crate::copy::copy_tree;
use crate::ize::{Failure, Ize};

/// Files in memory. Many copies of large trees are made and removed quickly there.
const MEMORY: &str = "/dev/shm";

/// So many moments are restored and compared at a time.
const CHECKED_AT_A_TIME: usize = 2;

/// How much room copies need.
const ROOM_BYTES: u64 = 8 << 30;

/// Tells whether a folder can hold copies: there is room, and extended attributes can be set.
fn has_room(folder: &str) -> bool {
    let Ok(about) = rustix::fs::statvfs(folder) else { return false };
    let Ok(probe) = tempfile::NamedTempFile::new_in(folder) else { return false };
    let xattr = rustix::fs::setxattr(probe.path(), "user.probe", b"1", XattrFlags::empty());
    about.f_bavail * about.f_frsize >= ROOM_BYTES && xattr.is_ok()
}

/// Copies of a project's tree.
#[derive(Debug)]
pub struct Moments<'a> {
    ize: &'a Ize,
    project: String,
    root: PathBuf,
    taken: Vec<Moment>,
    /// Where copies and restored trees lie.
    dir: TempDir,
}

#[derive(Debug)]
struct Moment {
    op: u64,
    label: String,
    copy: PathBuf,
}

impl<'a> Moments<'a> {
    /// Begins without copies; `root` is where the project is mounted.
    ///
    /// # Errors
    /// If there is no place for copies.
    pub fn new(ize: &'a Ize, project: &str, root: &Path) -> Result<Self, Failure> {
        let parent = if has_room(MEMORY) { Path::new(MEMORY) } else { ize.dir() };
        let dir = tempfile::Builder::new().prefix("ize-moments-").tempdir_in(parent);
        let dir = dir.map_err(|error| format!("{}: {error}", parent.display()))?;
        Ok(Self { ize, project: project.to_owned(), root: root.to_owned(), taken: Vec::new(), dir })
    }

    /// Returns how many copies were made.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// Copies the tree, in which nothing moves now.
    ///
    /// # Errors
    /// If it cannot be read, or something did move meanwhile.
    pub fn take(&mut self, label: impl Into<String>) -> Result<(), Failure> {
        let (label, op) = (label.into(), self.ize.recorded(&self.project)?);
        let copy = self.dir.path().join(format!("copy-{}-{op}", self.taken.len()));
        copy_tree(&self.root, &copy).map_err(|error| format!("copy after {label}: {error}"))?;
        let later = self.ize.recorded(&self.project)?;
        self.taken.push(Moment { op, label: label.clone(), copy });
        if later == op {
            Ok(())
        } else {
            Err(format!("reading the tree after {label} was recorded: @{op} to @{later}"))
        }
    }

    /// Restores each moment to a new folder and compares it with its copy. Copies that are equal are removed.
    ///
    /// # Errors
    /// If any differs, with all differences of all moments.
    pub fn check(&mut self) -> Result<(), Failure> {
        let (taken, checker) = (std::mem::take(&mut self.taken), &*self);
        // Each waits for the daemon most of the time.
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let of = |first| taken.iter().skip(first).step_by(CHECKED_AT_A_TIME);
            let check = |first| scope.spawn(move || of(first).filter_map(|moment| checker.wrong(moment)).collect());
            let running: Vec<_> = (0..CHECKED_AT_A_TIME).map(check).collect();
            let found = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| vec!["a panic".to_owned()]));
            found.flat_map(|wrong: Vec<String>| wrong).collect()
        });
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Tells what is wrong with a moment, and removes its copy.
    fn wrong(&self, moment: &Moment) -> Option<String> {
        let restored = moment.copy.with_extension("restored");
        let checked = self.check_one(moment, &restored);
        for folder in [&restored, &moment.copy] {
            // The folder of all copies is removed at the end anyway.
            let _ = fs::remove_dir_all(folder);
        }
        checked.err().map(|why| format!("after {} (@{}): {why}", moment.label, moment.op))
    }

    fn check_one(&self, moment: &Moment, restored: &Path) -> Result<(), Failure> {
        self.ize.restore_to(&self.project, Path::new("."), moment.op, restored)?;
        equal("the copy against what history has", &moment.copy, restored, &CompareOptions::history())
    }
}

/// Compares two folders.
///
/// # Errors
/// If they differ, with a readable list.
pub fn equal(what: &str, left: &Path, right: &Path, options: &CompareOptions) -> Result<(), Failure> {
    let differences = compare(left, right, options).map_err(|error| format!("{what}: {error}"))?;
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(format!("{what}:\n  {}", lines.join("\n  ")))
}
