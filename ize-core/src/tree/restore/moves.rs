//! Renaming back what was only renamed, as far as history knows where it went.

use rustix::io::Errno;

use super::Restored;
use super::held::Held;
use super::places::{Place, Restorer};
use crate::model::{Entry, FileId, FileKind, Name, RelPath, View};
use crate::tree::{RenameMode, Result, TreeError};

/// Where a live file is.
#[derive(Clone)]
pub(super) struct Spot<'t> {
    path: RelPath,
    /// The folder that holds it; `None` where a dry run would have made it.
    folder: Option<Held<'t>>,
    name: Name,
    live: Held<'t>,
}

impl<'t> Restorer<'t, '_> {
    /// Looks for the very file that was at a place, and brings it back if it is elsewhere below the restored path. What
    /// is in its place now, `occupant`, gets its name in exchange.
    pub(super) fn move_back(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>) -> Result<Option<Held<'t>>> {
        if occupant.is_some_and(|live| live.id() == place.past) || self.taken.contains(&place.past) {
            return Ok(None);
        }
        let Some(from) = self.find(place.past)? else { return Ok(None) };
        let is_folder = from.live.kind() == FileKind::Directory;
        let fits =
            from.live.kind() == place.wanted.kind && from.path.starts_with(self.scope) && from.path != place.path;
        // No folder goes into itself, nor into the place of one that holds it.
        if !fits || (is_folder && place.path.starts_with(&from.path)) || from.path.starts_with(&place.path) {
            return Ok(None);
        }
        let moved = if !is_folder && place.wanted.nlink > 1 {
            // It has more names: those that it has now may be right.
            self.link_back(place, occupant, &from.live)?
        } else {
            self.rename_back(place, occupant, &from)?
        };
        Ok(moved.then_some(from.live))
    }

    fn link_back(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>, live: &Held<'t>) -> Result<bool> {
        if occupant.is_some_and(|occupant| occupant.kind() == FileKind::Directory) {
            return Ok(false);
        }
        self.put_link(place, occupant.cloned(), Some(live)).map(|()| true)
    }

    fn rename_back(&mut self, place: &Place<'_, 't>, occupant: Option<&Held<'t>>, from: &Spot<'t>) -> Result<bool> {
        if !self.options.dry_run {
            let from_dir = from.folder.as_ref().ok_or(Errno::NOENT)?.id();
            let mode = if occupant.is_some() { RenameMode::Exchange } else { RenameMode::NoReplace };
            let to = (place.dir()?, place.name.as_os_str());
            match self.tree.rename(self.options.caller, (from_dir, from.name.as_os_str()), to, mode) {
                // Then it is copied.
                Err(TreeError::Refused(_)) => return Ok(false),
                other => other?,
            }
            self.entry_changed(from_dir, &from.name);
            self.entry_changed(place.dir()?, place.name);
        }
        let to = Spot {
            path: place.path.clone(),
            folder: place.dir.live.clone(),
            name: place.name.clone(),
            live: from.live.clone(),
        };
        self.settle(to);
        match occupant {
            Some(live) => self.settle(Spot { live: live.clone(), ..from.clone() }),
            None => self.pretend(from, None),
        }
        self.note(&place.path, Restored::Moved { from: from.path.clone() });
        Ok(true)
    }

    /// Notes where a file is now, or would be on a dry run.
    fn settle(&mut self, spot: Spot<'t>) {
        self.pretend(&spot, Some(spot.live.clone()));
        self.moved.insert(spot.live.id(), spot);
    }

    fn pretend(&mut self, spot: &Spot<'t>, live: Option<Held<'t>>) {
        if let Some(folder) = spot.folder.as_ref().filter(|_| self.options.dry_run) {
            self.pretended.insert(Entry::new(folder.id(), spot.name.clone()), live);
        }
    }

    /// Returns where a file is now, if it is.
    fn find(&self, file: FileId) -> Result<Option<Spot<'t>>> {
        let Some(newest) = self.options.newest else { return Ok(None) };
        if let Some(spot) = self.moved.get(&file) {
            return self.check(spot.clone());
        }
        for Entry { dir, name } in self.snapshot.storage().names(newest, file)? {
            let spot = match self.spot(newest, dir, name) {
                // The folder is gone meanwhile.
                Err(TreeError::Refused(_)) => None,
                other => other?,
            };
            let Some(spot) = spot.filter(|spot| spot.live.id() == file) else { continue };
            return Ok(Some(spot));
        }
        Ok(None)
    }

    /// Looks again whether a file is where it was noted to be.
    fn check(&self, spot: Spot<'t>) -> Result<Option<Spot<'t>>> {
        let Some(folder) = &spot.folder else { return Ok(Some(spot)) };
        let live = self.look(folder.id(), &spot.name)?.filter(|live| live.id() == spot.live.id());
        Ok(live.map(|live| Spot { live, ..spot }))
    }

    /// Looks up an entry that the newest history knows.
    fn spot(&self, newest: View, dir: FileId, name: Name) -> Result<Option<Spot<'t>>> {
        let path = self.folder_path(newest, dir, true)?;
        // On a dry run nothing is where it would have been renamed to.
        let real = if self.options.dry_run { self.folder_path(newest, dir, false)? } else { path.clone() };
        let Some(folder) = Held::look_path(self.tree, &real)?.filter(|folder| folder.kind() == FileKind::Directory)
        else {
            return Ok(None);
        };
        let live = self.look(folder.id(), &name)?;
        Ok(live.map(|live| Spot { path: path.join(&name), folder: Some(folder), name, live }))
    }

    /// Returns the path of a folder in a view; with `renamed`, folders that this restore renamed are where they are now.
    pub(super) fn folder_path(&self, view: View, folder: FileId, renamed: bool) -> Result<RelPath> {
        let mut names: Vec<Name> = Vec::new();
        let mut dir = folder;
        let mut top = RelPath::root();
        while dir != FileId::ROOT {
            if let Some(spot) = self.moved.get(&dir).filter(|_| renamed) {
                top = spot.path.clone();
                break;
            }
            let above = self.snapshot.storage().names(view, dir)?.into_iter().next().ok_or(Errno::NOENT)?;
            names.push(above.name);
            dir = above.dir;
        }
        Ok(names.iter().rev().fold(top, |path, name| path.join(name)))
    }
}
