//! Why a call on a project failed, what a person can do about it, and what kind of failure it is.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{RevisionError, SettingsError};
use crate::journal::JournalError;
use crate::model::{InvalidName, RelPath};
use crate::record::RecordError;
use crate::storage::StorageError;
use crate::tree::{CopyError, IncomingError, RestoreError, TreeError};

/// Kinds of failure that callers treat differently; a command gives each its own exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Anything else.
    Failed,
    /// What was asked for makes no sense, or a settings file is wrong.
    Usage,
    /// The project, path or revision does not exist.
    NotFound,
    /// Something is in the way: a name is taken, a project is in use.
    InTheWay,
    /// Stored data is damaged, or was written by a later version.
    Damaged,
    /// Nothing can be written: no space, no permission, read-only.
    CannotWrite,
}

/// An error of a call on a project.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// No project has that name.
    #[error("there is no project '{name}'")]
    UnknownProject {
        /// The name that was asked for.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
        /// All names there are.
        known: Vec<String>,
    },
    /// A project cannot have that name.
    #[error("'{name}' cannot be a project's name: {why}")]
    InvalidProjectName {
        /// The name.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// Another project has that name.
    #[error("there already is a project '{name}'")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Another process has the project open.
    #[error("the project is in use{}", .holder.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The process, where it could be told.
        holder: Option<u32>,
    },
    /// The project's repository was handed to another program ([`super::Project::suspend`]).
    #[error("another program works on the project's repository")]
    Suspended,
    /// What others put into the project's repository could not be brought in.
    #[error("changes from elsewhere could not be brought in")]
    Incoming(#[from] IncomingError),
    /// A file that describes a project or its settings is damaged.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The project was written by a later version of Ize.
    #[error("{} has format version {found}, newer than the supported {supported}", .path.display())]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// A settings file or value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No such backend is known to this program.
    #[error("there is no backend '{name}'")]
    UnknownBackend {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A folder cannot be adopted as a project's tree.
    #[error("{} cannot become a project: {why}", .folder.display())]
    NotAdoptable {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        why: String,
    },
    /// A path does not lead into the project.
    #[error("'{path}' is not a path inside the project")]
    InvalidPath {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        #[source]
        source: InvalidName,
    },
    /// Nothing is, or was, at that path.
    #[error("there is nothing at '{path}' {when}")]
    NotFound {
        /// The path.
        path: RelPath,
        /// When, in words: "at @17", "at any time".
        when: String,
    },
    /// A revision could not be resolved.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// History could not be read or written.
    #[error("history failed")]
    Storage(#[from] StorageError),
    /// Changes could not be recorded.
    #[error("recording failed")]
    Record(#[from] RecordError),
    /// A tree could not be copied.
    #[error("copying failed")]
    Copy(#[from] CopyError),
    /// A path could not be restored.
    #[error("restoring failed")]
    Restore(#[from] RestoreError),
    /// A name for a snapshot would mean something else as a revision.
    #[error("'{name}' cannot be a snapshot's name: it means something else as a revision")]
    NotAName {
        /// The name.
        name: String,
    },
    /// The live tree refused.
    #[error("the tree failed")]
    Tree(#[from] TreeError),
    /// The project's daemon answered with an error.
    #[error("{message}")]
    Remote {
        /// What went wrong, causes included.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
        /// What kind of failure it is.
        kind: ErrorKind,
    },
    /// The operating system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was being done, as "read".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ProjectError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Returns what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownProject { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::InvalidProjectName { .. }
            | Self::Settings(_)
            | Self::UnknownBackend { .. }
            | Self::NotAdoptable { .. }
            | Self::NotAName { .. }
            | Self::InvalidPath { .. } => ErrorKind::Usage,
            Self::Record(error) => kind_of_record(error),
            Self::Copy(error) => kind_of_copy(error),
            Self::Restore(error) => kind_of_restore(error),
            Self::NameTaken { .. } | Self::InUse { .. } | Self::Suspended => ErrorKind::InTheWay,
            Self::Incoming(error) => kind_of_tree(&error.source),
            Self::Damaged { .. } | Self::NewerFormat { .. } => ErrorKind::Damaged,
            Self::Revision(error) => error.kind(),
            Self::Storage(error) => kind_of_storage(error),
            Self::Tree(error) => kind_of_tree(error),
            Self::Remote { kind, .. } => *kind,
            Self::Io { source, .. } => kind_of_io(source),
        }
    }

    /// Returns what a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownProject { nearest: Some(nearest), .. } => Some(format!("did you mean '{nearest}'?")),
            Self::UnknownProject { known, .. } if known.is_empty() => {
                Some("there are no projects yet; 'ize init <name>' makes one".into())
            }
            Self::UnknownProject { .. } => Some("'ize list' shows the projects there are".into()),
            Self::InvalidProjectName { .. } => Some("a name has 1 to 64 characters, for example 'notes'".into()),
            Self::NameTaken { .. } => Some("choose another name, or delete that project first".into()),
            Self::Suspended => Some("try again when it is done".into()),
            Self::InUse { .. } => Some("wait until it is done, or unmount the project".into()),
            Self::NewerFormat { .. } => Some("update ize".into()),
            Self::Settings(error) => error.hint(),
            Self::UnknownBackend { known, .. } => Some(format!("the backends are: {}", known.join(", "))),
            Self::InvalidPath { .. } => Some("paths are relative to the project's root, which is '.'".into()),
            Self::NotFound { path, .. } => Some(format!("'ize history <name> {path}' shows whether it ever was there")),
            Self::Revision(error) => error.hint(),
            Self::Storage(StorageError::Corrupt(_)) => Some("run 'ize verify <name>'".into()),
            Self::Remote { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

fn kind_of_storage(error: &StorageError) -> ErrorKind {
    match error {
        StorageError::Corrupt(_) | StorageError::NewerFormat { .. } => ErrorKind::Damaged,
        StorageError::Locked | StorageError::Suspended => ErrorKind::InTheWay,
        StorageError::Full => ErrorKind::CannotWrite,
        StorageError::Invalid(_) | StorageError::Unsupported(_) => ErrorKind::Usage,
        StorageError::Backend { source, .. } => source.downcast_ref().map_or(ErrorKind::Failed, kind_of_io),
        _ => ErrorKind::Failed,
    }
}

fn kind_of_tree(error: &TreeError) -> ErrorKind {
    match error {
        TreeError::Refused(errno) => kind_of_io(&io::Error::from(*errno)),
        TreeError::NearlyFull => ErrorKind::CannotWrite,
        TreeError::Storage(error) => kind_of_storage(error),
        TreeError::Recording { .. } => ErrorKind::Failed,
    }
}

fn kind_of_record(error: &RecordError) -> ErrorKind {
    match error {
        RecordError::Full => ErrorKind::CannotWrite,
        RecordError::Unsupported(_) => ErrorKind::Usage,
        RecordError::Gap { .. } => ErrorKind::Damaged,
        RecordError::Journal { source: JournalError::Damaged { .. } | JournalError::NewerFormat { .. } } => {
            ErrorKind::Damaged
        }
        RecordError::Journal { source: JournalError::Locked } => ErrorKind::InTheWay,
        RecordError::Journal { source: JournalError::Io { source, .. } } => kind_of_io(source),
        RecordError::Storage { source } => kind_of_storage(source),
        _ => ErrorKind::Failed,
    }
}

fn kind_of_copy(error: &CopyError) -> ErrorKind {
    match error {
        CopyError::Occupied(_) => ErrorKind::InTheWay,
        CopyError::NotThere(_) => ErrorKind::NotFound,
        CopyError::Reserved | CopyError::IntoItself(_) => ErrorKind::Usage,
        CopyError::Destination { source, .. } | CopyError::Write { source, .. } => kind_of_io(&(*source).into()),
        CopyError::Origin { source, .. } | CopyError::Read { source, .. } => kind_of_tree(source),
    }
}

fn kind_of_restore(error: &RestoreError) -> ErrorKind {
    match error {
        RestoreError::NotThere(_) => ErrorKind::NotFound,
        RestoreError::Ignored(_) => ErrorKind::Usage,
        RestoreError::ParentIsNoFolder(_) => ErrorKind::InTheWay,
        RestoreError::At { source, .. } => kind_of_tree(source),
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as E;
    match error.kind() {
        E::NotFound => ErrorKind::NotFound,
        E::AlreadyExists | E::DirectoryNotEmpty | E::ResourceBusy => ErrorKind::InTheWay,
        E::StorageFull | E::QuotaExceeded | E::ReadOnlyFilesystem | E::PermissionDenied => ErrorKind::CannotWrite,
        _ => ErrorKind::Failed,
    }
}
