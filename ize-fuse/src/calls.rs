//! [`Calls`]: calls on the tree, from any thread, and when they are answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{Errno, ReplyWrite};
use ize_core::failpoint;
use ize_core::tree::{Caller, Handle, SyncScope, Then, Tree, TreeError};

use crate::answer::{Failures, answer_written};
use crate::caches;

/// A tree that is called for the kernel.
#[derive(Clone)]
pub(crate) struct Calls {
    tree: Arc<dyn Tree>,
    failures: Failures,
}

/// A write, but for its data.
pub(crate) struct Write {
    pub(crate) caller: Caller,
    pub(crate) handle: Handle,
    pub(crate) offset: u64,
    /// It is durable when it is answered, whatever the tree's mode.
    pub(crate) is_synced: bool,
}

impl Calls {
    pub(crate) fn new(tree: Arc<dyn Tree>) -> Self {
        Self { tree, failures: Failures::default() }
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
        let &Write { caller, handle, offset, is_synced } = write;
        let make = |tree: &dyn Tree| tree.write(caller, handle, offset, data);
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
}
