//! Renaming back what was only renamed, as far as history knows where it went.

use std::collections::HashMap;

use rustix::io::Errno;

use super::Restored;
use super::held::Held;
use super::places::{Place, Restorer};
use crate::model::{Entry, FileId, FileKind, Name, RelPath, View};
use crate::tree::{RenameMode, Result, TreeError};

impl<'t> Restorer<'t, '_> {
    /// Looks for the very file that was at a place, and brings it back if it is elsewhere below the restored path. What
    /// is in its place now, `occupant`, gets its name in exchange.
    pub(super) fn move_back(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>) -> Result<Option<Held<'t>>> {
        if occupant.is_some_and(|live| live.id() == place.past) || self.taken.contains(&place.past) {
            return Ok(None);
        }
        let Some((from, live)) = self.find(place.past)? else { return Ok(None) };
        let is_folder = live.kind() == FileKind::Directory;
        let fits = live.kind() == place.wanted.kind && from.starts_with(self.scope) && from != place.path;
        // No folder goes into itself, nor into the place of one that holds it.
        if !fits || (is_folder && place.path.starts_with(&from)) || from.starts_with(&place.path) {
            return Ok(None);
        }
        let moved = if !is_folder && place.wanted.nlink > 1 {
            // It has more names: those that it has now may be right.
            self.link_back(place, occupant, &live)?
        } else {
            self.rename_back(place, occupant, &from, &live)?
        };
        Ok(moved.then_some(live))
    }

    fn link_back(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>, live: &Held<'t>) -> Result<bool> {
        let occupant = match (occupant, &place.dir.live) {
            (Some(_), Some(dir)) => self.look(dir.id(), place.name)?,
            _ => None,
        };
        if occupant.as_ref().is_some_and(|occupant| occupant.kind() == FileKind::Directory) {
            return Ok(false);
        }
        self.put_link(place, occupant, Some(live)).map(|()| true)
    }

    fn rename_back(
        &mut self,
        place: &Place<'_, 't>,
        occupant: Option<&Held<'t>>,
        from: &RelPath,
        live: &Held<'t>,
    ) -> Result<bool> {
        let Some((from_dir, from_name)) = from.split_last() else { return Ok(false) };
        let Some(from_dir) = Held::look_path(self.tree, &from_dir)? else { return Ok(false) };
        if self.options.dry_run {
            self.pretend(place, occupant, Entry::new(from_dir.id(), from_name), from);
        } else {
            let mode = if occupant.is_some() { RenameMode::Exchange } else { RenameMode::NoReplace };
            let (from_entry, to) = ((from_dir.id(), from_name.as_os_str()), (place.dir()?, place.name.as_os_str()));
            match self.tree.rename(self.options.caller, from_entry, to, mode) {
                // Then it is copied.
                Err(TreeError::Refused(_)) => return Ok(false),
                other => other?,
            }
            self.entry_changed(from_dir.id(), &from_name);
            self.entry_changed(place.dir()?, place.name);
            self.moved.insert(live.id(), place.path.clone());
            if let Some(occupant) = occupant {
                self.moved.insert(occupant.id(), from.clone());
            }
        }
        self.note(&place.path, Restored::Moved { from: from.clone() });
        Ok(true)
    }

    fn pretend(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>, from_entry: Entry, from: &RelPath) {
        self.pretended.insert(from_entry, occupant.map(|_| place.path.clone()));
        if let Some(dir) = &place.dir.live {
            self.pretended.insert(Entry::new(dir.id(), place.name.clone()), Some(from.clone()));
        }
    }

    /// Returns where a file is now, if it is.
    fn find(&self, file: FileId) -> Result<Option<(RelPath, Held<'t>)>> {
        let Some(newest) = self.options.newest else { return Ok(None) };
        let found = |path: RelPath| {
            let live = Held::look_path(self.tree, &path)?.filter(|live| live.id() == file);
            Ok(live.map(|live| (path, live)))
        };
        if let Some(path) = self.moved.get(&file) {
            return found(path.clone());
        }
        for entry in self.snapshot.storage().names(newest, file)? {
            match self.path_in(newest, &entry, &self.moved) {
                Ok(path) => {
                    if let Some(place) = found(path)? {
                        return Ok(Some(place));
                    }
                }
                Err(TreeError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the path of an entry in a view, where folders in `known` are where that says.
    pub(super) fn path_in(&self, view: View, entry: &Entry, known: &HashMap<FileId, RelPath>) -> Result<RelPath> {
        let mut names: Vec<Name> = vec![entry.name.clone()];
        let mut dir = entry.dir;
        let mut top = RelPath::root();
        while dir != FileId::ROOT {
            if let Some(path) = known.get(&dir) {
                top = path.clone();
                break;
            }
            let above = self.snapshot.storage().names(view, dir)?.into_iter().next().ok_or(Errno::NOENT)?;
            names.push(above.name);
            dir = above.dir;
        }
        Ok(names.iter().rev().fold(top, |path, name| path.join(name)))
    }
}
