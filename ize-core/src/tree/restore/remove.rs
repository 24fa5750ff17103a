//! Removing what the past does not have, except what is not recorded.

use rustix::io::Errno;

use super::Restored;
use super::held::Held;
use super::places::Restorer;
use crate::model::{Entry, FileId, FileKind, Name, RelPath};
use crate::tree::{Result, TreeError};

/// A folder that is being emptied.
struct Level<'t> {
    live: Held<'t>,
    name: Name,
    path: RelPath,
    /// What is still to be removed.
    names: Vec<Name>,
    /// What was removed.
    removed: Vec<RelPath>,
    /// Something in it stays, and so must the folder.
    kept: bool,
}

impl<'t> Restorer<'t, '_> {
    /// Removes an entry with all that it holds. Answers whether it is gone: it is not if there are files in it that are
    /// not recorded. On a dry run, answers whether it would be.
    pub(super) fn remove(&mut self, dir: FileId, name: &Name, path: &RelPath, live: Held<'t>) -> Result<bool> {
        if !live.id().is_recorded() {
            self.note(path, Restored::KeptIgnored);
            return Ok(false);
        }
        if live.kind() != FileKind::Directory {
            self.unlink(dir, name, live.id())?;
            return Ok(true);
        }
        let mut levels = vec![self.level(live, name.clone(), path.clone())?];
        loop {
            let Some(level) = levels.last_mut() else { return Ok(true) };
            if let Some(name) = level.names.pop() {
                let (dir, path) = (level.live.id(), level.path.join(&name));
                match self.look(dir, &name)? {
                    None => {}
                    Some(found) if found.id().is_recorded() && found.kind() == FileKind::Directory => {
                        levels.push(self.level(found, name, path)?);
                    }
                    Some(found) if found.id().is_recorded() => {
                        self.unlink(dir, &name, found.id())?;
                        level.removed.push(path);
                    }
                    Some(_) => {
                        level.kept = true;
                        self.note(&path, Restored::KeptIgnored);
                    }
                }
            } else if let Some(emptied) = levels.pop() {
                let above = levels.last_mut();
                let parent = above.as_ref().map_or(dir, |above| above.live.id());
                let path = emptied.path.clone();
                let gone = self.remove_emptied(parent, emptied)?;
                match above {
                    None => return Ok(gone),
                    Some(above) if gone => above.removed.push(path),
                    Some(above) => above.kept = true,
                }
            }
        }
    }

    fn level(&self, live: Held<'t>, name: Name, path: RelPath) -> Result<Level<'t>> {
        self.open_up(&live, 0o700)?;
        let names = self.list(&live)?;
        Ok(Level { live, name, path, names, removed: Vec::new(), kept: false })
    }

    fn unlink(&mut self, dir: FileId, name: &Name, file: FileId) -> Result<()> {
        if self.options.dry_run {
            *self.pretended_links.entry(file).or_default() -= 1;
            self.pretended.insert(Entry::new(dir, name.clone()), None);
            return Ok(());
        }
        self.entry_changed(dir, name);
        self.tree.unlink(self.options.caller, dir, name.as_os_str())
    }

    /// Removes a folder if nothing in it stays. If something does, the report lists one by one what did not.
    fn remove_emptied(&mut self, parent: FileId, emptied: Level<'t>) -> Result<bool> {
        let mut kept = emptied.kept;
        if !kept && self.options.dry_run {
            self.pretended.insert(Entry::new(parent, emptied.name.clone()), None);
        } else if !kept {
            self.entry_changed(parent, &emptied.name);
            match self.tree.remove_directory(self.options.caller, parent, emptied.name.as_os_str()) {
                // Somebody made something in it just now.
                Err(TreeError::Refused(Errno::NOTEMPTY)) => kept = true,
                other => other?,
            }
        }
        if kept {
            for path in emptied.removed {
                self.note(&path, Restored::Removed);
            }
            self.note(&emptied.path, Restored::KeptIgnored);
        }
        Ok(!kept)
    }
}
