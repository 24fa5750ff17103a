//! Reads by path and time, in the seeds' vocabulary, for any storage.

use std::io::Write;

use super::changes::{Changes, side};
use super::{Batch, FileHistory, FileSystemStorage, RefName, RefTarget, Result, StorageError, Walk, WalkEntry};
use crate::model::{BranchId, FileId, OpCode, OpId, RelPath, Timestamp, View};

/// How much of a file is held while it is copied out.
const COPIED_BYTES: usize = 256 * 1024;
/// More names than a path can have: a deeper one is damage.
const DEPTH_MAX: usize = 100_000;

/// What [`FileSystemStorage`] offers, by path and by time.
///
/// Every storage has these methods, also as `dyn FileSystemStorage`. Paths are followed name by name; symlinks are not.
pub trait FileSystemStorageExt: FileSystemStorage {
    /// Finds what a path names in a view; `None` for nothing.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn resolve(&self, view: View, path: &RelPath) -> Result<Option<FileId>> {
        let mut file = FileId::ROOT;
        for name in path.names() {
            match self.entry(view, file, &name)? {
                Some(found) => file = found,
                None => return Ok(None),
            }
        }
        Ok(Some(file))
    }

    /// Finds what a path names in a view, with its metadata.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn find(&self, view: View, path: &RelPath) -> Result<Option<WalkEntry>> {
        match self.resolve(view, path)? {
            Some(file) => side(self, view, path.clone(), file),
            None => Ok(None),
        }
    }

    /// Returns a path of a file in a view, the one by its first name; `None` if it does not exist there.
    ///
    /// # Errors
    /// As any call: [`StorageError`]; [`StorageError::Corrupt`] if folders hold each other in a circle.
    fn path_of(&self, view: View, file: FileId) -> Result<Option<RelPath>> {
        let mut names = Vec::new();
        let mut at = file;
        while at != FileId::ROOT {
            let Some(entry) = self.names(view, at)?.into_iter().next() else { return Ok(None) };
            if names.len() == DEPTH_MAX {
                return Err(StorageError::Corrupt(format!("{file} lies deeper than {DEPTH_MAX} folders")));
            }
            at = entry.dir;
            names.push(entry.name);
        }
        Ok(Some(names.iter().rev().fold(RelPath::root(), |path, name| path.join(name))))
    }

    /// Commits one operation.
    ///
    /// # Errors
    /// As [`FileSystemStorage::commit`].
    fn store_opcode(&self, op: OpCode) -> Result<()> {
        self.store_batch(vec![op])
    }

    /// Commits operations together.
    ///
    /// # Errors
    /// As [`FileSystemStorage::commit`].
    fn store_batch(&self, ops: Vec<OpCode>) -> Result<()> {
        self.commit(&Batch { ops, landmarks: Vec::new() })
    }

    /// Returns the operations in a path's history, newest first; see [`FileHistory`] for what belongs to it.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn file_history(&self, view: View, path: &RelPath) -> Result<FileHistory<'_, Self>> {
        FileHistory::new(self, view, path)
    }

    /// Returns the moment of a branch at a time: right after the last operation that was not later.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn view_at_time(&self, branch: BranchId, time: Timestamp) -> Result<View> {
        Ok(View::new(branch, self.op_at_time(time)?))
    }

    /// Finds what a path named at a time, and the view in which to read it; `None` for nothing.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn file_at_time(&self, branch: BranchId, path: &RelPath, time: Timestamp) -> Result<Option<(View, WalkEntry)>> {
        let view = self.view_at_time(branch, time)?;
        Ok(self.find(view, path)?.map(|found| (view, found)))
    }

    /// Gives a moment a name; one beyond the head means the head. Returns the moment.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if the name is in use, [`StorageError::UnknownBranch`].
    fn create_snapshot(&self, name: &RefName, view: View, created: Timestamp) -> Result<View> {
        refuse_used(self, name)?;
        let view = View { at: view.at.min(self.head()?.op), ..view };
        self.set_ref(name, Some(&RefTarget::Snapshot { view, created }))?;
        Ok(view)
    }

    /// Begins a branch, with the given name, at the moment of a snapshot. Its operations go on from there; it costs
    /// nothing.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is no such snapshot or the branch's name is in use.
    fn fork_from_snapshot(&self, snapshot: &RefName, branch: &RefName) -> Result<BranchId> {
        refuse_used(self, branch)?;
        let Some(RefTarget::Snapshot { view, .. }) = target(self, snapshot)? else {
            return Err(StorageError::Invalid(format!("there is no snapshot '{snapshot}'")));
        };
        fork(self, branch, view.branch, view.at)
    }

    /// Walks a path and everything below it; nothing if the path names nothing.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn walk(&self, view: View, path: &RelPath) -> Result<Walk<'_, Self>> {
        Ok(Walk::new(self, view, self.find(view, path)?))
    }

    /// Compares a path and everything below it between two views. Nothing comes where nothing differs.
    ///
    /// # Errors
    /// As any call: [`StorageError`].
    fn changes(&self, before: View, after: View, path: &RelPath) -> Result<Changes<'_, Self>> {
        let sides = (self.find(before, path)?, self.find(after, path)?);
        Ok(Changes::new(self, before, after, sides))
    }

    /// Copies a file's whole content, holes as zeros, and returns how many bytes. A little of it is held at a time.
    ///
    /// # Errors
    /// As any call: [`StorageError`]; [`StorageError::Backend`] if `out` cannot be written.
    fn copy_content(&self, view: View, file: FileId, out: &mut dyn Write) -> Result<u64> {
        let mut buf = vec![0; COPIED_BYTES];
        let mut offset = 0;
        loop {
            let len = self.read(view, file, offset, &mut buf)?;
            if len == 0 {
                return Ok(offset);
            }
            out.write_all(&buf[..len]).map_err(|source| StorageError::backend("writing out content", source))?;
            offset += len as u64;
        }
    }

    /// Calls `each` with a file's data in order, piece by piece, leaving the holes out.
    ///
    /// # Errors
    /// As any call: [`StorageError`]; what `each` answers.
    fn for_each_data(&self, view: View, file: FileId, each: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut buf = vec![0; COPIED_BYTES];
        let mut from = 0;
        while let Some(extent) = self.extents(view, file, from, 1)?.first() {
            from = extent.offset;
            while from < extent.end() {
                let want = usize::try_from(extent.end() - from).map_or(buf.len(), |left| left.min(buf.len()));
                let len = self.read(view, file, from, &mut buf[..want])?;
                if len == 0 {
                    return Ok(());
                }
                each(from, &buf[..len])?;
                from += len as u64;
            }
        }
        Ok(())
    }
}

impl<S: FileSystemStorage + ?Sized> FileSystemStorageExt for S {}

fn target<S: FileSystemStorage + ?Sized>(storage: &S, name: &RefName) -> Result<Option<RefTarget>> {
    Ok(storage.refs()?.into_iter().find(|known| known.name == *name).map(|known| known.target))
}

fn refuse_used<S: FileSystemStorage + ?Sized>(storage: &S, name: &RefName) -> Result<()> {
    match target(storage, name)? {
        Some(_) => Err(StorageError::Invalid(format!("the name '{name}' is in use"))),
        None => Ok(()),
    }
}

/// Makes a branch with the first id that no branch with a name has; a removed one may still hold it, then the next.
fn fork<S: FileSystemStorage + ?Sized>(storage: &S, name: &RefName, parent: BranchId, base: OpId) -> Result<BranchId> {
    let highest = storage.refs()?.iter().fold(0, |highest, known| match known.target {
        RefTarget::Branch { id, .. } => highest.max(id.get()),
        RefTarget::Snapshot { .. } => highest,
    });
    let mut id = BranchId::new(highest + 1);
    while storage.node(View::latest(id), FileId::ROOT).is_ok() {
        id = BranchId::new(id.get() + 1);
    }
    storage.set_ref(name, Some(&RefTarget::Branch { id, parent, base }))?;
    Ok(id)
}
