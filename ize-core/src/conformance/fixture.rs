//! What a check gets, and what it is.

use std::fmt;

use crate::storage::FileSystemStorage;

/// A store under check, and how to reopen it. A new one is empty.
pub trait Fixture {
    /// Returns the store.
    fn store(&self) -> &dyn FileSystemStorage;

    /// Closes the store and opens it again where it was, as after the end of the process. A backend that is not
    /// persistent ([`crate::storage::Capabilities`]) does nothing.
    fn reopen(&mut self);
}

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, as `namespace::renames_move_names`.
    pub name: &'static str,
    /// Runs it on an empty store; panics where the store breaks its promise.
    pub run: fn(&mut dyn Fixture),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}
