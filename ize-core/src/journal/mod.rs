//! The journal: where a recorded operation is safe from a killed process, and, once synced, from a power cut.
//!
//! It is a folder of numbered, preallocated segments to which records are appended: operations with their data, and
//! marks that make an operation a landmark. When [`Journal::append_op`] has returned, the record survives `kill -9`;
//! when a [`SyncPoint`] taken after it was synced, it survives a power cut. Segments are removed once all that they hold is
//! committed to storage.
//!
//! What must always hold: the records on disk are a dense sequence ([`Seq`]); what was appended is never lost silently
//! (see [`RecoveryReport`] and [`JournalError::Damaged`]); after a failed write or sync nothing is written any more.
//! `docs/format.md` describes each byte. The one caller is [`crate::record::Recorder`].

mod blank;
mod error;
mod medium;
mod options;
mod read_back;
mod record;
mod recovery;
mod replay;
mod segment;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

pub use error::JournalError;
pub use medium::{FsMedium, Medium, MediumFile};
pub use options::JournalOptions;
pub(crate) use read_back::{Budget, Position, ReadBack, Sealed};
pub use record::{Record, Seq, TreeSyncPoint};
pub use recovery::RecoveryReport;
pub use replay::Replay;

use crate::failpoint;
use crate::model::{FileId, Landmark, OpCode, OpData, OpId};
use record::{Encoder, Place, padded};
use recovery::{Found, Recovered, recover};
use segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// The version of the journal's format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// A specialised `Result` for calls on the journal.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// Room that is kept in the segments for records that are about to come.
#[derive(Debug, Default)]
struct Reserved {
    records: u64,
    bytes: u64,
    /// The largest of them, or of some before them: as much may be left over at the end of each segment.
    largest: u64,
}

#[derive(Debug)]
struct Active {
    header: SegmentHeader,
    file: Arc<dyn MediumFile>,
    bytes: u64,
    end: u64,
}

#[derive(Debug)]
struct Closed {
    header: SegmentHeader,
    file: Arc<dyn MediumFile>,
    bytes: u64,
    last_seq: Seq,
}

#[derive(Debug)]
struct Spare {
    number: u64,
    file: Arc<dyn MediumFile>,
}

/// The journal of one project.
#[derive(Debug)]
pub struct Journal {
    medium: Arc<dyn Medium>,
    options: JournalOptions,
    closed: VecDeque<Closed>,
    active: Option<Active>,
    spares: VecDeque<Spare>,
    reserved: Reserved,
    encoder: Encoder,
    next_seq: Seq,
    next_number: u64,
    /// All up to here is durable.
    synced: Seq,
    /// Segments were made since the folder was last synced.
    folder_dirty: bool,
    poisoned: bool,
    report: RecoveryReport,
}

impl Journal {
    /// What a record takes up beside its data, at most in any ordinary case: long names, several inodes.
    const OVERHEAD_BYTES: u64 = 4096;

    /// Opens a journal, or begins one, and finds the end of its valid records. A torn end is cleared.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if records are missing that should be there, [`JournalError::NewerFormat`], and those
    /// of the medium.
    pub fn open(medium: Arc<dyn Medium>, options: JournalOptions) -> Result<Self> {
        let options = options.bounded(&*medium);
        let recovered = recover(&*medium)?;
        failpoint::pass("journal-read");
        let mut journal = Self {
            medium,
            options,
            closed: VecDeque::new(),
            active: None,
            spares: VecDeque::new(),
            reserved: Reserved::default(),
            encoder: Encoder::new(),
            next_seq: Seq::FIRST,
            next_number: recovered.number_max + 1,
            synced: Seq::ZERO,
            folder_dirty: true,
            poisoned: false,
            report: recovered.report,
        };
        journal.adopt(recovered)?;
        failpoint::pass("journal-adopted");
        Ok(journal)
    }

    /// Takes over what recovery found: clears what is no part of it, and goes on where it ends.
    fn adopt(&mut self, recovered: Recovered) -> Result<()> {
        // From the last on, so that an interruption leaves no gap.
        for number in recovered.surplus.iter().rev() {
            self.medium.remove(*number).map_err(JournalError::io("removing an unused journal segment"))?;
            self.next_number = *number;
        }
        let mut segments = recovered.segments;
        let Some(last) = segments.pop_back() else { return Ok(()) };
        for found in segments {
            self.closed.push_back(closed(found));
        }
        self.next_seq = last.last_seq.next();
        self.report.torn_bytes = clear_tail(&last)?;
        self.active =
            Some(Active { header: last.header, file: last.file, bytes: last.bytes.max(last.end), end: last.end });
        Ok(())
    }

    /// Tells what opening found.
    pub fn recovery(&self) -> RecoveryReport {
        self.report
    }

    /// Returns all records from the oldest on.
    pub fn replay(&self) -> Replay {
        let active = self.active.iter().map(|active| active.file.clone());
        Replay::new(self.closed.iter().map(|closed| closed.file.clone()).chain(active).collect(), self.next_seq)
    }

    /// Returns the most data that a record may have.
    pub fn data_bytes_max(&self) -> u64 {
        self.options.segment_bytes / 2 - Self::OVERHEAD_BYTES
    }

    /// Keeps room for a record with `data_bytes` of data, so that appending it does not find the disk full. To be given
    /// back with [`Journal::release`], when the record was appended or is not going to be.
    ///
    /// # Errors
    /// [`JournalError::Full`], [`JournalError::AtLimit`], [`JournalError::TooLarge`], [`JournalError::Poisoned`].
    pub fn reserve(&mut self, data_bytes: u64) -> Result<()> {
        self.check()?;
        if data_bytes > self.data_bytes_max() {
            return Err(JournalError::TooLarge { bytes: data_bytes, bytes_max: self.data_bytes_max() });
        }
        let bytes = data_bytes + Self::OVERHEAD_BYTES;
        let largest = self.reserved.largest.max(bytes);
        while self.usable_bytes(largest) < self.reserved.bytes + bytes + self.options.emergency_bytes {
            match self.add_spare_within(data_bytes == 0) {
                Ok(()) => {}
                Err(JournalError::Full | JournalError::AtLimit)
                    if data_bytes == 0 && self.usable_bytes(largest) >= self.reserved.bytes + bytes =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.reserved.records += 1;
        self.reserved.bytes += bytes;
        self.reserved.largest = largest;
        Ok(())
    }

    /// Gives room back that was kept for `data_bytes` of data.
    pub fn release(&mut self, data_bytes: u64) {
        self.reserved.records = self.reserved.records.saturating_sub(1);
        self.reserved.bytes = self.reserved.bytes.saturating_sub(data_bytes + Self::OVERHEAD_BYTES);
        if self.reserved.records == 0 {
            self.reserved = Reserved::default();
        }
    }

    /// Returns how many bytes of records certainly fit if none is larger than `largest`.
    fn usable_bytes(&self, largest: u64) -> u64 {
        let free = self.active.as_ref().map_or(0, |active| active.bytes.saturating_sub(active.end));
        let spare = self.options.segment_bytes - SEGMENT_HEADER_BYTES as u64;
        free.saturating_sub(largest) + self.spares.len() as u64 * spare.saturating_sub(largest)
    }

    /// Adds a segment if the journal may become that long.
    fn add_spare_within(&mut self, is_small: bool) -> Result<()> {
        let beyond = if is_small { self.options.segment_bytes } else { 0 };
        if self.bytes() + self.options.segment_bytes > self.bytes_max() + beyond {
            return Err(JournalError::AtLimit);
        }
        self.add_spare()
    }

    fn add_spare(&mut self) -> Result<()> {
        let number = self.next_number;
        let file = self
            .medium
            .create(number, self.options.segment_bytes)
            .map_err(JournalError::io("making a journal segment"))?;
        failpoint::pass("segment-made");
        self.next_number += 1;
        self.folder_dirty = true;
        self.spares.push_back(Spare { number, file });
        Ok(())
    }

    /// Appends an operation with its data. When this returns the record survives the process, but not yet a power cut.
    ///
    /// # Errors
    /// [`JournalError::Invalid`], [`JournalError::TooLarge`] and [`JournalError::Full`] leave the journal as it was; any
    /// other poisons it.
    pub fn append_op(&mut self, op: &OpCode) -> Result<Seq> {
        self.check()?;
        self.encoder.op(op)?;
        match &op.data {
            OpData::Inline(data) => self.append(op.id, data),
            OpData::None | OpData::Reference { .. } => self.append(op.id, &[]),
        }
    }

    /// Appends a mark: an operation that was appended or committed before turned out to be a landmark.
    ///
    /// # Errors
    /// As [`Journal::append_op`].
    pub fn append_mark(&mut self, op: OpId, landmark: Landmark) -> Result<Seq> {
        self.check()?;
        self.encoder.mark(op, landmark)?;
        self.append(op.next(), &[])
    }

    /// Appends the note that a file may be changed in place before an operation tells of it. `next_op` is the next
    /// operation's id.
    ///
    /// # Errors
    /// As [`Journal::append_op`].
    pub fn append_dirty(&mut self, file: FileId, next_op: OpId) -> Result<Seq> {
        self.check()?;
        self.encoder.dirty(file)?;
        self.append(next_op, &[])
    }

    /// Appends the note that the tree was synced. `next_op` is the next operation's id.
    ///
    /// # Errors
    /// As [`Journal::append_op`].
    pub fn append_synced(&mut self, through: TreeSyncPoint, next_op: OpId) -> Result<Seq> {
        self.check()?;
        self.encoder.synced(through)?;
        self.append(next_op, &[])
    }

    fn append(&mut self, first_op: OpId, data: &[u8]) -> Result<Seq> {
        let bytes = padded(self.encoder.head_bytes() + data.len()) as u64;
        let largest = self.options.segment_bytes / 2;
        if bytes > largest {
            return Err(JournalError::TooLarge { bytes, bytes_max: largest });
        }
        if self.active.as_ref().is_none_or(|active| active.bytes.saturating_sub(active.end) < bytes) {
            self.activate_next(first_op)?;
        }
        let active = self.active.as_mut().expect("a segment was just made active");
        let place = Place { salt: active.header.salt, offset: active.end };
        let (head, rest) = self.encoder.seal(place, self.next_seq, self.synced, data)?;
        failpoint::pass("journal-append");
        if let Err(source) = active.file.write_at(head, rest, active.end) {
            self.poisoned = true;
            return Err(JournalError::Io { action: "appending to the journal", source });
        }
        failpoint::pass("journal-appended");
        active.end += bytes;
        let seq = self.next_seq;
        self.next_seq = seq.next();
        Ok(seq)
    }

    /// Closes the active segment and begins the next one.
    fn activate_next(&mut self, first_op: OpId) -> Result<()> {
        if self.spares.is_empty() {
            self.add_spare()?;
        }
        let spare = self.spares.pop_front().expect("there is a spare segment");
        let (salt, _) = uuid::Uuid::new_v4().as_u64_pair();
        let header = SegmentHeader { number: spare.number, salt, first_seq: self.next_seq, first_op };
        if let Err(source) = spare.file.write_at(&header.encode(), &[], 0) {
            self.poisoned = true;
            return Err(JournalError::Io { action: "beginning a journal segment", source });
        }
        failpoint::pass("segment-begun");
        let active =
            Active { header, file: spare.file, bytes: self.options.segment_bytes, end: SEGMENT_HEADER_BYTES as u64 };
        if let Some(full) = self.active.replace(active) {
            self.closed.push_back(Closed {
                header: full.header,
                file: full.file,
                bytes: full.bytes,
                last_seq: self.next_seq.prev(),
            });
        }
        Ok(())
    }

    /// Returns the position of the last record; [`Seq::ZERO`] if there was none.
    pub fn last_seq(&self) -> Seq {
        self.next_seq.prev()
    }

    /// Returns up to where everything is durable.
    pub fn synced(&self) -> Seq {
        self.synced
    }

    /// Returns what has to be synced so that everything that was appended so far is durable.
    pub fn sync_point(&self) -> SyncPoint {
        let closed = self.closed.iter().filter(|closed| closed.last_seq > self.synced).map(|closed| &closed.file);
        let active = self.active.iter().map(|active| &active.file);
        SyncPoint {
            files: closed.chain(active).cloned().collect(),
            folder: self.folder_dirty.then(|| self.medium.clone()),
            seq: self.last_seq(),
            newest: self.next_number,
        }
    }

    /// Takes note of the outcome of [`SyncPoint::sync`]; a failure poisons the journal.
    ///
    /// # Errors
    /// The failure of the sync; [`JournalError::Poisoned`] if one failed before.
    pub fn finish_sync(&mut self, point: &SyncPoint, outcome: std::io::Result<()>) -> Result<()> {
        if let Err(source) = outcome {
            self.poisoned = true;
            return Err(JournalError::Io { action: "syncing the journal", source });
        }
        self.check()?;
        self.synced = self.synced.max(point.seq);
        self.folder_dirty &= self.next_number != point.newest;
        Ok(())
    }

    /// Returns the segments all of whose records are at most `through`: nobody needs them any more.
    pub fn trimmable(&self, through: Seq) -> Trimmed {
        let segments = self.closed.iter().take_while(|closed| closed.last_seq <= through);
        let segments = segments.map(|closed| (closed.header.number, Arc::clone(&closed.file))).collect();
        Trimmed { medium: self.medium.clone(), segments, removed: 0 }
    }

    /// Forgets the segments that [`Trimmed::remove`] has removed. Their space is free once `trimmed` is dropped too, which
    /// closes their files and may take a while.
    pub fn finish_trim(&mut self, trimmed: &Trimmed) {
        let removed = &trimmed.segments[..trimmed.removed];
        self.closed.retain(|closed| !removed.iter().any(|(number, _)| *number == closed.header.number));
    }

    /// Removes all segments: everything in them is committed. The next record begins a new one.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn clear(&mut self) -> Result<()> {
        let closed = self.closed.drain(..).map(|closed| (closed.header.number, closed.file));
        let active = self.active.take().map(|active| (active.header.number, active.file));
        let spares = self.spares.drain(..).map(|spare| (spare.number, spare.file));
        let segments = closed.chain(active).chain(spares).collect();
        Trimmed { medium: self.medium.clone(), segments, removed: 0 }.remove()
    }

    /// Returns the most space that the segments take, but for records without data.
    pub fn bytes_max(&self) -> u64 {
        self.options.bytes_max.unwrap_or(JournalOptions::BYTES_MAX)
    }

    /// Returns where the next record will be, or at the beginning of a later segment.
    pub(crate) fn end(&self) -> Position {
        let (segment, offset) = self.active.as_ref().map_or((0, 0), |active| (active.header.number, active.end));
        Position { segment, offset, seq: self.next_seq }
    }

    /// Returns the segments that hold what was appended from a position on: some of them, where there are many.
    pub(crate) fn sealed_from(&self, from: Position) -> Sealed {
        let closed = self.closed.iter().filter(|closed| closed.last_seq >= from.seq);
        let closed = closed.map(|closed| (closed.header, closed.file.clone()));
        let active = self.active.iter().map(|active| (active.header, active.file.clone()));
        Sealed::new(closed.chain(active).take(Sealed::SEGMENTS_MAX).collect())
    }

    /// Returns how much space the segments take.
    pub fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|closed| closed.bytes).sum();
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        closed + active + self.spares.len() as u64 * self.options.segment_bytes
    }

    fn check(&self) -> Result<()> {
        if self.poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }
}

fn closed(found: Found) -> Closed {
    Closed { header: found.header, file: found.file, bytes: found.bytes, last_seq: found.last_seq }
}

/// Makes what stands behind the last valid record zeros, so that it is never mistaken for something. Returns how many
/// bytes of it were not zeros.
fn clear_tail(last: &Found) -> Result<u64> {
    let segment = segment::read_segment(&*last.file, last.header.number)?;
    let end = usize::try_from(last.end).unwrap_or(usize::MAX);
    let tail = segment.get(end..segment::written_bytes(&segment)).unwrap_or_default();
    let torn = tail.iter().filter(|byte| **byte != 0).count() as u64;
    if torn > 0 {
        last.file.zero_from(last.end, last.bytes).map_err(JournalError::io("clearing the journal's torn end"))?;
        last.file.sync().map_err(JournalError::io("clearing the journal's torn end"))?;
    }
    Ok(torn)
}

/// A moment of the journal that can be made durable without holding the journal.
#[derive(Debug)]
pub struct SyncPoint {
    files: Vec<Arc<dyn MediumFile>>,
    folder: Option<Arc<dyn Medium>>,
    seq: Seq,
    newest: u64,
}

impl SyncPoint {
    /// Returns the position up to which everything will be durable.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Waits until everything up to [`SyncPoint::seq`] is durable. The outcome goes to [`Journal::finish_sync`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&self) -> std::io::Result<()> {
        failpoint::pass("journal-sync");
        if let Some(folder) = &self.folder {
            folder.sync_folder()?;
            failpoint::pass("journal-folder-synced");
        }
        self.files.iter().try_for_each(|file| file.sync())?;
        failpoint::pass("journal-synced");
        Ok(())
    }
}

/// Segments that nobody needs any more; removing them does not need the journal.
#[derive(Debug)]
#[must_use]
pub struct Trimmed {
    medium: Arc<dyn Medium>,
    segments: Vec<(u64, Arc<dyn MediumFile>)>,
    removed: usize,
}

impl Trimmed {
    /// Removes them, the oldest first, so that what an interruption leaves is a journal without a gap. What came of it
    /// goes to [`Journal::finish_trim`].
    ///
    /// # Errors
    /// Those of the medium.
    pub fn remove(&mut self) -> Result<()> {
        for (number, _) in &self.segments[self.removed..] {
            failpoint::pass("trim");
            self.medium.remove(*number).map_err(JournalError::io("removing a journal segment"))?;
            failpoint::pass("trimmed");
            self.removed += 1;
        }
        Ok(())
    }

    /// Tells whether there is anything to remove.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}
