//! One program in the mount: calls, one after the other, each of which is one operation.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use rustix::fs::{Advice, OFlags};

use super::Failure;
use super::ledger::{Clock, Kept, Times};
use super::state::{Entry, State};

const FILES: usize = 14;
const WRITE_BYTES_MAX: usize = 24_000;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// A call that changes something.
#[derive(Clone, Debug)]
enum Call {
    Create { path: PathBuf },
    Write { path: PathBuf, offset: usize, bytes: Vec<u8> },
    Truncate { path: PathBuf, size: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    MakeFolder { path: PathBuf },
    SetMode { path: PathBuf, mode: u32 },
}

impl Call {
    /// Makes the call in a folder.
    fn make(&self, root: &Path, write_flags: OFlags) -> io::Result<()> {
        match self {
            Self::Create { path } => {
                let file = File::options().write(true).create_new(true).open(root.join(path))?;
                drop(file);
                Ok(())
            }
            Self::Write { path, offset, bytes } => {
                let flags = i32::try_from(write_flags.bits()).map_err(io::Error::other)?;
                let file = File::options().write(true).custom_flags(flags).open(root.join(path))?;
                let written = file.write_at(bytes, *offset as u64)?;
                if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            }
            Self::Truncate { path, size } => File::options().write(true).open(root.join(path))?.set_len(*size as u64),
            Self::Rename { from, to } => fs::rename(root.join(from), root.join(to)),
            Self::Remove { path } => fs::remove_file(root.join(path)),
            Self::MakeFolder { path } => fs::create_dir(root.join(path)),
            Self::SetMode { path, mode } => fs::set_permissions(root.join(path), Permissions::from_mode(*mode)),
        }
    }

    /// Tells whether what was found is as before this call, but for the file that it writes to, of which some is written.
    fn is_underway(&self, before: &State, found: &State) -> bool {
        let Self::Write { path, .. } = self else { return false };
        let mut after = before.clone();
        self.apply(&mut after);
        let content = |state: &'_ State| match state.0.get(path) {
            Some(Entry::File { content, .. }) => content.clone(),
            _ => Vec::new(),
        };
        let (old, new, now) = (content(before), content(&after), content(found));
        let mut elsewhere = found.clone();
        if let Some(Entry::File { content, .. }) = elsewhere.0.get_mut(path) {
            content.clone_from(&old);
        }
        let is_from =
            |content: &[u8], (at, byte): (usize, &u8)| content.get(at).is_some_and(|expected| expected == byte);
        elsewhere == *before
            && (old.len()..=new.len()).contains(&now.len())
            && now.iter().enumerate().all(|place| is_from(&old, place) || is_from(&new, place))
    }

    /// Applies the call to the model.
    fn apply(&self, state: &mut State) {
        let entries = &mut state.0;
        match self {
            Self::Create { path } => {
                _ = entries.insert(path.clone(), Entry::File { mode: FILE_MODE, content: Vec::new() })
            }
            Self::MakeFolder { path } => _ = entries.insert(path.clone(), Entry::Folder { mode: FOLDER_MODE }),
            Self::Remove { path } => _ = entries.remove(path),
            Self::Rename { from, to } => {
                if let Some(entry) = entries.remove(from) {
                    entries.insert(to.clone(), entry);
                }
            }
            Self::Write { path, offset, bytes } => {
                if let Some(Entry::File { content, .. }) = entries.get_mut(path) {
                    let end = offset + bytes.len();
                    content.resize(content.len().max(end), 0);
                    content[*offset..end].copy_from_slice(bytes);
                }
            }
            Self::Truncate { path, size } => {
                if let Some(Entry::File { content, .. }) = entries.get_mut(path) {
                    content.resize(*size, 0);
                }
            }
            Self::SetMode { path, mode: new } => match entries.get_mut(path) {
                Some(Entry::Folder { mode } | Entry::File { mode, .. }) => *mode = *new,
                None => {}
            },
        }
    }
}

/// Tells of a call and its times, for people.
fn told_call((call, times): &(Call, Times)) -> String {
    match call {
        Call::Write { path, offset, bytes } => format!("write {} {offset}+{} {times:?}", path.display(), bytes.len()),
        other => format!("{other:?} {times:?}"),
    }
}

/// A program and what it knows of its own folder.
#[derive(Debug)]
pub(super) struct Worker {
    folder: PathBuf,
    rng: Rng,
    /// The kernel makes the writes, page by page, and history may have one that was under way.
    is_handed_over: bool,
    /// What the folder held at the beginning of the round.
    before: State,
    /// What it holds after all calls so far.
    now: State,
    calls: Vec<(Call, Times)>,
    /// When so many of the calls were durable by what was promised.
    synced: Vec<(u64, usize)>,
    serial: u64,
}

impl Worker {
    pub(super) fn new(index: usize, granularity: &str, rng: Rng) -> Self {
        let folder = PathBuf::from(format!("worker-{index}"));
        let (before, now) = (State::default(), State::default());
        let is_handed_over = granularity == "close";
        Self { folder, rng, is_handed_over, before, now, calls: Vec::new(), synced: Vec::new(), serial: 0 }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn begin(&mut self, root: &Path) -> Result<(), Failure> {
        self.calls.clear();
        self.synced.clear();
        self.before = self.now.clone();
        fs::create_dir_all(root.join(&self.folder)).map_err(|error| format!("the folder of a worker: {error}"))
    }

    /// Returns how many calls of the round returned without an error.
    pub(super) fn acknowledged(&self) -> usize {
        self.calls.iter().filter(|(_, times)| times.returned.is_some()).count()
    }

    /// Works until told to stop, or until a call fails.
    pub(super) fn work(&mut self, root: &Path, working: &Path, clock: &Clock, stop: &AtomicBool) {
        let (root, working) = (root.join(&self.folder), working.join(&self.folder));
        // Directly, because through the page cache a write can become several requests, each an operation.
        let write_flags = if self.is_handed_over { OFlags::empty() } else { OFlags::DIRECT };
        while !stop.load(Ordering::Relaxed) {
            let call = self.choose();
            let begun = clock.now();
            self.calls.push((call.clone(), Times { begun, returned: None }));
            if call.make(&root, write_flags).is_err() {
                // The power is gone; whether this call happened is anybody's guess.
                return;
            }
            let returned = clock.now();
            if let Some((_, times)) = self.calls.last_mut() {
                times.returned = Some(returned);
            }
            call.apply(&mut self.now);
            self.meddle(&call, &working);
            if self.rng.u32(0..12) == 0 && self.sync(&root, clock).is_err() {
                return;
            }
        }
    }

    /// Asks for durability, through a file or a folder.
    fn sync(&mut self, root: &Path, clock: &Clock) -> io::Result<()> {
        let count = self.calls.len();
        let files: Vec<PathBuf> = self.files();
        match self.rng.choice(files) {
            Some(path) => File::open(root.join(path))?.sync_all()?,
            None => File::open(root)?.sync_all()?,
        }
        self.synced.push((clock.now(), count));
        Ok(())
    }

    /// Has the kernel write back what lies under the mount at once, so that data is on the disk before its record.
    fn meddle(&mut self, call: &Call, working: &Path) {
        let Call::Write { path, .. } = call else { return };
        let Ok(file) = File::open(working.join(path)) else { return };
        // After a cut these fail, and that is nobody's business here.
        let _ = match self.rng.u32(0..6) {
            // This starts to write the data back and leaves size and times for later.
            0 | 1 => rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from),
            2 => file.sync_data(),
            _ => Ok(()),
        };
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = self.now.0.iter().filter(|(_, entry)| matches!(entry, Entry::File { .. }));
        files.map(|(path, _)| path.clone()).collect()
    }

    fn choose(&mut self) -> Call {
        self.serial += 1;
        let files = self.files();
        let Some(path) = self.rng.choice(&files).cloned() else { return self.create() };
        let Some(Entry::File { content, .. }) = self.now.0.get(&path) else { return self.create() };
        let size = content.len();
        match self.rng.u32(0..20) {
            0..3 if files.len() < FILES => self.create(),
            0..9 => {
                let offset = self.rng.usize(0..=size);
                self.write(path, offset)
            }
            9..13 => self.write(path, size),
            13 | 14 => Call::Truncate { path, size: self.rng.usize(0..=size + 4000) },
            15 | 16 => self.rename(path, &files),
            17 => Call::Remove { path },
            18 => self.folder_or(path),
            _ => Call::SetMode { path, mode: 0o600 | (self.serial & 0o77) as u32 },
        }
    }

    /// A place for something new: at the top or in one of the folders.
    fn place(&mut self) -> PathBuf {
        let folders = self.now.0.iter().filter(|(_, entry)| matches!(entry, Entry::Folder { .. }));
        let mut places: Vec<PathBuf> = folders.map(|(path, _)| path.clone()).collect();
        places.push(PathBuf::new());
        let place = self.rng.choice(places).unwrap_or_default();
        place.join(format!("file-{}", self.serial))
    }

    fn create(&mut self) -> Call {
        Call::Create { path: self.place() }
    }

    /// Bytes that no other call writes.
    fn write(&mut self, path: PathBuf, offset: usize) -> Call {
        let mut bytes = vec![0; self.rng.usize(8..WRITE_BYTES_MAX)];
        self.rng.fill(&mut bytes);
        bytes[..8].copy_from_slice(&self.serial.to_be_bytes());
        Call::Write { path, offset, bytes }
    }

    fn rename(&mut self, from: PathBuf, files: &[PathBuf]) -> Call {
        let over = self.rng.choice(files).filter(|to| **to != from && self.serial.is_multiple_of(2)).cloned();
        let to = over.unwrap_or_else(|| self.place());
        Call::Rename { from, to }
    }

    fn folder_or(&mut self, path: PathBuf) -> Call {
        let folders = self.now.0.len() - self.files().len();
        if folders < 4 {
            Call::MakeFolder { path: format!("folder-{}", self.serial).into() }
        } else {
            Call::Remove { path }
        }
    }

    /// Finds which calls were kept, and goes on from there. `immediate` is the mode in which all that had returned before
    /// the cut must be.
    pub(super) fn settle(&mut self, found: State, immediate: bool, cut_at: u64) -> Result<Kept, Failure> {
        let returned = |(_, times): &&(Call, Times)| times.returned.is_some_and(|returned| returned < cut_at);
        let least = if immediate {
            self.calls.iter().filter(returned).count()
        } else {
            self.synced.iter().filter(|(at, _)| *at < cut_at).map(|(_, count)| *count).max().unwrap_or(0)
        };
        let (first, last) = self.fits(&found, least)?;
        let kept = Kept {
            last_begun: first.checked_sub(1).map(|last| self.calls[last].1.begun),
            missing_returned: self.calls.get(last).and_then(|(_, times)| times.returned),
        };
        self.now = found;
        Ok(kept)
    }

    /// Returns the first and the last number of calls after which the folder was as it is found.
    fn fits(&self, found: &State, least: usize) -> Result<(usize, usize), Failure> {
        let mut fitting = Vec::new();
        self.replay(&mut |count, state| {
            let next = self.calls.get(count).filter(|_| self.is_handed_over);
            if *state == *found || next.is_some_and(|(call, _)| call.is_underway(state, found)) {
                fitting.push(count);
            }
        });
        let allowed: Vec<usize> = fitting.iter().copied().filter(|count| *count >= least).collect();
        if let (Some(first), Some(last)) = (allowed.first(), allowed.last()) {
            return Ok((*first, *last));
        }
        let told = format!("{}: at least {least} of {} calls", self.folder.display(), self.calls.len());
        match fitting.last() {
            Some(count) => {
                let lost: Vec<String> = self.calls[*count..].iter().map(told_call).collect();
                Err(format!("{told} had to be kept, and {count} were; lost: {}", lost.join(", ")))
            }
            None => {
                let mut differences = Vec::new();
                self.replay(&mut |count, state| {
                    if count >= least {
                        differences.push(format!("after {count}: {}", state.difference(found)));
                    }
                });
                let calls: Vec<String> = self.calls[least..].iter().map(told_call).collect();
                let (calls, differences) = (calls.join(", "), differences.join("\n"));
                Err(format!(
                    "{told} had to be kept, and no number gives what was found; from {least} on {calls}\n{differences}"
                ))
            }
        }
    }

    /// Shows the folder after each number of calls.
    fn replay(&self, show: &mut dyn FnMut(usize, &State)) {
        let mut state = self.before.clone();
        for (count, (call, _)) in self.calls.iter().enumerate() {
            show(count, &state);
            call.apply(&mut state);
        }
        show(self.calls.len(), &state);
    }
}
