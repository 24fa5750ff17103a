//! The end that has the project open.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags};

use super::message::{Answer, Hello, Item, Refusal, Reply, Request, Service, UnmountOptions, VERSION};
use super::socket;
use crate::project::{BroughtIn, ErrorKind, History, HistoryRow, Project, ProjectError, Result};
use crate::storage::remote::{self, frame};

/// The most connections at a time; more are told to come again.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to say what it wants.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a client may take to read an answer.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// How long requests that are being answered may take when the server stops.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// The most rows of a history in one answer.
const HISTORY_ROWS_MAX: usize = 100;
/// An answer ends once the paths and messages of its rows have so many bytes: paths can be long, and a frame has an end.
const HISTORY_BYTES: usize = 1 << 20;

type Unmount = dyn Fn(UnmountOptions) -> Result<()> + Send + Sync;

/// Answers on a project's socket, each connection on a thread of its own. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    path: PathBuf,
    /// Closing it wakes the accepting thread.
    wake: Mutex<Option<OwnedFd>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    project: Arc<Project>,
    unmount: Box<Unmount>,
    connections: Mutex<Connections>,
    ended: Condvar,
}

#[derive(Default)]
struct Connections {
    stopping: bool,
    next: u64,
    streams: HashMap<u64, UnixStream>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Server {
    /// Makes the project's socket and begins to answer. `unmount` is called when a client asks for that; the client gets
    /// its answer when it returns. It may run on several threads at once.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(
        project: Arc<Project>,
        unmount: impl Fn(UnmountOptions) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let path = project.info().paths.socket();
        let listener = socket::listen(&path).map_err(ProjectError::io("listen on", &path))?;
        let io_error = |errno: rustix::io::Errno| ProjectError::io("listen on", &path)(errno.into());
        let (woken, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io_error)?;
        let shared = Arc::new(Shared {
            project,
            unmount: Box::new(unmount),
            connections: Mutex::default(),
            ended: Condvar::new(),
        });
        let accepting = thread::Builder::new().name("ize-socket".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&shared, &listener, &woken)
        });
        let accepting = accepting.map_err(ProjectError::io("listen on", &path))?;
        Ok(Self { shared, path, wake: Mutex::new(Some(wake)), accepting: Mutex::new(Some(accepting)) })
    }

    /// Takes no more connections, lets requests that are being answered end, and removes the socket.
    pub fn stop(&self) {
        // The pipe's other end sees the hang-up.
        self.wake.lock().take();
        let Some(accepting) = self.accepting.lock().take() else { return };
        // A panic there was reported by its own thread.
        let _ = accepting.join();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket was gone already");
        }
        self.shared.end_connections();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener, woken: &OwnedFd) {
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the socket is not served any more");
                return;
            }
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => begin(shared, stream),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                // Out of descriptors, most probably: not again at once.
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn begin(shared: &Arc<Shared>, stream: UnixStream) {
    let begun = shared.enter(&stream).and_then(|id| {
        let shared = Arc::clone(shared);
        let serve = move || {
            if let Err(error) = shared.serve(stream) {
                tracing::debug!(%error, "a connection ended");
            }
            shared.leave(id);
        };
        thread::Builder::new().name("ize-client".into()).spawn(serve).map(drop)
    });
    if let Err(error) = begun {
        tracing::warn!(%error, "a connection was refused");
    }
}

impl Shared {
    /// Registers a connection, so that stopping the server ends it.
    fn enter(&self, stream: &UnixStream) -> io::Result<u64> {
        let mut connections = self.connections.lock();
        if connections.stopping || connections.streams.len() >= CONNECTIONS_MAX {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "too many connections"));
        }
        let id = connections.next;
        connections.next += 1;
        connections.streams.insert(id, stream.try_clone()?);
        Ok(id)
    }

    fn leave(&self, id: u64) {
        self.connections.lock().streams.remove(&id);
        self.ended.notify_all();
    }

    fn end_connections(&self) {
        let deadline = Instant::now() + STOP_WAIT;
        let mut connections = self.connections.lock();
        connections.stopping = true;
        connections.shut(Shutdown::Read);
        while !connections.streams.is_empty() {
            if self.ended.wait_until(&mut connections, deadline).timed_out() {
                connections.shut(Shutdown::Both);
                return;
            }
        }
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        if !socket::is_owner(&stream)? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(HELLO_WAIT))?;
        stream.set_write_timeout(Some(WRITE_WAIT))?;
        let Some(hello) = frame::read::<Hello>(&mut stream)? else { return Ok(()) };
        stream.set_read_timeout(None)?;
        let welcome = self.welcome(&hello);
        frame::write(&mut stream, &welcome)?;
        match (welcome, hello.service) {
            (Err(_), _) => Ok(()),
            (Ok(()), Service::Storage) => remote::serve(stream, self.project.recorder().storage().as_ref()),
            (Ok(()), Service::Control) => self.control(&mut stream),
        }
    }

    fn welcome(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.version != VERSION {
            let message = format!("the project's process speaks version {VERSION}, not {}", hello.version);
            return Err(Refusal::new(ErrorKind::Failed, message));
        }
        if hello.service == Service::Storage {
            self.commit_for_reader();
        }
        Ok(())
    }

    /// Whoever reads history sees what was acknowledged before. If that cannot be, the past can still be read.
    fn commit_for_reader(&self) {
        if let Err(error) = self.project.barrier() {
            tracing::warn!(error = &error as &dyn std::error::Error, "history may lack what was recorded last");
        }
    }

    fn control(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut held = Held::default();
        while let Some(request) = frame::read::<Request>(stream)? {
            let mut sent = Ok(());
            let mut send = |item| {
                if sent.is_ok() {
                    sent = frame::write(stream, &Reply::Item(item));
                }
            };
            let answer = self.answer(request, &mut held, &mut send).map_err(Refusal::from);
            sent?;
            frame::write(stream, &Reply::End(answer))?;
        }
        Ok(())
    }

    fn answer<'a>(&'a self, request: Request, held: &mut Held<'a>, send: &mut dyn FnMut(Item)) -> Result<Answer> {
        let project = &self.project;
        match request {
            Request::Status => Ok(Answer::Status(Box::new(project.status()?))),
            Request::Sync => {
                let brought = project.bring_in()?;
                tell(brought, send);
                project.sync().map(Answer::Op)
            }
            Request::Barrier => project.barrier().map(Answer::Op),
            Request::Snapshot { name } => project.snapshot(&name).map(Answer::Op),
            Request::Restore { path, view, dry_run } => {
                project.restore(&path, view, dry_run, &mut |restored| send(Item::Restored(restored))).map(Answer::Op)
            }
            Request::Verify { repair } => {
                project.verify(repair, &mut |finding| send(Item::Finding(finding)))?;
                Ok(Answer::Done)
            }
            // Whoever has the repository needs the process that takes it back.
            Request::Unmount(options) if !options.force && project.is_suspended() => Err(ProjectError::Suspended),
            Request::Unmount(options) => (self.unmount)(options).map(|()| Answer::Done),
            Request::History(query) => {
                self.commit_for_reader();
                let history = held.history.insert(project.reader_of_committed()?.history(query)?);
                next_rows(history)
            }
            Request::MoreHistory => match &mut held.history {
                Some(history) => next_rows(history),
                None => Ok(Answer::History { rows: Vec::new(), more: false }),
            },
            Request::Suspend => {
                tell(project.suspend()?, send);
                held.suspension = Some(Suspension { project });
                Ok(Answer::Done)
            }
            Request::Resume => {
                tell(project.resume()?, send);
                held.suspension = None;
                Ok(Answer::Done)
            }
        }
    }
}

/// What a connection has until it ends.
#[derive(Default)]
struct Held<'a> {
    suspension: Option<Suspension<'a>>,
    history: Option<History>,
}

/// Reads on in a history. It goes at the pace of whoever reads it.
fn next_rows(history: &mut History) -> Result<Answer> {
    let (mut rows, mut bytes): (Vec<HistoryRow>, _) = (Vec::new(), 0);
    while rows.len() < HISTORY_ROWS_MAX && bytes < HISTORY_BYTES {
        let Some(row) = history.next().transpose()? else { return Ok(Answer::History { rows, more: false }) };
        bytes +=
            row.path.as_bytes().len() + row.from.as_ref().map_or(0, |from| from.as_bytes().len()) + row.message.len();
        rows.push(row);
    }
    Ok(Answer::History { rows, more: true })
}

/// A client's program has the repository; when the connection ends it is taken back.
struct Suspension<'a> {
    project: &'a Project,
}

impl Drop for Suspension<'_> {
    fn drop(&mut self) {
        // After a request to resume there is nothing left to do.
        if let Err(error) = self.project.resume() {
            tracing::error!(error = &error as &dyn std::error::Error, "the repository could not be taken back");
        }
    }
}

fn tell(brought: BroughtIn, send: &mut dyn FnMut(Item)) {
    if !brought.is_empty() {
        send(Item::BroughtIn(Box::new(brought)));
    }
}

impl Connections {
    fn shut(&self, how: Shutdown) {
        for stream in self.streams.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(how);
        }
    }
}
