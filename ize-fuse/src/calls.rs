//! [`Calls`]: calls on the tree, from any thread, and when they are answered.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{BackingId, Errno, INodeNo, ReplyWrite};
use ize_core::failpoint;
use ize_core::model::FileId;
use ize_core::tree::{Caller, Handle, OpenMode, SetAttributes, SyncScope, Then, Tree, TreeError};

use crate::answer::{Failures, answer_written};
use crate::passthrough::Passthrough;
use crate::{caches, set_id};

/// A tree that is called for the kernel.
#[derive(Clone)]
pub(crate) struct Calls {
    tree: Arc<dyn Tree>,
    failures: Failures,
    /// Set-user-id bits are still there after a write of ours.
    set_id_survives: bool,
}

/// A write, but for its data.
pub(crate) struct Write {
    pub(crate) caller: Caller,
    pub(crate) node: FileId,
    pub(crate) handle: Handle,
    pub(crate) offset: u64,
    /// It is durable when it is answered, whatever the tree's mode.
    pub(crate) is_synced: bool,
    /// The file loses its set-user-id bit: whoever writes may not keep it.
    pub(crate) drops_set_id: bool,
}

impl Calls {
    pub(crate) fn new(tree: Arc<dyn Tree>) -> Self {
        Self { tree, failures: Failures::default(), set_id_survives: set_id::survive_our_writes() }
    }

    /// Calls the tree and turns a refusal, or a panic, into an error number.
    pub(crate) fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&dyn Tree) -> Result<T, TreeError>,
    ) -> Result<T, Errno> {
        let _serving = caches::Serving::begin();
        // With `ize::op=trace`, the request that an operation came from.
        let _request = tracing::trace_span!(target: "ize::op", "request", what).entered();
        // The tree's locks do not poison, and what the interrupted call did is in its journal or not: nothing in here is
        // left half changed.
        match catch_unwind(AssertUnwindSafe(|| call(&*self.tree))) {
            Ok(Ok(value)) => {
                failpoint::pass("reply");
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failures.errno(what, &error)),
            Err(_) => {
                tracing::error!(what, "the tree panicked; the program that asked sees EIO");
                Err(Errno::EIO)
            }
        }
    }

    /// Changes the tree, and answers once the change is as durable as the tree promises. That may be later, and from another
    /// thread: this one is free again, so a change that waits for the disk holds up nothing else.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&dyn Tree) -> Result<T, TreeError>,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        match self.call(what, change) {
            Ok(value) => self.later(what, Tree::settle, move |outcome| answer(outcome.map(|()| value))),
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Leaves an answer with the tree. Where the tree forgets it, fuser answers `EIO`.
    pub(crate) fn later(
        &self,
        what: &'static str,
        leave: impl FnOnce(&dyn Tree, Then),
        answer: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) {
        let failures = self.failures.clone();
        let then = Box::new(move |outcome: Result<(), TreeError>| {
            answer(outcome.map_err(|error| failures.errno(what, &error)));
        });
        let _ = self.call(what, |tree| {
            leave(tree, then);
            Ok(())
        });
    }

    /// Tells whether a write may wait for the disk before it is made.
    pub(crate) fn may_wait(&self, write: &Write) -> bool {
        // If it panics, so does the write, which is answered.
        catch_unwind(AssertUnwindSafe(|| self.tree.may_wait(write.handle, write.offset))).unwrap_or(false)
    }

    /// Writes, and answers.
    pub(crate) fn write(&self, write: &Write, data: &[u8], reply: ReplyWrite) {
        let &Write { caller, node, handle, offset, is_synced, drops_set_id } = write;
        let make = |tree: &dyn Tree| {
            if drops_set_id {
                self.drop_set_id(tree, caller, node, Some(handle))?;
            }
            tree.write(caller, handle, offset, data)
        };
        if !is_synced {
            return self.change("write", make, |result| answer_written(reply, result));
        }
        match self.call("write", make) {
            Ok(bytes) => self.later(
                "write",
                |tree, then| tree.sync(handle, SyncScope::Write, then),
                move |outcome| answer_written(reply, outcome.map(|()| bytes)),
            ),
            Err(errno) => answer_written(reply, Err(errno)),
        }
    }
    /// Tells whether a file that is opened may have to wait for the disk before the kernel can write to it itself.
    pub(crate) fn open_may_wait(&self, node: FileId, mode: OpenMode) -> bool {
        // If it panics, so does the open, which is answered.
        catch_unwind(AssertUnwindSafe(|| self.tree.open_may_wait(node, mode))).unwrap_or(false)
    }

    /// Hands the file behind a new handle to the kernel; closes the handle if that fails.
    pub(crate) fn hand_over(
        &self,
        passthrough: &Passthrough,
        node: INodeNo,
        handle: Handle,
        register: impl FnOnce(&OwnedFd) -> io::Result<BackingId>,
    ) -> Result<Arc<BackingId>, Errno> {
        let handed_over = self.call("hand over", |tree| {
            let file = tree.hand_over(handle)?.ok_or(rustix::io::Errno::IO)?;
            let id = passthrough.open(node, &file, register);
            id.map_err(|error| {
                TreeError::from(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
            })
        });
        if handed_over.is_err() {
            let _ = self.call("release", |tree| {
                tree.release(handle);
                Ok(())
            });
        }
        handed_over
    }

    /// Drops set-user-id and set-group-id bits before the content of a file changes.
    pub(crate) fn drop_set_id(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
    ) -> Result<(), TreeError> {
        self.drop_set_id_if(tree, caller, node, handle, || true)
    }

    /// As [`Calls::drop_set_id`], unless the caller may keep them.
    pub(crate) fn drop_set_id_of_others(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
    ) -> Result<(), TreeError> {
        self.drop_set_id_if(tree, caller, node, handle, || !set_id::survive_writes_of(caller))
    }

    fn drop_set_id_if(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
        condition: impl FnOnce() -> bool,
    ) -> Result<(), TreeError> {
        if !self.set_id_survives {
            return Ok(());
        }
        let mode = set_id::dropped(&tree.stat(node, handle)?);
        if mode.is_some() && condition() {
            let attributes = SetAttributes { mode, ..SetAttributes::default() };
            tree.set_attributes(caller, node, handle, &attributes)?;
        }
        Ok(())
    }

    /// Returns the mode that a file gets when its owner or size is set: without set-user-id bits that do not survive this.
    pub(crate) fn mode_without_set_id(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        node: FileId,
        handle: Option<Handle>,
        wanted: &SetAttributes,
    ) -> Result<Option<u32>, TreeError> {
        // Where nothing is set, the kernel wants just that: chown(2) was called with neither owner nor group.
        let is_empty = *wanted == SetAttributes::default();
        let is_given_away = wanted.uid.is_some() || wanted.gid.is_some();
        if wanted.mode.is_some() || !(is_given_away || is_empty || wanted.size.is_some()) {
            return Ok(wanted.mode);
        }
        let stat = tree.stat(node, handle)?;
        // It comes before a write, too, from anybody; the write then says so itself.
        let is_owner = caller.uid == 0 || caller.uid == stat.metadata.uid;
        let are_dropped =
            |_: &u32| is_given_away || if is_empty { is_owner } else { !set_id::survive_writes_of(caller) };
        Ok(set_id::dropped(&stat).filter(are_dropped))
    }
}
