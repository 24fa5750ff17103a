//! What a change has to say about the tree: which files stay where they are, move, come and go.

use std::collections::{BTreeMap, BTreeSet};

use ize_core::model::{Entry, FileId, View};
use ize_core::storage::{FileSystemStorage, Result};

use crate::held::{Held, held};

/// What becomes of one file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It stays where it is, perhaps with other content or another mode.
    Keep {
        /// Where.
        entry: Entry,
        /// What it is afterwards.
        held: Held,
    },
    /// It gets another place.
    Move {
        /// Where it was.
        from: Entry,
        /// Where it is afterwards.
        to: Entry,
        /// What it is afterwards.
        held: Held,
    },
    /// It goes, with everything below it.
    Delete {
        /// Where it was.
        entry: Entry,
    },
    /// It comes.
    Add {
        /// Where.
        entry: Entry,
        /// What it is.
        held: Held,
    },
}

/// Compares the entries that may differ between two views.
///
/// A path that is a regular file before and after stays the same file of the repository where the one before is gone for
/// good: saving by writing a new file and renaming it over the old one is an edit.
pub(crate) fn plan(
    index: &dyn FileSystemStorage,
    (before, after): (View, View),
    entries: &BTreeSet<Entry>,
) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut gone: BTreeMap<FileId, Vec<Entry>> = BTreeMap::new();
    let mut came = Vec::new();
    for entry in entries {
        let old = named(index, before, entry)?;
        let new = named(index, after, entry)?;
        match (old, new) {
            (Some(old), Some(new)) if old.file == new.file || is_saved_anew(index, after, &old, &new)? => {
                steps.push(Step::Keep { entry: entry.clone(), held: new });
            }
            (old, new) => {
                if let Some(old) = old {
                    gone.entry(old.file).or_default().push(entry.clone());
                }
                came.extend(new.map(|new| (entry.clone(), new)));
            }
        }
    }
    for (to, held) in came {
        steps.push(match gone.get_mut(&held.file).and_then(Vec::pop) {
            Some(from) => Step::Move { from, to, held },
            None => Step::Add { entry: to, held },
        });
    }
    for entry in gone.into_values().flatten() {
        // What lies in a folder that goes, goes with it.
        if index.node(after, entry.dir)?.is_some() {
            steps.push(Step::Delete { entry });
        }
    }
    Ok(steps)
}

fn named(index: &dyn FileSystemStorage, view: View, entry: &Entry) -> Result<Option<Held>> {
    match index.entry(view, entry.dir, &entry.name)? {
        Some(file) => held(index, view, file),
        None => Ok(None),
    }
}

fn is_saved_anew(index: &dyn FileSystemStorage, after: View, old: &Held, new: &Held) -> Result<bool> {
    Ok(!old.is_dir && !new.is_dir && held(index, after, old.file)?.is_none())
}
