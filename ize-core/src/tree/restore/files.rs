//! Changing one live file in place, and making one.

use rustix::io::Errno;

use super::Restored;
use super::content::ContentOf;
use super::held::{Held, make_accessible};
use super::places::{Place, Restorer, is_denied};
use crate::model::{Effect, FileId, FileKind};
use crate::storage::OpQuery;
use crate::tree::{NewNode, OpenMode, Result, TreeError};

/// After how many operations on a file its content is compared without looking for one that changed it.
const OPS_MAX: usize = 64;

impl<'t> Restorer<'t, '_> {
    /// Changes a live file in place. A folder's own turn comes later.
    pub(super) fn update(&mut self, place: &Place<'_, 't>, live: &Held<'t>) -> Result<()> {
        if live.kind() == FileKind::Directory {
            return Ok(());
        }
        let content = live.kind() == FileKind::File && self.update_content(place, live)?;
        let metadata = self.set_metadata(live.id(), place.past, place.wanted, &place.path)?;
        if content || metadata {
            self.report.changed_files.insert(live.id());
            self.note(&place.path, if content { Restored::Content } else { Restored::Metadata });
        }
        Ok(())
    }

    fn update_content(&self, place: &Place<'_, 't>, live: &Held<'t>) -> Result<bool> {
        if live.id() == place.past && self.is_untouched_since(place.past)? {
            return Ok(false);
        }
        let content = self.content_of(place, live);
        match content.equalise() {
            Err(error) if is_denied(&error) && !self.options.dry_run => {
                make_accessible(self.tree, self.options.caller, &live.stat)?;
                content.equalise()
            }
            other => other,
        }
    }

    fn content_of(&self, place: &Place<'_, 't>, live: &Held<'t>) -> ContentOf<'_> {
        ContentOf {
            tree: self.tree,
            snapshot: self.snapshot,
            caller: self.options.caller,
            live: live.id(),
            past: place.past,
            live_size: live.stat.metadata.size,
            size: place.wanted.size,
            block_size: live.stat.block_size,
            dry_run: self.options.dry_run,
        }
    }

    /// Tells whether history knows that no operation has changed a file's content since the snapshot.
    fn is_untouched_since(&self, file: FileId) -> Result<bool> {
        let view = self.snapshot.view();
        let Some(newest) = self.options.newest.filter(|newest| newest.branch == view.branch) else { return Ok(false) };
        let query = OpQuery { since: view.at, file: Some(file), max: OPS_MAX, ..OpQuery::all(newest) };
        let ops = self.snapshot.storage().ops(&query)?;
        Ok(ops.len() < OPS_MAX && !ops.iter().flat_map(|op| op.effects()).any(changes_content))
    }

    /// Makes a file that is not there; `None` on a dry run, or where the host refuses that kind.
    pub(super) fn make(&mut self, place: &Place<'_, 't>, what: Restored) -> Result<Option<Held<'t>>> {
        if self.options.dry_run {
            self.note(&place.path, what);
            return Ok(None);
        }
        let caller = self.options.caller;
        let (dir, name) = (place.dir()?, place.name.as_os_str());
        let stat = match place.wanted.kind {
            FileKind::File => return self.make_file(place, what).map(Some),
            FileKind::Directory => {
                // Its own metadata comes when everything is in it.
                let stat = self.tree.make_directory(caller, dir, name, 0o700)?;
                self.made(place, what)?;
                return Ok(Some(Held::new(self.tree, stat)));
            }
            FileKind::Symlink => self.tree.make_symlink(caller, dir, name, &self.snapshot.link_target(place.past)?)?,
            kind => {
                match self.tree.make_node(caller, dir, name, NewNode { kind, mode: 0o600, rdev: place.wanted.rdev }) {
                    Err(TreeError::Refused(errno @ (Errno::PERM | Errno::NOTSUP | Errno::INVAL))) => {
                        self.note(&place.path, Restored::NotMade(errno));
                        return Ok(None);
                    }
                    other => other?,
                }
            }
        };
        let held = Held::new(self.tree, stat);
        self.made(place, what)?;
        self.set_metadata(held.id(), place.past, place.wanted, &place.path)?;
        Ok(Some(held))
    }

    fn make_file(&mut self, place: &Place<'_, 't>, what: Restored) -> Result<Held<'t>> {
        let mode = OpenMode { read: true, write: true, exclusive: true, ..OpenMode::default() };
        let caller = self.options.caller;
        let (stat, handle) = self.tree.create(caller, place.dir()?, place.name.as_os_str(), 0o600, mode)?;
        let held = Held::new(self.tree, stat);
        self.made(place, what)?;
        self.content_of(place, &held).fill(handle)?;
        self.set_metadata(held.id(), place.past, place.wanted, &place.path)?;
        Ok(held)
    }

    fn made(&mut self, place: &Place<'_, 't>, what: Restored) -> Result<()> {
        self.note(&place.path, what);
        self.entry_changed(place.dir()?, place.name);
        Ok(())
    }
}

fn changes_content(effect: Effect<'_>) -> bool {
    matches!(effect, Effect::Write { .. } | Effect::Truncate { .. } | Effect::Zero { .. } | Effect::Copy { .. })
}
