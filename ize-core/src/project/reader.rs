//! Asking about the past: the same whether the storage is here or behind the socket of a project's daemon.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::change_ids::ChangeIds;
use super::history::{History, HistoryQuery};
use super::nearest::nearest;
use super::{Clock, ProjectError, Result, Revision, RevisionError};
use crate::model::{BranchId, ChangeId, ChangeIdPrefix, FileId, OpCode, OpId, ProjectId, RelPath, Timestamp, View};
use crate::storage::{Direction, FileSystemStorage, FileSystemStorageExt, OpQuery, RefName, RefTarget, WalkEntry};
use crate::tree::Snapshot;

/// The most change ids that an error about an ambiguous prefix lists.
const AMBIGUOUS_LISTED: usize = 4;

/// Reads a project's history on one branch.
#[derive(Clone)]
pub struct Reader {
    storage: Arc<dyn FileSystemStorage>,
    change_ids: ChangeIds,
    branch: BranchId,
    head: OpId,
    clock: Clock,
}

/// Changes whose id begins with some letters.
#[derive(Debug, Default)]
struct Fitting {
    /// Some of them, newest first.
    found: Vec<(String, OpId)>,
    /// Of an operation inside a merged record, why it is none.
    merged: Option<RevisionError>,
}

impl Reader {
    /// Begins reading; the newest state is the storage's head now. Local times are in UTC: see [`Reader::with_clock`].
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn new(storage: Arc<dyn FileSystemStorage>, project: ProjectId, branch: BranchId) -> Result<Self> {
        let head = storage.head()?.op;
        Ok(Self { storage, change_ids: ChangeIds::new(project), branch, head, clock: Clock::utc() })
    }

    /// Sets the present and the time zone by which times are understood.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps the order of change ids in a file, [`ProjectPaths::change_ids`](super::ProjectPaths::change_ids): then a change
    /// is found by its id as fast in a long history as in a short one.
    #[must_use]
    pub fn with_change_ids(mut self, path: PathBuf) -> Self {
        self.change_ids = self.change_ids.kept_in(path);
        self
    }

    /// Returns the storage.
    pub fn storage(&self) -> &Arc<dyn FileSystemStorage> {
        &self.storage
    }

    /// Returns the present and the time zone by which times are understood.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the newest operation that there was when the reader was made.
    pub const fn head(&self) -> OpId {
        self.head
    }

    /// Returns the newest state.
    pub const fn newest(&self) -> View {
        View::new(self.branch, self.head)
    }

    /// Returns the change id of an operation.
    pub fn change_id(&self, op: OpId) -> ChangeId {
        self.change_ids.of(op)
    }

    /// Finds the moment that a revision names.
    ///
    /// # Errors
    /// [`RevisionError`] says what was looked for and what there is.
    pub fn resolve(&self, revision: &Revision) -> Result<View, RevisionError> {
        let at = match revision {
            Revision::Newest => self.head,
            Revision::Op(op) => self.resolve_op(*op)?,
            Revision::Time(moment) => {
                let out_of_range = || super::InvalidRevision { text: revision.to_string() };
                self.resolve_time(moment.resolve(&self.clock).ok_or_else(out_of_range)?)?
            }
            Revision::Named(name) => return self.resolve_name(name),
            Revision::Native(id) => match self.resolve_change(id, None)? {
                Some(op) => op,
                None => return Err(RevisionError::Unknown { text: id.clone(), nearest: None }),
            },
        };
        Ok(View::new(self.branch, at))
    }

    fn resolve_op(&self, op: OpId) -> Result<OpId, RevisionError> {
        if op > self.head {
            return Err(RevisionError::UnknownOp { op, newest: self.head });
        }
        if op == OpId::ZERO {
            return Ok(op);
        }
        match self.op_covering(op)? {
            Some(found) if found.last_id == op => Ok(op),
            Some(found) if found.id <= op => Err(RevisionError::Merged { op, last: found.last_id }),
            _ => Err(RevisionError::OtherBranch { op }),
        }
    }

    /// Returns the first operation of the branch that ends at or after `op`.
    fn op_covering(&self, op: OpId) -> Result<Option<OpCode>, RevisionError> {
        let query = OpQuery { since: op.prev(), max: 1, ..OpQuery::all(self.newest()) };
        Ok(self.storage.ops(&query)?.into_iter().next())
    }

    fn resolve_time(&self, time: Timestamp) -> Result<OpId, RevisionError> {
        let op = self.storage.op_at_time(time)?.min(self.head);
        if op > OpId::ZERO {
            return Ok(op);
        }
        let first = self.storage.ops(&OpQuery { max: 1, ..OpQuery::all(self.newest()) })?;
        Err(RevisionError::BeforeFirst {
            asked: self.clock.format(time),
            first: first.first().map(|op| self.clock.format(op.timestamp)),
        })
    }

    fn resolve_name(&self, name: &RefName) -> Result<View, RevisionError> {
        let refs = self.storage.refs()?;
        for known in &refs {
            match known.target {
                RefTarget::Snapshot { view, .. } if known.name == *name => return Ok(view),
                _ => {}
            }
        }
        if let Some(op) = self.resolve_change(name.as_str(), ChangeIdPrefix::parse(name.as_str()))? {
            return Ok(View::new(self.branch, op));
        }
        let text = name.to_string();
        let nearest = nearest(&text, refs.iter().map(|known| known.name.as_str())).map(ToOwned::to_owned);
        Err(RevisionError::Unknown { text, nearest })
    }

    /// Finds the change whose id begins with a text: Ize's own id (`prefix` is the text as such a one), or that in the
    /// backend's format. Two ids of one operation are no ambiguity.
    fn resolve_change(&self, text: &str, prefix: Option<ChangeIdPrefix>) -> Result<Option<OpId>, RevisionError> {
        let Fitting { mut found, merged } = match prefix {
            Some(prefix) => self.changes(prefix)?,
            None => Fitting::default(),
        };
        if !prefix.is_some_and(ChangeIdPrefix::is_whole) || found.is_empty() {
            for (id, op) in self.storage.find_native_id(text, AMBIGUOUS_LISTED + 1)? {
                match self.resolve_op(op) {
                    Ok(op) if id == text => return Ok(Some(op)),
                    Ok(op) if found.iter().all(|(_, other)| *other != op) => found.push((id, op)),
                    Ok(_) | Err(RevisionError::OtherBranch { .. } | RevisionError::UnknownOp { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        match (found.as_slice(), merged) {
            ([], Some(merged)) => Err(merged),
            ([], None) => Ok(None),
            ([(_, op)], _) => Ok(Some(*op)),
            _ => {
                found.truncate(AMBIGUOUS_LISTED);
                Err(RevisionError::Ambiguous { prefix: text.to_owned(), some: found })
            }
        }
    }

    /// Finds the changes whose id begins with some letters, newest first.
    fn changes(&self, prefix: ChangeIdPrefix) -> Result<Fitting, RevisionError> {
        let mut found = Vec::new();
        let mut merged = None;
        for op in self.change_ids.fitting(prefix, self.head) {
            match self.resolve_op(op) {
                Ok(op) if prefix.is_whole() => {
                    return Ok(Fitting { found: vec![(self.change_id(op).to_string(), op)], merged: None });
                }
                Ok(op) => found.push((self.change_id(op).to_string(), op)),
                // An id inside a merged record was never shown; only who spells it out hears of it.
                Err(error @ RevisionError::Merged { .. }) => merged = merged.or(Some(error)),
                Err(RevisionError::OtherBranch { .. }) => {}
                Err(error) => return Err(error),
            }
            if found.len() > AMBIGUOUS_LISTED {
                break;
            }
        }
        Ok(Fitting { found, merged })
    }

    /// Reads what happened, newest first. Rows are found as they are asked for.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`] if nothing ever was at the path; if the storage cannot be asked.
    pub fn history(&self, query: HistoryQuery) -> Result<History> {
        History::new(self.clone(), query)
    }

    /// Returns the tree as a view sees it.
    pub fn at(&self, view: View) -> Snapshot {
        Snapshot::new(Arc::clone(&self.storage), view)
    }

    /// Finds what a path names in a view.
    ///
    /// # Errors
    /// [`ProjectError::NotFound`] says since when nothing is there, or that nothing ever was.
    pub fn find(&self, view: View, path: &RelPath) -> Result<WalkEntry> {
        match self.storage.find(view, path)? {
            Some(found) => Ok(found),
            None => {
                let when = if view.at >= self.head { "now".to_owned() } else { format!("at {}", view.at) };
                Err(ProjectError::NotFound { path: path.clone(), when })
            }
        }
    }

    /// Returns a path of a file in a view: the one by its first name.
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn path_of(&self, view: View, file: FileId) -> Result<Option<RelPath>> {
        Ok(self.storage.path_of(view, file)?)
    }

    /// Returns the newest operation that a view sees.
    ///
    /// # Errors
    /// If the storage cannot be asked.
    pub fn op_at(&self, view: View) -> Result<Option<OpCode>> {
        let query = OpQuery { direction: Direction::NewestFirst, max: 1, ..OpQuery::all(view) };
        Ok(self.storage.ops(&query)?.into_iter().next())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("change_ids", &self.change_ids)
            .field("branch", &self.branch)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, path};
    use super::*;
    use crate::storage::Batch;

    fn resolve(reader: &Reader, text: &str) -> Result<OpId, RevisionError> {
        reader.resolve(&text.parse().unwrap()).map(|view| view.at)
    }

    fn script() -> Script {
        let mut script = Script::new();
        for name in ["a", "b", "c"] {
            script.save_new(name, name);
        }
        script
    }

    #[test]
    fn operations_resolve_to_themselves() {
        let reader = script().reader();
        for (text, op) in [("@", 6), ("@0", 0), ("@1", 1), ("@6", 6)] {
            assert_eq!(resolve(&reader, text).unwrap(), OpId::new(op), "{text}");
        }
        let error = resolve(&reader, "@7").unwrap_err();
        assert_eq!(error.to_string(), "there is no operation @7; the newest is @6");
        assert!(error.hint().is_some());
    }

    #[test]
    fn change_ids_and_their_prefixes_resolve() {
        let reader = script().reader();
        for op in 1..=6 {
            let op = OpId::new(op);
            let change = reader.change_id(op).to_string();
            assert_eq!(resolve(&reader, &change).unwrap(), op);
            assert_eq!(resolve(&reader, &change[..8]).unwrap(), op);
        }
    }

    #[test]
    fn an_ambiguous_prefix_lists_some_changes() {
        let mut script = script();
        for round in 0..40 {
            script.truncate("a", round);
        }
        let reader = script.reader();
        let letter = &reader.change_id(OpId::new(1)).to_string()[..1];
        match resolve(&reader, letter) {
            Err(RevisionError::Ambiguous { some, .. }) => {
                assert!((2..=AMBIGUOUS_LISTED).contains(&some.len()));
                assert!(some.iter().all(|(change, op)| *change == reader.change_id(*op).to_string()));
                assert!(some.is_sorted_by(|a, b| a.1 > b.1), "newest first");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_operation_inside_a_merged_record_answers_where_it_went() {
        let script = script();
        let mut merged = script.storage.ops(&OpQuery::all(View::main(OpId::new(2)))).unwrap().remove(1);
        (merged.id, merged.last_id) = (OpId::new(7), OpId::new(9));
        script.storage.commit(&Batch { ops: vec![merged], landmarks: Vec::new() }).unwrap();
        let reader = script.reader();
        assert_eq!(resolve(&reader, "@9").unwrap(), OpId::new(9));
        let error = resolve(&reader, "@8").unwrap_err();
        assert_eq!(error.to_string(), "@8 was merged into @9");
        assert_eq!(error.hint().unwrap(), "use @9");
        let inside = reader.change_id(OpId::new(7)).to_string();
        assert!(matches!(resolve(&reader, &inside), Err(RevisionError::Merged { .. })));
    }

    #[test]
    fn times_resolve_to_the_last_change_up_to_them() {
        let reader = script().reader();
        assert_eq!(resolve(&reader, &Script::time(3).to_string()).unwrap(), OpId::new(3));
        assert_eq!(resolve(&reader, "1s ago").unwrap(), OpId::new(6));
        assert_eq!(resolve(&reader, &reader.clock().format(Script::time(2))).unwrap(), OpId::new(2));
        let error = resolve(&reader, "1970-01-02 00:00").unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing was recorded before 1970-01-02 00:00:00; the first change is of 1970-01-12 13:46:41"
        );
        let error = resolve(&Script::new().reader(), "1s ago").unwrap_err();
        assert!(error.to_string().ends_with("nothing is recorded at all"), "{error}");
    }

    #[test]
    fn snapshots_resolve_and_go_before_change_ids() {
        let script = script();
        let reader = script.reader();
        let taken = reader.change_id(OpId::new(5)).to_string();
        for (name, at) in [("release-1", 2), (taken.as_str(), 3)] {
            let name = RefName::new(name).unwrap();
            script.storage.create_snapshot(&name, View::main(OpId::new(at)), Script::time(9)).unwrap();
        }
        assert_eq!(resolve(&reader, "release-1").unwrap(), OpId::new(2));
        assert_eq!(resolve(&reader, &taken).unwrap(), OpId::new(3));
        let error = resolve(&reader, "relase-1").unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean 'release-1'?");
    }

    #[test]
    fn paths_are_found_as_they_were() {
        let mut script = script();
        script.rename("a", "z");
        let reader = script.reader();
        assert_eq!(reader.find(View::main(OpId::new(2)), &path("a")).unwrap().file, script.file("z"));
        assert_eq!(reader.path_of(View::main(OpId::new(2)), script.file("z")).unwrap(), Some(path("a")));
        let error = reader.find(reader.newest(), &path("a")).unwrap_err();
        assert_eq!(error.to_string(), "there is nothing at 'a' now");
        let error = reader.find(View::main(OpId::new(1)), &path("b")).unwrap_err();
        assert_eq!(error.to_string(), "there is nothing at 'b' at @1");
    }
}
