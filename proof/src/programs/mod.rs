//! Real programs at work in a mounted folder: git, SQLite, cargo, tar, rsync, sed, dd, and the ways in which editors
//! save. Each checks its own result; between them moments of the tree are taken.

mod develop;
mod move_data;
mod save;
mod tree;

use std::path::Path;

pub use tree::grow;

use crate::ize::Failure;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct ProgramOptions {
    /// How many MiB `dd` writes.
    pub dd_mib: u32,
    /// How many rows SQLite gets in each mode.
    pub rows: u32,
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self { dd_mib: 64, rows: 400 }
    }
}

/// One thing that programs do in a folder.
type Step = (&'static str, fn(&Path, &ProgramOptions) -> Result<(), Failure>);

/// All steps, in order; later ones build on earlier ones.
const STEPS: &[Step] = &[
    ("git init, add, commit", develop::git_begin),
    ("git branch, checkout, commit", develop::git_branch),
    ("git merge", develop::git_merge),
    ("git gc", develop::git_gc),
    ("git clone", develop::git_clone),
    ("cargo new, build", develop::cargo_build),
    ("cargo build after an edit", develop::cargo_rebuild),
    ("sqlite with a rollback journal", develop::sqlite_rollback),
    ("sqlite with a write-ahead log", develop::sqlite_wal),
    ("sqlite vacuum", develop::sqlite_vacuum),
    ("tar create", move_data::tar_create),
    ("tar extract", move_data::tar_extract),
    ("rsync of a new tree", move_data::rsync_new),
    ("rsync of changes", move_data::rsync_changes),
    ("sed -i", move_data::sed),
    ("safe save", save::safe),
    ("backup save", save::backup),
    ("hard links, symlinks, attributes", save::metadata),
    ("dd", move_data::dd),
    ("dd into a sparse file, removal of trees", move_data::dd_sparse),
];

/// Lets all programs work in a folder; `after` is called after each step with its name.
///
/// # Errors
/// If a program fails, or finds its own result wrong.
pub fn run(
    folder: &Path,
    options: &ProgramOptions,
    after: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (name, step) in STEPS {
        step(folder, options).map_err(|why| format!("{name}: {why}"))?;
        after(name)?;
    }
    Ok(())
}
