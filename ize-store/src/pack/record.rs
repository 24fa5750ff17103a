//! One record of a pack: 16 bytes of header, and a payload.

use std::fmt;

use ize_core::model::ContentHash;
use ize_core::storage::{Result, StorageError};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Content: hash, length, and the bytes as they are.
    Chunk,
    /// Content: hash, length, and the bytes compressed by zstd.
    ZstdChunk,
    /// Content: hash, length, the place of an earlier chunk, how many chunks that one is made of, and the bytes compressed
    /// by zstd with that chunk's content in front.
    DeltaChunk,
    /// Operations and landmarks that were committed together, each operation for itself: written by version 1.
    PlainBatch,
    /// Operations and landmarks that were committed together, the operations in compressed groups.
    Batch,
    /// A change of a ref.
    Ref,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::ZstdChunk => 2,
            Self::PlainBatch => 3,
            Self::Batch => 6,
            Self::Ref => 4,
            Self::DeltaChunk => 5,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Chunk,
            2 => Self::ZstdChunk,
            3 => Self::PlainBatch,
            6 => Self::Batch,
            4 => Self::Ref,
            5 => Self::DeltaChunk,
            _ => return None,
        })
    }

    /// Tells whether the record holds content.
    pub(crate) const fn is_chunk(self) -> bool {
        matches!(self, Self::Chunk | Self::ZstdChunk | Self::DeltaChunk)
    }
}

/// Where some bytes of a pack lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Place {
    /// Bytes of an encoded place.
    pub(crate) const BYTES: usize = 12;
    /// The place of content that was lost, of which nothing else is known.
    pub(crate) const LOST: Self = Self { pack: u32::MAX, offset: 0, len: 0 };

    /// Returns the place of content that was lost: each has its own, so that pieces of different ones stay apart, as they
    /// were when both were there.
    pub(crate) fn lost(hash: &ContentHash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        Self { offset: u32::from_be_bytes([a, b, c, d]), len: u32::from_be_bytes([e, f, g, h]), ..Self::LOST }
    }

    /// Tells whether content was lost.
    pub(crate) const fn is_lost(self) -> bool {
        self.pack == Self::LOST.pack
    }

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.pack.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { pack: word(0), offset: word(4), len: word(8) }
    }

    /// Returns the place of the first byte behind this one.
    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pack {:08}, byte {}", self.pack, self.offset)
    }
}

/// A record that passed its check.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const MAGIC: [u8; 4] = [0xab, b'I', b'z', b'R'];
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

/// A header that may or may not be one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) payload_bytes: u32,
    crc: u32,
    head: [u8; 12],
}

impl Header {
    /// Reads a header; `None` if the bytes are none.
    pub(crate) fn parse(bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        let mut head = [0; 12];
        head.copy_from_slice(&bytes[..12]);
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let sound = bytes[..4] == MAGIC && bytes[5..8] == [0; 3];
        let kind = Kind::from_number(bytes[4]).filter(|_| sound)?;
        Some(Self { kind, payload_bytes: word(8), crc: word(12), head })
    }

    /// Tells whether a payload is the one that was written with this header.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        crc32c::crc32c_append(crc32c::crc32c(&self.head), payload) == self.crc
    }
}

/// Appends a record whose payload consists of `parts`, and returns how many bytes it takes.
pub(crate) fn append(buffer: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) -> Result<u32> {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let too_long = || StorageError::Invalid("a record is longer than a pack can hold".to_owned());
    let payload_bytes = u32::try_from(payload_bytes).ok().filter(|bytes| *bytes <= 1 << 30).ok_or_else(too_long)?;
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[kind.number(), 0, 0, 0]);
    buffer.extend_from_slice(&payload_bytes.to_be_bytes());
    let head_crc = crc32c::crc32c(&buffer[start..]);
    let crc = parts.iter().fold(head_crc, |crc, part| crc32c::crc32c_append(crc, part));
    buffer.extend_from_slice(&crc.to_be_bytes());
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
    Ok(payload_bytes + 16)
}

/// Reads a whole record.
///
/// # Errors
/// [`StorageError::Corrupt`] if it fails its check.
pub(crate) fn parse(place: Place, bytes: &[u8]) -> Result<Record> {
    let record = bytes.first_chunk().and_then(Header::parse).and_then(|header| {
        let payload = &bytes[RECORD_HEADER_BYTES..];
        header.fits(payload).then(|| Record { kind: header.kind, place, payload: payload.to_vec() })
    });
    record.ok_or_else(|| StorageError::Corrupt(format!("the record at {place} fails its check")))
}
