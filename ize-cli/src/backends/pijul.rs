//! A Pijul repository, with an index in a store beside it: `pijul`.

use std::path::Path;
use std::sync::Arc;

use ize_core::project::{Backend, BackendOptions};
use ize_core::storage::{FileSystemStorage, StorageError};
use ize_store::Store;
use ize_vcs::{PijulOptions, PijulStorage};

use super::store_options;

/// The repository's folder, in the project's folder and as a link in the live files: where Pijul looks for it.
const DOT_PIJUL: &str = ".pijul";
/// The folder of the index, beside it.
const INDEX: &str = "store";

#[derive(Debug)]
pub(super) struct PijulBackend;

impl Backend for PijulBackend {
    fn name(&self) -> &'static str {
        "pijul"
    }

    fn folder(&self) -> &'static str {
        DOT_PIJUL
    }

    fn working_link(&self) -> Option<&'static str> {
        Some(DOT_PIJUL)
    }

    /// Where each operation is a change, it is one when the call returns.
    fn commits_first(&self, options: &BackendOptions) -> bool {
        options.change_per_op
    }

    fn create(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        let project = above(dir)?;
        let index = project.join(INDEX);
        std::fs::create_dir(&index).map_err(|error| StorageError::backend("making the index's folder", error))?;
        let index = Store::create(&index, &store_options(options.engine.as_deref(), options.compress)?)?;
        Ok(Arc::new(PijulStorage::create(project, Arc::new(index), &pijul_options(options))?))
    }

    fn open(&self, dir: &Path, options: &BackendOptions) -> Result<Arc<dyn FileSystemStorage>, StorageError> {
        let project = above(dir)?;
        let index = store_options(options.engine.as_deref(), options.compress)?;
        let index = Store::open(project.join(INDEX), &index)?;
        Ok(Arc::new(PijulStorage::open(project, Arc::new(index), &pijul_options(options))?))
    }
}

/// Returns the project's folder.
fn above(dir: &Path) -> Result<&Path, StorageError> {
    dir.parent().ok_or_else(|| StorageError::Invalid(format!("{} is in no project's folder", dir.display())))
}

fn pijul_options(given: &BackendOptions) -> PijulOptions {
    options(given.author.as_deref().unwrap_or("Ize")).change_per_op(given.change_per_op)
}

/// Returns the options for an author as settings have it.
pub(super) fn options(text: &str) -> PijulOptions {
    let (name, email) = author(text);
    PijulOptions::default().author(name, email)
}

/// Takes `Ada <ada@example.org>` apart.
fn author(text: &str) -> (String, Option<String>) {
    match text.split_once('<') {
        Some((name, email)) => (name.trim().to_owned(), Some(email.trim_end().trim_end_matches('>').trim().to_owned())),
        None => (text.trim().to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_has_a_name_and_maybe_an_address() {
        assert_eq!(author("Ada L <ada@example.org>"), ("Ada L".into(), Some("ada@example.org".into())));
        assert_eq!(author(" Ada "), ("Ada".into(), None));
    }
}
