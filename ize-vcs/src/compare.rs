//! Whether index and repository hold the same tree, as far as Pijul can hold it.

use std::collections::BTreeSet;

use ize_core::model::{ContentHash, Entry, FileId, FileKind, RelPath, View};
use ize_core::storage::{FileSystemStorage, FileSystemStorageExt, Result, WalkEntry};

use crate::held::{Held, held_as, read_all};
use crate::name;
use crate::output::{Item, Output};

/// A path at which they differ.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// As the repository writes it.
    pub(crate) path: String,
    /// The same path in the index; `None` if the repository's is no path there.
    pub(crate) entry: Option<WalkEntry>,
    /// What the index has there that Pijul can hold.
    pub(crate) index: Option<Held>,
    /// What the repository has there.
    pub(crate) repository: Option<Item>,
}

/// Writes a path as the repository has it.
pub(crate) fn repository_path(path: &RelPath) -> String {
    let names: Vec<String> = path.names().map(|name| name::write(&name)).collect();
    names.join("/")
}

/// Returns the path of an entry in a view as the repository has it; `None` if the folder is not in the tree there.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn path_of_entry(index: &dyn FileSystemStorage, view: View, entry: &Entry) -> Result<Option<String>> {
    let Some(folder) = index.path_of(view, entry.dir)? else { return Ok(None) };
    if entry.dir != FileId::ROOT && folder.is_root() {
        return Ok(None);
    }
    Ok(Some(repository_path(&folder.join(&entry.name))))
}

/// Compares a view of the index with the tree of a channel. The differences come in order of paths, each folder before
/// what it holds.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn compare(index: &dyn FileSystemStorage, view: View, output: &Output) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let mut met = BTreeSet::new();
    for found in index.walk(view, &RelPath::root())? {
        let found = found?;
        if found.path.is_root() || !matches!(found.metadata.kind, FileKind::File | FileKind::Directory) {
            continue;
        }
        let path = repository_path(&found.path);
        let held = held_as(index, view, found.file, &found.metadata)?;
        let item = output.items.get(&path).copied();
        if held.is_some() || item.is_some() {
            met.insert(path.clone());
            if !is_same(index, view, held.as_ref(), item.as_ref())? {
                differences.push(Difference { path, entry: Some(found), index: held, repository: item });
            }
        }
    }
    for (path, item) in output.items.iter().filter(|(path, _)| !met.contains(*path)) {
        differences.push(Difference { path: path.clone(), entry: None, index: None, repository: Some(*item) });
    }
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(differences)
}

/// Tells whether a file of the index is what the repository has.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn is_same(
    index: &dyn FileSystemStorage,
    view: View,
    held: Option<&Held>,
    item: Option<&Item>,
) -> Result<bool> {
    let (held, item) = match (held, item) {
        (None, None) => return Ok(true),
        (Some(held), Some(item)) => (held, item),
        _ => return Ok(false),
    };
    if (held.is_dir, held.exec, held.size) != (item.is_dir, item.exec, item.size) {
        return Ok(false);
    }
    if held.is_dir {
        return Ok(true);
    }
    let mut content = Vec::new();
    read_all(index, view, held.file, held.size, &mut content)?;
    Ok(ContentHash::of(&content) == item.hash)
}
