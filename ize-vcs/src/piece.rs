//! Which operations become one change, and what the change says about them.

use std::collections::{BTreeMap, HashSet};

use ize_core::model::{Entry, FileId, OpCode, OpId, OpType, RelPath, View};
use ize_core::storage::{FileSystemStorage, FileSystemStorageExt, Result};
use libpijul::change::{Author as PijulAuthor, ChangeHeader};

use crate::options::Author;

/// How many operations a change's description lists.
const LISTED_MAX: usize = 100;

/// Cuts operations into pieces: each ends at a landmark, before another branch goes on, or at the end.
pub(crate) fn cut<'a>(ops: &'a [OpCode], landmarks: &HashSet<OpId>, one_by_one: bool) -> Vec<&'a [OpCode]> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for (at, op) in ops.iter().enumerate() {
        let is_landmark = op.landmark.is_some() || landmarks.contains(&op.last_id);
        let is_last_of_branch = ops.get(at + 1).is_none_or(|next| next.branch != op.branch);
        if one_by_one || is_landmark || is_last_of_branch {
            pieces.push(&ops[begin..=at]);
            begin = at + 1;
        }
    }
    pieces
}

/// Describes a piece: the operation that tells most as the message, and all of them, if there are several, below it.
///
/// # Errors
/// If the index cannot be read.
pub(crate) fn describe(index: &dyn FileSystemStorage, piece: &[OpCode], author: &Author) -> Result<ChangeHeader> {
    let telling = piece.iter().enumerate().max_by_key(|(at, op)| (rank(&op.op_type), std::cmp::Reverse(*at)));
    let message = telling.map_or_else(|| Ok(String::new()), |(_, op)| line(index, op))?;
    let mut description = String::new();
    if piece.len() > 1 {
        for op in piece.iter().take(LISTED_MAX) {
            description.push_str(&line(index, op)?);
            description.push('\n');
        }
        if let Some(more) = piece.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
            description.push_str(&format!("and {more} more\n"));
        }
    }
    let nanos = piece.last().map_or(0, |op| op.timestamp.as_nanos());
    Ok(ChangeHeader {
        message,
        description: (!description.is_empty()).then_some(description),
        timestamp: jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default(),
        authors: vec![as_pijul(author)],
    })
}

/// Describes a change that no operation alone stands for.
pub(crate) fn describe_as(message: String, nanos: i128, author: &Author) -> ChangeHeader {
    let timestamp = jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default();
    ChangeHeader { message, description: None, timestamp, authors: vec![as_pijul(author)] }
}

fn as_pijul(author: &Author) -> PijulAuthor {
    let mut fields = BTreeMap::from([("name".to_owned(), author.name.clone())]);
    fields.extend(author.email.iter().map(|email| ("email".to_owned(), email.clone())));
    PijulAuthor(fields)
}

/// How much an operation tells: names that change, then content, then the rest.
fn rank(op_type: &OpType) -> u8 {
    match op_type.change() {
        OpType::Rename { .. } | OpType::FileDelete { .. } | OpType::DirDelete { .. } => 4,
        OpType::FileCreate { .. }
        | OpType::DirCreate { .. }
        | OpType::Symlink { .. }
        | OpType::Hardlink { .. }
        | OpType::Special { .. } => 3,
        OpType::FileWrite { .. } | OpType::FileTruncate { .. } | OpType::Range { .. } | OpType::CopyRange { .. } => 2,
        OpType::Chmod { .. } => 1,
        _ => 0,
    }
}

/// Writes one line about an operation: what happened, and where.
fn line(index: &dyn FileSystemStorage, op: &OpCode) -> Result<String> {
    let at = View::new(op.branch, op.last_id);
    let path = match op.op_type.change() {
        OpType::Rename { from, to, .. } => {
            let from = path_of_entry(index, at, from)?;
            let to = path_of_entry(index, at, to)?;
            return Ok(one_line(&op.op_type.message(&from, Some(&to))));
        }
        _ => match op.op_type.entry() {
            Some(entry) => path_of_entry(index, at, entry)?,
            None => path_of(index, at, op.op_type.file())?,
        },
    };
    Ok(one_line(&op.op_type.message(&path, None)))
}

fn path_of_entry(index: &dyn FileSystemStorage, at: View, entry: &Entry) -> Result<RelPath> {
    Ok(path_of(index, at, entry.dir)?.join(&entry.name))
}

/// Returns the path of a file right after an operation, or the last one before it.
fn path_of(index: &dyn FileSystemStorage, at: View, file: FileId) -> Result<RelPath> {
    if let Some(path) = index.path_of(at, file)? {
        return Ok(path);
    }
    let before = View::new(at.branch, at.at.prev());
    Ok(index.path_of(before, file)?.unwrap_or_default())
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use ize_core::conformance::LogBuilder;
    use ize_core::model::{BranchId, FileId, Landmark};
    use ize_core::storage::MemoryStorage;

    use super::*;

    #[test]
    fn pieces_end_at_landmarks_at_branches_and_at_the_end() {
        let mut log = LogBuilder::new();
        let file = log.create(FileId::ROOT, "a");
        log.write(file, 0, b"1");
        log.mark(Landmark::Close);
        log.write(file, 1, b"2");
        let told_later = log.write(file, 2, b"3");
        log.write(file, 3, b"4");
        let mut ops = log.take();
        ops[4].branch = BranchId::new(1);
        let lens = |landmarks: &[OpId], one_by_one| -> Vec<usize> {
            let landmarks = landmarks.iter().copied().collect();
            cut(&ops, &landmarks, one_by_one).iter().map(|piece| piece.len()).collect()
        };
        assert_eq!(lens(&[], false), [2, 2, 1]);
        assert_eq!(lens(&[told_later.prev()], false), [2, 1, 1, 1]);
        assert_eq!(lens(&[], true), [1; 5]);
        assert!(cut(&[], &HashSet::new(), false).is_empty());
    }

    #[test]
    fn the_message_tells_most_and_the_description_the_rest() {
        let (index, mut log) = (MemoryStorage::new(), LogBuilder::new());
        let dir = log.make_dir(FileId::ROOT, "src");
        let file = log.create(dir, "main.rs");
        log.write(file, 0, b"fn main() {}");
        let ops = log.take();
        index.commit(&ize_core::storage::Batch { ops: ops.clone(), landmarks: Vec::new() }).unwrap();
        let author = Author { name: "Ada".to_owned(), email: Some("ada@example.org".to_owned()) };
        let header = describe(&index, &ops, &author).unwrap();
        assert_eq!(header.message, ops[0].op_type.to_string() + ": src");
        let description = header.description.unwrap();
        assert_eq!(description.lines().count(), 3);
        assert_eq!(description.lines().last().unwrap(), "Write { offset: 0, size: 12 }: src/main.rs");
        let header = describe(&index, &ops[2..], &author).unwrap();
        assert_eq!(header.message, "Write { offset: 0, size: 12 }: src/main.rs");
        assert_eq!(header.description, None);
        assert_eq!(header.authors[0].0["email"], "ada@example.org");
    }
}
