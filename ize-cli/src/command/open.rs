//! How a command reaches a project: through the process that has it open, else by opening it itself.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ize_core::model::{OpId, RelPath, View};
use ize_core::project::control::Client;
use ize_core::project::{
    BroughtIn, Clock, HistoryQuery, HistoryRow, OfflineReader, Project, ProjectError, ProjectInfo, ProjectLock, Reader,
    RestoredPath, Revision, RevisionError, Status,
};
use ize_core::storage::{Finding, Severity, StorageError};

use crate::arguments::Restore;
use crate::backends;
use crate::context::{Context, Target};
use crate::daemon::LOCK_WAIT;
use crate::failure::{Result, chain};

/// How often to look again while a process has the project open, but does not answer: it is starting or ending.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A project whose history can be read. Everything that was acknowledged before it was opened is in it.
#[derive(Debug)]
pub(super) enum Opened {
    /// Through its daemon, at the socket.
    Daemon(Box<Reader>, PathBuf),
    /// By this process.
    Offline(Box<OfflineReader>),
}

impl Opened {
    /// Returns the history.
    pub(super) fn reader(&self) -> &Reader {
        match self {
            Self::Daemon(reader, _) => reader,
            Self::Offline(offline) => offline,
        }
    }

    /// Reads what happened, newest first.
    ///
    /// # Errors
    /// If there never was anything at the path; if the daemon ended meanwhile.
    pub(super) fn history(&self, query: HistoryQuery) -> Result<Rows<'_>> {
        match self {
            Self::Daemon(_, socket) => {
                // It was there just now.
                let gone = || StorageError::Disconnected { source: std::io::ErrorKind::ConnectionReset.into() };
                let client = Client::connect(socket)?.ok_or_else(|| ProjectError::from(gone()))?;
                Ok(Box::new(client.history(&query)?))
            }
            Self::Offline(offline) => Ok(Box::new(offline.history(query)?)),
        }
    }
}

/// The rows of a history.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = ize_core::project::Result<HistoryRow>> + 'a>;

/// Opens a project's history for reading.
///
/// # Errors
/// If another process has it open and does not answer; if it cannot be opened.
pub(super) fn reading(context: &Context, target: &Target) -> Result<Opened> {
    reach(
        target,
        |client| Ok(Opened::Daemon(Box::new(remote_reader(client, target)?), target.info.paths.socket())),
        || Ok(Opened::Offline(Box::new(offline(context, target)?))),
    )
}

/// A project's status, and the daemon that told it.
#[derive(Debug)]
pub(super) struct State {
    /// As the library tells it.
    pub(super) status: Status,
    /// The process that serves its mount.
    pub(super) daemon: Option<u32>,
}

/// Asks how far a project is recorded.
///
/// # Errors
/// As [`reading`].
pub(super) fn status(context: &Context, target: &Target) -> Result<State> {
    reach(
        target,
        |client| {
            let status = client.status()?;
            Ok(State { daemon: Some(status.pid), status })
        },
        || Ok(State { status: offline(context, target)?.status()?, daemon: None }),
    )
}

/// Waits until everything that happened so far is in history, durably.
///
/// # Errors
/// As [`reading`]; if it could not be recorded.
pub(super) fn sync(context: &Context, target: &Target, brought: &mut dyn FnMut(&BroughtIn)) -> Result<OpId> {
    let brought = RefCell::new(brought);
    reach(
        target,
        |client| client.sync(&mut |what| brought.borrow_mut()(&what)),
        || {
            let project = owner(context, target)?;
            match project.brought_in() {
                Ok(what) => brought.borrow_mut()(what),
                // For its error.
                Err(_) => brought.borrow_mut()(&project.bring_in()?),
            }
            project.sync()
        },
    )
}

/// Has a program work on the repository of a project: everything is recorded and committed first, what others put into the
/// repository is brought in before and after. `work` is given a descriptor: as long as a process has a copy of it, the
/// repository is that process's, even if this one is killed.
///
/// # Errors
/// As [`reading`]; if another program works on it.
pub(super) fn with_repository<T>(
    context: &Context,
    target: &Target,
    brought: &mut dyn FnMut(&BroughtIn),
    work: &mut dyn FnMut(BorrowedFd<'_>) -> T,
) -> Result<T> {
    let brought = RefCell::new(brought);
    let work = RefCell::new(work);
    reach(
        target,
        |client| {
            client.suspend(&mut |what| brought.borrow_mut()(&what))?;
            let worked = work.borrow_mut()(client.connection());
            client.resume(&mut |what| brought.borrow_mut()(&what)).map_err(too_late)?;
            Ok(worked)
        },
        || {
            let project = owner(context, target)?;
            brought.borrow_mut()(project.brought_in().unwrap_or(&BroughtIn::default()));
            brought.borrow_mut()(&project.suspend()?);
            let worked = work.borrow_mut()(project.lock().descriptor());
            brought.borrow_mut()(&project.resume().map_err(too_late)?);
            project.close().map_err(too_late)?;
            Ok(worked)
        },
    )
}

/// What was done once must not be done again because the project could not be reached afterwards.
fn too_late(error: ProjectError) -> ProjectError {
    let hint = Some("the next 'ize mount' or 'ize sync <name>' goes on from there".to_owned());
    let message = format!("the command was run, but what it did could not be brought in: {}", chain(&error));
    ProjectError::Remote { message, hint, kind: error.kind() }
}

/// What a restore brought about.
#[derive(Debug)]
pub(super) struct Restoration {
    /// The moment that was brought back, for people.
    pub(super) moment: String,
    /// The newest operation before: what to go back to.
    pub(super) before: OpId,
    /// The path to restore in order to undo it: what was not there before is undone by restoring everything.
    pub(super) undo_path: RelPath,
}

/// Brings back a path in place.
///
/// # Errors
/// As [`reading`]; if there is no such revision; if the path was not there, or could not be restored.
pub(super) fn restore(
    context: &Context,
    target: &Target,
    path: &RelPath,
    arguments: &Restore,
    each: &mut dyn FnMut(RestoredPath),
) -> Result<Restoration> {
    let each = RefCell::new(each);
    let dry_run = arguments.dry_run;
    reach(
        target,
        |client| {
            let (view, restoration) = plan(&remote_reader(client, target)?, path, &arguments.change)?;
            client.restore(path, view, dry_run, &mut |restored| each.borrow_mut()(restored))?;
            Ok(restoration)
        },
        || {
            let project = owner(context, target)?;
            let (view, restoration) = plan(&project.reader()?, path, &arguments.change)?;
            project.restore(path, view, dry_run, &mut |restored| each.borrow_mut()(restored))?;
            project.close()?;
            Ok(restoration)
        },
    )
}

fn plan(reader: &Reader, path: &RelPath, text: &str) -> Result<(View, Restoration), ProjectError> {
    let view = reader.resolve(&text.parse::<Revision>().map_err(RevisionError::Invalid)?)?;
    // For the error: it knows what there is.
    reader.find(view, path)?;
    let time = reader.op_at(view)?.map(|op| format!("{} ({})", reader.clock().format(op.timestamp), view.at));
    let moment = time.unwrap_or_else(|| view.at.to_string());
    let was_there = reader.find(reader.newest(), path).is_ok();
    let undo_path = if was_there { path.clone() } else { RelPath::root() };
    Ok((view, Restoration { moment, before: reader.head(), undo_path }))
}

/// Checks a project's history, or mends it, also where it cannot be opened.
///
/// # Errors
/// As [`reading`]; if the check could not be carried out.
pub(super) fn verify(context: &Context, target: &Target, repair: bool, report: &mut dyn FnMut(Finding)) -> Result<()> {
    let report = RefCell::new(report);
    let each = |finding: Finding| report.borrow_mut()(finding);
    reach(
        target,
        |client| client.verify(repair, &mut |finding| each(finding)),
        || match offline(context, target) {
            Ok(offline) if repair => Ok(offline.storage().repair(&mut |finding| each(finding))?),
            Ok(offline) => Ok(offline.storage().verify(&mut |finding| each(finding))?),
            Err(ProjectError::Storage(StorageError::Corrupt(what))) => {
                each(Finding { severity: Severity::Repairable, what });
                if repair { rebuild(context, target, &mut |finding| each(finding)) } else { Ok(()) }
            }
            Err(error) => Err(error),
        },
    )
}

fn rebuild(context: &Context, target: &Target, report: &mut dyn FnMut(Finding)) -> ize_core::project::Result<()> {
    let lock = ProjectLock::acquire(&target.info.paths, LOCK_WAIT)?;
    if !backends::rebuild(&target.info, report)? {
        return Err(StorageError::Unsupported("repairing what cannot be opened").into());
    }
    drop(lock);
    // What is in the journal only follows when it is opened.
    offline(context, target).map(drop)
}

fn remote_reader(client: &Client, target: &Target) -> Result<Reader, ProjectError> {
    let reader = Reader::new(client.storage()?, target.info.paths.id, target.info.toml.branch)?;
    Ok(reader.with_clock(Clock::system()).with_change_ids(target.info.paths.change_ids()))
}

fn offline(context: &Context, target: &Target) -> ize_core::project::Result<OfflineReader> {
    let options = context.project_options(Some(&target.info))?;
    OfflineReader::open(&target.info, &backends::all(), &options)
}

fn owner(context: &Context, target: &Target) -> ize_core::project::Result<Project> {
    let options = context.project_options(Some(&target.info))?;
    Project::open(target.info.clone(), &backends::all(), options)
}

/// Finds the moment that a revision names.
///
/// # Errors
/// If the text is no revision, or names no moment of this project.
pub(super) fn resolve(reader: &Reader, text: &str) -> Result<View> {
    let revision: Revision = text.parse().map_err(|error| ProjectError::from(RevisionError::Invalid(error)))?;
    reader.resolve(&revision).map_err(|error| ProjectError::from(error).into())
}

/// Connects to the process that has a project open; `None` if there is none.
///
/// # Errors
/// If it has the project open, but does not answer.
pub(super) fn daemon(info: &ProjectInfo) -> Result<Option<Client>> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match Client::connect(&info.paths.socket()) {
            Ok(Some(client)) => return Ok(Some(client)),
            Ok(None) => {}
            Err(error) if is_passing(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
        }
        match ProjectLock::holder(&info.paths)? {
            None => return Ok(None),
            Some(holder) if Instant::now() > deadline => {
                return Err(ProjectError::InUse { holder: Some(holder).filter(|pid| *pid != 0) }.into());
            }
            Some(_) => thread::sleep(RETRY_INTERVAL),
        }
    }
}

/// Asks the process that has the project open, or opens it here. While a daemon starts or ends it does neither for a
/// moment, so both are tried again.
fn reach<T>(
    target: &Target,
    mut ask: impl FnMut(&mut Client) -> ize_core::project::Result<T>,
    open: impl Fn() -> ize_core::project::Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let outcome = match Client::connect(&target.info.paths.socket()) {
            Ok(Some(mut client)) => ask(&mut client),
            Ok(None) => open(),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if is_passing(&error) && Instant::now() < deadline => thread::sleep(RETRY_INTERVAL),
            done => return Ok(done?),
        }
    }
}

/// Tells whether an error comes of a daemon that is starting or ending, which hangs up on those who just came.
fn is_passing(error: &ProjectError) -> bool {
    use std::io::ErrorKind as E;
    match error {
        ProjectError::InUse { .. } => true,
        ProjectError::Io { action: "ask", source, .. }
        | ProjectError::Storage(StorageError::Disconnected { source }) => {
            matches!(source.kind(), E::BrokenPipe | E::ConnectionReset | E::UnexpectedEof | E::PermissionDenied)
        }
        _ => false,
    }
}
