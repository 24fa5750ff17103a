//! Which entries and files some operations may have changed.

use std::collections::BTreeSet;

use ize_core::model::{Effect, Entry, FileId, FileKind, OpCode, View};
use ize_core::storage::{FileSystemStorage, Result};

/// Entries and files that may differ between two moments. Whether they do is found out by looking at both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affected {
    /// Entries that were bound or unbound.
    pub(crate) entries: BTreeSet<Entry>,
    /// Files whose content, size or mode changed.
    files: BTreeSet<FileId>,
}

impl Affected {
    /// Collects what operations touched.
    pub(crate) fn by(ops: &[OpCode]) -> Self {
        let mut affected = Self::default();
        affected.extend(ops);
        affected
    }

    /// Collects what more operations touched.
    pub(crate) fn extend(&mut self, ops: &[OpCode]) {
        ops.iter().for_each(|op| self.add(op));
    }

    fn add(&mut self, op: &OpCode) {
        for effect in op.effects() {
            match effect {
                Effect::Bind { entry, .. } | Effect::Unbind { entry, .. } => {
                    self.entries.insert(entry.clone());
                }
                Effect::Write { file, .. }
                | Effect::Truncate { file, .. }
                | Effect::Zero { file, .. }
                | Effect::Copy { file, .. } => {
                    self.files.insert(file);
                }
                Effect::SetXattr { .. } | Effect::RemoveXattr { .. } => {}
            }
        }
        // A mode that changed, and a size that grew without content. A folder that only got another time is left out.
        let file = op.op_type.file();
        let kinds = op.metadata_of(file).map(|metadata| metadata.kind);
        if matches!(kinds, Some(FileKind::File | FileKind::Directory)) && file != FileId::ROOT {
            self.files.insert(file);
        }
    }

    /// Returns all entries that may differ: those that changed, and all names of files that changed.
    pub(crate) fn into_entries(self, index: &dyn FileSystemStorage, after: View) -> Result<BTreeSet<Entry>> {
        let mut entries = self.entries;
        for file in self.files {
            entries.extend(index.names(after, file)?);
        }
        Ok(entries)
    }
}
