//! The end that asks.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::frame;
use super::message::{Hello, Part, READ_BYTES_MAX, Request};
use crate::model::{Entry, FileId, FileMetadata, Name, OpCode, OpId, Timestamp, View};
use crate::storage::{
    Batch, Binding, DirEntry, Direction, Extent, FileSystemStorage, Finding, Head, Incoming, NativeChange, OpQuery,
    Ref, RefName, RefTarget, Result, StorageError, StorageInfo, Xattr,
};

/// The store of another process, read over a stream; see [the module](super).
///
/// Threads that share it wait for each other: one question is answered at a time.
pub struct RemoteStorage {
    connection: Mutex<Connection>,
}

struct Connection {
    stream: Box<dyn Stream>,
    /// A question was asked and its answer not read to the end. If it stays so, the two ends are out of step.
    asking: bool,
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl fmt::Debug for RemoteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStorage").finish_non_exhaustive()
    }
}

impl RemoteStorage {
    /// Begins to talk to a [`super::serve`] at the other end of the stream. How long to wait for answers is set on the
    /// stream.
    ///
    /// # Errors
    /// [`StorageError::Disconnected`] if the other end does not answer, or not in this version's language.
    pub fn connect(stream: impl Read + Write + Send + 'static) -> Result<Self> {
        let mut stream: Box<dyn Stream> = Box::new(stream);
        frame::write(&mut stream, &Hello::own()).map_err(disconnected)?;
        let hello = frame::read::<Hello>(&mut stream).map_err(disconnected)?.ok_or_else(hung_up)?;
        match hello.refusal() {
            Some(why) => Err(disconnected(io::Error::new(io::ErrorKind::InvalidData, why))),
            None => Ok(Self { connection: Mutex::new(Connection { stream, asking: false }) }),
        }
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let mut connection = self.connection.lock();
        connection.send(request)?;
        let answer = connection.receive()?;
        connection.asking = false;
        answer.map_err(StorageError::from)
    }

    /// Asks by turns until `max` items are there or there are no more; `next` makes the question behind the last item.
    fn ask_parts<T: DeserializeOwned>(
        &self,
        max: usize,
        mut next: impl FnMut(Option<&T>, usize) -> Request,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while items.len() < max {
            let mut part: Part<T> = self.ask(&next(items.last(), max - items.len()))?;
            let more = part.more && !part.items.is_empty();
            items.append(&mut part.items);
            if !more {
                break;
            }
        }
        items.truncate(max);
        Ok(items)
    }
}

impl Connection {
    fn send(&mut self, request: &Request) -> Result<()> {
        if self.asking {
            return Err(disconnected(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier answer was lost")));
        }
        self.asking = true;
        frame::write(&mut self.stream, request).map_err(disconnected)
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<Result<T, Fault>> {
        frame::read(&mut self.stream).map_err(disconnected)?.ok_or_else(hung_up)
    }
}

fn disconnected(source: io::Error) -> StorageError {
    StorageError::Disconnected { source }
}

fn hung_up() -> StorageError {
    disconnected(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end hung up"))
}

impl FileSystemStorage for RemoteStorage {
    fn info(&self) -> Result<StorageInfo> {
        self.ask(&Request::Info)
    }

    fn head(&self) -> Result<Head> {
        self.ask(&Request::Head)
    }

    fn commit(&self, _batch: &Batch) -> Result<()> {
        Err(StorageError::Unsupported("commits from another process"))
    }

    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        self.ask_parts(query.max, |last: Option<&OpCode>, max| {
            let mut rest = OpQuery { max, ..query.clone() };
            match (last, query.direction) {
                (Some(last), Direction::OldestFirst) => rest.since = last.last_id,
                (Some(last), Direction::NewestFirst) => rest.view.at = last.last_id.prev(),
                (None, _) => {}
            }
            Request::Ops(rest)
        })
    }

    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        self.ask(&Request::OpAtTime(time))
    }

    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        self.ask(&Request::Node { view, file })
    }

    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        self.ask(&Request::Entry { view, dir, name: name.clone() })
    }

    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        self.ask_parts(max, |last: Option<&DirEntry>, max| {
            let after = last.map(|last| &last.name).or(after).cloned();
            Request::Entries { view, dir, after, max }
        })
    }

    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        self.ask_parts(usize::MAX, |last: Option<&Entry>, _| Request::Names { view, file, after: last.cloned() })
    }

    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        self.ask_parts(max, |last: Option<&Binding>, max| {
            let view = last.map_or(view, |last| View { at: last.at.prev(), ..view });
            Request::Bindings { view, entry: entry.clone(), max }
        })
    }

    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        for piece in buf.chunks_mut(READ_BYTES_MAX) {
            let Some(offset) = offset.checked_add(done as u64) else { break };
            let bytes: Bytes = self.ask(&Request::Read { view, file, offset, len: piece.len() })?;
            let len = bytes.len().min(piece.len());
            piece[..len].copy_from_slice(&bytes[..len]);
            done += len;
            if len < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        self.ask_parts(max, |last: Option<&Extent>, max| {
            let from = last.map_or(from, Extent::end);
            Request::Extents { view, file, from, max }
        })
    }

    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        self.ask_parts(usize::MAX, |last: Option<&Xattr>, _| {
            let after = last.map(|last| last.name.clone());
            Request::Xattrs { view, file, after }
        })
    }

    fn refs(&self) -> Result<Vec<Ref>> {
        self.ask_parts(usize::MAX, |last: Option<&Ref>, _| Request::Refs { after: last.map(|last| last.name.clone()) })
    }

    fn set_ref(&self, _name: &RefName, _target: Option<&RefTarget>) -> Result<()> {
        Err(StorageError::Unsupported("names set from another process"))
    }

    fn verify(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let mut connection = self.connection.lock();
        connection.send(&Request::Verify)?;
        let verified = loop {
            match connection.receive::<Option<Finding>>()? {
                Ok(Some(finding)) => report(finding),
                Ok(None) => break Ok(()),
                Err(fault) => break Err(fault.into()),
            }
        };
        connection.asking = false;
        verified
    }

    fn repair(&self, _report: &mut dyn FnMut(Finding)) -> Result<()> {
        Err(StorageError::Unsupported("repair from another process"))
    }

    fn native_id(&self, op: OpId) -> Result<Option<String>> {
        self.ask(&Request::NativeId(op))
    }

    fn find_native_id(&self, prefix: &str, max: usize) -> Result<Vec<(String, OpId)>> {
        self.ask(&Request::FindNativeId { prefix: prefix.to_owned(), max })
    }

    fn incoming(&self) -> Result<Option<Incoming>> {
        Err(StorageError::Unsupported("incoming changes from another process"))
    }

    fn accept_incoming(&self, _changes: &[NativeChange]) -> Result<()> {
        Err(StorageError::Unsupported("incoming changes from another process"))
    }

    fn suspend(&self) -> Result<()> {
        Err(StorageError::Unsupported("suspension from another process"))
    }

    fn resume(&self) -> Result<()> {
        Err(StorageError::Unsupported("suspension from another process"))
    }
}
