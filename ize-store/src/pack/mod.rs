//! Packs: append-only, checksummed files that hold the truth.
//!
//! A pack is a header and records. A record is a chunk of content, a batch of operations or a change of a ref. Records
//! are never changed once they are synced. What the index says about them can be found again by reading them in order.

mod record;
mod scan;
mod set;
mod writer;

pub(crate) use record::{Kind, Place, Record};
pub(crate) use scan::{Scanned, Scanner};
pub(crate) use set::Packs;
pub(crate) use writer::{Position, Writer};

/// Bytes of a pack's header: magic, version, number.
pub(crate) const HEADER_BYTES: u64 = 16;
const MAGIC: [u8; 8] = *b"IZEPACK\0";

/// Tells whether these are the first bytes of a pack, of any version up to this one.
pub(crate) fn is_header(bytes: &[u8; 16], number: u32) -> bool {
    let own = header(number);
    let version = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    bytes[..8] == own[..8] && bytes[12..] == own[12..] && (1..=crate::FORMAT_VERSION).contains(&version)
}

/// Returns a pack's header.
pub(crate) fn header(number: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&crate::FORMAT_VERSION.to_be_bytes());
    header[12..].copy_from_slice(&number.to_be_bytes());
    header
}
