//! What others put into a backend's own repository: brought into the tree when the project is opened and when it is
//! synced. And handing the repository to another program for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Project, ProjectError, Result};
use crate::model::{Effect, OpCode, OpId, RelPath, View};
use crate::storage::{Direction, Incoming, NativeChange, OpQuery};
use crate::tree::{Caller, Incorporated, IncorporatedReport, ReconcileOptions, Snapshot, incorporate};

/// How often it is asked again because files were changed while the edits were made.
const ROUNDS_MAX: usize = 4;
/// Operations that are asked for at a time.
const PAGE_OPS: usize = 256;

/// What came from elsewhere, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BroughtIn {
    /// The changes, oldest first.
    pub changes: Vec<NativeChange>,
    /// What was done in the tree, and what was not.
    pub entries: Vec<(RelPath, Incorporated)>,
    /// Files in which the repository holds a conflict. Their content shows it.
    pub conflicts: Vec<RelPath>,
    /// Files that were changed both here and there: they are now as the repository has them, and history has what was here
    /// at the operation beside each.
    pub overwritten: Vec<(RelPath, OpId)>,
    /// Something was left because it is being changed; it is tried again at the next sync.
    pub is_partial: bool,
}

impl BroughtIn {
    /// Tells whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.entries.is_empty()
            && self.conflicts.is_empty()
            && self.overwritten.is_empty()
            && !self.is_partial
    }

    /// Adds what one more round brought.
    fn add(&mut self, incoming: Incoming, report: IncorporatedReport) {
        let is_new = |change: &NativeChange| self.changes.iter().all(|known| known.id != change.id);
        let changes: Vec<_> = incoming.changes.into_iter().filter(is_new).collect();
        self.changes.extend(changes);
        // What a later round has to say of a path goes before.
        self.entries.retain(|(path, what)| what.is_change() || report.entries.iter().all(|(later, _)| later != path));
        self.is_partial = report.is_outdated();
        self.entries.extend(report.entries);
        self.conflicts = incoming.conflicts;
    }
}

/// Lines for people: what came, what is to be looked at.
impl fmt::Display for BroughtIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let steps = self.entries.iter().filter(|(_, what)| what.is_change()).count();
        let came = self.changes.len();
        write!(f, "brought in {came} change{} from elsewhere: {steps} step{} in the files", s(came), s(steps))?;
        for change in &self.changes {
            let message = change.message.lines().next().unwrap_or_default();
            write!(f, "\n  {}  {}", &change.id.get(..12).unwrap_or(&change.id), message.escape_debug())?;
        }
        for (path, what) in self.entries.iter().filter(|(_, what)| !what.is_change()) {
            write!(f, "\n{path}: {what}")?;
        }
        for path in &self.conflicts {
            write!(f, "\n{path}: conflict: both sides are in the file; edit it to solve it")?;
        }
        for (path, op) in &self.overwritten {
            write!(f, "\n{path}: was changed here, too; 'ize restore <name> {path} {op}' brings that version back")?;
        }
        if self.is_partial {
            f.write_str("\nwhat was left because it was changed here is tried again at the next sync")?;
        }
        Ok(())
    }
}

impl Project {
    /// Brings what others put into the backend's own repository into the tree, each edit recorded as an external change.
    ///
    /// Everything that was recorded before is committed first. A file that is not what the edits are based on is not
    /// overwritten: it is committed, and the repository is asked again. If this is interrupted, the next call goes on.
    ///
    /// # Errors
    /// If the repository cannot be read, or an edit cannot be made or recorded.
    pub fn bring_in(&self) -> Result<BroughtIn> {
        let mut brought = BroughtIn::default();
        let storage = self.recorder().storage();
        if self.is_suspended() {
            return Err(ProjectError::Suspended);
        }
        // Nearly always: then nothing has to be committed for it.
        if storage.incoming()?.is_none() {
            return Ok(brought);
        }
        for _ in 0..ROUNDS_MAX {
            let base = View::new(self.recorder().branch(), self.barrier()?);
            let Some(incoming) = storage.incoming()? else { break };
            let snapshot = Snapshot::new(Arc::clone(storage), base);
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let made = incorporate(self.live().as_ref(), &snapshot, &incoming.edits, Caller::incoming(uid, gid));
            // Also after a failure the kernel must not show what was before.
            self.barrier()?;
            self.invalidate_since(base.at)?;
            let made = made?;
            let overwritten = self.overwritten(incoming.since.min(base.at), &made)?;
            brought.overwritten.extend(overwritten);
            let is_whole = !made.is_outdated();
            let changes = incoming.changes.clone();
            brought.add(incoming, made);
            if is_whole {
                storage.accept_incoming(&changes)?;
                break;
            }
        }
        if !brought.is_empty() {
            tracing::info!("{brought}");
        }
        Ok(brought)
    }

    /// Tells a mount of everything that operations after this one touched.
    fn invalidate_since(&self, op: OpId) -> Result<()> {
        self.for_each_since(op, &mut |op| self.live().invalidate_touched(op))
    }

    fn for_each_since(&self, op: OpId, each: &mut dyn FnMut(&OpCode)) -> Result<()> {
        let mut query = OpQuery { since: op, max: PAGE_OPS, ..OpQuery::all(View::latest(self.recorder().branch())) };
        loop {
            let ops = self.recorder().storage().ops(&query)?;
            ops.iter().for_each(&mut *each);
            match ops.last() {
                Some(last) if ops.len() == PAGE_OPS => query.since = last.last_id,
                _ => return Ok(()),
            }
        }
    }

    /// Finds what somebody here wrote into the files after an operation, before they were made what the repository has.
    fn overwritten(&self, since: OpId, made: &IncorporatedReport) -> Result<Vec<(RelPath, OpId)>> {
        let mut overwritten = Vec::new();
        for (path, file) in &made.written {
            let view = View::latest(self.recorder().branch());
            let query = OpQuery {
                since,
                file: Some(*file),
                direction: Direction::NewestFirst,
                max: PAGE_OPS,
                ..OpQuery::all(view)
            };
            let ops = self.recorder().storage().ops(&query)?;
            // What came after the edit is not overwritten.
            let mut before = ops.iter().skip_while(|op| !op.actor.is_incoming());
            let other = before.find(|op| !op.actor.is_incoming() && op.effects().any(changes_content));
            overwritten.extend(other.map(|op| (path.clone(), op.last_id)));
        }
        Ok(overwritten)
    }

    /// Tells whether the backend's own repository is in another program's hands.
    pub fn is_suspended(&self) -> bool {
        self.suspension().lock().is_some()
    }

    /// Hands the backend's own repository to another program, until [`Project::resume`]: commits what was recorded,
    /// brings in what others put there, and closes the repository. Meanwhile changes are recorded in the journal only, and
    /// history is that of this moment.
    ///
    /// # Errors
    /// [`ProjectError::Suspended`] if it was handed out already; as [`Project::sync`] and [`Project::bring_in`].
    pub fn suspend(&self) -> Result<BroughtIn> {
        // Fails while it is handed out.
        let brought = self.bring_in()?;
        let synced = self.sync()?;
        let mut suspended = self.suspension().lock();
        if suspended.is_some() {
            return Err(ProjectError::Suspended);
        }
        self.recorder().storage().suspend()?;
        *suspended = Some(synced);
        Ok(brought)
    }

    /// Takes the repository back: commits what was recorded meanwhile, records what the other program did to the live
    /// files, and brings in what it did to the repository. Does nothing where it was not handed out.
    ///
    /// # Errors
    /// If the repository cannot be opened; as [`Project::bring_in`].
    pub fn resume(&self) -> Result<BroughtIn> {
        let since = {
            let mut suspended = self.suspension().lock();
            let Some(since) = *suspended else { return Ok(BroughtIn::default()) };
            self.recorder().storage().resume()?;
            *suspended = None;
            since
        };
        let before = self.barrier()?;
        let report = self.live().reconcile_in_use(ReconcileOptions::default())?;
        let mut overwritten = Vec::new();
        if !report.is_clean() {
            self.barrier()?;
            self.invalidate_since(before)?;
            overwritten = self.overwritten_directly(since, before)?;
        }
        let mut brought = self.bring_in()?;
        overwritten.retain(|(path, _)| brought.overwritten.iter().all(|(known, _)| known != path));
        brought.overwritten.append(&mut overwritten);
        Ok(brought)
    }

    /// Finds files that somebody wrote through the tree after `since` and that were found to be different after `before`.
    fn overwritten_directly(&self, since: OpId, before: OpId) -> Result<Vec<(RelPath, OpId)>> {
        let mut written = BTreeMap::new();
        self.for_each_since(since, &mut |op| {
            let is_write = op.effects().any(changes_content);
            if op.last_id <= before && is_write && !op.op_type.is_external() {
                written.insert(op.op_type.file(), op.last_id);
            }
        })?;
        let mut overwritten = BTreeMap::new();
        self.for_each_since(before, &mut |op| {
            let file = op.op_type.file();
            if let Some(ours) = written.get(&file).filter(|_| op.effects().any(changes_content)) {
                overwritten.insert(file, *ours);
            }
        })?;
        let reader = self.reader()?;
        let mut named = Vec::new();
        for (file, op) in overwritten {
            named.extend(reader.path_of(reader.newest(), file)?.map(|path| (path, op)));
        }
        Ok(named)
    }
}

fn changes_content(effect: Effect<'_>) -> bool {
    matches!(effect, Effect::Write { .. } | Effect::Truncate { .. } | Effect::Zero { .. } | Effect::Copy { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Backends, CentralDir, NewProject, ProjectName, ProjectOptions, Settings};
    use crate::tree::{OpenMode, Tree};

    fn write_as(project: &Project, caller: Caller, content: &[u8]) {
        let reader = project.reader().unwrap();
        let file = reader.find(reader.newest(), &RelPath::new("a").unwrap()).unwrap().file;
        let live = project.live();
        let found = live.lookup(crate::model::FileId::ROOT, "a".as_ref()).unwrap();
        assert_eq!(found.file, file);
        let handle = live.open(caller, file, OpenMode { write: true, ..OpenMode::default() }).unwrap();
        live.write(caller, handle, 0, content).unwrap();
        live.release(handle);
        live.forget(file, 1);
    }

    #[test]
    fn what_was_written_just_before_an_edit_is_found_and_what_came_after_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let new = NewProject::new(ProjectName::new("notes").unwrap(), "memory");
        let options = ProjectOptions::new(Settings::default());
        let project = Project::create(&CentralDir::new(dir.path()), new, &Backends::new(), options).unwrap();
        project.write("a", b"one").unwrap();
        let base = project.barrier().unwrap();
        let reader = project.reader().unwrap();
        let a = RelPath::new("a").unwrap();
        let file = reader.find(reader.newest(), &a).unwrap().file;
        let made = IncorporatedReport { written: vec![(a.clone(), file)], ..IncorporatedReport::default() };
        write_as(&project, Caller::default(), b"our");
        let ours = project.barrier().unwrap();
        write_as(&project, Caller::incoming(0, 0), b"the");
        let theirs = project.barrier().unwrap();
        write_as(&project, Caller::default(), b"new");
        project.barrier().unwrap();
        assert_eq!(project.overwritten(base, &made).unwrap(), [(a, ours)]);
        assert_eq!(project.overwritten(ours, &made).unwrap(), []);
        assert!(theirs > ours);
    }

    #[test]
    fn a_report_names_what_came_and_what_is_to_be_looked_at() {
        let path = |text: &str| RelPath::new(text).unwrap();
        let brought = BroughtIn {
            changes: vec![NativeChange { id: "ABCDEFGHIJKLMNOP".into(), message: "fix\n\nmore".into() }],
            entries: vec![
                (path("a"), Incorporated::Content),
                (path("b"), Incorporated::Kept(crate::tree::Obstacle::NotEmpty)),
            ],
            conflicts: vec![path("a")],
            overwritten: vec![(path("a"), OpId::new(7))],
            is_partial: true,
        };
        let lines: Vec<String> = brought.to_string().lines().map(ToOwned::to_owned).collect();
        assert_eq!(
            lines,
            [
                "brought in 1 change from elsewhere: 1 step in the files",
                "  ABCDEFGHIJKL  fix",
                "b: kept, because it holds other files",
                "a: conflict: both sides are in the file; edit it to solve it",
                "a: was changed here, too; 'ize restore <name> a @7' brings that version back",
                "what was left because it was changed here is tried again at the next sync",
            ]
        );
    }
}
