//! A store's folder: its lock, its format file, its index, and whether it was closed.

use std::fs::File;
use std::path::{Path, PathBuf};

use ize_core::disk::Durable;
use ize_core::session::Session;
use ize_core::storage::{Result, StorageError};
use rustix::fs::{FlockOperation, flock};

use crate::engine::{self, sanakirja::SanakirjaEngine};
use crate::{Engine, FORMAT_VERSION, disk};

const FORMAT_FILE: &str = "format";
const SESSION_FILE: &str = "session";
const INDEX_FILE: &str = "index";

/// What the file `format` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) engine: Engine,
}

/// A store's folder, locked: no other process, and nobody else in this one, opens it meanwhile.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    _lock: File,
}

impl Layout {
    /// Makes the folders of a new store.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is a store.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let layout = Self { dir: dir.to_owned(), _lock: lock(dir, true)? };
        if dir.join(FORMAT_FILE).exists() {
            return Err(StorageError::Invalid(format!("{} holds a store already", dir.display())));
        }
        let made = std::fs::create_dir_all(layout.packs());
        made.map_err(|error| disk::failed("making the packs' folder", error))?;
        Ok(layout)
    }

    /// Locks a store's folder.
    ///
    /// # Errors
    /// [`StorageError::Locked`]; [`StorageError::Invalid`] if there is no store; [`StorageError::NewerFormat`].
    pub(crate) fn open(dir: &Path) -> Result<(Self, Format)> {
        if !dir.join(FORMAT_FILE).exists() {
            return Err(StorageError::Invalid(format!("{} holds no store", dir.display())));
        }
        let layout = Self { dir: dir.to_owned(), _lock: lock(dir, false)? };
        let format = layout.read_format()?;
        Ok((layout, format))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn packs(&self) -> PathBuf {
        self.dir.join("packs")
    }

    /// Writes what the store is. A store exists once this is done.
    pub(crate) fn write_format(&self, engine: Engine) -> Result<()> {
        let text = format!("ize-store\nversion {FORMAT_VERSION}\nengine {engine}\n");
        disk::write_whole(&self.dir, FORMAT_FILE, text.as_bytes())
    }

    fn read_format(&self) -> Result<Format> {
        let text = std::fs::read_to_string(self.dir.join(FORMAT_FILE))
            .map_err(|error| disk::failed("reading the store's format", error))?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let version = field("version").and_then(|version| version.parse().ok());
        match (text.lines().next(), version, field("engine")) {
            (Some("ize-store"), Some(found), _) if found > FORMAT_VERSION => {
                Err(StorageError::NewerFormat { found, supported: FORMAT_VERSION })
            }
            (Some("ize-store"), Some(version), Some(engine)) => {
                let engine =
                    engine.parse().map_err(|error: crate::UnknownEngine| StorageError::Invalid(error.to_string()));
                Ok(Format { version, engine: engine? })
            }
            _ => Err(StorageError::Corrupt("the file 'format' makes no sense".to_owned())),
        }
    }

    /// Opens the index.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is missing or damaged.
    pub(crate) fn open_index(&self, engine: Engine) -> Result<Box<dyn engine::Engine>> {
        let path = self.dir.join(INDEX_FILE);
        if !path.exists() {
            return Err(StorageError::Corrupt("the index is missing; 'repair' rebuilds it from the packs".to_owned()));
        }
        Ok(match engine {
            Engine::Sanakirja => Box::new(SanakirjaEngine::open(&path)?),
            #[cfg(feature = "redb")]
            Engine::Redb => Box::new(engine::redb::RedbEngine::open(&path)?),
        })
    }

    /// Makes an empty index under a temporary name.
    pub(crate) fn create_index(&self, engine: Engine) -> Result<NewIndex> {
        let path = self.dir.join(format!("{INDEX_FILE}.new"));
        match disk::remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(disk::failed("removing an unfinished index", error));
            }
            _ => {}
        }
        let kind = engine;
        let engine: Box<dyn engine::Engine> = match kind {
            Engine::Sanakirja => Box::new(SanakirjaEngine::create(&path)?),
            #[cfg(feature = "redb")]
            Engine::Redb => Box::new(engine::redb::RedbEngine::create(&path)?),
        };
        Ok(NewIndex { engine, kind, path })
    }

    /// Gives a new index its name. The caller has closed the one before, or does not use it again.
    pub(crate) fn adopt_index(&self, index: NewIndex) -> Result<Box<dyn engine::Engine>> {
        let NewIndex { engine, kind, path } = index;
        // Engines know their files by name.
        drop(engine);
        // Even an engine that syncs its own commits did not sync the file's length and its entry in the folder.
        File::open(&path)
            .and_then(|file| disk::sync(&file, Durable::All))
            .and_then(|()| disk::rename(&path, &self.dir.join(INDEX_FILE)))
            .map_err(|error| disk::failed("putting the new index in place", error))?;
        disk::sync_dir(&self.dir)?;
        self.open_index(kind)
    }

    /// Tells whether the machine or the filesystem went down while the store was open, or cannot be told not to have.
    pub(crate) fn was_cut_off(&self) -> Result<bool> {
        match std::fs::read_to_string(self.dir.join(SESSION_FILE)) {
            Ok(before) => Ok(self.session()?.is_none_or(|now| Session::parse(&before) != Some(now))),
            Err(error) => Ok(error.kind() != std::io::ErrorKind::NotFound),
        }
    }

    /// Notes that the store is open in this session.
    pub(crate) fn begin_session(&self) -> Result<()> {
        let session = self.session()?.map_or_else(String::new, |session| session.to_string());
        disk::write_whole(&self.dir, SESSION_FILE, session.as_bytes())
    }

    fn session(&self) -> Result<Option<Session>> {
        let session = File::open(&self.dir).and_then(Session::of);
        session.map_err(|error| disk::failed("opening the store", error))
    }

    /// Notes that the store was closed.
    pub(crate) fn end_session(&self) -> Result<()> {
        let removed = disk::remove(&self.dir.join(SESSION_FILE));
        removed.map_err(|error| disk::failed("closing the store", error))?;
        disk::sync_dir(&self.dir)
    }

    /// Returns how many bytes the index takes.
    pub(crate) fn index_bytes(&self) -> Result<u64> {
        disk::bytes_of(&self.dir.join(INDEX_FILE))
    }
}

/// An index that has no name yet.
pub(crate) struct NewIndex {
    pub(crate) engine: Box<dyn engine::Engine>,
    kind: Engine,
    path: PathBuf,
}

fn lock(dir: &Path, make: bool) -> Result<File> {
    if make {
        std::fs::create_dir_all(dir).map_err(|error| disk::failed("making the store's folder", error))?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(|error| disk::failed("locking the store", error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::Locked),
        Err(error) => Err(disk::failed("locking the store", error.into())),
    }
}
