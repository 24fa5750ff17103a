//! Reading a pack from front to back, past damage.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use ize_core::storage::Result;

use super::record::{Header, MAGIC, RECORD_HEADER_BYTES};
use super::{Place, Record};
use crate::disk;

/// What comes next in a pack.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// A whole record.
    Record(Record),
    /// Bytes that are no record, up to the next record or the end of the pack.
    Damage(Place),
}

/// The least that is given up when the disk cannot read something.
const PAGE_BYTES: u64 = 4096;

/// A pack in which what the disk cannot read is zeros: no record, and what follows can be read.
#[derive(Debug)]
struct Readable {
    file: File,
    at: u64,
}

impl Read for Readable {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut len = bytes.len();
        let read = loop {
            match disk::read_some(&self.file, &mut bytes[..len], self.at) {
                Err(error) if disk::is_unreadable(&error) => {
                    let to_page_end = PAGE_BYTES - self.at % PAGE_BYTES;
                    if len as u64 <= to_page_end {
                        bytes[..len].fill(0);
                        break len;
                    }
                    len = (len / 2).max(usize::try_from(to_page_end).unwrap_or(len / 2));
                }
                read => break read?,
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Readable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The file's own position is not used otherwise.
        self.at = match to {
            SeekFrom::Current(_) => return Err(io::ErrorKind::Unsupported.into()),
            to => self.file.seek(to)?,
        };
        Ok(self.at)
    }
}

/// Reads the records of one pack.
#[derive(Debug)]
pub(crate) struct Scanner {
    reader: BufReader<Readable>,
    pack: u32,
    offset: u64,
    end: u64,
}

impl Scanner {
    /// Begins at a record.
    pub(crate) fn new(file: File, pack: u32, from: u64) -> Result<Self> {
        let reader = BufReader::with_capacity(1 << 20, Readable { file, at: 0 });
        let mut scanner = Self { reader, pack, offset: from, end: 0 };
        scanner.end = scanner.reader.seek(SeekFrom::End(0)).map_err(read_failed)?.min(u64::from(u32::MAX));
        scanner.reader.seek(SeekFrom::Start(from)).map_err(read_failed)?;
        Ok(scanner)
    }

    /// Returns the next record or damage, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Scanned>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        if let Some(record) = self.record()? {
            self.offset = record.place.end();
            return Ok(Some(Scanned::Record(record)));
        }
        let start = self.offset;
        self.skip_damage()?;
        Ok(Some(Scanned::Damage(self.place(start, self.offset - start))))
    }

    fn place(&self, offset: u64, len: u64) -> Place {
        let narrow = |number: u64| u32::try_from(number).expect("packs end before 4 GiB");
        Place { pack: self.pack, offset: narrow(offset), len: narrow(len) }
    }

    /// Reads the record at the present offset, if there is one. The reader is left anywhere if there is none.
    fn record(&mut self) -> Result<Option<Record>> {
        let mut head = [0; RECORD_HEADER_BYTES];
        let left = self.end - self.offset;
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.reader.read_exact(&mut head).map_err(read_failed)?;
        let len = |header: &Header| u64::from(header.payload_bytes) + RECORD_HEADER_BYTES as u64;
        let Some(header) = Header::parse(&head).filter(|header| len(header) <= left) else { return Ok(None) };
        let mut payload = vec![0; header.payload_bytes as usize];
        self.reader.read_exact(&mut payload).map_err(read_failed)?;
        let place = self.place(self.offset, len(&header));
        Ok(header.fits(&payload).then_some(Record { kind: header.kind, place, payload }))
    }

    /// Moves to the next whole record after the present offset, or to the end.
    fn skip_damage(&mut self) -> Result<()> {
        let mut window = Vec::new();
        let mut at = self.offset + 1;
        while at < self.end {
            let len = usize::try_from((self.end - at).min(1 << 20)).unwrap_or(1 << 20);
            window.resize(len, 0);
            self.reader.seek(SeekFrom::Start(at)).map_err(read_failed)?;
            self.reader.read_exact(&mut window).map_err(read_failed)?;
            let Some(found) = window.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) else {
                at += (len - len.min(MAGIC.len() - 1)).max(1) as u64;
                continue;
            };
            self.offset = at + found as u64;
            self.reader.seek(SeekFrom::Start(self.offset)).map_err(read_failed)?;
            if self.record()?.is_some() {
                self.reader.seek(SeekFrom::Start(self.offset)).map_err(read_failed)?;
                return Ok(());
            }
            at = self.offset + 1;
        }
        self.offset = self.end;
        Ok(())
    }
}

fn read_failed(error: std::io::Error) -> ize_core::storage::StorageError {
    disk::failed("reading a pack", error)
}
