//! Opening a project: its lock, its storage, the replay of its journal, and its tree.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::layout::make_private_dir;
use super::link;
use super::tree_state::TreeState;
use super::{
    Backend, Backends, Progress, ProjectError, ProjectInfo, ProjectLock, ProjectOptions, Reader, Result, Status,
};
use crate::model::Name;
use crate::record::{Recorder, RecorderOptions};
use crate::session::Session;
use crate::tree::{
    Granularity, IgnoreRules, Live, LiveOptions, MendReport, PowerCut, ReconcileOptions, ReconcileReport,
};

/// The largest rule file that is read.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// A project whose history is open, and up to date with its journal.
#[derive(Debug)]
pub(super) struct OpenHistory {
    pub(super) recorder: Arc<Recorder>,
    pub(super) lock: ProjectLock,
}

impl OpenHistory {
    pub(super) fn open(info: &ProjectInfo, backends: &Backends, options: &ProjectOptions) -> Result<Self> {
        let backend = backends.get(&info.toml.backend)?;
        let lock = ProjectLock::acquire(&info.paths, options.lock_wait)?;
        let dir = info.paths.store(backend.folder());
        let backend_options = options.backend(info.toml.engine.as_deref());
        let storage = backend.open(&dir, &backend_options)?;
        let mut recorder: RecorderOptions = options.recorder();
        if backend.commits_first(&backend_options) {
            recorder.commits_first = true;
            recorder.processor.enable_compression = false;
        }
        let recorder = Recorder::open(storage, &info.paths.journal(), info.toml.branch, recorder)?;
        Ok(Self { recorder: Arc::new(recorder), lock })
    }
}

/// Makes the storage of a new project.
pub(super) fn create_storage(info: &ProjectInfo, backends: &Backends, options: &ProjectOptions) -> Result<()> {
    let backend = backends.get(&info.toml.backend)?;
    let dir = info.paths.store(backend.folder());
    make_private_dir(&dir).map_err(ProjectError::io("make", &dir))?;
    backend.create(&dir, &options.backend(info.toml.engine.as_deref()))?;
    Ok(())
}

/// Opens the tree of live files.
pub(super) fn open_live(
    info: &ProjectInfo,
    recorder: Arc<Recorder>,
    backend: &dyn Backend,
    options: &mut ProjectOptions,
) -> Result<Live> {
    let working = match options.working.take() {
        Some(working) => working,
        None => open_working(info)?,
    };
    let live = LiveOptions {
        read_only: options.read_only,
        own_new_files: options.own_new_files,
        ignore: ignore_rules(info, &working, options)?,
        reserved: reserved(backend),
        floor_bytes: options.settings.floor_bytes(disk_bytes(&working)),
        sync_working: info.toml.working.is_some(),
        ..LiveOptions::default()
    };
    let live = Live::open(working, recorder, live)?;
    if !options.read_only {
        link::mend(info, &live, backend)?;
    }
    Ok(live)
}

fn reserved(backend: &dyn Backend) -> Vec<Name> {
    backend.working_link().into_iter().filter_map(|name| Name::new(name).ok()).collect()
}

pub(super) fn open_working(info: &ProjectInfo) -> Result<OwnedFd> {
    let working = info.working();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&working, flags, Mode::empty()).map_err(|errno| ProjectError::io("open", working)(errno.into()))
}

/// What opening a tree found and did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// What had to be put right after a power cut.
    pub(super) mended: Option<MendReport>,
    /// What had changed while nobody looked.
    pub(super) reconciled: ReconcileReport,
}

/// Makes the tree and history equal: puts right what a power cut did, then records what changed while nobody looked;
/// `external` if somebody else changed it.
pub(super) fn settle(info: &ProjectInfo, live: &Live, options: &ProjectOptions, external: bool) -> Result<Found> {
    let path = info.paths.tree_toml();
    let recorder = live.recorder();
    let state = TreeState::read(&path)?;
    let cut = state.power_cut(live.working()?, recorder)?;
    if options.read_only {
        if cut.is_some() {
            tracing::warn!("the live files may lack something since a power cut; opening for writing puts it right");
        }
        return Ok(Found::default());
    }
    let mended = cut.as_ref().map(|cut| mend(&path, live, cut)).transpose()?;
    live.begin_writeback()?;
    let mut tell = |seen| options.tell(Progress::Reconciling(seen));
    // What was put right is no change that anybody made.
    let external = external && mended.is_none();
    let by_content = match state {
        TreeState::Open { handed_over: true, .. } => recorder.unsynced().dirty.clone(),
        _ => BTreeSet::new(),
    };
    let reconciled = live.reconcile(ReconcileOptions { external, by_content, progress: Some(&mut tell) })?;
    if !reconciled.is_clean() {
        // What was found is a state of its own.
        recorder.barrier()?;
    }
    let handed_over = options.settings.granularity == Granularity::Close;
    if mended.is_none()
        && let TreeState::Open { session, synced, handed_over: before } = state
    {
        // A process was killed. What was not synced before is not synced now.
        if handed_over && !before {
            TreeState::Open { session, synced, handed_over }.write(&path)?;
        }
        return Ok(Found { mended, reconciled });
    }
    // Only now does history lead: whoever cuts the power before finds the files of an adopted folder recorded, not removed.
    let synced = recorder.recorded();
    if mended.is_some() || !reconciled.is_clean() {
        recorder.wait_committed(synced)?;
        live.sync_tree()?;
    }
    let session = Session::of(live.working()?).map_err(ProjectError::io("open", info.working()))?;
    TreeState::Open { session, synced, handed_over }.write(&path)?;
    Ok(Found { mended, reconciled })
}

fn mend(path: &Path, live: &Live, cut: &PowerCut) -> Result<MendReport> {
    tracing::warn!(target = %cut.target, synced = %cut.synced, "the power was cut; bringing the live files to where history is");
    TreeState::Mending { synced: cut.synced, target: cut.target }.write(path)?;
    let report = live.mend(cut)?;
    tracing::info!(?report, "the live files are where history is");
    Ok(report)
}

/// Notes that the tree is on disk, and nobody has it open.
pub(super) fn note_closed(info: &ProjectInfo) -> Result<()> {
    TreeState::Closed.write(&info.paths.tree_toml())
}

fn ignore_rules(info: &ProjectInfo, working: &OwnedFd, options: &ProjectOptions) -> Result<IgnoreRules> {
    let path = || info.working().join(IgnoreRules::FILE_NAME);
    let file = read_ignore_file(working).map_err(|error| ProjectError::io("read", path())(error))?;
    let rules = IgnoreRules::new(&options.settings.ignore, file.as_deref());
    for problem in rules.problems() {
        tracing::warn!(problem, "a line of the ignore rules was left out");
    }
    Ok(rules)
}

fn read_ignore_file(working: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(working, IgnoreRules::FILE_NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // Not there, or a symlink.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(IGNORE_FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(Some(content))
}

fn disk_bytes(working: &OwnedFd) -> u64 {
    rustix::fs::fstatvfs(working).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// A project that is open for reading its history only: its tree is not touched, and what changed in it is not looked
/// for. Other processes wait meanwhile.
#[derive(Debug)]
pub struct OfflineReader {
    info: ProjectInfo,
    reader: Reader,
    history: OpenHistory,
}

impl OfflineReader {
    /// Opens a project's history, replaying its journal.
    ///
    /// # Errors
    /// [`ProjectError::InUse`]; [`ProjectError::UnknownBackend`]; if storage or journal cannot be opened.
    pub fn open(info: &ProjectInfo, backends: &Backends, options: &ProjectOptions) -> Result<Self> {
        let history = OpenHistory::open(info, backends, options)?;
        let storage = Arc::clone(history.recorder.storage());
        let reader = Reader::new(storage, info.paths.id, info.toml.branch)?
            .with_clock(options.clock.clone())
            .with_change_ids(info.paths.change_ids());
        Ok(Self { info: info.clone(), reader, history })
    }

    /// Tells how far the project is recorded.
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn status(&self) -> Result<Status> {
        Status::of(&self.info, &self.history.recorder, None)
    }

    /// Returns the recorder, for its status.
    pub fn recorder(&self) -> &Recorder {
        &self.history.recorder
    }
}

impl Deref for OfflineReader {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}
