//! Appending to the last pack.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use ize_core::disk::{Change, Durable, change};
use ize_core::failpoint;
use ize_core::storage::{Result, StorageError};

use super::{HEADER_BYTES, Kind, Packs, Place, Record, record};
use crate::disk;

/// The end of what was written: a pack and a byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
}

impl Position {
    /// Before the first pack.
    pub(crate) const START: Self = Self { pack: 0, offset: 0 };
}

/// Gathered bytes are written when they are this many.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Appends records; nothing is durable before [`Writer::sync`].
#[derive(Debug)]
pub(crate) struct Writer {
    packs: Arc<Packs>,
    pack_bytes_max: u64,
    /// The pack that is appended to; none before the first record.
    file: Option<Arc<File>>,
    number: u32,
    /// How much of the pack is written; `pending` follows.
    written: u64,
    pending: Vec<u8>,
    /// Packs that were finished since the last sync.
    finished: Vec<Arc<File>>,
    made_pack: bool,
}

impl Writer {
    /// Goes on where the packs end, which the caller has made sure is after a whole record.
    pub(crate) fn new(packs: Arc<Packs>, pack_bytes_max: u64, at: Position) -> Result<Self> {
        let file = match at {
            Position::START => None,
            Position { pack, .. } => Some(Arc::new(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(packs.path(pack))
                    .map_err(|error| disk::failed("opening a pack", error))?,
            )),
        };
        Ok(Self {
            packs,
            pack_bytes_max: pack_bytes_max.min(u64::from(u32::MAX) / 2),
            file,
            number: at.pack,
            written: at.offset,
            pending: Vec::new(),
            finished: Vec::new(),
            made_pack: false,
        })
    }

    /// Returns where the next record goes.
    pub(crate) fn position(&self) -> Position {
        Position { pack: self.number, offset: self.written + self.pending.len() as u64 }
    }

    /// Appends a record whose payload consists of `parts`.
    pub(crate) fn append(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<Place> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let end = self.position().offset + bytes as u64 + 16;
        if self.file.is_none() || (end > self.pack_bytes_max && self.position().offset > HEADER_BYTES) {
            self.begin_pack()?;
        }
        let offset = self.position().offset;
        let offset = u32::try_from(offset).map_err(|_| StorageError::Invalid("a pack is full".to_owned()))?;
        let len = record::append(&mut self.pending, kind, parts)?;
        if self.pending.len() >= PENDING_BYTES_MAX {
            self.flush()?;
        }
        Ok(Place { pack: self.number, offset, len })
    }

    /// Reads a record, also one that is not written yet.
    pub(crate) fn record(&self, place: Place) -> Result<Record> {
        match self.pending_bytes(place) {
            Some(bytes) => record::parse(place, bytes),
            None => self.packs.record(place),
        }
    }

    fn pending_bytes(&self, place: Place) -> Option<&[u8]> {
        let start = u64::from(place.offset).checked_sub(self.written).filter(|_| place.pack == self.number)?;
        let start = usize::try_from(start).ok()?;
        self.pending.get(start..start + place.len as usize)
    }

    /// Makes everything that was appended durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.flush()?;
        failpoint::pass("pack-sync");
        for file in self.finished.iter().chain(&self.file) {
            disk::sync(file, Durable::Data).map_err(|error| disk::failed("syncing a pack", error))?;
        }
        self.finished.clear();
        if std::mem::take(&mut self.made_pack) {
            disk::sync_dir(self.packs.dir())?;
        }
        failpoint::pass("pack-synced");
        Ok(())
    }

    /// Takes back what was appended since `to`, which must not have been synced, or not matter.
    pub(crate) fn rollback(&mut self, to: Position) -> Result<()> {
        let failed = |error| disk::failed("taking back an unfinished batch", error);
        self.pending.clear();
        self.finished.clear();
        for number in self.packs.numbers().into_iter().filter(|number| *number > to.pack) {
            self.packs.forget(number);
            disk::remove(&self.packs.path(number)).map_err(failed)?;
        }
        let packs = self.packs.clone();
        let fresh = Self::new(packs, self.pack_bytes_max, to)?;
        if let Some(file) = &fresh.file {
            change(Change::Inode(file.as_fd()), || file.set_len(to.offset)).map_err(failed)?;
        }
        *self = fresh;
        Ok(())
    }

    /// Hands everything that was appended to the operating system.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| !self.pending.is_empty()) {
            failpoint::pass("pack-write");
            let written = disk::write_at(file, &self.pending, self.written);
            written.map_err(|error| disk::failed("writing a pack", error))?;
            failpoint::pass("pack-written");
            self.written += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    fn begin_pack(&mut self) -> Result<()> {
        self.flush()?;
        let number = self.number + 1;
        let path = self.packs.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let made = change(Change::Path(&path), || options.open(&path));
        let file = Arc::new(made.map_err(|error| disk::failed("making a pack", error))?);
        self.packs.add(number, file.clone());
        self.finished.extend(self.file.replace(file));
        self.number = number;
        self.written = 0;
        self.pending.extend_from_slice(&super::header(number));
        self.made_pack = true;
        Ok(())
    }
}
