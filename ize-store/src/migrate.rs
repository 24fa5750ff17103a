//! Changing the engine of a store: a second index is made from the packs, compared with the first, and put in its place.

use std::path::Path;

use ize_core::model::OpId;
use ize_core::storage::{Result, StorageError};

use crate::layout::NewIndex;
use crate::{Engine, Store, StoreOptions, verify};

/// How far a change of the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationStep {
    /// The operations up to this one, of so many, are read and sorted for the new index.
    Entered {
        /// The last of them.
        op: OpId,
        /// The last of all.
        of: OpId,
    },
    /// The new index is read and compared with the one before.
    Comparing,
}

impl Store {
    /// Changes the engine of a store that nobody has open, and tells whether it had another one.
    ///
    /// The new index is made beside the one before, from the packs, and must come to the same rows. It takes the other's
    /// place at once: whenever this is cut off, what is left is a store with either the one engine or the other, whole.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StorageError::Corrupt`] if the packs do not hold all that the index knows. The store then is as
    /// it was.
    pub fn migrate(dir: impl AsRef<Path>, engine: Engine, progress: &mut dyn FnMut(MigrationStep)) -> Result<bool> {
        // What a crash left unfinished is finished first.
        let mut store = Self::open(dir, &StoreOptions::default())?;
        if store.engine.name() == engine.name() {
            return Ok(false);
        }
        let index = store.layout.create_index(&engine)?;
        match store.fill(&index, progress) {
            Ok(()) => store.layout.switch_index(index, &engine).map(|()| true),
            Err(error) => {
                store.layout.discard_index(index)?;
                Err(error)
            }
        }
    }

    /// Fills an empty index from the packs, and compares it with the present one.
    fn fill(&mut self, index: &NewIndex, progress: &mut dyn FnMut(MigrationStep)) -> Result<()> {
        let before = self.writing.get_mut().state;
        let of = before.head.op;
        let mut lost = None;
        let mut report = |finding: ize_core::storage::Finding| {
            lost.get_or_insert(finding.what);
        };
        let mut entered = |op| progress(MigrationStep::Entered { op, of });
        let (dir, packs, chunks) = (self.layout.dir(), &self.packs, &self.chunks);
        let rebuild = verify::Rebuild { index: &*index.engine, dir, packs, chunks };
        let state = rebuild.run(&mut report, &mut entered)?;
        if let Some(what) = lost {
            return Err(StorageError::Corrupt(format!("{what}; the index stays in the engine that it has")));
        }
        progress(MigrationStep::Comparing);
        let is_same = (state.head, state.sums) == (before.head, before.sums);
        if is_same && verify::is_index_whole(&*index.engine)? {
            return Ok(());
        }
        Err(StorageError::Corrupt("the new index is not what the one before is; 'verify' tells more".to_owned()))
    }
}
