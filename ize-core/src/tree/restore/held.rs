//! Lookup references that give themselves back, and what is read of the live tree with them.

use std::ffi::OsStr;
use std::rc::Rc;

use rustix::io::Errno;

use crate::model::{FileId, FileKind, Name, RelPath};
use crate::tree::{Caller, Result, SetAttributes, Stat, Tree};

/// A node of the live tree with a reference on it, which clones share.
#[derive(Clone)]
pub(in crate::tree) struct Held<'t> {
    _reference: Rc<Reference<'t>>,
    /// As it was when it was looked up.
    pub(in crate::tree) stat: Stat,
}

struct Reference<'t> {
    tree: &'t dyn Tree,
    file: FileId,
}

impl<'t> Held<'t> {
    /// Takes over the reference that a call returned with this answer.
    pub(in crate::tree) fn new(tree: &'t dyn Tree, stat: Stat) -> Self {
        Self { _reference: Rc::new(Reference { tree, file: stat.file }), stat }
    }

    pub(super) fn root(tree: &'t dyn Tree) -> Result<Self> {
        Ok(Self::new(tree, tree.stat(FileId::ROOT, None)?))
    }

    /// Looks an entry up; `None` if there is none.
    pub(super) fn look(tree: &'t dyn Tree, dir: FileId, name: &OsStr) -> Result<Option<Self>> {
        match tree.lookup(dir, name) {
            Ok(stat) => Ok(Some(Self::new(tree, stat))),
            Err(error) if error.errno() == Errno::NOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks a path up; `None` if it leads nowhere.
    pub(in crate::tree) fn look_path(tree: &'t dyn Tree, path: &RelPath) -> Result<Option<Self>> {
        let mut held = Self::root(tree)?;
        for name in path.names() {
            if held.stat.metadata.kind != FileKind::Directory {
                return Ok(None);
            }
            match Self::look(tree, held.id(), name.as_os_str())? {
                Some(below) => held = below,
                None => return Ok(None),
            }
        }
        Ok(Some(held))
    }

    pub(in crate::tree) fn id(&self) -> FileId {
        self.stat.file
    }

    pub(in crate::tree) fn kind(&self) -> FileKind {
        self.stat.metadata.kind
    }
}

impl Drop for Reference<'_> {
    fn drop(&mut self) {
        // The root needs no reference.
        if self.file != FileId::ROOT {
            self.tree.forget(self.file, 1);
        }
    }
}

/// Returns the names in a folder and the kinds of what they name.
pub(super) fn names_in(tree: &dyn Tree, dir: FileId) -> Result<Vec<(Name, FileKind)>> {
    let handle = tree.open_directory(dir)?;
    let mut names = Vec::new();
    let listed = tree.read_directory(handle, 0, &mut |entry| {
        // "." and ".." are no names.
        names.extend(Name::from_os(entry.name).ok().map(|name| (name, entry.kind)));
        true
    });
    tree.release_directory(handle);
    listed.map(|()| names)
}

/// Gives the owner access to a file or folder that its own permissions deny, so that it can be compared and changed.
pub(super) fn make_accessible(tree: &dyn Tree, caller: Caller, stat: &Stat) -> Result<()> {
    let needed = if stat.metadata.kind == FileKind::Directory { 0o700 } else { 0o600 };
    let mode = Some(stat.metadata.mode | needed);
    tree.set_attributes(caller, stat.file, None, &SetAttributes { mode, ..SetAttributes::default() }).map(drop)
}
