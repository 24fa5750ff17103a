//! The store itself: opening and closing, and the storage interface.

use std::path::Path;
use std::sync::Arc;

use ize_core::failpoint;
use ize_core::model::{BranchId, Entry, FileId, FileMetadata, Name, OpCode, OpId, Timestamp, View};
use ize_core::storage::{
    Batch, Binding, Capabilities, DirEntry, Extent, FileSystemStorage, Finding, Head, OpQuery, Ref, RefName, RefTarget,
    Result, SizeOf, StorageError, StorageInfo, Xattr,
};
use parking_lot::{Mutex, RwLock};

use crate::apply::{Before, Folders};
use crate::commit::Commit;
use crate::content::{ChunkWriter, PackedChunks};
use crate::engine::{self, ApplyError, Changes, Constructor};
use crate::index::{Branches, Draft, Origin, State};
use crate::layout::{Format, Layout};
use crate::pack::{Kind, Packs, Position, Writer};
use crate::query::{self, Query};
use crate::replay::{ROWS_MAX, Replay, find_end, load_branches};
use crate::{Engine, FORMAT_VERSION, StoreOptions, UnknownEngine, apply, batch, limit, verify};

/// A storage in a folder: packs with checksums, and an index over them.
///
/// One process at a time has a store open, once; a lock in the folder sees to that.
///
/// # What survives
/// What [`FileSystemStorage::commit`] and [`FileSystemStorage::set_ref`] returned from survives a power cut. A commit
/// that did not return is there after a crash, or is not; never a part of it.
///
/// ```
/// use ize_core::storage::FileSystemStorage;
/// use ize_store::{Store, StoreOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let parent = tempfile::tempdir()?;
/// # let dir = parent.path().join("store");
/// let store = Store::create(&dir, &StoreOptions::default())?;
/// assert_eq!(store.info()?.backend, "store");
/// # Ok(())
/// # }
/// ```
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) engine: Arc<dyn Constructor>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) chunks: PackedChunks,
    index: RwLock<Arc<dyn engine::Engine>>,
    /// What readers may see without a snapshot.
    head: RwLock<Head>,
    branches: RwLock<Arc<Branches>>,
    pub(crate) writing: Mutex<Writing>,
    options: StoreOptions,
}

/// What only the one writer uses.
pub(crate) struct Writing {
    writer: Writer,
    /// Of what was committed; emptied when a commit fails.
    folders: Folders,
    before: Before,
    pub(crate) state: State,
    /// An earlier write may or may not be durable.
    is_poisoned: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("layout", &self.layout).field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a new store in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if the folder holds a store already; [`StorageError::Locked`].
    pub fn create(dir: impl AsRef<Path>, options: &StoreOptions) -> Result<Self> {
        Self::create_on(dir.as_ref(), Arc::new(options.engine), options)
    }

    /// As [`Store::create`], with an engine that this crate does not have; that of the options does not matter.
    ///
    /// # Errors
    /// As [`Store::create`].
    #[cfg(feature = "engine-api")]
    pub fn create_with(dir: impl AsRef<Path>, engine: Arc<dyn Constructor>, options: &StoreOptions) -> Result<Self> {
        Self::create_on(dir.as_ref(), engine, options)
    }

    fn create_on(dir: &Path, engine: Arc<dyn Constructor>, options: &StoreOptions) -> Result<Self> {
        let layout = Layout::create(dir)?;
        let index = layout.create_index(&*engine)?;
        let index = layout.adopt_index(index, &*engine)?;
        layout.write_format(&*engine)?;
        Self::start(layout, engine, Some(index), options)
    }

    /// Opens a store. What a crash left unfinished is finished, or cut off.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] if there is no store; [`StorageError::Locked`]; [`StorageError::NewerFormat`];
    /// [`StorageError::Corrupt`] if the index or the end of the packs is damaged: then [`Store::rebuild_index`] helps.
    pub fn open(dir: impl AsRef<Path>, options: &StoreOptions) -> Result<Self> {
        let (layout, format) = Layout::open(dir.as_ref())?;
        let engine = known(&format.engine)?;
        Self::open_on(layout, &format, Arc::new(engine), options)
    }

    /// As [`Store::open`], for a store with an engine that this crate does not have.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StorageError::Invalid`] if the store has another engine.
    #[cfg(feature = "engine-api")]
    pub fn open_with(dir: impl AsRef<Path>, engine: Arc<dyn Constructor>, options: &StoreOptions) -> Result<Self> {
        let (layout, format) = Layout::open(dir.as_ref())?;
        check_engine(&format, &*engine)?;
        Self::open_on(layout, &format, engine, options)
    }

    fn open_on(layout: Layout, format: &Format, engine: Arc<dyn Constructor>, options: &StoreOptions) -> Result<Self> {
        layout.remove_stray_indexes()?;
        let index = match layout.open_index(&*engine) {
            Err(StorageError::Corrupt(_)) if format.version < FORMAT_VERSION || layout.was_cut_off()? => None,
            opened => Some(opened?),
        };
        let index = index.filter(|index| State::is_current(&**index));
        let store = Self::start(layout, engine, index, options)?;
        if format.version < FORMAT_VERSION {
            // Before anything is written that an older version of Ize could not read.
            store.layout.write_format(&*store.engine)?;
        }
        Ok(store)
    }

    /// Builds the index anew from the packs, in the engine that it has, without opening the store: for an index that is
    /// missing or damaged. What is lost is reported.
    ///
    /// # Errors
    /// If the packs cannot be read, or the index cannot be written. The index is then as it was.
    pub fn rebuild_index(dir: impl AsRef<Path>, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let (layout, format) = Layout::open(dir.as_ref())?;
        let engine = known(&format.engine)?;
        Self::rebuild_on(&layout, &format, &engine, report)
    }

    /// As [`Store::rebuild_index`], for a store with an engine that this crate does not have.
    ///
    /// # Errors
    /// As [`Store::rebuild_index`]; [`StorageError::Invalid`] if the store has another engine.
    #[cfg(feature = "engine-api")]
    pub fn rebuild_index_with(
        dir: impl AsRef<Path>,
        engine: &dyn Constructor,
        report: &mut dyn FnMut(Finding),
    ) -> Result<()> {
        let (layout, format) = Layout::open(dir.as_ref())?;
        check_engine(&format, engine)?;
        Self::rebuild_on(&layout, &format, engine, report)
    }

    fn rebuild_on(
        layout: &Layout,
        format: &Format,
        engine: &dyn Constructor,
        report: &mut dyn FnMut(Finding),
    ) -> Result<()> {
        let packs = Arc::new(Packs::open(&layout.packs())?);
        let chunks = PackedChunks::new(packs.clone());
        let index = layout.create_index(engine)?;
        let rebuild = verify::Rebuild { index: &*index.engine, dir: layout.dir(), packs: &packs, chunks: &chunks };
        rebuild.run(report, &mut |_| {})?;
        if format.version != FORMAT_VERSION {
            layout.write_format(engine)?;
        }
        layout.adopt_index(index, engine).map(drop)
    }

    fn start(
        layout: Layout,
        engine: Arc<dyn Constructor>,
        index: Option<Box<dyn engine::Engine>>,
        options: &StoreOptions,
    ) -> Result<Self> {
        let packs = Arc::new(Packs::open(&layout.packs())?);
        let chunks = PackedChunks::new(packs.clone());
        let index = match index {
            Some(index) if !layout.was_cut_off()? || verify::is_index_whole(&*index)? => index,
            damaged => {
                tracing::warn!(
                    "the index was damaged when the machine went down, or is an older version's; it is being rebuilt"
                );
                drop(damaged);
                let fresh = layout.create_index(&*engine)?;
                let mut warn = |finding: Finding| tracing::warn!("{}", finding.what);
                let (index, dir) = (&*fresh.engine, layout.dir());
                verify::Rebuild { index, dir, packs: &packs, chunks: &chunks }.run(&mut warn, &mut |_| {})?;
                layout.adopt_index(fresh, &*engine)?
            }
        };
        failpoint::pass("index-opened");
        let (state, writer) = catch_up(&*index, &packs, &chunks, options)?;
        failpoint::pass("index-caught-up");
        let branches = load_branches(&*index.snapshot()?)?;
        layout.begin_session()?;
        failpoint::pass("session-begun");
        Ok(Self {
            layout,
            engine,
            packs,
            chunks,
            index: RwLock::new(index.into()),
            head: RwLock::new(state.head),
            branches: RwLock::new(Arc::new(branches)),
            writing: Mutex::new(Writing {
                writer,
                folders: Folders::default(),
                before: Before::default(),
                state,
                is_poisoned: false,
            }),
            options: options.clone(),
        })
    }

    /// Returns the index. The handle is dropped soon, before anything is written.
    fn index(&self) -> Arc<dyn engine::Engine> {
        self.index.read().clone()
    }

    /// Answers one question about a view.
    fn ask<T>(&self, view: View, question: impl FnOnce(&Query<'_>) -> Result<T>) -> Result<T> {
        let index = self.index();
        // Branches first: a view of a branch that is known by now finds it in the snapshot.
        let branches = self.branches.read().clone();
        let snapshot = index.snapshot()?;
        question(&Query::new(&*snapshot, &branches, view)?)
    }

    /// Writes to the packs and to a draft of the index, then makes both durable; or takes everything back.
    fn write<T>(
        &self,
        writing: &mut Writing,
        change: impl FnOnce(&mut Draft<'_>, &mut Writing) -> Result<(Head, T)>,
    ) -> Result<T> {
        if writing.is_poisoned {
            return Err(StorageError::Poisoned);
        }
        let before = writing.writer.position();
        match self.prepare(writing, change) {
            Ok((changes, state, answer)) => self.make_durable(writing, before, &changes, state).map(|()| answer),
            Err(error) => {
                take_back(writing, before);
                self.chunks.clear();
                Err(error)
            }
        }
    }

    fn prepare<T>(
        &self,
        writing: &mut Writing,
        change: impl FnOnce(&mut Draft<'_>, &mut Writing) -> Result<(Head, T)>,
    ) -> Result<(Changes, State, T)> {
        let index = self.index();
        let snapshot = index.snapshot()?;
        let mut draft = Draft::new(&*snapshot, writing.state.sums);
        let (head, answer) = change(&mut draft, writing)?;
        writing.writer.flush()?;
        let (mut changes, sums) = draft.finish();
        let state = State { head, position: writing.writer.position(), sums };
        state.save(&mut changes);
        Ok((changes, state, answer))
    }

    fn make_durable(&self, writing: &mut Writing, before: Position, changes: &Changes, state: State) -> Result<()> {
        let mut is_sync_failed = false;
        let applied = self.index().apply(changes, &mut || {
            // Packs first: the index never refers to what a power cut could take away.
            writing.writer.sync().inspect_err(|_| is_sync_failed = true)
        });
        match applied {
            Ok(()) => {
                failpoint::pass("index-committed");
                writing.state = state;
                *self.head.write() = state.head;
                Ok(())
            }
            Err(ApplyError::Refused(error)) => {
                // After a failed sync the kernel may have dropped what it could not write, and would not say so again.
                writing.is_poisoned |= is_sync_failed;
                take_back(writing, before);
                self.chunks.clear();
                Err(error)
            }
            Err(ApplyError::Unknown(error)) => {
                writing.is_poisoned = true;
                Err(error)
            }
        }
    }

    fn check_target(&self, snapshot: &dyn engine::Snapshot, name: &RefName, target: &RefTarget) -> Result<()> {
        let branches = self.branches.read();
        let within_head = |at: OpId| {
            let head = self.head.read().op;
            if at > head { Err(StorageError::Invalid(format!("{at} lies beyond the head, {head}"))) } else { Ok(()) }
        };
        match *target {
            RefTarget::Snapshot { view, .. } => {
                branches.lineage(view)?;
                within_head(view.at)?;
            }
            RefTarget::Branch { id, parent, base } => {
                branches.lineage(View::latest(parent))?;
                within_head(base)?;
                if id == BranchId::MAIN || branches.get(id).is_some_and(|known| known != Origin { parent, base }) {
                    return Err(StorageError::Invalid(format!("{id} exists already")));
                }
            }
        }
        match query::target(snapshot, name)? {
            Some(known @ RefTarget::Branch { .. }) if known != *target => {
                Err(StorageError::Invalid(format!("{name} is the name of another branch")))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that a store has an engine.
#[cfg(feature = "engine-api")]
fn check_engine(format: &Format, engine: &dyn Constructor) -> Result<()> {
    let (has, wanted) = (&format.engine, engine.name());
    if has == wanted {
        Ok(())
    } else {
        Err(StorageError::Invalid(format!("the store's engine is {has}, not {wanted}")))
    }
}

/// Returns the engine of this crate that a store names.
fn known(name: &str) -> Result<Engine> {
    name.parse().map_err(|error: UnknownEngine| StorageError::Invalid(error.to_string()))
}

/// Brings the index up to the end of the packs, and the packs to the end of their last commit.
fn catch_up(
    index: &dyn engine::Engine,
    packs: &Arc<Packs>,
    chunks: &PackedChunks,
    options: &StoreOptions,
) -> Result<(State, Writer)> {
    let state = State::load(&*index.snapshot()?)?;
    let end = find_end(packs, state.position)?;
    let mut writer = Writer::new(packs.clone(), options.pack_bytes_max, end)?;
    writer.rollback(end)?;
    failpoint::pass("packs-cut");
    if end == state.position {
        return Ok((state, writer));
    }
    let mut failed = None;
    let mut report = |finding: Finding| failed = Some(finding.what);
    let state = Replay { engine: index, packs, chunks, report: &mut report, rows_max: ROWS_MAX, stop: &mut |_| false }
        .run(state)?;
    match failed {
        Some(what) => Err(StorageError::Corrupt(format!("{what}; 'repair' saves what it can"))),
        None => Ok((state, writer)),
    }
}

/// Takes back what a failed write left in the packs. If even that fails, nothing is written any more.
fn take_back(writing: &mut Writing, to: Position) {
    writing.folders = Folders::default();
    if let Err(error) = writing.writer.rollback(to) {
        tracing::error!("an unfinished batch stays in the packs: {error}");
        writing.is_poisoned = true;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Without a note of a clean end the next opening looks more closely, nothing worse.
        failpoint::pass("session-end");
        if let Err(error) = self.layout.end_session() {
            tracing::debug!("the store was not closed cleanly: {error}");
        }
    }
}

impl FileSystemStorage for Store {
    fn info(&self) -> Result<StorageInfo> {
        let packs = SizeOf { part: "packs".to_owned(), bytes: self.packs.bytes()? };
        let index = SizeOf { part: "index".to_owned(), bytes: self.layout.index_bytes()? };
        Ok(StorageInfo {
            backend: "store".to_owned(),
            engine: Some(self.engine.name().to_owned()),
            format_version: FORMAT_VERSION,
            capabilities: Capabilities { holes: true, branches: true, persistent: true },
            limits: limit::LIMITS,
            sizes: vec![packs, index],
        })
    }

    fn head(&self) -> Result<Head> {
        Ok(*self.head.read())
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        if batch.ops.is_empty() && batch.landmarks.is_empty() {
            return Ok(());
        }
        let mut writing = self.writing.lock();
        let branches = self.branches.read().clone();
        self.write(&mut writing, |draft, writing| {
            let Writing { writer, folders, before, state, .. } = writing;
            let chunks = ChunkWriter { writer, packed: &self.chunks, compresses: self.options.compression };
            let mut commit = Commit { draft, branches: &branches, chunks, folders, before };
            Ok((commit.batch(state.head, batch)?, ()))
        })
    }

    fn ops(&self, query: &OpQuery) -> Result<Vec<OpCode>> {
        let found = self.ask(query.view, |asked| asked.ops(query))?;
        query::load_ops(&self.packs, &found)
    }

    fn op_at_time(&self, time: Timestamp) -> Result<OpId> {
        let found = query::ops_at_time(&*self.index().snapshot()?, time)?;
        let ops = query::load_ops(&self.packs, &found)?;
        Ok(ops.iter().find(|op| op.timestamp <= time).map_or(OpId::ZERO, |op| op.last_id))
    }

    fn node(&self, view: View, file: FileId) -> Result<Option<FileMetadata>> {
        self.ask(view, |query| query.node(file))
    }

    fn entry(&self, view: View, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        self.ask(view, |query| query.entry(dir, name))
    }

    fn entries(&self, view: View, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        self.ask(view, |query| query.entries(dir, after, max))
    }

    fn names(&self, view: View, file: FileId) -> Result<Vec<Entry>> {
        self.ask(view, |query| query.names(file))
    }

    fn bindings(&self, view: View, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        self.ask(view, |query| query.bindings(entry, max))
    }

    fn read(&self, view: View, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        loop {
            let at = offset + done as u64;
            let rest = &mut buf[done..];
            let range = self.ask(view, |query| query.range(file, at, rest.len(), &self.chunks))?;
            range.copy_to(at, rest, &self.chunks)?;
            done += range.len;
            if range.len == 0 || done == buf.len() {
                return Ok(done);
            }
        }
    }

    fn extents(&self, view: View, file: FileId, from: u64, max: usize) -> Result<Vec<Extent>> {
        self.ask(view, |query| query.extents(file, from, max, &self.chunks))
    }

    fn xattrs(&self, view: View, file: FileId) -> Result<Vec<Xattr>> {
        let found = self.ask(view, |query| query.xattrs(file))?;
        query::load_xattrs(found, &self.chunks)
    }

    fn refs(&self) -> Result<Vec<Ref>> {
        query::refs(&*self.index().snapshot()?)
    }

    fn set_ref(&self, name: &RefName, target: Option<&RefTarget>) -> Result<()> {
        let mut writing = self.writing.lock();
        self.write(&mut writing, |draft, writing| {
            if let Some(target) = target {
                self.check_target(draft.snapshot(), name, target)?;
            }
            let payload = batch::encode_ref(name, target)?;
            writing.writer.append(Kind::Ref, &[&payload])?;
            apply::set_ref(draft, name, target)?;
            Ok((writing.state.head, ()))
        })?;
        if let Some(RefTarget::Branch { id, parent, base }) = target {
            Arc::make_mut(&mut self.branches.write()).insert(*id, Origin { parent: *parent, base: *base });
        }
        Ok(())
    }

    fn verify(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let writing = self.writing.lock();
        verify::verify(&*self.index(), &self.packs, &self.chunks, &writing.state, report)
    }

    fn repair(&self, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let mut writing = self.writing.lock();
        let fresh = self.layout.create_index(&*self.engine)?;
        self.chunks.clear();
        let (index, dir) = (&*fresh.engine, self.layout.dir());
        let rebuild = verify::Rebuild { index, dir, packs: &self.packs, chunks: &self.chunks };
        let state = rebuild.run(report, &mut |_| {})?;
        let writer = Writer::new(self.packs.clone(), self.options.pack_bytes_max, state.position)?;
        let branches = load_branches(&*fresh.engine.snapshot()?)?;
        // Should this fail, the present index may have lost its name: nothing more is written to it.
        writing.is_poisoned = true;
        let fresh = self.layout.adopt_index(fresh, &*self.engine)?;
        *self.index.write() = fresh.into();
        *self.head.write() = state.head;
        *self.branches.write() = Arc::new(branches);
        (writing.writer, writing.state, writing.is_poisoned) = (writer, state, false);
        writing.folders = Folders::default();
        Ok(())
    }
}
