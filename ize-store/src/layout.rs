//! A store's folder: its lock, its format file, its index, and whether it was closed.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ize_core::disk::Durable;
use ize_core::session::Session;
use ize_core::storage::{Result, StorageError};
use rustix::fs::{FlockOperation, flock};

use crate::engine::{Constructor, Engine};
use crate::{FORMAT_VERSION, disk};

const FORMAT_FILE: &str = "format";
const SESSION_FILE: &str = "session";
const INDEX_FILE: &str = "index";
/// An index in the making.
const NEW_INDEX: &str = "index.new";

/// What the file `format` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) engine: String,
}

/// A store's folder, locked: no other process, and nobody else in this one, opens it meanwhile.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// The index's name: `index`, or what a change of the engine gave it.
    index: String,
    _lock: File,
}

impl Layout {
    /// Makes the folders of a new store.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is a store.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let layout = Self { dir: dir.to_owned(), index: INDEX_FILE.to_owned(), _lock: lock(dir, true)? };
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
        let mut layout = Self { dir: dir.to_owned(), index: INDEX_FILE.to_owned(), _lock: lock(dir, false)? };
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
    pub(crate) fn write_format(&self, engine: &dyn Constructor) -> Result<()> {
        let mut text = format!(
            "ize-store
version {FORMAT_VERSION}
engine {}
",
            engine.name()
        );
        if self.index != INDEX_FILE {
            text.push_str(&format!(
                "index {}
",
                self.index
            ));
        }
        disk::write_whole(&self.dir, FORMAT_FILE, text.as_bytes())
    }

    /// Reads what the store is, and how its index is called.
    fn read_format(&mut self) -> Result<Format> {
        let text = std::fs::read_to_string(self.dir.join(FORMAT_FILE))
            .map_err(|error| disk::failed("reading the store's format", error))?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let version = field("version").and_then(|version| version.parse().ok());
        let index = field("index").unwrap_or(INDEX_FILE);
        match (text.lines().next(), version, field("engine")) {
            (Some("ize-store"), Some(found), _) if found > FORMAT_VERSION => {
                Err(StorageError::NewerFormat { found, supported: FORMAT_VERSION })
            }
            (Some("ize-store"), Some(version), Some(engine)) if is_index_name(index) => {
                index.clone_into(&mut self.index);
                Ok(Format { version, engine: engine.to_owned() })
            }
            _ => Err(StorageError::Corrupt("the file 'format' makes no sense".to_owned())),
        }
    }

    /// Opens the index.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is missing or damaged.
    pub(crate) fn open_index(&self, engine: &dyn Constructor) -> Result<Box<dyn Engine>> {
        let path = self.dir.join(&self.index);
        if !path.exists() {
            return Err(StorageError::Corrupt("the index is missing; 'repair' rebuilds it from the packs".to_owned()));
        }
        engine.open(&path)
    }

    /// Makes an empty index under a temporary name.
    pub(crate) fn create_index(&self, engine: &dyn Constructor) -> Result<NewIndex> {
        let path = self.dir.join(NEW_INDEX);
        disk::remove_all(&path).map_err(|error| disk::failed("removing an unfinished index", error))?;
        Ok(NewIndex { engine: engine.create(&path)?, path })
    }

    /// Gives a new index the name of the one before, of the same engine, which is gone then. The caller has closed that, or
    /// does not use it again.
    pub(crate) fn adopt_index(&self, index: NewIndex, engine: &dyn Constructor) -> Result<Box<dyn Engine>> {
        self.name_index(index, &self.index)?;
        self.open_index(engine)
    }

    /// Puts a new index of another engine in the place of the one before. Until the file `format` is replaced, which
    /// happens at once, the store is one with the index and the engine before; from then on one with the new ones.
    pub(crate) fn switch_index(&mut self, index: NewIndex, engine: &dyn Constructor) -> Result<()> {
        let name = format!("{INDEX_FILE}-{}", engine.name());
        self.name_index(index, &name)?;
        let before = std::mem::replace(&mut self.index, name);
        self.write_format(engine)?;
        let removed = disk::remove_all(&self.dir.join(before));
        removed.map_err(|error| disk::failed("removing the index before", error))?;
        disk::sync_dir(&self.dir)
    }

    /// Closes a new index and gives it its name, durably.
    fn name_index(&self, index: NewIndex, name: &str) -> Result<()> {
        let NewIndex { engine, path } = index;
        // Engines know their files by name.
        drop(engine);
        // Even an engine that syncs its own commits did not sync the file's length and its entry in the folder.
        File::open(&path)
            .and_then(|file| disk::sync(&file, Durable::All))
            .and_then(|()| disk::replace(&path, &self.dir.join(name)))
            .map_err(|error| disk::failed("putting the new index in place", error))?;
        disk::sync_dir(&self.dir)
    }

    /// Removes a new index that is not to be the store's.
    pub(crate) fn discard_index(&self, index: NewIndex) -> Result<()> {
        drop(index.engine);
        disk::remove_all(&index.path).map_err(|error| disk::failed("removing an unfinished index", error))
    }

    /// Removes what a rebuilding or a change of the engine that was cut off left: indexes that are not the store's.
    pub(crate) fn remove_stray_indexes(&self) -> Result<()> {
        let action = "removing an index that is not used";
        for entry in std::fs::read_dir(&self.dir).map_err(|error| disk::failed(action, error))? {
            let name = entry.map_err(|error| disk::failed(action, error))?.file_name();
            let is_index = |name: &str| name == NEW_INDEX || is_index_name(name);
            if name.to_str().is_some_and(|name| is_index(name) && name != self.index) {
                disk::remove_all(&self.dir.join(name)).map_err(|error| disk::failed(action, error))?;
            }
        }
        Ok(())
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
        disk::bytes_of(&self.dir.join(&self.index))
    }
}

/// An index that has no name yet.
pub(crate) struct NewIndex {
    pub(crate) engine: Box<dyn Engine>,
    path: PathBuf,
}

/// Tells whether an index can be called so: `index`, or `index-` and the name of an engine.
fn is_index_name(name: &str) -> bool {
    let rest = name.strip_prefix(INDEX_FILE);
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('-') && !rest.contains(['/', '.'])))
}

fn lock(dir: &Path, make: bool) -> Result<File> {
    if make {
        // Whoever makes a store may have no mask: what it holds is its owner's alone.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| disk::failed("making the store's folder", error))?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(|error| disk::failed("locking the store", error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StorageError::Locked),
        Err(error) => Err(disk::failed("locking the store", error.into())),
    }
}
