//! Recorded operations of a real session, to be committed again.
//!
//! `data/trace.zst` is what `scripts/record-trace` made: the operations of a mounted project, as its store had them, with
//! the bytes that they brought. Its format is nobody's but this module's: `postcard`, compressed with `zstd`.

use std::io;

use bytes::Bytes;
use ize_core::model::{Effect, OpCode, OpData, OpId, OpType, View};
use ize_core::storage::{Batch, FileSystemStorage, OpQuery, StorageError};

/// So many operations are committed at once: few, as while somebody works.
pub const OPS_PER_BATCH: usize = 50;

static RECORDED: &[u8] = include_bytes!("../data/trace.zst");

/// Returns the recorded session, in batches.
pub fn recorded() -> Vec<Batch> {
    let bytes = zstd::decode_all(RECORDED).expect("the recorded session is compressed");
    let ops: Vec<OpCode> = postcard::from_bytes(&bytes).expect("the recorded session can be read");
    ops.chunks(OPS_PER_BATCH).map(|ops| Batch { ops: ops.to_vec(), landmarks: Vec::new() }).collect()
}

/// Takes all operations out of a storage, in the form of [`recorded`].
///
/// # Errors
/// If they cannot be read.
pub fn record(storage: &dyn FileSystemStorage) -> Result<Vec<u8>, StorageError> {
    let (mut ops, mut since) = (Vec::new(), OpId::ZERO);
    loop {
        let page = storage.ops(&OpQuery { since, ..OpQuery::all(View::main(OpId::MAX)) })?;
        let Some(last) = page.last() else { break };
        since = last.last_id;
        for op in page {
            ops.push(with_data(storage, op)?);
        }
    }
    let failed = |error: io::Error| StorageError::backend("compressing operations", error);
    let bytes = postcard::to_stdvec(&ops).map_err(|error| failed(io::Error::other(error)))?;
    zstd::encode_all(bytes.as_slice(), 19).map_err(failed)
}

/// Returns an operation with the bytes that it brought: the file has them right after it.
fn with_data(storage: &dyn FileSystemStorage, mut op: OpCode) -> Result<OpCode, StorageError> {
    let size = op.data.size();
    if size == 0 {
        return Ok(op);
    }
    let view = View { branch: op.branch, at: op.last_id };
    let file = op.op_type.file();
    if let OpType::SetXattr { name, .. } = op.op_type.change() {
        let value = storage.xattrs(view, file)?.into_iter().find(|xattr| xattr.name == *name).map(|xattr| xattr.value);
        op.data = OpData::Inline(value.unwrap_or_default());
        return Ok(op);
    }
    let offset = op.effects().find_map(|effect| match effect {
        Effect::Write { offset, .. } => Some(offset),
        _ => None,
    });
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| StorageError::Full)?];
    let read = storage.read(view, file, offset.unwrap_or(0), &mut bytes)?;
    if read < bytes.len() {
        return Err(StorageError::Corrupt(format!("{} has {read} of {size} bytes", op.id)));
    }
    op.data = OpData::Inline(Bytes::from(bytes));
    Ok(op)
}

#[cfg(test)]
mod tests {
    use ize_core::storage::MemoryStorage;

    use super::*;

    #[test]
    fn the_strict_model_accepts_the_recorded_session() {
        let storage = MemoryStorage::new();
        let batches = recorded();
        for batch in &batches {
            storage.commit(batch).unwrap();
        }
        let last = batches.last().unwrap().ops.last().unwrap().last_id;
        assert!(last.get() > 1000);
        assert_eq!(storage.head().unwrap().op, last);
    }
}
