//! Content of files: where the data is, and whether it is the same. Files are streamed; none is held whole.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

const CHUNK_BYTES: usize = 256 * 1024;

/// The ranges of a file that hold data, as `SEEK_DATA` and `SEEK_HOLE` tell them: ordered, disjoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataMap(Vec<(u64, u64)>);

impl DataMap {
    /// Asks the filesystem.
    pub(crate) fn of(file: impl AsFd, size: u64) -> io::Result<Self> {
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < size {
            let begin = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(begin) if begin < size => begin,
                Ok(_) | Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(&file, SeekFrom::Hole(begin))?.clamp(begin + 1, size);
            ranges.push((begin, end));
            at = end;
        }
        Ok(Self(ranges))
    }

    /// Returns the map with every range widened to whole blocks, and joined where they meet.
    pub(crate) fn rounded(&self, block_bytes: u64) -> Self {
        let widened =
            self.0.iter().map(|(begin, end)| (begin - begin % block_bytes, end.next_multiple_of(block_bytes)));
        Self(joined(widened))
    }

    /// Returns what either map holds.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        Self(joined(all))
    }

    /// Returns the first range that only one of the maps has, for people.
    pub(crate) fn first_difference(&self, other: &Self) -> String {
        let one = self.0.iter().find(|range| !other.0.contains(range));
        let two = other.0.iter().find(|range| !self.0.contains(range));
        format!("data {one:?} against {two:?}")
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }
}

fn joined(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in ranges {
        match out.last_mut() {
            Some(last) if last.1 >= begin => last.1 = last.1.max(end),
            _ => out.push((begin, end)),
        }
    }
    out
}

/// Returns the offset of the first byte that differs within the ranges, if any. Both files have the same size.
pub(crate) fn first_difference(left: impl AsFd, right: impl AsFd, ranges: &DataMap) -> io::Result<Option<u64>> {
    let mut left_buf = vec![0; CHUNK_BYTES];
    let mut right_buf = vec![0; CHUNK_BYTES];
    for &(begin, end) in ranges.ranges() {
        let mut at = begin;
        while at < end {
            let want = chunk(end - at);
            let got = read_at(&left, at, &mut left_buf[..want])?;
            let other = read_at(&right, at, &mut right_buf[..want])?;
            let same = left_buf[..got].iter().zip(&right_buf[..other]).take_while(|(a, b)| a == b).count();
            if same < want {
                let short = same == got.min(other) && got == other;
                return Ok(if short { None } else { Some(at + same as u64) });
            }
            at += want as u64;
        }
    }
    Ok(None)
}

/// Copies the ranges from one file to the other.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd, ranges: &DataMap) -> io::Result<()> {
    let mut buf = vec![0; CHUNK_BYTES];
    for &(begin, end) in ranges.ranges() {
        let mut at = begin;
        while at < end {
            let got = read_at(&from, at, &mut buf[..chunk(end - at)])?;
            if got == 0 {
                break;
            }
            write_at(&to, at, &buf[..got])?;
            at += got as u64;
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at(file: impl AsFd, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match rustix::io::pread(&file, &mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

fn write_at(file: impl AsFd, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    let mut at = offset;
    while !bytes.is_empty() {
        let put = rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, bytes, at))?;
        bytes = &bytes[put..];
        at += put as u64;
    }
    Ok(())
}

fn chunk(left: u64) -> usize {
    usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)
}
