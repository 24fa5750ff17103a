//! The Pijul repository itself: its database, its change files, its channels.

use std::path::Path;

use ize_core::storage::{Result, StorageError};
use libpijul::changestore::ChangeStore;
use libpijul::changestore::filesystem::FileSystem;
use libpijul::pristine::sanakirja::{MutTxn0, Pristine, SanakirjaError};
use libpijul::pristine::{ArcTxn, ChannelRef, ChannelTxnT, Hash, MutTxnT, TxnT};
use libpijul::small_string::SmallString;
use libpijul::{Base32, TxnTExt};

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
    pristine: Pristine,
    /// The change files.
    pub(crate) changes: FileSystem,
    layout: Layout,
}

impl Repository {
    /// Opens the database, or makes one.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process uses it; [`StorageError::Corrupt`].
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let pristine = Pristine::new(layout.database()).map_err(|error| match error {
            SanakirjaError::PristineLocked => StorageError::Locked,
            error => StorageError::Corrupt(format!("the repository's database cannot be opened: {error}")),
        })?;
        let changes = FileSystem::from_changes(layout.changes(), OPEN_CHANGES);
        Ok(Self { pristine, changes, layout: layout.clone() })
    }

    /// Makes an empty database in memory over the same change files.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn in_memory(layout: &Layout) -> Result<Self> {
        let pristine = Pristine::new_anon().or_pijul("making a database in memory")?;
        let changes = FileSystem::from_changes(layout.changes(), OPEN_CHANGES);
        Ok(Self { pristine, changes, layout: layout.clone() })
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the database is damaged.
    pub(crate) fn begin(&self) -> Result<Txn> {
        let begun = self.pristine.arc_txn_begin();
        begun.map_err(|error| StorageError::Corrupt(format!("the repository's database cannot be read: {error}")))
    }

    /// Makes changes and their files durable, the files first: the database never names what a power cut could take.
    ///
    /// # Errors
    /// If the disk fails. The database is then as it was, or as it should be.
    pub(crate) fn commit(&self, txn: Txn, saved: &[Hash]) -> Result<()> {
        self.sync_changes(saved)?;
        ize_core::failpoint::pass("vcs-changes-synced");
        txn.commit().or_pijul("committing to the repository's database")
    }

    fn sync_changes(&self, saved: &[Hash]) -> Result<()> {
        if saved.len() > SYNCED_ONE_BY_ONE_MAX {
            return disk::sync_filesystem(&self.layout.changes());
        }
        for hash in saved {
            let path = self.changes.filename(hash);
            disk::sync_file(&path)?;
            if let Some(folder) = path.parent() {
                disk::sync_dir(folder)?;
            }
        }
        if saved.is_empty() { Ok(()) } else { disk::sync_dir(&self.layout.changes()) }
    }

    /// Returns where a change's file lies.
    pub(crate) fn file_of(&self, hash: &Hash) -> std::path::PathBuf {
        self.changes.filename(hash)
    }

    /// Removes change files that no channel needs: those of a transaction that was taken back.
    pub(crate) fn forget(&self, saved: &[Hash]) {
        for hash in saved {
            // What stays behind is only in the way of nobody.
            let _ = self.changes.del_change(hash);
        }
    }
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
