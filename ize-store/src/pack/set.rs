//! The packs of a store, open for reading.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ize_core::storage::{Result, StorageError};
use parking_lot::RwLock;

use super::{HEADER_BYTES, MAGIC, Place, Record, Scanner, record};
use crate::{FORMAT_VERSION, disk};

/// All packs of a folder.
#[derive(Debug)]
pub(crate) struct Packs {
    dir: PathBuf,
    files: RwLock<BTreeMap<u32, Arc<File>>>,
}

impl Packs {
    /// Opens every pack of a folder.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`] if a later version of Ize wrote one of them.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let packs = Self { dir: dir.to_owned(), files: RwLock::default() };
        for number in numbers(dir)? {
            let file = File::open(packs.path(number)).map_err(|error| disk::failed("opening a pack", error))?;
            let mut version = [0; 4];
            if disk::read_at(&file, &mut version, 8).is_ok() {
                let found = u32::from_be_bytes(version);
                if found > FORMAT_VERSION && has_magic(&file) {
                    return Err(StorageError::NewerFormat { found, supported: FORMAT_VERSION });
                }
            }
            packs.files.write().insert(number, Arc::new(file));
        }
        Ok(packs)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.pack"))
    }

    /// Returns the numbers of the packs in ascending order.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.files.read().keys().copied().collect()
    }

    pub(crate) fn add(&self, number: u32, file: Arc<File>) {
        self.files.write().insert(number, file);
    }

    pub(crate) fn forget(&self, number: u32) {
        self.files.write().remove(&number);
    }

    /// Returns the length of a pack, 0 if there is none.
    pub(crate) fn len(&self, number: u32) -> Result<u64> {
        let Some(file) = self.files.read().get(&number).cloned() else { return Ok(0) };
        Ok(file.metadata().map_err(|error| disk::failed("reading a pack's size", error))?.len())
    }

    /// Returns how many bytes all packs take.
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.numbers().into_iter().map(|number| self.len(number)).sum()
    }

    /// Begins to read the records of a pack, at `from` or at its beginning.
    pub(crate) fn scan(&self, number: u32, from: u64) -> Result<Scanner> {
        // A file of its own has a position of its own.
        let file = File::open(self.path(number)).map_err(|error| disk::failed("opening a pack", error))?;
        Scanner::new(file, number, from.max(HEADER_BYTES))
    }

    /// Tells whether a pack begins with its header.
    pub(crate) fn has_header(&self, number: u32) -> bool {
        let Some(file) = self.files.read().get(&number).cloned() else { return false };
        let mut header = [0; 16];
        disk::read_at(&file, &mut header, 0).is_ok() && super::is_header(&header, number)
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the pack is missing or too short, or the disk cannot read it.
    pub(crate) fn read(&self, place: Place) -> Result<Vec<u8>> {
        if place.is_lost() {
            return Err(StorageError::Corrupt("this content was in a damaged part of a pack and is lost".to_owned()));
        }
        let mut bytes = vec![0; place.len as usize];
        self.read_into(place, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, place: Place, bytes: &mut [u8]) -> Result<()> {
        let file = self.files.read().get(&place.pack).cloned();
        let file = file.ok_or_else(|| StorageError::Corrupt(format!("pack {:08} is missing", place.pack)))?;
        match disk::read_at(&file, bytes, u64::from(place.offset)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(StorageError::Corrupt(format!("pack {:08} ends before byte {}", place.pack, place.end())))
            }
            Err(error) if disk::is_unreadable(&error) => {
                Err(StorageError::Corrupt(format!("the disk cannot read {place} ({error})")))
            }
            Err(error) => Err(disk::failed(format!("reading {place}"), error)),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it fails its check.
    pub(crate) fn record(&self, place: Place) -> Result<Record> {
        record::parse(place, &self.read(place)?)
    }
}

fn has_magic(file: &File) -> bool {
    let mut magic = [0; 8];
    disk::read_at(file, &mut magic, 0).is_ok() && magic == MAGIC
}

fn numbers(dir: &Path) -> Result<Vec<u32>> {
    let failed = |error| disk::failed("listing the packs", error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".pack")).and_then(|number| number.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
