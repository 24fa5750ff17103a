//! The storage backends of this program, by name.

#[cfg(feature = "pijul")]
mod pijul;

use std::path::Path;
use std::sync::Arc;

use ize_core::model::{OpId, View};
use ize_core::project::{Backend, BackendOptions, Backends, ProjectInfo};
use ize_core::storage::{FileSystemStorage, Finding, StorageError};
use ize_store::{Engine, Store, StoreOptions};

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
    let engine = match engine {
        Some(name) => {
            name.parse().map_err(|error: ize_store::UnknownEngine| StorageError::Invalid(error.to_string()))?
        }
        None => Engine::default(),
    };
    Ok(StoreOptions::default().engine(engine).compression(compression))
}

/// Rebuilds what a store can be rebuilt from although it cannot be opened. The caller holds the project's lock. Answers
/// `false` where the backend knows no such thing.
///
/// # Errors
/// If it could not be done; the store is then as it was.
pub(crate) fn rebuild(info: &ProjectInfo, report: &mut dyn FnMut(Finding)) -> Result<bool, StorageError> {
    // The index of a Pijul repository is a store, too.
    if !matches!(info.toml.backend.as_str(), "store" | "pijul") {
        return Ok(false);
    }
    let options = store_options(info.toml.engine.as_deref(), true)?;
    Store::rebuild_index(info.paths.store(StoreBackend.folder()), &options, report)?;
    Ok(true)
}
