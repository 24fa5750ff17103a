//! Whether a batch or a ref can be applied. Nothing is changed here.

use std::collections::{HashMap, HashSet};

use super::MemoryStorage;
use super::state::{Origin, State};
use crate::model::{BranchId, Effect, Entry, FileId, OpCode, OpData, OpId, OpType, View};
use crate::storage::{Batch, RefName, RefTarget, Result, StorageError};

/// Checks a whole batch.
pub(super) fn batch(state: &State, batch: &Batch) -> Result<()> {
    let mut check = Check { state, head: state.head().op, entries: HashMap::new(), files: HashSet::new() };
    for op in &batch.ops {
        check.op(op)?;
    }
    for (op, _) in &batch.landmarks {
        let known = state.position(*op).is_some() || batch.ops.iter().any(|new| new.last_id == *op);
        if !known {
            return Err(invalid(format!("no operation ends at {op}, so it cannot be a landmark")));
        }
    }
    Ok(())
}

/// Checks a ref before it is set.
pub(super) fn ref_target(state: &State, name: &RefName, target: &RefTarget) -> Result<()> {
    match *target {
        RefTarget::Snapshot { view, .. } => {
            state.lineage(view)?;
            within_head(state, view.at)?;
        }
        RefTarget::Branch { id, parent, base } => {
            state.lineage(View::latest(parent))?;
            within_head(state, base)?;
            let taken = id == BranchId::MAIN || state.origin(id).is_some_and(|known| known != Origin { parent, base });
            if taken {
                return Err(invalid(format!("{id} exists already")));
            }
        }
    }
    match state.target(name) {
        Some(known @ RefTarget::Branch { .. }) if known != target => {
            Err(invalid(format!("{name} is the name of another branch")))
        }
        _ => Ok(()),
    }
}

fn within_head(state: &State, at: OpId) -> Result<()> {
    let head = state.head().op;
    if at > head { Err(invalid(format!("{at} lies beyond the head, {head}"))) } else { Ok(()) }
}

/// A batch so far: what its operations changed on top of the state.
struct Check<'a> {
    state: &'a State,
    head: OpId,
    entries: HashMap<(BranchId, &'a Entry), Option<FileId>>,
    files: HashSet<(BranchId, FileId)>,
}

impl<'a> Check<'a> {
    fn op(&mut self, op: &'a OpCode) -> Result<()> {
        if op.id != self.head.next() {
            return Err(StorageError::Gap { expected: self.head.next(), found: op.id });
        }
        if op.last_id < op.id {
            return Err(invalid(format!("{} ends before it begins, at {}", op.id, op.last_id)));
        }
        self.state.lineage(View::new(op.branch, op.id))?;
        data(op)?;
        self.files.extend(op.touched.iter().map(|touched| (op.branch, touched.file)));
        for effect in op.effects() {
            self.effect(op, effect)?;
        }
        self.head = op.last_id;
        Ok(())
    }

    fn effect(&mut self, op: &OpCode, effect: Effect<'a>) -> Result<()> {
        match effect {
            Effect::Bind { entry, file } => {
                self.is_known(op, file)?;
                self.is_known(op, entry.dir)?;
                self.rebind(op, entry, None, Some(file))
            }
            Effect::Unbind { entry, file } => self.rebind(op, entry, Some(file), None),
            Effect::Write { file, offset, size } | Effect::Zero { file, offset, size } => {
                in_bounds(op, offset, size)?;
                self.is_known(op, file)
            }
            Effect::Copy { file, offset, source, source_offset, size } => {
                in_bounds(op, offset, size)?;
                in_bounds(op, source_offset, size)?;
                self.is_known(op, source)?;
                self.is_known(op, file)
            }
            Effect::Truncate { file, size } => {
                in_bounds(op, 0, size)?;
                self.is_known(op, file)
            }
            Effect::SetXattr { file, .. } | Effect::RemoveXattr { file, .. } => self.is_known(op, file),
        }
    }

    fn rebind(&mut self, op: &OpCode, entry: &'a Entry, old: Option<FileId>, new: Option<FileId>) -> Result<()> {
        let bound = match self.entries.get(&(op.branch, entry)) {
            Some(bound) => *bound,
            None => self.state.entry(&self.state.lineage(View::latest(op.branch))?, entry.dir, &entry.name),
        };
        if bound != old {
            let name = |file: Option<FileId>| file.map_or("nothing".to_owned(), |file| file.to_string());
            let (bound, old) = (name(bound), name(old));
            return Err(cannot(op, format!("{:?} in {} names {bound}, not {old}", entry.name, entry.dir)));
        }
        self.entries.insert((op.branch, entry), new);
        Ok(())
    }

    fn is_known(&self, op: &OpCode, file: FileId) -> Result<()> {
        let known = self.files.contains(&(op.branch, file)) || {
            let lineage = self.state.lineage(View::latest(op.branch))?;
            self.state.node(&lineage, file).is_some()
        };
        if known { Ok(()) } else { Err(cannot(op, format!("{file} does not exist"))) }
    }
}

/// Checks that an operation brings the bytes that its type speaks of.
fn data(op: &OpCode) -> Result<()> {
    if matches!(op.data, OpData::Reference { .. }) {
        return Err(cannot(op, "its data is a reference"));
    }
    let len = op.data.size();
    if len > MemoryStorage::LIMITS.op_data_bytes_max as u64 {
        return Err(cannot(op, "its data is too large"));
    }
    let fits = match op.op_type.change() {
        OpType::FileWrite { size, .. } => len == *size,
        OpType::FileCreate { .. } | OpType::Symlink { .. } => true,
        OpType::SetXattr { .. } => len <= MemoryStorage::LIMITS.xattr_bytes_max as u64,
        _ => len == 0,
    };
    if fits { Ok(()) } else { Err(cannot(op, format!("its data has the wrong length, {len}"))) }
}

fn in_bounds(op: &OpCode, offset: u64, size: u64) -> Result<()> {
    match offset.checked_add(size) {
        Some(end) if end <= MemoryStorage::LIMITS.file_bytes_max => Ok(()),
        _ => Err(cannot(op, "it reaches beyond the largest file")),
    }
}

fn cannot(op: &OpCode, why: impl std::fmt::Display) -> StorageError {
    invalid(format!("{} ({}) cannot be applied: {why}", op.id, op.op_type))
}

fn invalid(what: String) -> StorageError {
    StorageError::Invalid(what)
}
