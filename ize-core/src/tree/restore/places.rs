//! The two passes of a restore: everything into its place, then folders from the deepest up.

use std::collections::{HashMap, HashSet};

use rustix::io::Errno;

use super::held::{Held, make_accessible, names_in};
use super::metadata::Wanted;
use super::moves::Spot;
use super::{RestoreError, RestoreOptions, RestoreReport, Restored};
use crate::model::{Entry, FileId, FileKind, FileMetadata, Name, OpId, RelPath};
use crate::storage::DirEntry;
use crate::tree::{Result, Snapshot, Tree, TreeError};

/// How many entries are asked of the snapshot at a time.
const PAGE: usize = 1000;

/// A restore in progress.
pub(super) struct Restorer<'t, 'o> {
    pub(super) tree: &'t dyn Tree,
    pub(super) snapshot: &'o Snapshot,
    pub(super) options: &'o RestoreOptions,
    /// The path that is restored.
    pub(super) scope: &'o RelPath,
    pub(super) report: RestoreReport,
    /// Folders whose entries are still to be put in place.
    pending: Vec<Folder<'t>>,
    /// Folders whose entries are in place, parents before children: the second pass takes them from the end.
    placed_folders: Vec<Folder<'t>>,
    /// Where the past's files with several names are now; `None` where a dry run would have made one.
    pub(super) placed: HashMap<FileId, Option<Held<'t>>>,
    /// Live files that have become another file of the past than the one that they were: not to be renamed any more.
    pub(super) taken: HashSet<FileId>,
    /// Where files are that this restore renamed.
    pub(super) moved: HashMap<FileId, Spot<'t>>,
    /// What entries would name by now on a dry run.
    pub(super) pretended: HashMap<Entry, Option<Held<'t>>>,
    /// How many names a dry run would have given to files, or taken from them.
    pub(super) pretended_links: HashMap<FileId, i64>,
}

/// A folder of the past and what it is now.
pub(super) struct Folder<'t> {
    path: RelPath,
    past: FileId,
    /// `None` where a dry run would have made one.
    pub(super) live: Option<Held<'t>>,
    made: bool,
    /// Live entries that the past does not have.
    extra: Vec<Name>,
}

impl<'t> Folder<'t> {
    fn new(path: RelPath, past: FileId, live: Option<Held<'t>>, made: bool) -> Self {
        Self { path, past, live, made, extra: Vec::new() }
    }
}

/// An entry of the past that is to be put in place.
pub(super) struct Place<'a, 't> {
    pub(super) dir: &'a Folder<'t>,
    pub(super) name: &'a Name,
    pub(super) path: RelPath,
    pub(super) past: FileId,
    pub(super) wanted: FileMetadata,
}

impl Place<'_, '_> {
    /// Returns the live folder. A dry run does not ask where there is none.
    pub(super) fn dir(&self) -> Result<FileId> {
        Ok(self.dir.live.as_ref().ok_or(Errno::NOENT)?.id())
    }
}

impl<'t, 'o> Restorer<'t, 'o> {
    pub(super) fn new(
        tree: &'t dyn Tree,
        snapshot: &'o Snapshot,
        options: &'o RestoreOptions,
        scope: &'o RelPath,
    ) -> Self {
        Self {
            tree,
            snapshot,
            options,
            scope,
            report: RestoreReport::default(),
            pending: Vec::new(),
            placed_folders: Vec::new(),
            placed: HashMap::new(),
            taken: HashSet::new(),
            moved: HashMap::new(),
            pretended: HashMap::new(),
            pretended_links: HashMap::new(),
        }
    }

    /// Restores `past`, which is what the scope named.
    pub(super) fn run(mut self, past: FileId) -> Result<RestoreReport, RestoreError> {
        self.begin(past)?;
        while let Some(folder) = self.pending.pop() {
            let path = folder.path.clone();
            self.place_entries(folder).map_err(|error| error.at(&path))?;
        }
        while let Some(folder) = self.placed_folders.pop() {
            self.finish(&folder).map_err(|source| RestoreError::At { path: folder.path.clone(), source })?;
        }
        Ok(self.report)
    }

    fn begin(&mut self, past: FileId) -> Result<(), RestoreError> {
        let scope = self.scope;
        let at = |source| RestoreError::At { path: scope.clone(), source };
        let root = Held::root(self.tree).map_err(at)?;
        let Some((parent, name)) = scope.split_last() else {
            self.pending.push(Folder::new(RelPath::root(), FileId::ROOT, Some(root), false));
            return Ok(());
        };
        let dir = self.make_parents(root, &parent)?;
        let live = dir.live.as_ref().map_or(Ok(None), |dir| Held::look(self.tree, dir.id(), name.as_os_str()));
        let wanted = self.snapshot.metadata(past).map_err(at)?;
        let place = Place { dir: &dir, name: &name, path: scope.clone(), past, wanted };
        if self.is_left_alone(&place, live.map_err(at)?.as_ref()) {
            return Err(RestoreError::Ignored(scope.clone()));
        }
        self.place(&dir, &name, past).map_err(|error| error.at(scope))?;
        // It was there before, or is among the folders already: only its entry was needed.
        if dir.made {
            self.placed_folders.push(dir);
        }
        Ok(())
    }

    /// Goes to the folder that holds the scope, making the folders that are gone.
    fn make_parents(&mut self, root: Held<'t>, parent: &RelPath) -> Result<Folder<'t>, RestoreError> {
        let mut dir = Folder::new(RelPath::root(), FileId::ROOT, Some(root), false);
        for name in parent.names() {
            let path = dir.path.join(&name);
            let at = |source| RestoreError::At { path: path.clone(), source };
            let past = self.snapshot.child(dir.past, &name).map_err(at)?;
            let live = match &dir.live {
                Some(live) => Held::look(self.tree, live.id(), name.as_os_str()).map_err(at)?,
                None => None,
            };
            let next = match live {
                Some(live) if live.kind() != FileKind::Directory => return Err(RestoreError::ParentIsNoFolder(path)),
                Some(live) if !live.id().is_recorded() => return Err(RestoreError::Ignored(path)),
                Some(live) => Folder::new(path, past, Some(live), false),
                None => {
                    let wanted = self.snapshot.metadata(past).map_err(at)?;
                    let place = Place { dir: &dir, name: &name, path: path.clone(), past, wanted };
                    let live = self.make(&place, Restored::Created).map_err(at)?;
                    Folder::new(path, past, live, true)
                }
            };
            let above = std::mem::replace(&mut dir, next);
            if above.made {
                self.placed_folders.push(above);
            }
        }
        Ok(dir)
    }

    /// First pass over one folder.
    fn place_entries(&mut self, mut folder: Folder<'t>) -> Result<(), Failure> {
        let mut live_names = self.live_names(&folder)?;
        self.note_metadata(&folder)?;
        let mut after: Option<Name> = None;
        loop {
            let page = self.snapshot.entries_after(folder.past, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for DirEntry { name, file, .. } in page {
                live_names.remove(&name);
                self.place_openly(&folder, &name, file)?;
            }
        }
        folder.extra = live_names.into_iter().collect();
        folder.extra.sort_unstable();
        self.placed_folders.push(folder);
        Ok(())
    }

    fn live_names(&self, folder: &Folder<'t>) -> Result<HashSet<Name>> {
        let Some(live) = folder.live.as_ref().filter(|_| !folder.made) else { return Ok(HashSet::new()) };
        Ok(self.list(live)?.into_iter().collect())
    }

    /// Lists a folder, also one that its permissions close.
    pub(super) fn list(&self, folder: &Held<'t>) -> Result<Vec<Name>> {
        self.open_up(folder, 0o500)?;
        Ok(names_in(self.tree, folder.id())?.into_iter().map(|(name, _)| name).collect())
    }

    /// Gives the owner access to a folder that lacks some of these permissions. It gets its own ones back when its turn
    /// comes in the second pass, or is removed.
    pub(super) fn open_up(&self, folder: &Held<'t>, needed: u32) -> Result<()> {
        let closed = folder.stat.metadata.mode & needed != needed;
        if closed && !self.options.dry_run && !rustix::process::geteuid().is_root() {
            make_accessible(self.tree, self.options.caller, &folder.stat)?;
        }
        Ok(())
    }

    /// Notes whether the folder itself differs, before anything in it is changed.
    fn note_metadata(&mut self, folder: &Folder<'t>) -> Result<()> {
        if let Some(live) = folder.live.as_ref().filter(|_| !folder.made && self.has_metadata(folder)) {
            let wanted = self.wanted(folder.past, self.snapshot.metadata(folder.past)?)?;
            if wanted.set(self.tree, self.options.caller, live.id(), true, &mut |_| {})? {
                self.note(&folder.path, Restored::Metadata);
            }
        }
        Ok(())
    }

    /// Before the first operation nothing is known of the root but that it is there.
    fn has_metadata(&self, folder: &Folder<'t>) -> bool {
        folder.past != FileId::ROOT || self.snapshot.view().at > OpId::ZERO
    }

    /// Second pass over one folder.
    fn finish(&mut self, folder: &Folder<'t>) -> Result<()> {
        let Some(live) = &folder.live else { return Ok(()) };
        if !folder.extra.is_empty() {
            self.open_up(live, 0o700)?;
        }
        for name in &folder.extra {
            let path = folder.path.join(name);
            let Some(extra) = self.look(live.id(), name)? else { continue };
            if self.remove(live.id(), name, &path, extra)? {
                self.note(&path, Restored::Removed);
            }
        }
        if !self.has_metadata(folder) {
            return Ok(());
        }
        let metadata = self.snapshot.metadata(folder.past)?;
        self.set_metadata(live.id(), folder.past, metadata, &folder.path).map(drop)
    }

    /// As [`Self::place`], also where the folder's own permissions forbid to change it.
    fn place_openly(&mut self, dir: &Folder<'t>, name: &Name, past: FileId) -> Result<(), Failure> {
        match (self.place(dir, name, past), &dir.live) {
            (Err(failure), Some(live)) if is_denied(&failure.source) && live.stat.metadata.mode & 0o300 != 0o300 => {
                self.open_up(live, 0o700)?;
                self.place(dir, name, past)
            }
            (other, _) => other,
        }
    }

    fn place(&mut self, dir: &Folder<'t>, name: &Name, past: FileId) -> Result<(), Failure> {
        let path = dir.path.join(name);
        let failed = |source| Failure { path: Some(path.clone()), source };
        let wanted = self.snapshot.metadata(past).map_err(failed)?;
        self.put(&Place { dir, name, path: path.clone(), past, wanted }).map_err(failed)
    }

    fn put(&mut self, place: &Place<'_, 't>) -> Result<()> {
        let live = match &place.dir.live {
            Some(dir) => self.look(dir.id(), place.name)?,
            None => None,
        };
        if self.is_left_alone(place, live.as_ref()) {
            self.note(&place.path, Restored::Blocked);
            return Ok(());
        }
        let has_more_names = place.wanted.kind != FileKind::Directory && place.wanted.nlink > 1;
        if has_more_names && let Some(first) = self.placed.get(&place.past).cloned() {
            return self.put_link(place, live, first.as_ref());
        }
        let live = match self.move_back(place, live.as_ref())? {
            Some(moved) => Some(moved),
            None => live,
        };
        let (put, made) = match live {
            Some(live) if self.fits(place, &live)? => {
                self.update(place, &live)?;
                (Some(live), false)
            }
            Some(live) => {
                if !self.remove(place.dir()?, place.name, &place.path, live)? {
                    self.note(&place.path, Restored::Blocked);
                    return Ok(());
                }
                (self.make(place, Restored::Replaced)?, true)
            }
            None => (self.make(place, Restored::Created)?, true),
        };
        if let Some(live) = &put
            && (live.id() != place.past || self.links(live) > 1)
        {
            self.taken.insert(live.id());
        }
        if place.wanted.kind == FileKind::Directory {
            self.pending.push(Folder::new(place.path.clone(), place.past, put, made));
        } else if has_more_names {
            self.placed.insert(place.past, put);
        }
        Ok(())
    }

    /// Files that are not recorded are left alone, and none is made that would not be.
    fn is_left_alone(&self, place: &Place<'_, 't>, live: Option<&Held<'t>>) -> bool {
        match live {
            Some(live) => !live.id().is_recorded(),
            None => self.options.ignore.is_ignored(&place.path, place.wanted.kind == FileKind::Directory),
        }
    }

    /// Tells whether a live file can become the past's by changing it in place.
    fn fits(&self, place: &Place<'_, 't>, live: &Held<'t>) -> Result<bool> {
        if live.kind() != place.wanted.kind {
            return Ok(false);
        }
        let same = match live.kind() {
            FileKind::Directory => return Ok(true),
            FileKind::Symlink => self.tree.read_link(live.id())? == self.snapshot.link_target(place.past)?,
            _ => live.stat.metadata.rdev == place.wanted.rdev,
        };
        // A file with several names is one file: it can only become one file of the past.
        let alone = self.links(live) == 1;
        Ok(same && (alone || self.is_same_group(place.past, live)?))
    }

    /// Tells whether a live file has the very names that a file of the past had, or is that file.
    fn is_same_group(&self, past: FileId, live: &Held<'t>) -> Result<bool> {
        if self.taken.contains(&live.id()) {
            return Ok(false);
        }
        if live.id() == past {
            return Ok(true);
        }
        let names = self.snapshot.storage().names(self.snapshot.view(), past)?;
        if i64::try_from(names.len()) != Ok(self.links(live)) {
            return Ok(false);
        }
        for entry in names {
            let path = self.past_path(&entry)?;
            if Held::look_path(self.tree, &path)?.is_none_or(|found| found.id() != live.id()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn links(&self, live: &Held<'t>) -> i64 {
        i64::from(live.stat.metadata.nlink) + self.pretended_links.get(&live.id()).copied().unwrap_or(0)
    }

    fn past_path(&self, entry: &Entry) -> Result<RelPath> {
        Ok(self.folder_path(self.snapshot.view(), entry.dir, false)?.join(&entry.name))
    }

    /// Makes `place` one more name of a file that is in place under another.
    pub(super) fn put_link(
        &mut self,
        place: &Place<'_, 't>,
        live: Option<Held<'t>>,
        first: Option<&Held<'t>>,
    ) -> Result<()> {
        if let (Some(live), Some(first)) = (&live, first)
            && live.id() == first.id()
        {
            return Ok(());
        }
        if let Some(live) = live
            && !self.remove(place.dir()?, place.name, &place.path, live)?
        {
            self.note(&place.path, Restored::Blocked);
            return Ok(());
        }
        if let Some(first) = first.filter(|_| self.options.dry_run) {
            *self.pretended_links.entry(first.id()).or_default() += 1;
        } else if let Some(first) = first {
            let stat = self.tree.link(self.options.caller, first.id(), place.dir()?, place.name.as_os_str())?;
            drop(Held::new(self.tree, stat));
            self.entry_changed(place.dir()?, place.name);
            self.report.changed_files.insert(first.id());
        }
        self.note(&place.path, Restored::Linked);
        Ok(())
    }

    fn wanted(&self, past: FileId, metadata: FileMetadata) -> Result<Wanted> {
        Ok(Wanted { metadata, xattrs: self.snapshot.xattrs(past)?, owners: self.options.owners })
    }

    /// Gives a live file the metadata of the past; answers whether anything differed.
    pub(super) fn set_metadata(
        &mut self,
        live: FileId,
        past: FileId,
        metadata: FileMetadata,
        path: &RelPath,
    ) -> Result<bool> {
        let wanted = self.wanted(past, metadata)?;
        let report = &mut self.report;
        let mut note = |what| report.entries.push((path.clone(), what));
        let changed = wanted.set(self.tree, self.options.caller, live, self.options.dry_run, &mut note)?;
        if changed && !self.options.dry_run {
            self.report.changed_files.insert(live);
        }
        Ok(changed)
    }

    pub(super) fn note(&mut self, path: &RelPath, what: Restored) {
        self.report.entries.push((path.clone(), what));
    }

    pub(super) fn entry_changed(&mut self, dir: FileId, name: &Name) {
        self.report.changed_entries.push(Entry::new(dir, name.clone()));
        self.report.changed_files.insert(dir);
    }

    /// Looks a live entry up; on a dry run, as it would be by then.
    pub(super) fn look(&self, dir: FileId, name: &Name) -> Result<Option<Held<'t>>> {
        if self.options.dry_run
            && let Some(pretended) = self.pretended.get(&Entry::new(dir, name.clone()))
        {
            return Ok(pretended.clone());
        }
        Held::look(self.tree, dir, name.as_os_str())
    }
}

/// Why a folder's entries could not all be put in place, and where.
pub(super) struct Failure {
    path: Option<RelPath>,
    source: TreeError,
}

impl Failure {
    fn at(self, folder: &RelPath) -> RestoreError {
        RestoreError::At { path: self.path.unwrap_or_else(|| folder.clone()), source: self.source }
    }
}

impl From<TreeError> for Failure {
    fn from(source: TreeError) -> Self {
        Self { path: None, source }
    }
}

pub(super) fn is_denied(error: &TreeError) -> bool {
    matches!(error, TreeError::Refused(Errno::ACCESS | Errno::PERM))
}
