//! Which calls wait for each other.
//!
//! Files are mapped onto a fixed number of locks. A change holds the locks of every file that it touches from before it
//! is applied until after it is recorded, so that two changes of one file are recorded in the order in which they
//! happened. Locks are always taken in ascending order; no call waits for a lock while it holds a greater one.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::FileId;

const STRIPES: usize = 1024;
/// A change touches at most: two parents, a source and a victim.
const HELD_MAX: usize = 4;

/// The locks of a tree.
pub(super) struct Locks {
    stripes: Box<[RwLock<()>]>,
}

/// Locks held for a change; dropping it releases them.
pub(super) struct Held<'a> {
    _guards: Guards<'a>,
}

#[expect(dead_code, reason = "held, not looked at")]
enum Guards<'a> {
    Some([Option<RwLockWriteGuard<'a, ()>>; HELD_MAX]),
    All(Vec<RwLockWriteGuard<'a, ()>>),
}

impl Held<'_> {
    pub(super) fn release(self) {
        drop(self);
    }
}

impl Locks {
    pub(super) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| RwLock::new(())).collect() }
    }

    /// Locks some files for a change.
    pub(super) fn change(&self, files: &[FileId]) -> Held<'_> {
        let mut stripes = [usize::MAX; HELD_MAX];
        for (stripe, file) in stripes.iter_mut().zip(files) {
            *stripe = stripe_of(*file);
        }
        debug_assert!(files.len() <= HELD_MAX, "a change touches at most {HELD_MAX} files");
        stripes.sort_unstable();
        let mut held = [const { None }; HELD_MAX];
        let mut last = usize::MAX;
        for (slot, stripe) in held.iter_mut().zip(stripes) {
            if stripe != last && stripe != usize::MAX {
                *slot = Some(self.stripes[stripe].write());
            }
            last = stripe;
        }
        Held { _guards: Guards::Some(held) }
    }

    /// Locks all files for a change.
    pub(super) fn all(&self) -> Held<'_> {
        Held { _guards: Guards::All(self.stripes.iter().map(RwLock::write).collect()) }
    }

    /// Locks one file against changes.
    pub(super) fn look(&self, file: FileId) -> RwLockReadGuard<'_, ()> {
        self.stripes[stripe_of(file)].read()
    }
}

fn stripe_of(file: FileId) -> usize {
    usize::try_from(file.get() % STRIPES as u64).unwrap_or(0)
}
