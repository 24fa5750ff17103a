//! The Pijul repository itself: its database, its change files, its channels.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ize_core::storage::{Result, StorageError};
use libpijul::changestore::filesystem::FileSystem;
use libpijul::pristine::sanakirja::{MutTxn0, Pristine, SanakirjaError};
use libpijul::pristine::{ArcTxn, ChannelRef, ChannelTxnT, Hash, MutTxnT, TxnT};
use libpijul::small_string::SmallString;
use libpijul::{Base32, TxnTExt};
use parking_lot::Mutex;

use crate::disk;
use crate::error::{OrPijul, failed};
use crate::layout::Layout;

/// A transaction that may write. Dropping it takes everything back.
pub(crate) type Txn = ArcTxn<MutTxn0>;
/// A channel, as a transaction sees it.
pub(crate) type Channel = ChannelRef<MutTxn0>;

/// How many change files are kept open.
const OPEN_CHANGES: usize = 256;
/// From how many change files on the whole filesystem is synced at once.
const SYNCED_ONE_BY_ONE_MAX: usize = 12;

/// An open repository. One writer at a time: the caller holds a lock.
pub(crate) struct Repository {
    database: Mutex<Database>,
    /// The change files.
    pub(crate) changes: FileSystem,
    layout: Layout,
    /// Folders of change files whose own entries are known to be durable.
    durable_folders: Mutex<HashSet<PathBuf>>,
}

impl Repository {
    /// Opens the database, or makes one.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process uses it; [`StorageError::Corrupt`].
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        Ok(Self::with(Database::open(&layout.database())?, layout))
    }

    /// Makes an empty database in memory over the same change files.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn in_memory(layout: &Layout) -> Result<Self> {
        let pristine = Pristine::new_anon().or_pijul("making a database in memory")?;
        Ok(Self::with(Database { pristine, mapped: None }, layout))
    }

    fn with(database: Database, layout: &Layout) -> Self {
        let changes = FileSystem::from_changes(layout.changes(), OPEN_CHANGES);
        let durable_folders = Mutex::default();
        Self { database: Mutex::new(database), changes, layout: layout.clone(), durable_folders }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the database is damaged.
    pub(crate) fn begin(&self) -> Result<Txn> {
        let begun = self.database.lock().pristine.arc_txn_begin();
        begun.map_err(|error| StorageError::Corrupt(format!("the repository's database cannot be read: {error}")))
    }

    /// Makes changes and their files durable, the files first: the database never names what a power cut could take.
    ///
    /// # Errors
    /// If the disk fails. The database is then as it was, or as it should be.
    pub(crate) fn commit(&self, txn: Txn, saved: &[Hash]) -> Result<()> {
        self.sync_changes(saved)?;
        ize_core::failpoint::pass("vcs-changes-synced");
        txn.commit().or_pijul("committing to the repository's database")?;
        self.database.lock().map_as_one(&self.layout.database())
    }

    fn sync_changes(&self, saved: &[Hash]) -> Result<()> {
        if saved.len() > SYNCED_ONE_BY_ONE_MAX {
            return disk::sync_filesystem(&self.layout.changes());
        }
        let mut durable = self.durable_folders.lock();
        let mut is_new = false;
        for path in saved.iter().map(|hash| self.changes.filename(hash)) {
            disk::sync_file(&path)?;
            if let Some(folder) = path.parent() {
                disk::sync_dir(folder)?;
                is_new |= durable.insert(folder.to_owned());
            }
        }
        if !is_new {
            return Ok(());
        }
        // A failure may have taken any of them.
        disk::sync_dir(&self.layout.changes()).inspect_err(|_| durable.clear())
    }

    /// Returns where a change's file lies.
    pub(crate) fn file_of(&self, hash: &Hash) -> PathBuf {
        self.changes.filename(hash)
    }
}

/// The database of a repository.
struct Database {
    pristine: Pristine,
    /// How many bytes of its file are mapped as one; `None` where there is no file.
    mapped: Option<u64>,
}

impl Database {
    fn open(file: &Path) -> Result<Self> {
        let pristine = Pristine::new(file).map_err(|error| match error {
            SanakirjaError::PristineLocked => StorageError::Locked,
            error => StorageError::Corrupt(format!("the repository's database cannot be opened: {error}")),
        })?;
        Ok(Self { pristine, mapped: Some(length(file)?) })
    }

    /// Opens a file that has grown anew: each time it grows it gets a mapping more, and a commit syncs every mapping by itself.
    fn map_as_one(&mut self, file: &Path) -> Result<()> {
        match self.mapped {
            Some(mapped) if length(file)? > mapped => *self = Self::open(file)?,
            Some(_) | None => {}
        }
        Ok(())
    }
}

fn length(file: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(file);
    metadata.map(|metadata| metadata.len()).map_err(|error| failed("looking at the repository's database", error))
}

/// Finds a channel.
///
/// # Errors
/// If the database is damaged.
pub(crate) fn channel(txn: &Txn, name: &str) -> Result<Option<Channel>> {
    txn.read().load_channel(small(name)?).or_pijul("looking for a channel")
}

/// Finds a channel, or makes an empty one.
///
/// # Errors
/// If the database is damaged.
pub(crate) fn channel_or_new(txn: &Txn, name: &str) -> Result<Channel> {
    txn.write().open_or_create_channel(&small(name)?).or_pijul("making a channel")
}

/// A position in the log of a channel, and what the channel held there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelState {
    /// How many changes there are.
    pub(crate) changes: u64,
    /// The state as Pijul computes it from all of them; zeros where there is none.
    pub(crate) merkle: [u8; 32],
}

/// Returns the newest state of a channel.
///
/// # Errors
/// If the database is damaged.
pub(crate) fn state(txn: &Txn, channel: &Channel) -> Result<ChannelState> {
    let txn = txn.read();
    let last = txn.reverse_log(&*channel.read(), None).or_pijul("reading a channel's log")?.next();
    match last.transpose().or_pijul("reading a channel's log")? {
        Some((n, (_, merkle))) => {
            let merkle: libpijul::Merkle = merkle.into();
            Ok(ChannelState { changes: n + 1, merkle: merkle.to_bytes() })
        }
        None => Ok(ChannelState::default()),
    }
}

/// Returns the changes of a channel from a position on, each with the state after it.
///
/// # Errors
/// If the database is damaged.
pub(crate) fn log(txn: &Txn, channel: &Channel, from: u64) -> Result<Vec<(Hash, ChannelState)>> {
    let txn = txn.read();
    let mut found = Vec::new();
    for entry in txn.log(&*channel.read(), from).or_pijul("reading a channel's log")? {
        let (n, (hash, merkle)) = entry.or_pijul("reading a channel's log")?;
        let merkle: libpijul::Merkle = merkle.into();
        found.push((hash.into(), ChannelState { changes: n + 1, merkle: merkle.to_bytes() }));
    }
    Ok(found)
}

/// Returns the state of a channel after so many changes, if it has that many.
///
/// # Errors
/// If the database is damaged.
pub(crate) fn state_after(txn: &Txn, channel: &Channel, changes: u64) -> Result<Option<ChannelState>> {
    let Some(last) = changes.checked_sub(1) else { return Ok(Some(ChannelState::default())) };
    let found = txn.read().get_changes(channel, last).or_pijul("reading a channel's log")?;
    Ok(found.map(|(_, merkle)| ChannelState { changes, merkle: merkle.to_bytes() }))
}

/// Makes a name of the database of text.
pub(crate) fn small(text: &str) -> Result<SmallString> {
    text.parse().map_err(|_| StorageError::Invalid(format!("'{text}' is too long a name for Pijul")))
}

/// Returns the text by which people name a change.
pub(crate) fn text_of(hash: &Hash) -> String {
    hash.to_base32()
}

/// Reads the text by which people name a change.
pub(crate) fn hash_of(text: &str) -> Option<Hash> {
    Hash::from_base32(text.as_bytes())
}

/// Returns the name of a channel.
pub(crate) fn name_of(txn: &Txn, channel: &Channel) -> String {
    txn.read().name(&*channel.read()).to_owned()
}

/// Tells whether a folder holds a repository's database.
pub(crate) fn exists(database: &Path) -> Result<bool> {
    database.try_exists().map_err(|error| failed("looking for the repository", error))
}
