//! A project that this process owns: its history, and its tree whose every change is recorded.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::change_ids::ChangeIds;
use super::link;
use super::open::{self, Found, OpenHistory};
use super::{
    Backends, BroughtIn, CentralDir, History, HistoryQuery, NewProject, Progress, ProjectError, ProjectInfo,
    ProjectLock, ProjectOptions, Reader, Result, Revision, Status,
};
use crate::model::{OpId, Timestamp};
use crate::record::{RecordError, Recorder};
use crate::storage::{FileSystemStorageExt, Finding, RefName, StorageError};
use crate::tree::{CopyOptions, CopyReport, Live, MendReport, ReconcileReport, Snapshot, import};

/// An open project. Only one process at a time has it open.
///
/// Files are written and read by path (`write`, `read`, `rename`, ...); each change is recorded as a change through a
/// mount is. The past is asked through [`Project::reader`], [`Project::at`] and [`Project::history`].
///
/// Dropping it commits what is left; [`Project::close`] does the same and tells of errors.
#[derive(Debug)]
pub struct Project {
    info: ProjectInfo,
    options: ProjectOptions,
    live: Arc<Live>,
    recorder: Arc<Recorder>,
    mount_point: Mutex<Option<PathBuf>>,
    /// The backend's repository is in another program's hands since this operation.
    suspended: Mutex<Option<OpId>>,
    found: Found,
    brought_in: Result<BroughtIn, Arc<ProjectError>>,
    imported: Option<CopyReport>,
    // The last to go: until then nobody else may open the project.
    lock: ProjectLock,
}

impl Project {
    /// Makes a project and opens it. What an adopted folder or the folder to import holds is recorded.
    ///
    /// # Errors
    /// [`ProjectError::NameTaken`], [`ProjectError::NotAdoptable`], [`ProjectError::UnknownBackend`]; if the tree cannot
    /// be copied or recorded. If the project could not be made, nothing is left of it.
    pub fn create(
        central: &CentralDir,
        new: NewProject,
        backends: &Backends,
        mut options: ProjectOptions,
    ) -> Result<Self> {
        options.settings = options.settings.overlaid(&new.settings);
        let mut imported = None;
        let from = new.import.clone();
        for folder in [&new.adopt, &new.import] {
            link::check(folder.as_deref(), backends.get(&new.backend)?)?;
        }
        let info = central.create(new, |info| {
            open::create_storage(info, backends, &options)?;
            if let Some(from) = &from {
                imported = Some(import_tree(from, info, &options)?);
            }
            Ok(())
        })?;
        Self::open_as(info, backends, options, imported, false)
    }

    /// Opens a project: replays its journal, then records what changed in its tree while it was not open.
    ///
    /// # Errors
    /// [`ProjectError::InUse`] if another process has it open; [`ProjectError::UnknownBackend`]; if its storage, journal
    /// or tree cannot be opened.
    pub fn open(info: ProjectInfo, backends: &Backends, options: ProjectOptions) -> Result<Self> {
        Self::open_as(info, backends, options, None, true)
    }

    fn open_as(
        info: ProjectInfo,
        backends: &Backends,
        mut options: ProjectOptions,
        imported: Option<CopyReport>,
        external: bool,
    ) -> Result<Self> {
        let OpenHistory { recorder, lock } = OpenHistory::open(&info, backends, &options)?;
        let backend = backends.get(&info.toml.backend)?;
        let live = open::open_live(&info, Arc::clone(&recorder), backend, &mut options)?;
        let found = open::settle(&info, &live, &options, external)?;
        let mut project = Self {
            info,
            options,
            live: Arc::new(live),
            recorder,
            mount_point: Mutex::default(),
            suspended: Mutex::default(),
            found,
            brought_in: Ok(BroughtIn::default()),
            imported,
            lock,
        };
        if !project.options.read_only {
            // A repository that cannot be read keeps nobody from the files, nor from their history.
            project.brought_in = project.bring_in().map_err(Arc::new);
        }
        Ok(project)
    }

    /// Returns where the project lies and what it is.
    pub fn info(&self) -> &ProjectInfo {
        &self.info
    }

    /// Returns the lock that makes this process the project's owner.
    pub const fn lock(&self) -> &ProjectLock {
        &self.lock
    }

    /// Returns the tree: what a mount serves.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Returns the recorder.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Tells what had changed in the tree while the project was not open.
    pub fn found(&self) -> &ReconcileReport {
        &self.found.reconciled
    }

    /// Tells what a power cut had done to the tree, if there was one while the project was open.
    pub fn mended(&self) -> Option<&MendReport> {
        self.found.mended.as_ref()
    }

    /// Tells what others had put into the backend's own repository while the project was not open, and what became of it
    /// in the tree; or why that could not be told or done. [`Project::bring_in`] tries again.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn brought_in(&self) -> Result<&BroughtIn, Arc<ProjectError>> {
        self.brought_in.as_ref().map_err(Arc::clone)
    }

    /// Since which operation the backend's repository is in another program's hands.
    pub(super) const fn suspension(&self) -> &Mutex<Option<OpId>> {
        &self.suspended
    }

    /// Tells what was copied in, if the project was just made from another folder.
    pub fn imported(&self) -> Option<&CopyReport> {
        self.imported.as_ref()
    }

    /// Notes where the project is mounted, for its status and for the next time.
    ///
    /// # Errors
    /// If it cannot be written down for the next time; the status has it anyway.
    pub fn set_mount_point(&self, mount_point: Option<PathBuf>) -> Result<()> {
        mount_point.clone_into(&mut self.mount_point.lock());
        let Some(mount_point) = mount_point else { return Ok(()) };
        let path = self.info.paths.project_toml();
        let mut toml = super::ProjectToml::read(&path)?;
        if toml.mount_point.as_ref() == Some(&mount_point) {
            return Ok(());
        }
        toml.mount_point = Some(mount_point);
        toml.write(&path)
    }

    /// Waits until everything that happened so far is in history, and returns the last operation of it.
    ///
    /// # Errors
    /// If it could not be recorded; [`ProjectError::Suspended`] while it cannot be.
    pub fn barrier(&self) -> Result<OpId> {
        if self.suspended.lock().is_some() {
            return Err(ProjectError::Suspended);
        }
        let op = self.recorder.barrier()?;
        self.recorder.wait_committed(op)?;
        Ok(op)
    }

    /// Makes everything that happened so far durable, in the journal, in history and in the live files, and returns the last
    /// operation of it.
    ///
    /// # Errors
    /// If it could not be recorded or made durable.
    pub fn sync(&self) -> Result<OpId> {
        self.live.record_versions()?;
        // First on disk, whatever storage does; a commit is durable when it returns.
        self.recorder.sync()?;
        let op = self.barrier()?;
        self.live.sync_tree()?;
        self.keep_change_ids();
        Ok(op)
    }

    fn keep_change_ids(&self) {
        let ids = ChangeIds::new(self.info.paths.id).kept_in(self.info.paths.change_ids());
        ids.extend(self.recorder.recorded());
    }

    /// Tells how far the project is recorded.
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn status(&self) -> Result<Status> {
        // A project that cannot record any more still tells its status.
        if let Err(error) = self.recorder.barrier() {
            tracing::debug!(error = &error as &dyn std::error::Error, "no landmark for the status");
        }
        let mount_point = self.mount_point.lock().clone();
        Status::of(&self.info, &self.recorder, mount_point.map(|point| (point, self.live.granularity())))
    }

    /// Begins reading history, everything that happened so far included; while the backend's repository is in another
    /// program's hands ([`Project::suspend`]), everything up to then.
    ///
    /// # Errors
    /// If that could not be recorded, or the storage cannot be asked.
    pub fn reader(&self) -> Result<Reader> {
        match self.barrier() {
            Ok(_) | Err(ProjectError::Suspended) => {}
            Err(error) => return Err(error),
        }
        self.reader_of_committed()
    }

    /// As [`Project::reader`], with what is committed, and no more.
    pub(super) fn reader_of_committed(&self) -> Result<Reader> {
        let storage = Arc::clone(self.recorder.storage());
        let reader = Reader::new(storage, self.info.paths.id, self.recorder.branch())?;
        Ok(reader.with_clock(self.options.clock.clone()).with_change_ids(self.info.paths.change_ids()))
    }

    /// Returns the tree as it was at a revision.
    ///
    /// # Errors
    /// [`ProjectError::Revision`] if there is no such revision.
    pub fn at(&self, revision: &Revision) -> Result<Snapshot> {
        let reader = self.reader()?;
        let view = reader.resolve(revision)?;
        Ok(reader.at(view))
    }

    /// Reads what happened, newest first.
    ///
    /// # Errors
    /// As [`Reader::history`].
    pub fn history(&self, query: HistoryQuery) -> Result<History> {
        self.reader()?.history(query)
    }

    /// Gives the present a name.
    ///
    /// # Errors
    /// [`ProjectError::Storage`] if the name is in use; [`ProjectError::NotAName`] if it means something else.
    pub fn snapshot(&self, name: &RefName) -> Result<OpId> {
        if !matches!(name.as_str().parse(), Ok(Revision::Named(_))) {
            return Err(ProjectError::NotAName { name: name.to_string() });
        }
        let view = self.reader()?.newest();
        Ok(self.recorder.storage().create_snapshot(name, view, Timestamp::now())?.at)
    }

    /// Checks that all of history can be read back, or mends what can be mended, and reports what is wrong.
    ///
    /// # Errors
    /// Only if the check could not be carried out.
    pub fn verify(&self, repair: bool, report: &mut dyn FnMut(Finding)) -> Result<(), StorageError> {
        if repair { self.recorder.storage().repair(report) } else { self.recorder.storage().verify(report) }
    }

    /// Commits everything. Afterwards nothing can be changed any more; the project is free once this value is dropped.
    ///
    /// # Errors
    /// If something could not be recorded or committed; the journal keeps it then.
    pub fn close(&self) -> Result<()> {
        let versions = self.live.end_passthrough();
        // So that the journal need not stand for the tree any more. A failure poisons the recorder, which says so below.
        if !self.options.read_only
            && let Err(error) = self.live.sync_tree()
        {
            tracing::error!(%error, "the live files could not be synced");
        }
        match self.recorder.close() {
            Err(RecordError::Closed) => return Ok(()),
            other => other?,
        }
        versions?;
        if !self.options.read_only && self.recorder.is_tree_synced() {
            open::note_closed(&self.info)?;
            self.keep_change_ids();
        }
        Ok(())
    }
}

fn import_tree(from: &Path, info: &ProjectInfo, options: &ProjectOptions) -> Result<CopyReport> {
    let working = open::open_working(info)?;
    let mut tell = |progress| options.tell(Progress::Importing(progress));
    let copy = CopyOptions { progress: Some(&mut tell), ..CopyOptions::default() };
    Ok(import(from, working.as_fd(), copy)?)
}
