//! Making the content of a live file equal to a snapshot's, holes included, by as few writes as possible.

use rustix::io::Errno;

use crate::model::FileId;
use crate::tree::{Allocation, Caller, Handle, OpenMode, Result, SeekFor, SetAttributes, Snapshot, Tree, TreeError};

/// How much is compared at a time.
const CHUNK_BYTES: u64 = 64 * 1024;
/// How many extents are asked of the snapshot at a time.
const PAGE: usize = 256;

/// A live file that is open, and what it is to be.
pub(super) struct Content<'a> {
    tree: &'a dyn Tree,
    snapshot: &'a Snapshot,
    caller: Caller,
    live: FileId,
    past: FileId,
    size: u64,
    /// The unit in which the host makes holes.
    block: u64,
    dry_run: bool,
    handle: Handle,
    /// The handle is for writing.
    writable: bool,
    changed: bool,
    /// What is known of the live file's holes: from, to, and whether there is data.
    known: (u64, u64, bool),
    wanted: Vec<u8>,
    found: Vec<u8>,
}

/// What there is to know before a file is opened.
pub(super) struct ContentOf<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) snapshot: &'a Snapshot,
    pub(super) caller: Caller,
    pub(super) live: FileId,
    pub(super) past: FileId,
    /// Sizes of the live file and of the past one.
    pub(super) live_size: u64,
    pub(super) size: u64,
    pub(super) block_size: u32,
    pub(super) dry_run: bool,
}

impl ContentOf<'_> {
    /// Writes what differs and answers whether anything did; on a dry run it only answers.
    pub(super) fn equalise(&self) -> Result<bool> {
        if self.size == 0 && self.live_size == 0 {
            return Ok(false);
        }
        if self.dry_run && self.size != self.live_size {
            return Ok(true);
        }
        let mode = OpenMode { read: true, ..OpenMode::default() };
        let handle = self.tree.open(self.caller, self.live, mode)?;
        self.with_handle(handle, false, |content| {
            if content.size != self.live_size {
                content.set_size()?;
            }
            content.equalise()
        })
    }

    /// Writes everything into a file that is empty and open for writing; the handle is closed.
    pub(super) fn fill(&self, handle: Handle) -> Result<()> {
        self.with_handle(handle, true, |content| {
            if content.size > 0 {
                content.set_size()?;
            }
            content.for_each_range(&mut |content, start, end, is_data| match is_data {
                true => content.write_all(start, end),
                false => Ok(()),
            })
        })
        .map(drop)
    }

    fn with_handle(
        &self,
        handle: Handle,
        writable: bool,
        work: impl FnOnce(&mut Content<'_>) -> Result<()>,
    ) -> Result<bool> {
        let mut content = Content {
            tree: self.tree,
            snapshot: self.snapshot,
            caller: self.caller,
            live: self.live,
            past: self.past,
            size: self.size,
            block: u64::from(self.block_size.clamp(4096, 1 << 20)).next_power_of_two(),
            dry_run: self.dry_run,
            handle,
            writable,
            changed: false,
            known: (0, 0, false),
            wanted: Vec::new(),
            found: Vec::new(),
        };
        let mut worked = work(&mut content);
        if content.writable {
            // Where something was written, closing is a moment worth showing.
            worked = worked.and(self.tree.flush(content.handle));
        }
        self.tree.release(content.handle);
        worked.map(|()| content.changed)
    }
}

impl Content<'_> {
    fn equalise(&mut self) -> Result<()> {
        self.for_each_range(&mut |content, start, end, is_data| match is_data {
            true => content.equalise_data(start, end),
            false => content.equalise_hole(start, end),
        })
    }

    /// Tells whether nothing more is to be found out.
    fn is_done(&self) -> bool {
        self.dry_run && self.changed
    }

    /// Hands out the past file's ranges of data and its holes in order.
    fn for_each_range(&mut self, work: &mut dyn FnMut(&mut Self, u64, u64, bool) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while at < self.size && !self.is_done() {
            let extents = self.snapshot.extents(self.past, at, PAGE)?;
            if extents.is_empty() {
                return work(self, at, self.size, false);
            }
            for extent in extents {
                let (start, end) = (extent.offset.min(self.size), extent.end().min(self.size));
                if start > at {
                    work(self, at, start, false)?;
                }
                if end > start {
                    work(self, start, end, true)?;
                }
                at = at.max(end);
            }
        }
        Ok(())
    }

    fn write_all(&mut self, mut start: u64, end: u64) -> Result<()> {
        while start < end {
            let chunk_end = end.min(start + CHUNK_BYTES);
            self.read_past(start, chunk_end)?;
            let wanted = std::mem::take(&mut self.wanted);
            self.write(start, &wanted)?;
            self.wanted = wanted;
            start = chunk_end;
        }
        Ok(())
    }

    /// Compares data block by block and writes the blocks that differ, or that are holes.
    fn equalise_data(&mut self, mut start: u64, end: u64) -> Result<()> {
        while start < end && !self.is_done() {
            // Chunks end where blocks do.
            let chunk_end = end.min((start + CHUNK_BYTES) / self.block * self.block).max(end.min(start + self.block));
            self.equalise_chunk(start, chunk_end)?;
            start = chunk_end;
        }
        Ok(())
    }

    fn equalise_chunk(&mut self, start: u64, end: u64) -> Result<()> {
        self.read_past(start, end)?;
        self.read_live(start, end)?;
        let wanted = std::mem::take(&mut self.wanted);
        let found = std::mem::take(&mut self.found);
        let mut differing: Option<u64> = None;
        let mut at = start;
        while at < end {
            let block_end = end.min((at / self.block + 1) * self.block);
            let range = index(at - start)..index(block_end - start);
            let (want, have) = (&wanted[range.clone()], &found[range]);
            let equal = want == have && (!is_zero(want) || self.is_data(at));
            match differing {
                None if !equal => differing = Some(at),
                Some(from) if equal => {
                    self.write(from, &wanted[index(from - start)..index(at - start)])?;
                    differing = None;
                }
                _ => {}
            }
            at = block_end;
        }
        if let Some(from) = differing {
            self.write(from, &wanted[index(from - start)..])?;
        }
        (self.wanted, self.found) = (wanted, found);
        Ok(())
    }

    /// Makes a hole: whole blocks are punched, what remains at the edges is zeroed.
    fn equalise_hole(&mut self, start: u64, end: u64) -> Result<()> {
        let first = start.next_multiple_of(self.block).min(end);
        // Behind the end of the file there is nothing to keep.
        let last = if end == self.size { end } else { (end / self.block * self.block).max(first) };
        self.zero(start, first)?;
        self.punch(first, last)?;
        self.zero(last, end)
    }

    fn punch(&mut self, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end && !self.is_done() {
            if !self.is_data(at) {
                at = self.known.1;
                continue;
            }
            let data_end = self.known.1.min(end).next_multiple_of(self.block);
            if !self.dry_run {
                self.open_for_writing()?;
                match self.tree.allocate(self.caller, self.handle, Allocation::PunchHole, at, data_end - at) {
                    Err(TreeError::Refused(Errno::NOTSUP | Errno::NOSYS)) => return self.zero(at, end),
                    other => other?,
                }
            }
            self.changed = true;
            at = data_end;
        }
        Ok(())
    }

    /// Writes zeros where there are none.
    fn zero(&mut self, mut start: u64, end: u64) -> Result<()> {
        while start < end && !self.is_done() {
            let chunk_end = end.min(start + CHUNK_BYTES);
            self.read_live(start, chunk_end)?;
            if !is_zero(&self.found) {
                self.write(start, &vec![0; index(chunk_end - start)])?;
            }
            start = chunk_end;
        }
        Ok(())
    }

    fn read_past(&mut self, start: u64, end: u64) -> Result<()> {
        self.wanted.resize(index(end - start), 0);
        let read = self.snapshot.read_at(self.past, start, &mut self.wanted)?;
        self.wanted[read..].fill(0);
        Ok(())
    }

    fn read_live(&mut self, start: u64, end: u64) -> Result<()> {
        self.found.resize(index(end - start), 0);
        if self.dry_run && self.changed {
            return Ok(());
        }
        let mut done = 0;
        while done < self.found.len() {
            match self.tree.read(self.handle, start + done as u64, &mut self.found[done..])? {
                0 => break,
                read => done += read,
            }
        }
        self.found[done..].fill(0);
        Ok(())
    }

    fn write(&mut self, mut offset: u64, mut data: &[u8]) -> Result<()> {
        self.changed = true;
        if self.dry_run {
            return Ok(());
        }
        self.open_for_writing()?;
        self.known = (0, 0, false);
        while !data.is_empty() {
            let written = self.tree.write(self.caller, self.handle, offset, data)?.min(data.len());
            if written == 0 {
                return Err(Errno::IO.into());
            }
            offset += written as u64;
            data = &data[written..];
        }
        Ok(())
    }

    fn set_size(&mut self) -> Result<()> {
        self.changed = true;
        let size = SetAttributes { size: Some(self.size), ..SetAttributes::default() };
        let handle = self.writable.then_some(self.handle);
        self.tree.set_attributes(self.caller, self.live, handle, &size).map(drop)
    }

    /// A file is opened for writing only once something differs.
    fn open_for_writing(&mut self) -> Result<()> {
        if !self.writable {
            let mode = OpenMode { read: true, write: true, ..OpenMode::default() };
            let handle = self.tree.open(self.caller, self.live, mode)?;
            self.tree.release(std::mem::replace(&mut self.handle, handle));
            self.writable = true;
        }
        Ok(())
    }

    /// Tells whether the live file has data at an offset, and learns how far that goes.
    fn is_data(&mut self, at: u64) -> bool {
        if !(self.known.0..self.known.1).contains(&at) {
            self.known = self.look_for_data(at);
        }
        self.known.2
    }

    fn look_for_data(&self, at: u64) -> (u64, u64, bool) {
        match self.tree.seek(self.handle, at, SeekFor::Data) {
            Ok(data) if data > at => (at, data, false),
            Ok(_) => match self.tree.seek(self.handle, at, SeekFor::Hole) {
                Ok(hole) if hole > at => (at, hole, true),
                _ => (at, u64::MAX, true),
            },
            Err(error) if error.errno() == Errno::NXIO => (at, u64::MAX, false),
            // A host that cannot tell has no holes.
            Err(_) => (at, u64::MAX, true),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Narrows an offset inside a chunk.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
