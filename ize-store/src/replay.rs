//! Reading packs into an index: after a crash the last commits, for a rebuild everything.

use std::sync::mpsc::{Receiver, SyncSender};

use ize_core::model::{ContentHash, OpId};
use ize_core::storage::{Finding, RefName, RefTarget, Result, Severity, StorageError};

use crate::apply::{Apply, Derive, Folders, decode_origin, head_after, set_ref};
use crate::batch::{Derived, StoredBatch, StoredOp, decode, decode_ref};
use crate::cell::Chunk;
use crate::content::{ChunkRecord, Chunks, PackedChunks, encode_chunk, find};
use crate::engine::{ApplyError, Engine, Snapshot, Step, Table};
use crate::index::{Branches, Checked, Draft, State, bad_row};
use crate::pack::{Kind, Packs, Place, Position, Scanned};

/// So many changed rows are applied to an index at once.
pub(crate) const ROWS_MAX: usize = 200_000;
/// Records are handed over in portions: after a batch, or so many chunks.
const PORTION_MAX: usize = 1_000;
/// So many portions are read and decoded ahead.
const AHEAD_MAX: usize = 4;

/// Reads packs into an index.
pub(crate) struct Replay<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) packs: &'a Packs,
    pub(crate) chunks: &'a PackedChunks,
    /// Hears about what is damaged. Damage does not end a replay.
    pub(crate) report: &'a mut dyn FnMut(Finding),
    /// So many changed rows are applied at once.
    pub(crate) rows_max: usize,
    /// Asked after each set of changes, with the index's state there, whether to stop.
    pub(crate) stop: &'a mut dyn FnMut(&State) -> bool,
}

/// What a replay knows while it goes on.
struct Progress {
    state: State,
    branches: Branches,
    folders: Folders,
}

impl Replay<'_> {
    /// Reads everything after `state`, which is the index's, and returns the index's state then.
    pub(crate) fn run(&mut self, state: State) -> Result<State> {
        let mut progress =
            Progress { state, branches: load_branches(&*self.engine.snapshot()?)?, folders: Folders::default() };
        let packs = self.packs;
        std::thread::scope(|scope| {
            let (sender, found) = std::sync::mpsc::sync_channel(AHEAD_MAX);
            scope.spawn(move || {
                if let Err(error) = read_ahead(packs, state.position, &sender) {
                    // Who does not listen any more has failed for another reason.
                    let _ = sender.send(Err(error));
                }
            });
            loop {
                let is_more = self.round(&found, &mut progress)?;
                if (self.stop)(&progress.state) || !is_more {
                    return Ok(progress.state);
                }
            }
        })
    }

    /// Applies one set of changes. Tells whether there is more.
    fn round(&mut self, found: &Receiver<Result<Vec<Found>>>, progress: &mut Progress) -> Result<bool> {
        let engine = self.engine;
        let snapshot = engine.snapshot()?;
        let mut draft = Draft::new(&*snapshot, progress.state.sums);
        let mut is_more = true;
        while is_more && draft.len() < self.rows_max {
            match found.recv() {
                Ok(portion) => portion?.into_iter().try_for_each(|found| self.found(found, &mut draft, progress))?,
                Err(_) => is_more = false,
            }
        }
        let (mut changes, sums) = draft.finish();
        progress.state.sums = sums;
        progress.state.save(&mut changes);
        drop(snapshot);
        engine.apply(&changes, &mut || Ok(())).map_err(ApplyError::into_error)?;
        Ok(is_more)
    }

    fn lost(&mut self, what: String) {
        (self.report)(Finding { severity: Severity::Lost, what });
    }

    fn found(&mut self, found: Found, draft: &mut Draft<'_>, progress: &mut Progress) -> Result<()> {
        let place = found.place;
        match found.what {
            What::Chunk(hash, chunk) => {
                if find(draft, &hash)?.is_none() {
                    draft.put(Table::Content, hash.as_bytes().to_vec(), encode_chunk(chunk))?;
                }
            }
            What::Batch(batch) => self.batch(batch, draft, progress)?,
            What::Ref(name, target) => {
                set_ref(draft, &name, target.as_ref())?;
                if let Some(RefTarget::Branch { id, parent, base }) = target {
                    progress.branches.insert(id, crate::index::Origin { parent, base });
                }
            }
            What::Damage => self.lost(format!("{} bytes at {place} are damaged", place.len)),
        }
        progress.state.position = Position { pack: place.pack, offset: place.end() };
        Ok(())
    }

    fn batch(&mut self, batch: StoredBatch, draft: &mut Draft<'_>, progress: &mut Progress) -> Result<()> {
        let StoredBatch { ops, groups, tail } = batch;
        let mut recorded = Recorded { derived: tail.derived.into_iter().collect(), chunks: self.chunks };
        for stored in &ops {
            let due = progress.state.head.op.next();
            if stored.op.id != due {
                self.lost(format!("operations {due} to {} are missing", stored.op.id.prev()));
            }
            let chunks = self.data(draft, stored)?;
            let Progress { branches, folders, .. } = progress;
            let mut apply = Apply { draft, branches, derive: &mut recorded, folders };
            match apply.op(&stored.op, &chunks) {
                // Where earlier operations were lost, later ones may not fit the tree.
                Err(StorageError::Invalid(why)) => self.lost(why),
                applied => applied?,
            }
            progress.state.head = head_after(progress.state.head, &stored.op);
        }
        let Progress { branches, folders, .. } = progress;
        let mut apply = Apply { draft, branches, derive: &mut recorded, folders };
        apply.enter(&ops.iter().map(|stored| &stored.op).collect::<Vec<_>>(), groups)?;
        for (at, landmark) in tail.landmarks {
            match apply.mark_logged(at, landmark) {
                Err(StorageError::Invalid(why)) => self.lost(why),
                marked => marked?,
            }
        }
        progress.folders.flush(draft)
    }

    /// Finds the chunks of an operation's data.
    fn data(&mut self, draft: &Draft<'_>, stored: &StoredOp) -> Result<Vec<Chunk>> {
        let hashes = stored.data.chunks();
        let mut chunks = Vec::with_capacity(hashes.len());
        let mut lens = chunk_lens(stored);
        for hash in hashes {
            let len = lens.next().unwrap_or(0);
            let chunk = find(draft, hash)?;
            if chunk.is_none() {
                let (op, what) = (stored.op.id, &stored.op.op_type);
                self.lost(format!("{len} bytes of {op} ({what}) on {} are lost", stored.op.op_type.file()));
            }
            chunks.push(chunk.unwrap_or(Chunk { place: Place::lost(hash), len }));
        }
        Ok(chunks)
    }
}

/// What is at a place of a pack.
struct Found {
    place: Place,
    what: What,
}

enum What {
    Chunk(ContentHash, Chunk),
    Batch(StoredBatch),
    Ref(RefName, Option<RefTarget>),
    Damage,
}

impl Found {
    fn new(scanned: &Scanned) -> Result<Self> {
        let record = match scanned {
            Scanned::Record(record) => record,
            Scanned::Damage(place) => return Ok(Self { place: *place, what: What::Damage }),
        };
        let what = match record.kind {
            Kind::Chunk | Kind::ZstdChunk | Kind::DeltaChunk => {
                let parsed = ChunkRecord::parse(record)?;
                What::Chunk(parsed.hash, parsed.chunk)
            }
            Kind::PlainBatch | Kind::Batch => What::Batch(decode(record)?),
            Kind::Ref => {
                let (name, target) = decode_ref(record)?;
                What::Ref(name, target)
            }
        };
        Ok(Self { place: record.place, what })
    }
}

/// Reads and decodes what is in the packs from a position on, until nobody listens.
fn read_ahead(packs: &Packs, from: Position, sender: &SyncSender<Result<Vec<Found>>>) -> Result<()> {
    let mut portion = Vec::new();
    for number in packs.numbers().into_iter().filter(|number| *number >= from.pack) {
        let mut scanner = packs.scan(number, if number == from.pack { from.offset } else { 0 })?;
        while let Some(scanned) = scanner.next()? {
            let found = Found::new(&scanned)?;
            let is_full = portion.len() >= PORTION_MAX || !matches!(found.what, What::Chunk(..));
            portion.push(found);
            if is_full && sender.send(Ok(std::mem::take(&mut portion))).is_err() {
                return Ok(());
            }
        }
    }
    // Nobody listens any more who has no use for it.
    let _ = sender.send(Ok(portion));
    Ok(())
}

/// Returns how long the chunks of an operation's data are.
fn chunk_lens(stored: &StoredOp) -> impl Iterator<Item = u32> + use<> {
    let offset = stored.op.effects().find_map(|effect| match effect {
        ize_core::model::Effect::Write { offset, .. } => Some(offset),
        _ => None,
    });
    crate::cell::split(offset.unwrap_or(0), stored.op.data.size()).map(|(_, start, end)| end - start)
}

/// The chunks that were made when a batch was committed.
struct Recorded<'a> {
    derived: std::collections::VecDeque<Derived>,
    chunks: &'a PackedChunks,
}

impl Derive for Recorded<'_> {
    fn derive(
        &mut self,
        draft: &mut Draft<'_>,
        op: OpId,
        _: &mut dyn FnMut(&dyn Chunks) -> Result<Vec<u8>>,
    ) -> Result<Option<Chunk>> {
        let lost = |place| Some(Chunk { place, len: 0 });
        let Some(hash) = self.take(op, |_| true) else { return Ok(lost(Place::LOST)) };
        if hash == Derived::NOT_MADE {
            return Ok(None);
        }
        Ok(find(draft, &hash)?.or_else(|| lost(Place::lost(&hash))))
    }

    fn list(&mut self, op: OpId, chunk: Chunk) -> Result<Option<bytes::Bytes>> {
        if self.take(op, |hash| hash == Derived::LIST_LOST).is_some() {
            return Ok(None);
        }
        match self.chunks.chunk(chunk.place) {
            Err(StorageError::Corrupt(_)) => Ok(None),
            list => list.map(Some),
        }
    }
}

impl Recorded<'_> {
    /// Takes the next hash, if it is of this operation and wanted.
    fn take(&mut self, op: OpId, is_wanted: impl FnOnce(ContentHash) -> bool) -> Option<ContentHash> {
        while self.derived.front().is_some_and(|derived| derived.op < op) {
            self.derived.pop_front();
        }
        let next = self.derived.front().filter(|next| next.op == op && is_wanted(next.hash))?.hash;
        self.derived.pop_front();
        Some(next)
    }
}

/// Reads all branches.
pub(crate) fn load_branches(snapshot: &dyn Snapshot) -> Result<Branches> {
    let mut branches = Branches::default();
    Checked(snapshot).scan(Table::Branches, &[0], &mut |key, value| {
        let id = key.try_into().map(u32::from_be_bytes).ok();
        let known = id.zip(decode_origin(value)).ok_or_else(|| bad_row(Table::Branches, key))?;
        branches.insert(ize_core::model::BranchId::new(known.0), known.1);
        Ok(Step::Next)
    })?;
    Ok(branches)
}

/// Returns after which operations branches begin.
pub(crate) fn branch_bases(packs: &Packs) -> Result<Vec<OpId>> {
    let mut bases = Vec::new();
    for number in packs.numbers() {
        let mut scanner = packs.scan(number, 0)?;
        while let Some(scanned) = scanner.next()? {
            let Scanned::Record(record) = scanned else { continue };
            if record.kind == Kind::Ref
                && let (_, Some(RefTarget::Branch { base, .. })) = decode_ref(&record)?
            {
                bases.push(base);
            }
        }
    }
    Ok(bases)
}

/// Finds where the packs end for good, given how far the index is. What follows belongs to a commit that never
/// returned, and is to be cut off.
///
/// # Errors
/// [`StorageError::Corrupt`] if more than one commit follows damage: then it is not the end of an unfinished commit.
pub(crate) fn find_end(packs: &Packs, known: Position) -> Result<Position> {
    if known.pack > 0 && packs.len(known.pack)? < known.offset {
        let Position { pack, offset } = known;
        return Err(StorageError::Corrupt(format!(
            "pack {pack:08} ends before byte {offset}, which the index refers to"
        )));
    }
    let (mut end, mut commits, mut commits_behind, mut damage) = (known, 0, 0, None);
    for number in packs.numbers().into_iter().filter(|number| *number >= known.pack) {
        let from = if number == known.pack { known.offset } else { 0 };
        if !packs.has_header(number) {
            damage = damage.or(Some(Place { pack: number, offset: 0, len: 0 }));
        }
        let mut scanner = packs.scan(number, from)?;
        while let Some(scanned) = scanner.next()? {
            match scanned {
                Scanned::Damage(place) => damage = damage.or(Some(place)),
                Scanned::Record(record) if record.kind.is_chunk() => {}
                Scanned::Record(record) => {
                    commits += 1;
                    if damage.is_some() {
                        commits_behind += 1;
                    } else {
                        end = Position { pack: record.place.pack, offset: record.place.end() };
                    }
                }
            }
        }
    }
    match damage {
        Some(place) if commits > 1 && commits_behind > 0 => {
            Err(StorageError::Corrupt(format!("{place} is damaged, and commits follow; 'repair' saves what it can")))
        }
        _ => Ok(end),
    }
}
