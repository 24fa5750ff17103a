//! Chunks: content in packs, stored once, compressed, checked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ize_core::model::ContentHash;
use ize_core::storage::{Result, StorageError};
use parking_lot::Mutex;

use crate::cell::{Cell, Chunk};
use crate::engine::Table;
use crate::index::{Draft, Rows, bad_row};
use crate::pack::{Kind, Packs, Place, Record, Writer};

const HASH_BYTES: usize = 32;
/// Content below this is not worth a try at compression.
const COMPRESS_BYTES_MIN: usize = 128;
const ZSTD_LEVEL: i32 = 1;
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
    is_compressed: bool,
    bytes: &'a [u8],
}

impl<'a> ChunkRecord<'a> {
    /// Reads the fields of a record that holds content.
    pub(crate) fn parse(record: &'a Record) -> Result<Self> {
        let parts = record.payload.split_first_chunk::<HASH_BYTES>().filter(|_| record.kind.is_chunk());
        let parts = parts.and_then(|(hash, rest)| Some((hash, rest.split_first_chunk::<4>()?)));
        let (hash, (len, bytes)) = parts.ok_or_else(|| damaged(record.place))?;
        let chunk = Chunk { place: record.place, len: u32::from_be_bytes(*len) };
        let is_compressed = record.kind == Kind::ZstdChunk;
        Ok(Self { hash: ContentHash::from_bytes(*hash), chunk, is_compressed, bytes })
    }

    /// Returns the content, checked against its hash.
    pub(crate) fn content(&self) -> Result<Bytes> {
        let content = if self.is_compressed {
            let content = zstd::bulk::decompress(self.bytes, self.chunk.len as usize);
            Bytes::from(content.map_err(|_| damaged(self.chunk.place))?)
        } else {
            Bytes::copy_from_slice(self.bytes)
        };
        if content.len() != self.chunk.len as usize || ContentHash::of(&content) != self.hash {
            return Err(damaged(self.chunk.place));
        }
        Ok(content)
    }
}

fn damaged(place: Place) -> StorageError {
    StorageError::Corrupt(format!("the content at {place} does not have its hash"))
}

/// Encodes a row of `content`.
pub(crate) fn encode_chunk(chunk: Chunk) -> Vec<u8> {
    let mut value = chunk.place.encode().to_vec();
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
        let content = ChunkRecord::parse(&self.packs.record(place)?)?.content()?;
        self.keep(place, &content);
        Ok(content)
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
    /// None where compression is off.
    pub(crate) compressor: Option<&'a mut zstd::bulk::Compressor<'static>>,
}

impl ChunkWriter<'_> {
    /// Stores content, or finds it where it is stored already.
    pub(crate) fn put(&mut self, draft: &mut Draft<'_>, content: &[u8]) -> Result<(ContentHash, Chunk)> {
        let hash = ContentHash::of(content);
        if let Some(known) = find(draft, &hash)?.filter(|known| known.place != Place::LOST) {
            return Ok((hash, known));
        }
        let len = u32::try_from(content.len()).map_err(|_| StorageError::Invalid("a chunk is too long".to_owned()))?;
        let compressed = self.compress(content);
        let (kind, bytes) = match &compressed {
            Some(bytes) => (Kind::ZstdChunk, bytes.as_slice()),
            None => (Kind::Chunk, content),
        };
        let place = self.writer.append(kind, &[hash.as_bytes(), &len.to_be_bytes(), bytes])?;
        let chunk = Chunk { place, len };
        draft.put(Table::Content, hash.as_bytes().to_vec(), encode_chunk(chunk))?;
        Ok((hash, chunk))
    }

    fn compress(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let compressor = self.compressor.as_mut().filter(|_| content.len() >= COMPRESS_BYTES_MIN)?;
        let compressed = compressor.compress(content).ok()?;
        (compressed.len() < content.len() - content.len() / 8).then_some(compressed)
    }
}

/// Makes a compressor.
pub(crate) fn compressor() -> Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|error| StorageError::backend("preparing compression", error))
}

impl Chunks for ChunkWriter<'_> {
    fn chunk(&self, place: Place) -> Result<Bytes> {
        if self.writer.is_pending(place) {
            return ChunkRecord::parse(&self.writer.record(place)?)?.content();
        }
        self.packed.chunk(place)
    }
}
