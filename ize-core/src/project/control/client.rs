//! The end that asks.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::message::{Answer, Hello, Item, Refusal, Reply, Request, Service, UnmountOptions, VERSION};
use super::socket;
use crate::model::{OpId, RelPath, View};
use crate::project::{BroughtIn, ErrorKind, HistoryQuery, HistoryRow, ProjectError, RestoredPath, Result, Status};
use crate::storage::remote::{RemoteStorage, frame};
use crate::storage::{FileSystemStorage, Finding, RefName};

/// How long a process that has nothing to wait for may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A connection to the process that has a project open. It is answered as long as that process lives.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
}

impl Client {
    /// Connects to a project's socket; `None` if no process answers there.
    ///
    /// # Errors
    /// [`ProjectError::Remote`] if that process refuses; what the operating system says.
    pub fn connect(socket: &Path) -> Result<Option<Self>> {
        let Some(stream) = greet(socket, Service::Control, Some(ANSWER_WAIT))? else { return Ok(None) };
        Ok(Some(Self { stream, path: socket.to_owned() }))
    }

    /// Opens the project's history for reading: everything that was recorded until now is in it.
    ///
    /// # Errors
    /// As [`Client::connect`]; if the process ended meanwhile.
    pub fn storage(&self) -> Result<Arc<dyn FileSystemStorage>> {
        // The answer comes when what was recorded is committed, however long that takes.
        let stream = greet(&self.path, Service::Storage, None)?.ok_or_else(|| self.gone())?;
        stream.set_read_timeout(None).map_err(|error| failed(&self.path, error))?;
        Ok(Arc::new(RemoteStorage::connect(stream)?))
    }

    /// Asks how far the project is recorded.
    ///
    /// # Errors
    /// [`ProjectError::Remote`]; if the process does not answer.
    pub fn status(&mut self) -> Result<Status> {
        match self.ask(&Request::Status, Some(ANSWER_WAIT), &mut |_| {})? {
            Answer::Status(status) => Ok(*status),
            _ => Err(self.out_of_step()),
        }
    }

    /// Brings in what others put into the backend's own repository, then waits until everything that happened so far is in
    /// history, durably, and returns the last operation of it.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn sync(&mut self, brought: &mut dyn FnMut(BroughtIn)) -> Result<OpId> {
        self.ask_op(&Request::Sync, &mut taking(brought))
    }

    /// Hands the backend's own repository to another program, as [`crate::project::Project::suspend`], until
    /// [`Client::resume`] or the end of this connection. The connection lives as long as the longest-lived copy of
    /// [`Client::connection`].
    ///
    /// # Errors
    /// As [`Client::status`]; [`ErrorKind::InTheWay`] if another program has it.
    pub fn suspend(&mut self, brought: &mut dyn FnMut(BroughtIn)) -> Result<()> {
        self.ask(&Request::Suspend, None, &mut taking(brought)).map(drop)
    }

    /// Has the process take the repository back, as [`crate::project::Project::resume`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn resume(&mut self, brought: &mut dyn FnMut(BroughtIn)) -> Result<()> {
        self.ask(&Request::Resume, None, &mut taking(brought)).map(drop)
    }

    /// Returns the connection, for a program to hold that works on the repository.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what happened, newest first, everything that was recorded until now included. The process finds the rows, up
    /// to a hundred at a time.
    ///
    /// # Errors
    /// As [`Client::status`]; if there never was anything at the path.
    pub fn history(mut self, query: &HistoryQuery) -> Result<RemoteHistory> {
        let (rows, more) = self.ask_history(&Request::History(query.clone()))?;
        Ok(RemoteHistory { client: self, rows: rows.into(), more })
    }

    fn ask_history(&mut self, request: &Request) -> Result<(Vec<HistoryRow>, bool)> {
        match self.ask(request, None, &mut |_| {})? {
            Answer::History { rows, more } => Ok((rows, more)),
            _ => Err(self.out_of_step()),
        }
    }

    /// Waits until everything that happened so far is in history, and returns the last operation of it.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn barrier(&mut self) -> Result<OpId> {
        self.ask_op(&Request::Barrier, &mut |_| {})
    }

    /// Gives the present a name.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn snapshot(&mut self, name: &RefName) -> Result<OpId> {
        self.ask_op(&Request::Snapshot { name: name.clone() }, &mut |_| {})
    }

    /// Brings back a path as it was in a view, as [`crate::project::Project::restore`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn restore(
        &mut self,
        path: &RelPath,
        view: View,
        dry_run: bool,
        each: &mut dyn FnMut(RestoredPath),
    ) -> Result<OpId> {
        let mut take = |item| match item {
            Item::Restored(restored) => each(restored),
            Item::Finding(_) | Item::BroughtIn(_) => {}
        };
        self.ask_op(&Request::Restore { path: path.clone(), view, dry_run }, &mut take)
    }

    /// Checks that all of history can be read back, or mends what can be mended.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn verify(&mut self, repair: bool, each: &mut dyn FnMut(Finding)) -> Result<()> {
        let mut take = |item| match item {
            Item::Finding(finding) => each(finding),
            Item::Restored(_) | Item::BroughtIn(_) => {}
        };
        self.ask(&Request::Verify { repair }, None, &mut take).map(drop)
    }

    /// Asks the process to unmount, and waits until everything is recorded and the mount is gone.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ErrorKind::InTheWay`] if somebody uses the mount.
    pub fn unmount(&mut self, options: UnmountOptions) -> Result<()> {
        self.ask(&Request::Unmount(options), None, &mut |_| {}).map(drop)
    }

    fn ask_op(&mut self, request: &Request, take: &mut dyn FnMut(Item)) -> Result<OpId> {
        match self.ask(request, None, take)? {
            Answer::Op(op) => Ok(op),
            _ => Err(self.out_of_step()),
        }
    }

    fn ask(&mut self, request: &Request, wait: Option<Duration>, take: &mut dyn FnMut(Item)) -> Result<Answer> {
        self.stream.set_read_timeout(wait).map_err(|error| failed(&self.path, error))?;
        frame::write(&mut self.stream, request).map_err(|error| failed(&self.path, error))?;
        loop {
            match frame::read::<Reply>(&mut self.stream).map_err(|error| failed(&self.path, error))? {
                Some(Reply::Item(item)) => take(item),
                Some(Reply::End(answer)) => return Ok(answer?),
                None => return Err(self.gone()),
            }
        }
    }

    fn gone(&self) -> ProjectError {
        let ended = "the project's process ended before it answered";
        failed(&self.path, io::Error::new(io::ErrorKind::UnexpectedEof, ended))
    }

    fn out_of_step(&self) -> ProjectError {
        Refusal::new(ErrorKind::Failed, format!("{} answers something else", self.path.display())).into()
    }
}

/// The rows of a history that another process finds. Made by [`Client::history`].
#[derive(Debug)]
pub struct RemoteHistory {
    client: Client,
    rows: VecDeque<HistoryRow>,
    more: bool,
}

impl Iterator for RemoteHistory {
    type Item = Result<HistoryRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.is_empty() && std::mem::take(&mut self.more) {
            match self.client.ask_history(&Request::MoreHistory) {
                Ok((rows, more)) => (self.rows, self.more) = (rows.into(), more),
                Err(error) => return Some(Err(error)),
            }
        }
        self.rows.pop_front().map(Ok)
    }
}

/// Picks out what came from elsewhere.
fn taking(brought: &mut dyn FnMut(BroughtIn)) -> impl FnMut(Item) {
    move |item| match item {
        Item::BroughtIn(what) => brought(*what),
        Item::Finding(_) | Item::Restored(_) => {}
    }
}

/// Connects and says what for.
fn greet(socket: &Path, service: Service, wait: Option<Duration>) -> Result<Option<UnixStream>> {
    let failed = |error| failed(socket, error);
    let Some(mut stream) = socket::connect(socket).map_err(failed)? else { return Ok(None) };
    stream.set_read_timeout(wait).map_err(failed)?;
    frame::write(&mut stream, &Hello { version: VERSION, service }).map_err(failed)?;
    match frame::read::<Result<(), Refusal>>(&mut stream) {
        Ok(Some(welcome)) => {
            welcome?;
            Ok(Some(stream))
        }
        // Hung up without a word: it is ending, or does not answer this user.
        Ok(None) => Err(refused(socket)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(refused(socket)),
        Err(error) => Err(failed(error)),
    }
}

fn refused(socket: &Path) -> ProjectError {
    failed(socket, io::Error::new(io::ErrorKind::PermissionDenied, "the project's process hung up"))
}

fn failed(socket: &Path, error: io::Error) -> ProjectError {
    ProjectError::io("ask", socket)(error)
}
