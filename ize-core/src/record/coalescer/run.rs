//! A run of neighbouring operations that is being merged into one.

use bytes::Bytes;

use super::OpCodeCoalescer;
use super::content::Content;
use crate::model::{OpCode, OpData, OpType, Timestamp, Touched};

/// An operation, and what of those behind it was merged into it. None of its parts but the last is a landmark.
#[derive(Debug)]
pub(super) struct Run {
    /// Its own type and data stay as they came until [`Run::finish`], where it has `content`.
    op: OpCode,
    begun: Timestamp,
    /// What the parts wrote; only if there are several.
    content: Option<Content>,
}

impl Run {
    pub(super) fn new(op: OpCode) -> Self {
        Self { begun: op.timestamp, op, content: None }
    }

    /// Merges the next operation of the log into the run, or gives it back.
    pub(super) fn take(&mut self, next: OpCode, limits: &OpCodeCoalescer) -> Option<OpCode> {
        if !limits.are_neighbours(self.begun, &self.op, &next) {
            return Some(next);
        }
        if let Some(change) = joined_attributes(self.op.op_type.change(), next.op_type.change()) {
            self.set_change(change);
        } else if !self.take_content(&next, limits) {
            return Some(next);
        }
        self.op.last_id = next.last_id;
        self.op.timestamp = next.timestamp;
        self.op.landmark = next.landmark;
        next.touched.into_iter().for_each(|touched| self.touch(touched));
        None
    }

    /// Returns the merged operation.
    pub(super) fn finish(mut self) -> OpCode {
        let Some(content) = self.content.take() else { return self.op };
        if let OpType::FileWrite { file, .. } = *self.op.op_type.change() {
            self.set_change(OpType::FileWrite { file, offset: content.offset(), size: content.size() });
        }
        self.op.data = match content.into_bytes() {
            bytes if bytes.is_empty() => OpData::None,
            bytes => OpData::Inline(bytes),
        };
        self.op
    }

    fn take_content(&mut self, next: &OpCode, limits: &OpCodeCoalescer) -> bool {
        let OpType::FileWrite { .. } = next.op_type.change() else { return false };
        let Some(written) = content_of(next) else { return false };
        if let Some(content) = &mut self.content {
            return content.add(written, limits.data_bytes_max);
        }
        let Some(mut content) = content_of(&self.op) else { return false };
        let fits = content.add(written, limits.data_bytes_max);
        // What nothing is merged into stays exactly as it came.
        self.content = fits.then_some(content);
        fits
    }

    fn set_change(&mut self, change: OpType) {
        let external = self.op.op_type.is_external();
        self.op.op_type = if external { OpType::ExternalChange(Box::new(change)) } else { change };
    }

    fn touch(&mut self, touched: Touched) {
        match self.op.touched.iter_mut().find(|known| known.file == touched.file) {
            Some(known) => *known = touched,
            None => self.op.touched.push(touched),
        }
    }
}

/// Returns what a creation or a write brought; `None` for other operations, and where the data is not at hand.
fn content_of(op: &OpCode) -> Option<Content> {
    let bytes = match &op.data {
        OpData::None => Bytes::new(),
        OpData::Inline(bytes) => bytes.clone(),
        OpData::Reference { .. } => return None,
    };
    match *op.op_type.change() {
        OpType::FileCreate { .. } => Content::new(0, bytes),
        OpType::FileWrite { offset, size, .. } if size == bytes.len() as u64 => Content::new(offset, bytes),
        _ => None,
    }
}

/// Joins two changes of the same attributes of one inode.
fn joined_attributes(first: &OpType, next: &OpType) -> Option<OpType> {
    match (first, next) {
        (&OpType::Chmod { file, old_mode, .. }, &OpType::Chmod { new_mode, .. }) => {
            Some(OpType::Chmod { file, old_mode, new_mode })
        }
        (&OpType::Chown { file, old_uid, old_gid, .. }, &OpType::Chown { new_uid, new_gid, .. }) => {
            Some(OpType::Chown { file, old_uid, old_gid, new_uid, new_gid })
        }
        (&OpType::Touch { file, old_atime, old_mtime, .. }, &OpType::Touch { new_atime, new_mtime, .. }) => {
            Some(OpType::Touch { file, old_atime, old_mtime, new_atime, new_mtime })
        }
        _ => None,
    }
}
