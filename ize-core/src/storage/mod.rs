//! Where history lives: the [`FileSystemStorage`] trait that every backend implements, and what goes in and out of it.
//!
//! # Writing a backend
//! 1. [`FileSystemStorage::commit`] takes a [`Batch`] of operations. For each of them, in order: apply
//!    [`OpCode::effects`] to names, content and attributes, store the metadata in [`OpCode::touched`], and keep the
//!    operation itself. Everything becomes visible at the operation's `last_id`. All of a batch is stored, or nothing.
//! 2. Every read takes a [`View`] and answers as of that moment: keep versions, keyed by `last_id`.
//! 3. Answers are pages: `max` bounds each of them, and the caller asks again from where it stopped. Fewer than `max`
//!    means that there is no more. Keep no reader or lock open between calls.
//! 4. Run `ize_core::conformance` (feature `conformance`) with one line of macro. [`MemoryStorage`] is the reference.
//!
//! `examples/custom_backend.rs` is a complete small backend. By path and time, and in larger pieces, every backend can
//! be asked through [`FileSystemStorageExt`].
//!
//! # What a backend may rely on
//! Operations come from a recorder that applied them to a real filesystem first: an entry that is bound was free, one
//! that is unbound named that file, a file that is written exists, a folder that is removed is empty. [`MemoryStorage`]
//! checks this and refuses what does not fit; other backends need not. They do check what
//! [`FileSystemStorage::commit`] states.
//!
//! What an effect does not say does not happen. A file that lost its last name keeps its content, attributes and
//! metadata in older views; in newer ones it does not exist, and reads of it answer nothing. Size, link count and
//! times are those in [`OpCode::touched`], never computed. Content behind the size is not read, and a
//! [`crate::model::Effect::Truncate`] removes it for good. The link count of a folder is the host's affair.
//!
//! Between a [`crate::model::Effect::Unbind`] and a [`crate::model::Effect::Bind`] of one entry in one operation there
//! is no moment: its [`Binding`] is the last of them.

mod changes;
mod error;
mod ext;
mod forward;
mod history;
mod memory;
mod native;
mod query;
#[cfg(unix)]
pub mod remote;
mod sparse;
mod versions;
mod walk;

use crate::model::{Entry, FileId, FileMetadata, Name, OpCode, OpId, Timestamp, View};

pub use changes::{Change, Changes};
pub use error::StorageError;
pub use ext::FileSystemStorageExt;
pub use history::FileHistory;
pub use memory::MemoryStorage;
pub use native::{Incoming, IncomingEdit, NativeChange};
pub use query::{
    Batch, Binding, Capabilities, DirEntry, Direction, Extent, Finding, Head, Limits, OpQuery, Ref, RefName, RefTarget,
    Severity, SizeOf, StorageInfo, Xattr,
};
pub use walk::{Walk, WalkEntry};

/// A specialised `Result` for storage calls.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// A store of operations from which the tree can be read as it was at any of them.
///
/// Object-safe, synchronous, used from many threads through `&self`. One process at a time uses a store.
///
/// # Views
/// A view (branch, at) sees the versions whose branch is `branch` and whose moment is at most `at`; where there is none,
/// those of the parent branch at most `min(at, base)`, and so on to the main branch. At [`OpId::ZERO`] the tree is one
/// root folder, [`FileId::ROOT`], without entries and with metadata of the backend's choosing. A view beyond the head
/// is the head. Asking about a branch that does not exist is [`StorageError::UnknownBranch`].
///
/// # Files
/// A file exists in a view from the operation that created it until the one after which its `nlink` is 0. Reads of a file
/// that does not exist in the view answer `None` or nothing; they are not errors.
pub trait FileSystemStorage: Send + Sync {
    /// Tells what this backend is, what it can hold, and how much space it takes.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn info(&self) -> Result<StorageInfo>;

    /// Returns the last committed operation and the highest file id ever committed.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn head(&self) -> Result<Head>;

    /// Stores a batch: atomically (after a crash all of it is there, or none) and durably (when this returns, it
    /// survives a power cut).
    ///
    /// # Errors
    /// [`StorageError::Gap`] if the ids do not follow the head densely; [`StorageError::UnknownBranch`];
    /// [`StorageError::Invalid`] if an operation cannot be applied (a landmark for an id that no operation ends at, data
    /// of another length than a write says, [`crate::model::OpData::Reference`], a `last_id` below the `id`). In each case
    /// nothing was stored.
    fn commit(&self, batch: &Batch) -> Result<()>;

    /// Returns operations that the query's view sees, at most `query.max`. Their data may be
    /// [`crate::model::OpData::Reference`]; read the content with [`FileSystemStorage::read`] at the operation.
    /// To go on, ask again from the last answer: since its `last_id`, or at the moment right before its `last_id`.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>>;

    /// Returns the last operation of the log, on whatever branch, whose timestamp is at most `time`;
    /// [`OpId::ZERO`] if there is none. Where clocks went backwards, that is the greatest such id.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn op_at_time(&self, time: Timestamp) -> Result<OpId>;

    /// Returns a file's metadata, or `None` if it does not exist in the view.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>>;

    /// Returns what an entry of a folder names, or `None`.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>>;

    /// Returns at most `max` entries of a folder, beginning after `after`, which came from an earlier answer. The order
    /// is the backend's own, but the same for every call with one view, and a name keeps its place in it whatever is
    /// committed meanwhile: a listing of the newest view misses or repeats only names that came or went under it.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>>;

    /// Returns all names of a file, in any order: several where it has hard links; none for the root.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>>;

    /// Returns at most `max` changes of what an entry named, newest first, among those that the view sees.
    /// To go on, ask again with the view right before the last answer.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>>;

    /// Reads content into `buf` and returns how many bytes: fewer than asked only at the end of the file. Holes read as
    /// zeros. A symlink's content is its target. Nothing else has content, whatever its size says.
    ///
    /// # Errors
    /// As any call: [`StorageError`]; [`StorageError::Corrupt`] if stored content fails its check.
    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Returns at most `max` ranges that hold data, in order, beginning with the one that contains or follows `from`,
    /// clipped to the size of the file and to `from`. What lies between them are holes: what was never written, was cut
    /// off, zeroed or copied from a hole, exactly to the byte ([`Capabilities::holes`]). Neighbouring ranges may or may
    /// not be joined. Zeros that were written are data.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>>;

    /// Returns a file's extended attributes, ordered by name.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>>;

    /// Returns all named moments and branches, ordered by name.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn refs(&self) -> Result<Vec<Ref>>;

    /// Sets a name, durably; `None` removes it, if it is there. A snapshot's name can be set anew. A branch's name can be
    /// set again only to the same branch; when it is removed, the branch stays readable and its id stays taken.
    ///
    /// # Errors
    /// [`StorageError::UnknownBranch`] if a target's branch, or a branch's parent, does not exist;
    /// [`StorageError::Invalid`] if a branch's id is taken (by one with another parent or base), or a base or a
    /// snapshot's moment lies beyond the head.
    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()>;

    /// Reads everything back and reports what is wrong, one finding at a time. No finding means that all is well.
    ///
    /// # Errors
    /// Only if the check itself could not be carried out.
    fn verify(&self, report: &mut dyn FnMut(Finding)) -> Result<()>;

    /// Mends what can be mended from the backend's own redundancy (an index from the data that it indexes), reporting
    /// what it did. What is lost is reported and left as it is.
    ///
    /// # Errors
    /// If the repair could not be carried out; the store is then as it was.
    fn repair(&self, report: &mut dyn FnMut(Finding)) -> Result<()>;

    /// Returns the name that the backend's own format gives to the change that holds an operation, for example a hash.
    /// `None` for a backend that has no such names, and for an operation that is in no such change.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn native_id(&self, _op: OpId) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns at most `max` changes whose native id begins with `prefix`, each with the last operation that it holds.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn find_native_id(&self, _prefix: &str, _max: usize) -> Result<Vec<(String, OpId)>> {
        Ok(Vec::new())
    }

    /// Returns what others put into the backend's own repository and [`FileSystemStorage::accept_incoming`] has not
    /// accepted yet; `None` if there is nothing. Its edits make of the tree at the head what the repository holds. So
    /// the caller has everything committed before it asks, and asks again where a file changed since.
    ///
    /// What the caller commits while it applies the edits is from [`crate::model::Actor::INCOMING`]. It comes from them, and needs no
    /// new change, as far as a file's content, name and exec bit become those that the repository holds; on the way
    /// there a file may be half written. The caller may be killed at any step, and asks again later. Somebody else may
    /// have written such a file into the tree already (the repository's own program did), which is committed as any other
    /// operation.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn incoming(&self) -> Result<Option<Incoming>> {
        Ok(None)
    }

    /// Takes note, durably, that these changes, all that [`FileSystemStorage::incoming`] answered, are in the tree up
    /// to the head. The operations that brought them are theirs from now on ([`FileSystemStorage::native_id`]). Where the
    /// tree still differs, because something was in the way, it stays so until that file is changed.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn accept_incoming(&self, _changes: &[NativeChange]) -> Result<()> {
        Ok(())
    }

    /// Closes the backend's own repository, so that another program may open and write it. Commits wait, or answer
    /// [`StorageError::Suspended`], until [`FileSystemStorage::resume`]; reads of history go on.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn suspend(&self) -> Result<()> {
        Ok(())
    }

    /// Opens the repository again. Without a [`FileSystemStorage::suspend`] before it, it does nothing.
    ///
    /// # Errors
    /// As any call: [`StorageError`]. It may be called again.
    fn resume(&self) -> Result<()> {
        Ok(())
    }
}
