//! Bringing in what others put into a backend's own repository: its edits, one after the other, made in the live tree.
//!
//! Every step is a call of [`Tree`] by [`Caller::incoming`], so it is recorded as an external change, and both versions of
//! a file can be read. What is there already is left as it is, so a run that was interrupted is simply made again. A file
//! that is not what the edits are based on, because somebody changed it since, is not overwritten.

use std::fmt;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::restore::held::Held;
use super::{Caller, Handle, OpenMode, RenameMode, Result, SetAttributes, Snapshot, Stat, Tree, TreeError};
use crate::model::{FileId, FileKind, Name, RelPath};
use crate::storage::IncomingEdit;

const CHUNK_BYTES: usize = 256 * 1024;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
const EXECUTE_BITS: u32 = 0o111;

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Incorporated {
    /// Something new was made.
    Created,
    /// A file has other content now.
    Content,
    /// Only whether a file may be run is different.
    Permissions,
    /// It was renamed.
    Moved {
        /// What it was called.
        from: RelPath,
    },
    /// It was removed.
    Removed,
    /// The step was not made: something is in the way, and stays as it is.
    Kept(Obstacle),
}

/// Why a step was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Obstacle {
    /// Somebody changed the file since history was asked. It is worth asking again.
    Changed,
    /// Something of another kind, or another file, is there.
    Occupied,
    /// What is there is not recorded, so it could not be brought back.
    NotRecorded,
    /// The folder holds something that the change does not know of.
    NotEmpty,
    /// The folder, or what was to be renamed, is not there.
    Missing,
}

impl Incorporated {
    /// Tells whether the tree was changed; else this is a note.
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::Kept(_))
    }
}

impl fmt::Display for Incorporated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Content => f.write_str("content"),
            Self::Permissions => f.write_str("permissions"),
            Self::Moved { from } => write!(f, "moved from {from}"),
            Self::Removed => f.write_str("removed"),
            Self::Kept(Obstacle::Changed) => f.write_str("kept, because it was changed here meanwhile"),
            Self::Kept(Obstacle::Occupied) => f.write_str("kept: something else is there"),
            Self::Kept(Obstacle::NotRecorded) => f.write_str("kept, because it is ignored here"),
            Self::Kept(Obstacle::NotEmpty) => f.write_str("kept, because it holds other files"),
            Self::Kept(Obstacle::Missing) => f.write_str("not changed: it, or its folder, is not there"),
        }
    }
}

/// What was done, path by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IncorporatedReport {
    /// What became of each step that found something to do.
    pub entries: Vec<(RelPath, Incorporated)>,
    /// The files whose content was written, or that were removed.
    pub written: Vec<(RelPath, FileId)>,
}

impl IncorporatedReport {
    /// Tells whether a file was left because it was changed just now.
    pub fn is_outdated(&self) -> bool {
        self.entries.iter().any(|(_, what)| *what == Incorporated::Kept(Obstacle::Changed))
    }
}

/// A step failed. What was done until then is done, and recorded.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be brought in")]
pub struct IncomingError {
    /// Where.
    pub path: RelPath,
    /// Why.
    #[source]
    pub source: TreeError,
}

/// Makes the steps in the live tree. `base` is the moment that they are based on: everything that was recorded up to it is
/// committed.
///
/// # Errors
/// [`IncomingError`], for example where the disk is full. Making all steps again goes on from there.
pub fn incorporate(
    tree: &dyn Tree,
    base: &Snapshot,
    edits: &[IncomingEdit],
    caller: Caller,
) -> Result<IncorporatedReport, IncomingError> {
    let mut run = Run { tree, base, caller, report: IncorporatedReport::default() };
    for edit in edits {
        run.make(edit).map_err(|source| IncomingError { path: place_of(edit).clone(), source })?;
    }
    Ok(run.report)
}

const fn place_of(edit: &IncomingEdit) -> &RelPath {
    match edit {
        IncomingEdit::MakeDir { path }
        | IncomingEdit::Write { path, .. }
        | IncomingEdit::Rename { to: path, .. }
        | IncomingEdit::Remove { path } => path,
    }
}

struct Run<'t> {
    tree: &'t dyn Tree,
    base: &'t Snapshot,
    caller: Caller,
    report: IncorporatedReport,
}

/// A file's wanted content and whether it may be run.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    content: &'a [u8],
    executable: bool,
}

impl<'t> Run<'t> {
    fn make(&mut self, edit: &IncomingEdit) -> Result<()> {
        let done = match edit {
            IncomingEdit::MakeDir { path } => self.make_folder(path),
            IncomingEdit::Write { path, content, executable } => {
                self.write(path, Wanted { content, executable: *executable })
            }
            IncomingEdit::Rename { from, to } => self.rename(from, to),
            IncomingEdit::Remove { path } => self.remove(path),
        }?;
        self.report.entries.extend(done.map(|what| (place_of(edit).clone(), what)));
        Ok(())
    }

    fn look(&self, path: &RelPath) -> Result<Option<Held<'t>>> {
        Held::look_path(self.tree, path)
    }

    /// Finds the folder of a path and the name in it; `None` if there is no such folder.
    fn place(&self, path: &RelPath) -> Result<Option<(Held<'t>, Name)>> {
        let Some((folder, name)) = path.split_last() else { return Ok(None) };
        let folder = self.look(&folder)?.filter(|folder| folder.kind() == FileKind::Directory);
        Ok(folder.map(|folder| (folder, name)))
    }

    fn make_folder(&self, path: &RelPath) -> Result<Option<Incorporated>> {
        if let Some(found) = self.look(path)? {
            let is_there = found.kind() == FileKind::Directory;
            return Ok((!is_there).then_some(Incorporated::Kept(Obstacle::Occupied)));
        }
        let Some((folder, name)) = self.place(path)? else { return Ok(Some(Incorporated::Kept(Obstacle::Missing))) };
        let made = self.tree.make_directory(self.caller, folder.id(), name.as_os_str(), FOLDER_MODE)?;
        drop(Held::new(self.tree, made));
        Ok(Some(Incorporated::Created))
    }

    fn write(&mut self, path: &RelPath, wanted: Wanted<'_>) -> Result<Option<Incorporated>> {
        match self.look(path)? {
            None => self.create(path, wanted),
            Some(found) if found.kind() != FileKind::File => Ok(Some(Incorporated::Kept(Obstacle::Occupied))),
            Some(found) => self.rewrite(path, &found, wanted),
        }
    }

    fn create(&mut self, path: &RelPath, wanted: Wanted<'_>) -> Result<Option<Incorporated>> {
        let Some((folder, name)) = self.place(path)? else { return Ok(Some(Incorporated::Kept(Obstacle::Missing))) };
        let mode = OpenMode { read: true, write: true, exclusive: true, ..OpenMode::default() };
        let permissions = if wanted.executable { FILE_MODE | EXECUTE_BITS } else { FILE_MODE };
        let created = self.tree.create(self.caller, folder.id(), name.as_os_str(), permissions, mode);
        let (stat, handle) = match created {
            // Somebody was faster: whatever it is, it is newer than what was asked.
            Err(TreeError::Refused(Errno::EXIST)) => return Ok(Some(Incorporated::Kept(Obstacle::Changed))),
            other => other?,
        };
        let held = Held::new(self.tree, stat);
        self.report.written.push((path.clone(), held.id()));
        self.fill(handle, 0, wanted.content)?;
        Ok(Some(Incorporated::Created))
    }

    fn rewrite(&mut self, path: &RelPath, found: &Held<'t>, wanted: Wanted<'_>) -> Result<Option<Incorporated>> {
        let equal = self.equal_prefix(found.id(), wanted.content)?;
        let size = found.stat.metadata.size;
        let is_equal = equal == wanted.content.len() && size == equal as u64;
        if is_equal {
            return self.set_executable(&found.stat, wanted.executable);
        }
        if !found.id().is_recorded() {
            return Ok(Some(Incorporated::Kept(Obstacle::NotRecorded)));
        }
        if !self.is_as_in_base(&found.stat)? {
            return Ok(Some(Incorporated::Kept(Obstacle::Changed)));
        }
        let mode = OpenMode { read: true, write: true, ..OpenMode::default() };
        let handle = self.tree.open(self.caller, found.id(), mode)?;
        self.report.written.push((path.clone(), found.id()));
        if size > wanted.content.len() as u64 {
            let size = SetAttributes { size: Some(wanted.content.len() as u64), ..SetAttributes::default() };
            if let Err(error) = self.tree.set_attributes(self.caller, found.id(), Some(handle), &size) {
                self.tree.release(handle);
                return Err(error);
            }
        }
        self.fill(handle, equal, wanted.content)?;
        self.set_executable(&found.stat, wanted.executable)?;
        Ok(Some(Incorporated::Content))
    }

    /// Writes the content from an offset on, and closes the file.
    fn fill(&self, handle: Handle, from: usize, content: &[u8]) -> Result<()> {
        let mut at = from;
        let mut written = Ok(());
        while at < content.len() && written.is_ok() {
            let end = content.len().min(at + CHUNK_BYTES);
            match self.tree.write(self.caller, handle, at as u64, &content[at..end]) {
                Ok(0) => written = Err(Errno::IO.into()),
                Ok(count) => at += count,
                Err(error) => written = Err(error),
            }
        }
        // Closing it is a moment worth showing.
        let written = written.and(self.tree.flush(handle));
        self.tree.release(handle);
        written
    }

    fn set_executable(&self, stat: &Stat, executable: bool) -> Result<Option<Incorporated>> {
        let mode = stat.metadata.mode;
        if executable == (mode & 0o100 != 0) || !stat.file.is_recorded() {
            return Ok(None);
        }
        // Who may read it may run it.
        let mode = if executable { mode | 0o100 | (mode & 0o444) >> 2 } else { mode & !EXECUTE_BITS };
        let mode = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
        self.tree.set_attributes(self.caller, stat.file, None, &mode)?;
        Ok(Some(Incorporated::Permissions))
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> Result<Option<Incorporated>> {
        let target = self.look(to)?;
        let Some(source) = self.look(from)? else {
            // It was done before, or it is gone.
            return Ok(target.is_none().then_some(Incorporated::Kept(Obstacle::Missing)));
        };
        if target.is_some() {
            return Ok(Some(Incorporated::Kept(Obstacle::Occupied)));
        }
        if !source.id().is_recorded() {
            return Ok(Some(Incorporated::Kept(Obstacle::NotRecorded)));
        }
        let (Some((old_folder, old)), Some((new_folder, new))) = (self.place(from)?, self.place(to)?) else {
            return Ok(Some(Incorporated::Kept(Obstacle::Missing)));
        };
        let (old, new) = ((old_folder.id(), old.as_os_str()), (new_folder.id(), new.as_os_str()));
        match self.tree.rename(self.caller, old, new, RenameMode::NoReplace) {
            Err(TreeError::Refused(Errno::EXIST)) => Ok(Some(Incorporated::Kept(Obstacle::Changed))),
            other => other.map(|()| Some(Incorporated::Moved { from: from.clone() })),
        }
    }

    fn remove(&mut self, path: &RelPath) -> Result<Option<Incorporated>> {
        let (Some(found), Some((folder, name))) = (self.look(path)?, self.place(path)?) else { return Ok(None) };
        let (folder, name) = (folder.id(), name.as_os_str());
        if !found.id().is_recorded() {
            return Ok(Some(Incorporated::Kept(Obstacle::NotRecorded)));
        }
        match found.kind() {
            FileKind::Directory => match self.tree.remove_directory(self.caller, folder, name) {
                Err(TreeError::Refused(Errno::NOTEMPTY | Errno::EXIST)) => {
                    return Ok(Some(Incorporated::Kept(Obstacle::NotEmpty)));
                }
                other => other?,
            },
            FileKind::File if self.is_as_in_base(&found.stat)? => {
                self.report.written.push((path.clone(), found.id()));
                self.tree.unlink(self.caller, folder, name)?;
            }
            FileKind::File => return Ok(Some(Incorporated::Kept(Obstacle::Changed))),
            _ => return Ok(Some(Incorporated::Kept(Obstacle::Occupied))),
        }
        Ok(Some(Incorporated::Removed))
    }

    /// Tells whether a file's content is what it was at the moment that the edits are based on.
    fn is_as_in_base(&self, stat: &Stat) -> Result<bool> {
        let was = match self.base.metadata(stat.file) {
            Err(TreeError::Refused(Errno::NOENT)) => return Ok(false),
            other => other?,
        };
        if was.size != stat.metadata.size {
            return Ok(false);
        }
        let handle = self.tree.open(self.caller, stat.file, OpenMode { read: true, ..OpenMode::default() })?;
        let compared = self.is_content_as_in_base(handle, stat.file);
        self.tree.release(handle);
        compared
    }

    fn is_content_as_in_base(&self, handle: Handle, file: FileId) -> Result<bool> {
        let (mut ours, mut theirs) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        let mut offset = 0;
        loop {
            let read = self.tree.read(handle, offset, &mut ours)?;
            let was = self.base.read_at(file, offset, &mut theirs)?;
            if ours[..read] != theirs[..was] {
                return Ok(false);
            }
            if read < CHUNK_BYTES {
                return Ok(true);
            }
            offset += read as u64;
        }
    }

    /// Returns how many bytes at the beginning of a file are those that are wanted.
    fn equal_prefix(&self, file: FileId, wanted: &[u8]) -> Result<usize> {
        let handle = self.tree.open(self.caller, file, OpenMode { read: true, ..OpenMode::default() })?;
        let mut equal = Ok(0);
        for chunk in wanted.chunks(CHUNK_BYTES) {
            let Ok(at) = equal else { break };
            equal = self.equal_in_chunk(handle, at, chunk).map(|count| at + count);
            if equal.as_ref().is_ok_and(|now| *now < at + chunk.len()) {
                break;
            }
        }
        self.tree.release(handle);
        equal
    }

    fn equal_in_chunk(&self, handle: Handle, at: usize, wanted: &[u8]) -> Result<usize> {
        let mut found = vec![0; wanted.len()];
        let read = self.tree.read(handle, at as u64, &mut found)?;
        Ok(found[..read].iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count())
    }
}
