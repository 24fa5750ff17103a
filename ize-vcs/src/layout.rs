//! Where things lie, and whose repository it is.

use std::fs::File;
use std::path::{Path, PathBuf};

use ize_core::storage::{Result, StorageError};
use libpijul::DOT_DIR;
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use crate::error::failed;
use crate::{FORMAT_VERSION, disk};

const FORMAT_FILE: &str = "format";

/// The folders of a repository.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// Held while a repository is open: no other process, and nobody else in this one, opens it meanwhile.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Layout {
    /// Names the folders below the one that holds `.pijul`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder that holds everything.
    pub(crate) fn dot_pijul(&self) -> PathBuf {
        self.root.join(DOT_DIR)
    }

    /// The file of Pijul's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.database_folder().join("db")
    }

    /// The folder of Pijul's database.
    pub(crate) fn database_folder(&self) -> PathBuf {
        self.dot_pijul().join("pristine")
    }

    /// The folder of the change files.
    pub(crate) fn changes(&self) -> PathBuf {
        self.dot_pijul().join("changes")
    }

    /// The folder of what we keep beside them.
    pub(crate) fn ours(&self) -> PathBuf {
        self.dot_pijul().join("ize")
    }

    /// Makes the folders of a new repository and locks it.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is a repository already; [`StorageError::Locked`].
    pub(crate) fn create(&self) -> Result<Lock> {
        if crate::repository::exists(&self.database())? {
            return Err(StorageError::Invalid(format!("{} holds a Pijul repository already", self.root.display())));
        }
        for folder in [self.database_folder(), self.changes(), self.ours()] {
            std::fs::create_dir_all(folder).map_err(|error| failed("making the repository's folders", error))?;
        }
        self.lock()
    }

    /// Locks a repository.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is none; [`StorageError::Locked`].
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.ours().join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::NotFound => {
                StorageError::Invalid(format!("{} holds no repository of Ize", self.root.display()))
            }
            _ => failed("locking the repository", error),
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::Locked),
            Err(error) => Err(failed("locking the repository", error.into())),
        }
    }

    /// Writes what the repository is. It exists for us once this is done.
    pub(crate) fn write_format(&self, repository: Uuid) -> Result<()> {
        let text = format!("ize-vcs\nversion {FORMAT_VERSION}\nrepository {repository}\n");
        disk::write_whole(&self.ours(), FORMAT_FILE, text.as_bytes())
    }

    /// Reads what the repository is.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is none; [`StorageError::NewerFormat`]; [`StorageError::Corrupt`].
    pub(crate) fn read_format(&self) -> Result<Uuid> {
        let text = match std::fs::read_to_string(self.ours().join(FORMAT_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StorageError::Invalid(format!("{} holds no repository of Ize", self.root.display())));
            }
            Err(error) => return Err(failed("reading the repository's format", error)),
        };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let version = field("version").and_then(|version| version.parse().ok());
        match (text.lines().next(), version, field("repository").and_then(|id| id.parse().ok())) {
            (Some("ize-vcs"), Some(found), _) if found > FORMAT_VERSION => {
                Err(StorageError::NewerFormat { found, supported: FORMAT_VERSION })
            }
            (Some("ize-vcs"), Some(_), Some(repository)) => Ok(repository),
            _ => Err(StorageError::Corrupt("the file 'format' of the repository makes no sense".to_owned())),
        }
    }
}
