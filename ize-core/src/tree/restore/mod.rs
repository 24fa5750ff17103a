//! Bringing the past back: making the live tree, from one path downwards, equal to a snapshot.
//!
//! Everything is done through calls of [`Tree`], so it is recorded like any other change and can itself be undone. What is
//! there already and has the right kind is changed in place, and only where it differs. Ignored files are left alone.
//!
//! The work has two passes. The first puts every file of the snapshot in its place, folders before what they hold. The
//! second goes through the folders from the deepest up, removes what the snapshot does not have, and sets the folders' own
//! metadata, which no later change disturbs.

mod content;
mod files;
pub(in crate::tree) mod held;
mod metadata;
mod moves;
mod places;
mod remove;

use std::collections::BTreeSet;
use std::fmt;

use rustix::io::Errno;

use self::places::Restorer;
use super::{Caller, IgnoreRules, Snapshot, Tree, TreeError};
use crate::model::{Entry, FileId, RelPath, View, XattrName};

/// How to restore.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Nothing is changed; the report says what would be.
    pub dry_run: bool,
    /// What is left alone. Files that the live tree does not record are left alone in any case.
    pub ignore: IgnoreRules,
    /// Who asks.
    pub caller: Caller,
    /// Owners and groups are restored too; needs privilege for other people's files.
    pub owners: bool,
    /// The newest state of the live tree's branch in the snapshot's storage. Everything that was recorded before must be
    /// committed. With it, files that history knows to be unchanged are not read, and files that were only renamed are
    /// renamed back; without it, contents are always compared.
    pub newest: Option<View>,
}

impl Default for RestoreOptions {
    /// Restores owners if the process is privileged.
    fn default() -> Self {
        Self {
            dry_run: false,
            ignore: IgnoreRules::none(),
            caller: Caller::default(),
            owners: rustix::process::geteuid().is_root(),
            newest: None,
        }
    }
}

/// What happened to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restored {
    /// It was missing and was made.
    Created,
    /// It was elsewhere and was renamed back.
    Moved {
        /// Where it was.
        from: RelPath,
    },
    /// It became one more name of a file that has others.
    Linked,
    /// Something of another kind was there; it was removed, and this was made.
    Replaced,
    /// Its content was changed (and maybe its metadata).
    Content,
    /// Only its permissions, owner, times or attributes were changed.
    Metadata,
    /// It had not been there, and was removed.
    Removed,
    /// It had not been there, but is ignored, or holds ignored files: it was left.
    KeptIgnored,
    /// Something with ignored files in it is in its place and was left: this was not restored.
    Blocked,
    /// The host refused to make it (a device without privilege).
    NotMade(Errno),
    /// The host refused its owner.
    OwnerRefused(Errno),
    /// The host refused an extended attribute.
    XattrRefused(XattrName, Errno),
}

impl Restored {
    /// Tells whether the tree was changed; else this is a note.
    pub const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Created
                | Self::Moved { .. }
                | Self::Linked
                | Self::Replaced
                | Self::Content
                | Self::Metadata
                | Self::Removed
        )
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Moved { from } => write!(f, "moved back from {from}"),
            Self::Linked => f.write_str("linked"),
            Self::Replaced => f.write_str("replaced"),
            Self::Content => f.write_str("content"),
            Self::Metadata => f.write_str("metadata"),
            Self::Removed => f.write_str("removed"),
            Self::KeptIgnored => f.write_str("kept, because it is ignored or holds ignored files"),
            Self::Blocked => f.write_str("not restored: something that holds ignored files is in its place"),
            Self::NotMade(errno) => write!(f, "could not be made ({errno})"),
            Self::OwnerRefused(errno) => write!(f, "its owner could not be set ({errno})"),
            Self::XattrRefused(name, errno) => write!(f, "its attribute {name} could not be set ({errno})"),
        }
    }
}

/// What a restore did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// What happened, path by path. Of a folder that was removed, only the folder is listed.
    pub entries: Vec<(RelPath, Restored)>,
    /// The entries that name something else now: a mount's kernel caches must drop them.
    pub changed_entries: Vec<Entry>,
    /// The files whose content or metadata is another now: a mount's kernel caches must drop them.
    pub changed_files: BTreeSet<FileId>,
}

impl RestoreReport {
    /// Returns what was changed, without the notes.
    pub fn changes(&self) -> impl Iterator<Item = &(RelPath, Restored)> {
        self.entries.iter().filter(|(_, what)| what.is_change())
    }
}

/// Why a restore was not made, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The path was not there at that moment. Nothing was changed.
    #[error("{0} was not there at that moment")]
    NotThere(RelPath),
    /// The path is ignored: what is not recorded could not be brought back again. Nothing was changed.
    #[error("{0} is ignored")]
    Ignored(RelPath),
    /// What should hold the path is now no folder. Nothing was changed.
    #[error("{0} is no folder now")]
    ParentIsNoFolder(RelPath),
    /// A call failed. What was changed until then is changed, and recorded.
    #[error("{path} could not be restored")]
    At {
        /// Where.
        path: RelPath,
        /// Why.
        #[source]
        source: TreeError,
    },
}

/// Makes the live tree below `path` equal to a snapshot; `path` itself may be a file, a folder or the root.
///
/// Folders on the way to `path` that are gone are made again, with the metadata that they had.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    tree: &dyn Tree,
    snapshot: &Snapshot,
    path: &RelPath,
    options: &RestoreOptions,
) -> Result<RestoreReport, RestoreError> {
    let file = snapshot.resolve(path).map_err(|source| match source.errno() {
        Errno::NOENT | Errno::NOTDIR => RestoreError::NotThere(path.clone()),
        _ => RestoreError::At { path: path.clone(), source },
    })?;
    Restorer::new(tree, snapshot, options, path).run(file)
}
