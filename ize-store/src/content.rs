//! Chunks: content in packs, stored once, compressed, checked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ize_core::model::ContentHash;
use ize_core::storage::{Result, StorageError};
use parking_lot::Mutex;

use crate::cell::{Cell, Chunk};
use crate::engine::Table;
use crate::index::{Draft, Rows, SEAL_BYTES, bad_row};
use crate::pack::{Kind, Packs, Place, Record, Writer};
use crate::zstd_context;

const HASH_BYTES: usize = 32;
/// Content below this is not worth a try at compression.
const COMPRESS_BYTES_MIN: usize = 128;
/// Content below this is not worth a look for what it was before.
const DELTA_BYTES_MIN: usize = 64;
/// Content up to this is compressed on its own first, which takes less time than reading what it was before.
const ALONE_FIRST_BYTES_MAX: usize = 16 << 10;
/// Content that becomes so many times smaller on its own needs no other chunk.
const SMALL_ENOUGH: usize = 16;
/// Of longer content so many bytes are tried first, in two places.
const SAMPLE_BYTES: usize = 4 << 10;
/// A chunk is made of at most so many others, one after the other; then it is stored whole.
const DEPTH_MAX: u8 = 32;
/// zstd takes what begins like this for a dictionary of its own format.
const DICTIONARY_MAGIC: [u8; 4] = 0xec30_a437u32.to_le_bytes();
/// Chunks that are kept decoded.
const CACHED_MAX: usize = 128;

/// Reads chunks.
pub(crate) trait Chunks {
    /// Returns a chunk's content.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it fails its checks.
    fn chunk(&self, place: Place) -> Result<Bytes>;
}

/// A chunk's record, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRecord<'a> {
    pub(crate) hash: ContentHash,
    pub(crate) chunk: Chunk,
    form: Form,
    bytes: &'a [u8],
}

/// How a chunk's content is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    Compressed,
    /// With the content of an earlier chunk in front, which is itself made of `depth - 1` others.
    Delta {
        base: Place,
        depth: u8,
    },
}

impl<'a> ChunkRecord<'a> {
    /// Reads the fields of a record that holds content.
    pub(crate) fn parse(record: &'a Record) -> Result<Self> {
        Self::split(record).ok_or_else(|| damaged(record.place))
    }

    fn split(record: &'a Record) -> Option<Self> {
        let (hash, rest) = record.payload.split_first_chunk::<HASH_BYTES>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (form, bytes) = match record.kind {
            Kind::Chunk => (Form::Whole, rest),
            Kind::ZstdChunk => (Form::Compressed, rest),
            Kind::DeltaChunk => {
                let (base, rest) = rest.split_first_chunk::<{ Place::BYTES }>()?;
                let (depth, rest) = rest.split_first()?;
                (Form::Delta { base: Place::decode(*base), depth: *depth }, rest)
            }
            Kind::PlainBatch | Kind::Batch | Kind::Ref => return None,
        };
        let chunk = Chunk { place: record.place, len: u32::from_be_bytes(*len) };
        Some(Self { hash: ContentHash::from_bytes(*hash), chunk, form, bytes })
    }

    /// Returns of how many chunks the content is made, beyond this one.
    fn depth(&self) -> u8 {
        match self.form {
            Form::Whole | Form::Compressed => 0,
            Form::Delta { depth, .. } => depth,
        }
    }

    /// Returns the content, not checked yet. `base` is that of the earlier chunk, if one is needed.
    fn decode(&self, base: Option<&[u8]>) -> Result<Bytes> {
        let len = self.chunk.len as usize;
        let content = match self.form {
            Form::Whole => return Ok(Bytes::copy_from_slice(self.bytes)),
            Form::Compressed => zstd_context::decompress(self.bytes, len),
            Form::Delta { .. } => zstd_context::decompress_after(base.unwrap_or_default(), self.bytes, len),
        };
        content.map(Bytes::from).map_err(|_| damaged(self.chunk.place))
    }

    fn check(&self, content: &[u8]) -> Result<()> {
        let is_whole = content.len() == self.chunk.len as usize && ContentHash::of(content) == self.hash;
        if is_whole { Ok(()) } else { Err(damaged(self.chunk.place)) }
    }
}

/// Reads records, and knows the content of some of them.
trait Records {
    fn record(&self, place: Place) -> Result<Record>;
    fn known(&self, place: Place) -> Option<Bytes>;
}

/// Returns a chunk's content, checked against its hash.
fn content_of(records: &dyn Records, record: Record) -> Result<Bytes> {
    // From the chunk down to one that is whole or known. Each is made of fewer than the one before, so this ends.
    let mut chain = vec![record];
    let mut content = loop {
        let last = ChunkRecord::parse(&chain[chain.len() - 1])?;
        let Form::Delta { base, depth } = last.form else { break None };
        if let Some(known) = records.known(base) {
            break Some(known);
        }
        let next = records.record(base)?;
        if ChunkRecord::parse(&next)?.depth() >= depth {
            return Err(damaged(last.chunk.place));
        }
        chain.push(next);
    };
    for record in chain.iter().rev() {
        content = Some(ChunkRecord::parse(record)?.decode(content.as_deref())?);
    }
    let content = content.unwrap_or_default();
    ChunkRecord::parse(&chain[0])?.check(&content)?;
    Ok(content)
}

fn damaged(place: Place) -> StorageError {
    StorageError::Corrupt(format!("the content at {place} does not have its hash"))
}

/// Encodes a row of `content`.
pub(crate) fn encode_chunk(chunk: Chunk) -> Vec<u8> {
    let mut value = Vec::with_capacity(Place::BYTES + 4 + SEAL_BYTES);
    value.extend_from_slice(&chunk.place.encode());
    value.extend_from_slice(&chunk.len.to_be_bytes());
    value
}

/// Decodes a row of `content`.
pub(crate) fn decode_chunk(value: &[u8]) -> Option<Chunk> {
    let (place, len) = value.split_first_chunk::<{ Place::BYTES }>()?;
    Some(Chunk { place: Place::decode(*place), len: u32::from_be_bytes(len.try_into().ok()?) })
}

/// Finds a chunk by its hash.
pub(crate) fn find(rows: &impl Rows, hash: &ContentHash) -> Result<Option<Chunk>> {
    let Some(value) = rows.get(Table::Content, hash.as_bytes())? else { return Ok(None) };
    decode_chunk(&value).map(Some).ok_or_else(|| bad_row(Table::Content, hash.as_bytes()))
}

/// The chunks of the packs, with a few of them kept decoded.
#[derive(Debug)]
pub(crate) struct PackedChunks {
    packs: Arc<Packs>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    chunks: HashMap<Place, Bytes>,
    oldest_first: VecDeque<Place>,
}

impl PackedChunks {
    pub(crate) fn new(packs: Arc<Packs>) -> Self {
        Self { packs, cache: Mutex::default() }
    }

    fn keep(&self, place: Place, content: &Bytes) {
        let mut cache = self.cache.lock();
        if cache.chunks.insert(place, content.clone()).is_none() {
            cache.oldest_first.push_back(place);
        }
        if cache.chunks.len() > CACHED_MAX
            && let Some(oldest) = cache.oldest_first.pop_front()
        {
            cache.chunks.remove(&oldest);
        }
    }

    /// Checks a chunk's record that was just read, and what it is made of.
    pub(crate) fn check(&self, record: Record) -> Result<()> {
        let place = record.place;
        let content = content_of(self, record)?;
        self.keep(place, &content);
        Ok(())
    }

    /// Forgets everything that was kept: packs were cut.
    pub(crate) fn clear(&self) {
        *self.cache.lock() = Cache::default();
    }
}

impl Chunks for PackedChunks {
    fn chunk(&self, place: Place) -> Result<Bytes> {
        if let Some(content) = self.cache.lock().chunks.get(&place) {
            return Ok(content.clone());
        }
        let content = content_of(self, self.packs.record(place)?)?;
        self.keep(place, &content);
        Ok(content)
    }
}

impl Records for PackedChunks {
    fn record(&self, place: Place) -> Result<Record> {
        self.packs.record(place)
    }

    fn known(&self, place: Place) -> Option<Bytes> {
        self.cache.lock().chunks.get(&place).cloned()
    }
}

/// Copies the pieces of a cell that lie in a range to `buf`, which is as long as the range; holes are left as they are.
pub(crate) fn copy_out(cell: &Cell, start: u32, buf: &mut [u8], chunks: &dyn Chunks) -> Result<()> {
    let end = start + u32::try_from(buf.len()).unwrap_or(u32::MAX - start);
    for piece in cell.pieces.iter().filter_map(|piece| piece.clip(start, end)) {
        let content = chunks.chunk(piece.chunk)?;
        let (from, to) = (piece.skip as usize, (piece.start - start) as usize);
        let len = piece.len() as usize;
        let source = content.get(from..from + len).ok_or_else(|| damaged(piece.chunk))?;
        buf[to..to + len].copy_from_slice(source);
    }
    Ok(())
}

/// Writes chunks, each content once.
pub(crate) struct ChunkWriter<'a> {
    pub(crate) writer: &'a mut Writer,
    pub(crate) packed: &'a PackedChunks,
    /// Whether content is compressed.
    pub(crate) compresses: bool,
}

/// How content is going to be stored.
enum Packed {
    Whole,
    Compressed(Vec<u8>),
    Delta { base: Place, depth: u8, bytes: Vec<u8> },
}

impl Packed {
    fn len(&self, content: &[u8]) -> usize {
        match self {
            Self::Whole => content.len(),
            Self::Compressed(bytes) | Self::Delta { bytes, .. } => bytes.len(),
        }
    }
}

impl ChunkWriter<'_> {
    /// Stores content, or finds it where it is stored already. `before` finds a chunk that is likely to be similar.
    pub(crate) fn put(
        &mut self,
        draft: &mut Draft<'_>,
        content: &[u8],
        before: impl FnOnce(&Draft<'_>) -> Result<Option<Place>>,
    ) -> Result<(ContentHash, Chunk)> {
        let hash = ContentHash::of(content);
        let known = find(draft, &hash)?;
        if let Some(known) = known
            && self.is_whole(known.place)?
        {
            return Ok((hash, known));
        }
        let len = u32::try_from(content.len()).map_err(|_| StorageError::Invalid("a chunk is too long".to_owned()))?;
        let head = [hash.as_bytes().as_slice(), &len.to_be_bytes()].concat();
        let packed = self.pack(content, || before(draft))?;
        let place = match &packed {
            Packed::Whole => self.writer.append(Kind::Chunk, &[&head, content])?,
            Packed::Compressed(bytes) => self.writer.append(Kind::ZstdChunk, &[&head, bytes])?,
            Packed::Delta { base, depth, bytes } => {
                self.writer.append(Kind::DeltaChunk, &[&head, &base.encode(), &[*depth], bytes])?
            }
        };
        if !matches!(packed, Packed::Whole) {
            // What comes next may well be its next version.
            self.packed.keep(place, &Bytes::copy_from_slice(content));
        }
        let chunk = Chunk { place, len };
        // Where a damaged one has this hash, a new index will find this one.
        if known.is_none() {
            draft.put(Table::Content, hash.as_bytes().to_vec(), encode_chunk(chunk))?;
        }
        Ok((hash, chunk))
    }

    /// Tells whether a chunk, and what it is made of, passes the checks of the packs.
    fn is_whole(&self, place: Place) -> Result<bool> {
        let mut at = place;
        for _ in 0..=DEPTH_MAX {
            let record = match self.record(at) {
                Err(StorageError::Corrupt(_)) => return Ok(false),
                record => record?,
            };
            match ChunkRecord::split(&record).map(|chunk| chunk.form) {
                Some(Form::Delta { base, .. }) => at = base,
                Some(Form::Whole | Form::Compressed) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    fn pack(&mut self, content: &[u8], before: impl FnOnce() -> Result<Option<Place>>) -> Result<Packed> {
        if !self.compresses || content.len() < DELTA_BYTES_MIN {
            return Ok(Packed::Whole);
        }
        let mut alone = None;
        if content.len() <= ALONE_FIRST_BYTES_MAX {
            let packed = alone_of(content);
            if packed.len(content) <= content.len() / SMALL_ENOUGH {
                return Ok(packed);
            }
            alone = Some(packed);
        }
        let delta = before()?.map(|base| self.delta(content, base)).transpose();
        let mut delta = match delta {
            // What was there before is damaged. That is no reason not to store what is there now.
            Err(StorageError::Corrupt(_)) => None,
            delta => delta?.flatten(),
        };
        if let Some(small) = delta.take_if(|delta| alone.is_none() && delta.len(content) < content.len() / 4) {
            return Ok(small);
        }
        let alone = alone.unwrap_or_else(|| alone_of(content));
        // A difference costs more to read.
        let is_worth_it = |delta: &Packed| delta.len(content) + delta.len(content) / 8 < alone.len(content);
        Ok(delta.filter(is_worth_it).unwrap_or(alone))
    }

    /// Compresses content with an earlier chunk's in front, unless that is made of too many others already.
    fn delta(&mut self, content: &[u8], base: Place) -> Result<Option<Packed>> {
        let record = Records::record(self, base)?;
        let depth = ChunkRecord::parse(&record)?.depth() + 1;
        if depth > DEPTH_MAX {
            return Ok(None);
        }
        let before = match self.packed.known(base) {
            Some(known) => known,
            None => content_of(self, record)?,
        };
        if before.len() < DELTA_BYTES_MIN || before.starts_with(&DICTIONARY_MAGIC) {
            return Ok(None);
        }
        Ok(zstd_context::compress_after(&before, content).ok().map(|bytes| Packed::Delta { base, depth, bytes }))
    }
}

/// Compresses content on its own, if that makes it smaller.
fn alone_of(content: &[u8]) -> Packed {
    let compress = |content: &[u8]| {
        let compressed = zstd_context::compress(content).ok()?;
        (compressed.len() < content.len() - content.len() / 8).then_some(compressed)
    };
    if content.len() < COMPRESS_BYTES_MIN {
        return Packed::Whole;
    }
    // Most of what cannot be compressed, such as pictures, is so everywhere.
    if content.len() > 4 * SAMPLE_BYTES {
        let middle = content.len() / 2;
        let samples = [&content[..SAMPLE_BYTES], &content[middle..middle + SAMPLE_BYTES]];
        if samples.into_iter().all(|sample| compress(sample).is_none()) {
            return Packed::Whole;
        }
    }
    compress(content).map_or(Packed::Whole, Packed::Compressed)
}

impl Records for ChunkWriter<'_> {
    fn record(&self, place: Place) -> Result<Record> {
        self.writer.record(place)
    }

    fn known(&self, place: Place) -> Option<Bytes> {
        self.packed.known(place)
    }
}

impl Chunks for ChunkWriter<'_> {
    fn chunk(&self, place: Place) -> Result<Bytes> {
        match self.packed.known(place) {
            Some(content) => Ok(content),
            None => content_of(self, self.writer.record(place)?),
        }
    }
}
