//! The daemon from start to end.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use ize_core::project::control::{Server, UnmountOptions};
use ize_core::project::{Project, ProjectError, ProjectInfo};
use ize_core::tree::{MendReport, ReconcileReport, Tree};
use ize_fuse::{DetachMode, Mount, MountOptions};
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::handover::{Parent, Ready};
use super::watch::{self, Event};
use super::{Request, log};
use crate::backends;
use crate::context::Context;
use crate::failure::{Failure, Kind, Result, chain};
use crate::output::human;

/// A project that is mounted, and answers on its socket.
struct Service {
    project: Arc<Project>,
    mount: Arc<Mount>,
    server: Server,
    /// Held while the project is closed: the process must not end before that is done.
    closing: Arc<Mutex<()>>,
}

/// Serves a project's mount until it ends; then everything is recorded and committed. `greet` is called once the mount
/// answers.
///
/// # Errors
/// If the project cannot be opened or mounted, or what is left cannot be committed.
pub(crate) fn serve(
    context: &Context,
    info: &ProjectInfo,
    request: &Request,
    mut parent: Parent,
    greet: &dyn Fn(&Ready),
) -> Result<()> {
    log::start(context.environment.log_filter.as_deref(), request.foreground && context.environment.is_interactive);
    #[cfg(feature = "failpoints")]
    if let Some((step, count)) = &context.environment.kill_at {
        ize_core::failpoint::kill_at(step, *count).map_err(|why| Failure::new(Kind::Usage, why))?;
    }
    // Before the mount: from then on a signal must not leave a dead one.
    let (sender, events) = watch::channel().map_err(|failure| parent.report(failure))?;
    let service = begin(context, info, request, &sender).map_err(|failure| parent.report(failure))?;
    let ready = service.describe();
    tracing::info!(mount_point = %ready.mount_point.display(), pid = ready.pid, "mounted '{}'", info.name());
    parent.ready(&ready);
    greet(&ready);
    watch::wait(&service.mount, sender, &events)?;
    service.end(info)
}

fn begin(context: &Context, info: &ProjectInfo, request: &Request, events: &Sender<Event>) -> Result<Service> {
    if request.allow_other && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            Kind::CannotWrite,
            "--allow-other needs root: files belong to the user who makes them",
        )
        .hint("leave it out, and the mount is yours alone"));
    }
    raise_descriptor_limit();
    let mut options = context.project_options_with(Some(info), &request.settings()?)?;
    options.read_only = request.read_only;
    options.own_new_files = request.allow_other;
    options.lock_wait = super::LOCK_WAIT;
    let granularity = options.settings.granularity;
    let project = Arc::new(Project::open(info.clone(), &backends::all(), options)?);
    let mut mounting = MountOptions::new(&request.mount_point, info.name());
    mounting.read_only = request.read_only;
    mounting.allow_other = request.allow_other;
    mounting.granularity = granularity;
    mounting.cover = covers_itself(info, &request.mount_point);
    let tree: Arc<dyn Tree> = Arc::clone(project.live()) as Arc<dyn Tree>;
    let mount = Arc::new(ize_fuse::mount(tree, &mounting)?);
    project.live().set_invalidator(Some(Box::new(mount.caches())));
    if let Err(error) = project.set_mount_point(Some(mount.mount_point().to_path_buf())) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the mount point is not remembered for the next time");
    }
    let closing = Arc::new(Mutex::new(()));
    let server = answer(&project, &mount, &closing, events.clone())?;
    Ok(Service { project, mount, server, closing })
}

/// Allows this process as many open files as the system lets it: each file that a program in the mount has open is open
/// here too, and the usual soft limit of 1,024 is meant for programs that use select(2).
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Answers on the project's socket. `ize unmount` gets its answer when everything is committed.
fn answer(
    project: &Arc<Project>,
    mount: &Arc<Mount>,
    closing: &Arc<Mutex<()>>,
    events: Sender<Event>,
) -> Result<Server, ProjectError> {
    let (ending, mount, closing) = (Arc::clone(project), Arc::clone(mount), Arc::clone(closing));
    Server::start(Arc::clone(project), move |options| {
        let _closing = closing.lock();
        unmount(&mount, options)?;
        if options.force {
            // Programs may still hold a mount that is out of sight, so it does not end by itself.
            let _ = events.send(Event::Forced);
        }
        ending.close()
    })
}

fn unmount(mount: &Mount, options: UnmountOptions) -> Result<(), ProjectError> {
    let mode = if options.force { DetachMode::Lazy } else { DetachMode::RefuseIfBusy };
    mount.unmount(mode).map_err(|error| {
        let failure = Failure::from(error);
        ProjectError::Remote { message: failure.message, hint: failure.hints.into_iter().next(), kind: failure.kind }
    })
}

/// Tells whether the mount point is the adopted folder, which its mount may hide: it shows the same files.
fn covers_itself(info: &ProjectInfo, mount_point: &Path) -> bool {
    let Some(working) = &info.toml.working else { return false };
    mount_point.canonicalize().is_ok_and(|canonical| canonical == *working)
}

impl Service {
    fn describe(&self) -> Ready {
        Ready {
            pid: std::process::id(),
            mount_point: self.mount.mount_point().to_path_buf(),
            // What was put right is recorded too, but nobody changed it.
            notes: match self.project.mended() {
                Some(report) => vec![mended(report)],
                None => found(self.project.found()).into_iter().collect(),
            }
            .into_iter()
            .chain(brought_in(&self.project))
            .chain(self.mount.fallback().map(|why| format!("each write is recorded (granularity 'write'): {why}")))
            .collect(),
        }
    }

    fn end(self, info: &ProjectInfo) -> Result<()> {
        self.project.live().set_invalidator(None);
        let closed = {
            let _closing = self.closing.lock();
            self.project.close()
        };
        self.server.stop();
        match &closed {
            Ok(()) => tracing::info!("'{}' is unmounted; everything is recorded", info.name()),
            Err(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "the last changes are in the journal only")
            }
        }
        Ok(closed?)
    }
}

fn mended(report: &MendReport) -> String {
    if report.is_clean() {
        return "after a power cut the files are as history has them".to_owned();
    }
    let parts = counts(&[
        (report.mended, "mended"),
        (report.created, "brought back"),
        (report.renamed, "renamed back"),
        (report.removed, "removed"),
        (report.saved, "with content that was not recorded yet, kept in history"),
    ]);
    format!("after a power cut the files were made what history has: {parts}")
}

fn found(report: &ReconcileReport) -> Option<String> {
    if report.is_clean() {
        return None;
    }
    let parts = counts(&[
        (report.created, "new"),
        (report.changed, "changed"),
        (report.renamed, "renamed"),
        (report.removed, "removed"),
    ]);
    Some(format!("found and recorded what changed while the project was not mounted: {parts}"))
}

fn brought_in(project: &Project) -> Option<String> {
    match project.brought_in() {
        Ok(brought) if brought.is_empty() => None,
        Ok(brought) => Some(brought.to_string().replace("<name>", project.info().name())),
        Err(error) => {
            let why = chain(&*error);
            tracing::warn!(%why, "what others put into the repository could not be brought in");
            Some(format!("warning: what others put into the repository could not be brought in: {why}"))
        }
    }
}

fn counts(parts: &[(u64, &str)]) -> String {
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(number, what)| format!("{} {what}", human::count(*number))).collect();
    parts.join(", ")
}
