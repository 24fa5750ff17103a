//! The end that has the store.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::Serialize;

use super::fault::Fault;
use super::frame;
use super::message::{Hello, Part, READ_BYTES_MAX, Request};
use crate::model::{ContentHash, Entry, FileId, Name, OpCode, OpData, View, XattrName};
use crate::storage::{Binding, DirEntry, Extent, FileSystemStorage, OpQuery, Ref, RefName, Result, Xattr};

/// Items of a fixed size, and names, in one part.
const PART_ITEMS_MAX: usize = 4096;
/// Operations in one part.
const PART_OPS_MAX: usize = 256;
/// Where a part of items of differing size ends.
const PART_BYTES: usize = 1 << 20;
/// Longer data of an operation is sent as a reference.
const INLINE_BYTES_MAX: usize = 4096;

/// Answers one client's questions until it hangs up. What the client asks is checked; it cannot change anything.
///
/// Serve each connection on a thread of its own: a long question does not make the others wait.
///
/// # Errors
/// If the stream fails, or what comes over it makes no sense. The store is not concerned: its errors are answers.
pub fn serve(mut stream: impl Read + Write, storage: &dyn FileSystemStorage) -> io::Result<()> {
    let Some(hello) = frame::read::<Hello>(&mut stream)? else { return Ok(()) };
    frame::write(&mut stream, &Hello::own())?;
    if let Some(why) = hello.refusal() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    while let Some(request) = frame::read(&mut stream)? {
        answer(&mut stream, storage, request)?;
    }
    Ok(())
}

fn answer(stream: &mut (impl Read + Write), storage: &dyn FileSystemStorage, request: Request) -> io::Result<()> {
    match request {
        Request::Info => reply(stream, storage.info()),
        Request::Head => reply(stream, storage.head()),
        Request::Ops(query) => reply(stream, ops(storage, &query)),
        Request::OpAtTime(time) => reply(stream, storage.op_at_time(time)),
        Request::Node { view, file } => reply(stream, storage.node(view, file)),
        Request::Entry { view, dir, name } => reply(stream, storage.entry(view, dir, &name)),
        Request::Entries { view, dir, after, max } => reply(stream, entries(storage, view, dir, after, max)),
        Request::Names { view, file, after } => reply(stream, names(storage, view, file, after)),
        Request::Bindings { view, entry, max } => reply(stream, bindings(storage, view, &entry, max)),
        Request::Read { view, file, offset, len } => reply(stream, read(storage, view, file, offset, len)),
        Request::Extents { view, file, from, max } => reply(stream, extents(storage, view, file, from, max)),
        Request::Xattrs { view, file, after } => reply(stream, xattrs(storage, view, file, after)),
        Request::Refs { after } => reply(stream, refs(storage, after)),
        Request::Verify => verify(stream, storage),
        Request::NativeId(op) => reply(stream, storage.native_id(op)),
        Request::FindNativeId { prefix, max } => {
            reply(stream, storage.find_native_id(&prefix, max.min(PART_ITEMS_MAX)))
        }
    }
}

/// Sends an answer. One that is too long for a frame (no part is, unless a backend's items are huge) becomes an error.
fn reply<T: Serialize>(stream: &mut impl Write, answer: Result<T>) -> io::Result<()> {
    let answer = answer.map_err(Fault::from);
    match frame::write(stream, &answer) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let too_long = Fault::Backend { action: "sending the answer".to_owned(), causes: error.to_string() };
            frame::write(stream, &Err::<T, Fault>(too_long))
        }
        sent => sent,
    }
}

fn ops(storage: &dyn FileSystemStorage, query: &OpQuery) -> Result<Part<OpCode>> {
    let asked = query.max.min(PART_OPS_MAX);
    let mut items = storage.ops(&OpQuery { max: asked, ..query.clone() })?;
    for op in &mut items {
        refer(op);
    }
    let more = items.len() == asked && asked < query.max;
    Ok(cut(items, more, |op| {
        let names = 2 * Name::BYTES_MAX;
        names
            + 160 * (1 + op.touched.len())
            + inline(op)
            + op.actor.program.len()
            + op.actor.run.as_ref().map_or(0, String::len)
    }))
}

/// Sends long data by reference only.
fn refer(op: &mut OpCode) {
    match &op.data {
        OpData::Inline(bytes) if bytes.len() > INLINE_BYTES_MAX => {
            op.data = OpData::Reference { hash: ContentHash::of(bytes), size: bytes.len() as u64 };
        }
        _ => {}
    }
}

fn inline(op: &OpCode) -> usize {
    match &op.data {
        OpData::Inline(bytes) => bytes.len(),
        OpData::None | OpData::Reference { .. } => 0,
    }
}

fn entries(
    storage: &dyn FileSystemStorage,
    view: View,
    dir: FileId,
    after: Option<Name>,
    max: usize,
) -> Result<Part<DirEntry>> {
    let asked = max.min(PART_ITEMS_MAX);
    Ok(part(storage.entries(view, dir, after.as_ref(), asked)?, asked, max))
}

fn bindings(storage: &dyn FileSystemStorage, view: View, entry: &Entry, max: usize) -> Result<Part<Binding>> {
    let asked = max.min(PART_ITEMS_MAX);
    Ok(part(storage.bindings(view, entry, asked)?, asked, max))
}

fn extents(storage: &dyn FileSystemStorage, view: View, file: FileId, from: u64, max: usize) -> Result<Part<Extent>> {
    let asked = max.min(PART_ITEMS_MAX);
    Ok(part(storage.extents(view, file, from, asked)?, asked, max))
}

/// Makes a part of what `asked` items brought, of `max` that the client wants.
fn part<T>(items: Vec<T>, asked: usize, max: usize) -> Part<T> {
    let more = items.len() == asked && asked < max;
    Part { items, more }
}

fn names(storage: &dyn FileSystemStorage, view: View, file: FileId, after: Option<Entry>) -> Result<Part<Entry>> {
    let mut items = storage.names(view, file)?;
    items.sort();
    items.retain(|entry| after.as_ref().is_none_or(|after| entry > after));
    Ok(cut(items, false, |entry| entry.name.as_bytes().len() + 16))
}

fn xattrs(storage: &dyn FileSystemStorage, view: View, file: FileId, after: Option<XattrName>) -> Result<Part<Xattr>> {
    let mut items = storage.xattrs(view, file)?;
    items.retain(|xattr| after.as_ref().is_none_or(|after| xattr.name > *after));
    Ok(cut(items, false, |xattr| xattr.name.as_bytes().len() + xattr.value.len() + 16))
}

fn refs(storage: &dyn FileSystemStorage, after: Option<RefName>) -> Result<Part<Ref>> {
    let mut items = storage.refs()?;
    items.retain(|known| after.as_ref().is_none_or(|after| known.name > *after));
    Ok(cut(items, false, |known| known.name.as_str().len() + 64))
}

/// Keeps as many items, but at least one, as fit into [`PART_BYTES`].
fn cut<T>(mut items: Vec<T>, more: bool, weight: impl Fn(&T) -> usize) -> Part<T> {
    let mut bytes = 0;
    let kept = items.iter().take_while(|item| {
        let fits = bytes == 0 || bytes + weight(item) <= PART_BYTES;
        bytes += weight(item);
        fits
    });
    let kept = kept.count();
    let more = more || kept < items.len();
    items.truncate(kept);
    Part { items, more }
}

fn read(storage: &dyn FileSystemStorage, view: View, file: FileId, offset: u64, len: usize) -> Result<Bytes> {
    let mut buf = vec![0; len.min(READ_BYTES_MAX)];
    let read = storage.read(view, file, offset, &mut buf)?;
    buf.truncate(read);
    Ok(buf.into())
}

fn verify(stream: &mut impl Write, storage: &dyn FileSystemStorage) -> io::Result<()> {
    let mut sent = Ok(());
    let verified = storage.verify(&mut |finding| {
        if sent.is_ok() {
            sent = reply(stream, Ok(Some(finding)));
        }
    });
    sent?;
    reply(stream, verified.map(|()| None::<crate::storage::Finding>))
}
