//! Pijul's table of the working copy: a tree of inodes by name, which says what is recorded where.

use std::collections::{HashMap, HashSet};

use ize_core::model::{Entry, FileId, View};
use ize_core::storage::{FileSystemStorage, Result, StorageError};
use libpijul::fs::{create_new_inode, inode_filename};
use libpijul::pristine::sanakirja::MutTxn0;
use libpijul::pristine::{Inode, OwnedPathId, TreeMutTxnT, TreeTxnT, del_tree_with_rev, put_tree_with_rev};

use super::plan::Step;
use crate::error::OrPijul;
use crate::held::{Held, held};
use crate::name;
use crate::repository::{Txn, small};

const READING: &str = "reading the repository's tree";
const WRITING: &str = "changing the repository's tree";
/// More folders than a path can have: deeper is damage.
const DEPTH_MAX: usize = 100_000;

/// What the table says once the steps are made there.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Paths to record: files that stayed, moved or go.
    pub(super) paths: Vec<String>,
    /// What comes, folders before what they hold.
    pub(super) added: Vec<Added>,
    /// What is at paths afterwards: what [`Placed::paths`] name, but what goes, and the folders on the way to them.
    pub(super) staged: HashMap<String, Held>,
    /// What goes, with the path that it had, where it had to make room.
    pub(super) renamed: Vec<(String, String)>,
    /// What goes.
    pub(super) deleted: Vec<Inode>,
}

/// A file or folder that comes.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) parent: Inode,
    pub(super) inode: Inode,
    pub(super) path: String,
    pub(super) name: String,
    pub(super) held: Held,
}

/// Makes the steps of a plan in the table.
pub(super) struct Tree<'a> {
    index: &'a dyn FileSystemStorage,
    txn: &'a Txn,
    before: View,
    after: View,
    /// The folders of the index as they were in the table before anything was changed.
    known: HashMap<FileId, Option<Inode>>,
    placed: Placed,
    kept: Vec<(Inode, Entry, Held)>,
    leaving: HashSet<Inode>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(index: &'a dyn FileSystemStorage, txn: &'a Txn, (before, after): (View, View)) -> Self {
        let known = HashMap::from([(FileId::ROOT, Some(Inode::ROOT))]);
        let (placed, kept, leaving) = (Placed::default(), Vec::new(), HashSet::new());
        Self { index, txn, before, after, known, placed, kept, leaving }
    }

    /// Makes the steps. What the table does not have, because others changed the repository meanwhile, is added or
    /// is gone already.
    pub(super) fn place(mut self, steps: &[Step]) -> Result<Placed> {
        let mut moves = Vec::new();
        let mut adds = Vec::new();
        let mut deletes = Vec::new();
        // First everything is looked up, while the table still is what the index was before.
        for step in steps {
            match step {
                Step::Keep { entry, held } => match self.find(entry)? {
                    Some(inode) => self.kept.push((inode, entry.clone(), *held)),
                    None => adds.push((entry, held)),
                },
                Step::Move { from, to, held } => match self.find(from)? {
                    Some(inode) => moves.push((inode, from, to, held)),
                    None => adds.push((to, held)),
                },
                Step::Delete { entry } => deletes.extend(self.find(entry)?.map(|inode| (inode, entry))),
                Step::Add { entry, held } => adds.push((entry, held)),
            }
        }
        for entry in moves.iter().map(|(_, _, to, _)| *to).chain(adds.iter().map(|(entry, _)| *entry)) {
            self.look_up_chain(entry.dir)?;
        }
        self.leaving.extend(deletes.iter().map(|(inode, _)| *inode));
        for (inode, _, _, _) in &moves {
            self.take_out(*inode)?;
        }
        for (entry, held) in adds.iter().filter(|(_, held)| held.is_dir) {
            self.add(entry, held)?;
        }
        for (inode, _, to, held) in &moves {
            self.put(*inode, to, held)?;
        }
        for (entry, held) in adds.iter().filter(|(_, held)| !held.is_dir) {
            self.add(entry, held)?;
        }
        self.stage(&deletes)?;
        Ok(self.placed)
    }

    /// Finds what the table has at an entry of the view before.
    fn find(&mut self, entry: &Entry) -> Result<Option<Inode>> {
        match self.folder(entry.dir)? {
            Some(parent) => child(&self.txn.read(), parent, &name::write(&entry.name)),
            None => Ok(None),
        }
    }

    /// Finds a folder of the view before in the table.
    fn folder(&mut self, dir: FileId) -> Result<Option<Inode>> {
        let mut below = Vec::new();
        let mut at = dir;
        let mut inode = loop {
            if let Some(known) = self.known.get(&at) {
                break *known;
            }
            let Some(entry) = self.index.names(self.before, at)?.into_iter().next() else { break None };
            check_depth(below.len())?;
            below.push((at, entry.name.clone()));
            at = entry.dir;
        };
        self.known.insert(at, inode);
        for (file, name) in below.into_iter().rev() {
            inode = match inode {
                Some(parent) => child(&self.txn.read(), parent, &name::write(&name))?,
                None => None,
            };
            self.known.insert(file, inode);
        }
        Ok(inode)
    }

    /// Looks up a folder of the view after and those above it.
    fn look_up_chain(&mut self, dir: FileId) -> Result<()> {
        let mut at = dir;
        let mut depth = 0;
        while at != FileId::ROOT && !self.known.contains_key(&at) {
            self.folder(at)?;
            let Some(entry) = self.index.names(self.after, at)?.into_iter().next() else { return Ok(()) };
            depth += 1;
            check_depth(depth)?;
            at = entry.dir;
        }
        Ok(())
    }

    fn take_out(&self, inode: Inode) -> Result<()> {
        let mut txn = self.txn.write();
        let place = txn.get_revtree(&inode, None).or_pijul(READING)?.map(|place| place.to_owned());
        if let Some(place) = place {
            del_tree_with_rev(&mut *txn, &place, &inode).or_pijul(WRITING)?;
        }
        Ok(())
    }

    /// Puts something that was taken out at its new place.
    fn put(&mut self, inode: Inode, to: &Entry, held: &Held) -> Result<()> {
        let parent = self.folder_after(to.dir)?;
        let name = name::write(&to.name);
        if let Some(there) = self.make_room(parent, &name)? {
            // Somebody else put it there. What was taken out is not needed any more.
            self.kept.push((there, to.clone(), *held));
            return Ok(());
        }
        put_tree_with_rev(&mut *self.txn.write(), &place(parent, &name)?, &inode).or_pijul(WRITING)?;
        self.kept.push((inode, to.clone(), *held));
        Ok(())
    }

    /// Adds a file or folder, unless it is there already.
    fn add(&mut self, entry: &Entry, held: &Held) -> Result<Inode> {
        if let (true, Some(Some(inode))) = (held.is_dir, self.known.get(&held.file)) {
            return Ok(*inode);
        }
        let parent = self.folder_after(entry.dir)?;
        let name = name::write(&entry.name);
        let inode = match self.make_room(parent, &name)? {
            Some(there) => {
                self.kept.push((there, entry.clone(), *held));
                there
            }
            None => self.make(parent, name, held)?,
        };
        if held.is_dir {
            self.known.insert(held.file, Some(inode));
        }
        Ok(inode)
    }

    fn make(&mut self, parent: Inode, name: String, held: &Held) -> Result<Inode> {
        let place = place(parent, &name)?;
        let mut txn = self.txn.write();
        let inode = create_new_inode(&mut *txn, &place, held.file.get()).or_pijul(WRITING)?;
        put_tree_with_rev(&mut *txn, &place, &inode).or_pijul(WRITING)?;
        if held.is_dir {
            txn.put_tree(&OwnedPathId::inode(inode), &inode).or_pijul(WRITING)?;
        }
        let path = path_of(&txn, inode)?;
        self.placed.added.push(Added { parent, inode, path, name, held: *held });
        Ok(inode)
    }

    /// Finds a folder of the view after in the table; it is added if it is not there.
    fn folder_after(&mut self, dir: FileId) -> Result<Inode> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !matches!(self.known.get(&at), Some(Some(_))) {
            let Some(entry) = self.index.names(self.after, at)?.into_iter().next() else {
                return Err(StorageError::Corrupt(format!("{at} is a folder without a name")));
            };
            check_depth(missing.len())?;
            at = entry.dir;
            missing.push(entry);
        }
        for entry in missing.iter().rev() {
            let file = self.index.entry(self.after, entry.dir, &entry.name)?;
            let folder = file.map(|file| held(self.index, self.after, file)).transpose()?.flatten();
            let folder = folder.filter(|held| held.is_dir);
            let folder = folder.ok_or_else(|| StorageError::Corrupt(format!("{entry:?} is no folder")))?;
            self.add(entry, &folder)?;
        }
        let found = self.known.get(&dir).copied().flatten();
        found.ok_or_else(|| StorageError::Corrupt(format!("{dir} is in no folder")))
    }

    /// Makes room for an entry if what is there goes; else returns what is there.
    fn make_room(&mut self, parent: Inode, name: &str) -> Result<Option<Inode>> {
        let Some(there) = child(&self.txn.read(), parent, name)? else { return Ok(None) };
        if !self.leaving.contains(&there) {
            return Ok(Some(there));
        }
        let path = path_of(&self.txn.read(), there)?;
        self.take_out(there)?;
        let aside = format!("%ize-gone-{}", self.placed.renamed.len());
        put_tree_with_rev(&mut *self.txn.write(), &place(Inode::ROOT, &aside)?, &there).or_pijul(WRITING)?;
        self.placed.renamed.push((aside, path));
        Ok(None)
    }

    /// Lists the paths to record and what is there.
    fn stage(&mut self, deletes: &[(Inode, &Entry)]) -> Result<()> {
        let kept = std::mem::take(&mut self.kept);
        for (inode, entry, held) in kept {
            let path = path_of(&self.txn.read(), inode)?;
            self.stage_folders(entry.dir, &path)?;
            self.placed.staged.insert(path.clone(), held);
            self.placed.paths.push(path);
        }
        for (inode, entry) in deletes {
            let path = path_of(&self.txn.read(), *inode)?;
            self.stage_folders(entry.dir, &path)?;
            self.placed.paths.push(path);
            self.placed.deleted.push(*inode);
        }
        Ok(())
    }

    /// Says what the folders above a path are.
    fn stage_folders(&mut self, dir: FileId, path: &str) -> Result<()> {
        let (mut dir, mut path) = (dir, path);
        while let Some((folder, _)) = path.rsplit_once('/') {
            if dir == FileId::ROOT || self.placed.staged.contains_key(folder) {
                break;
            }
            let Some(held) = held(self.index, self.after, dir)? else { break };
            self.placed.staged.insert(folder.to_owned(), held);
            let Some(entry) = self.index.names(self.after, dir)?.into_iter().next() else { break };
            (dir, path) = (entry.dir, folder);
        }
        Ok(())
    }
}

fn check_depth(depth: usize) -> Result<()> {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(StorageError::Corrupt("folders hold each other in a circle".to_owned()))
}

/// Finds an entry of a folder in the table.
fn child(txn: &MutTxn0, parent: Inode, name: &str) -> Result<Option<Inode>> {
    Ok(txn.get_tree(&place(parent, name)?, None).or_pijul(READING)?.copied())
}

/// Returns the path that the table has for an inode.
fn path_of(txn: &MutTxn0, inode: Inode) -> Result<String> {
    let path = inode_filename(txn, inode).or_pijul(READING)?;
    path.ok_or_else(|| StorageError::Corrupt("a file of the repository has no path".to_owned()))
}

fn place(parent: Inode, name: &str) -> Result<OwnedPathId> {
    Ok(OwnedPathId { parent_inode: parent, basename: small(name)? })
}
