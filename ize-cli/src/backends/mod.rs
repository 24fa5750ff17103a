//! The storage backends of this program, by name.

#[cfg(feature = "pijul")]
mod pijul;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ize_core::model::{OpId, View};
use ize_core::project::{Backend, BackendOptions, Backends, ProjectInfo};
use ize_core::storage::{FileSystemStorage, Finding, StorageError};
use ize_store::{Engine, MigrationStep, Store, StoreOptions, UnknownEngine};

/// Returns all of them.
pub(crate) fn all() -> Backends {
    let backends = Backends::new().with(StoreBackend);
    #[cfg(feature = "pijul")]
    let backends = backends.with(pijul::PijulBackend);
    backends
}

/// Content packs with an index: `store`.
#[derive(Debug)]
struct StoreBackend;

impl Backend for StoreBackend {
    fn name(&self) -> &'static str {
        "store"
    }

    fn create(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        Ok(Arc::new(Store::create(dir, &store_options(options.engine.as_deref(), options.compress)?)?))
    }

    fn open(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        Ok(Arc::new(Store::open(dir, &store_options(options.engine.as_deref(), options.compress)?)?))
    }
}

/// Makes a Pijul repository of what a view sees, and returns how many changes it has.
///
/// # Errors
/// If it could not be made; if this program was built without Pijul.
#[cfg_attr(not(feature = "pijul"), expect(unused_variables, reason = "there is nothing to do it with"))]
pub(crate) fn export_to_pijul(
    source: &dyn FileSystemStorage,
    view: View,
    folder: &Path,
    author: &str,
    progress: &mut dyn FnMut(OpId),
) -> Result<u64, StorageError> {
    #[cfg(feature = "pijul")]
    return ize_vcs::export(source, view, folder, &pijul::options(author), progress);
    #[cfg(not(feature = "pijul"))]
    Err(StorageError::Unsupported("export to Pijul, as ize was built without it"))
}

fn store_options(engine: Option<&str>, compression: bool) -> Result<StoreOptions, StorageError> {
    let engine = engine.map(engine_named).transpose()?.unwrap_or_default();
    Ok(StoreOptions::default().engine(engine).compression(compression))
}

fn engine_named(name: &str) -> Result<Engine, StorageError> {
    name.parse().map_err(|error: UnknownEngine| StorageError::Invalid(error.to_string()))
}

/// Rebuilds what a store can be rebuilt from although it cannot be opened. The caller holds the project's lock. Answers
/// `false` where the backend knows no such thing.
///
/// # Errors
/// If it could not be done; the store is then as it was.
pub(crate) fn rebuild(info: &ProjectInfo, report: &mut dyn FnMut(Finding)) -> Result<bool, StorageError> {
    let Some(store) = store_of(info) else { return Ok(false) };
    Store::rebuild_index(store, report)?;
    Ok(true)
}

/// Changes the engine of a project's store and tells whether it had another one; `None` where the backend has no engines. The
/// caller holds the project's lock.
///
/// # Errors
/// If it could not be done; the store is then as it was.
pub(crate) fn migrate(
    info: &ProjectInfo,
    engine: &str,
    progress: &mut dyn FnMut(MigrationStep),
) -> Result<Option<bool>, StorageError> {
    let Some(store) = store_of(info) else { return Ok(None) };
    Store::migrate(store, engine_named(engine)?, progress).map(Some)
}

/// Returns where a project has a store, if it has one. The index of a Pijul repository is one, too.
fn store_of(info: &ProjectInfo) -> Option<PathBuf> {
    matches!(info.toml.backend.as_str(), "store" | "pijul").then(|| info.paths.store(StoreBackend.folder()))
}
