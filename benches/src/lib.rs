//! A generator of operations for the benchmarks: what a project of source files goes through, without any files.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use ize_core::model::{
    Actor, BranchId, Displaced, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpCode, OpData, OpId, OpType,
    Timestamp, Touched,
};
use ize_core::storage::Batch;

/// How many folders there are, all in the root.
pub const FOLDERS: u64 = 100;

/// A file that exists at this moment of the generated history.
#[derive(Clone, Debug)]
pub struct LiveFile {
    /// The file.
    pub file: FileId,
    /// Its only name.
    pub entry: Entry,
    /// Its size.
    pub size: u64,
}

/// An endless sequence of operations: files are made in folders, written, renamed, changed and removed. The same seed
/// makes the same sequence.
#[derive(Debug)]
pub struct History {
    rng: Rng,
    actor: Arc<Actor>,
    next_op: u64,
    next_file: u64,
    /// The files that exist.
    pub files: Vec<LiveFile>,
    folders: Vec<FileId>,
}

impl History {
    /// Begins a history. Its first operations make the folders.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            actor: Arc::new(Actor { program: "bench".to_owned(), ..Actor::default() }),
            next_op: 1,
            next_file: FileId::ROOT.get() + 1,
            files: Vec::new(),
            folders: Vec::new(),
        }
    }

    /// Returns the next operations as one batch.
    pub fn batch(&mut self, ops: usize) -> Batch {
        Batch { ops: (0..ops).map(|_| self.next_op()).collect(), landmarks: Vec::new() }
    }

    /// Returns the folders made so far.
    pub fn folders(&self) -> &[FileId] {
        &self.folders
    }

    fn next_op(&mut self) -> OpCode {
        if (self.folders.len() as u64) < FOLDERS {
            return self.make_folder();
        }
        match self.rng.u32(0..100) {
            0..12 => self.create(),
            _ if self.files.is_empty() => self.create(),
            12..84 => self.write(),
            84..90 => self.rename(),
            90..95 => self.chmod(),
            _ => self.delete(),
        }
    }

    fn op(&mut self, op_type: OpType, data: OpData, touched: Vec<Touched>, landmark: Option<Landmark>) -> OpCode {
        let id = OpId::new(self.next_op);
        self.next_op += 1;
        OpCode {
            id,
            last_id: id,
            branch: BranchId::MAIN,
            timestamp: self.now(),
            op_type,
            data,
            touched,
            actor: self.actor.clone(),
            landmark,
            parent: None,
        }
    }

    /// A millisecond per operation.
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + i128::from(self.next_op) * 1_000_000)
    }

    fn new_file(&mut self) -> FileId {
        let file = FileId::new(self.next_file);
        self.next_file += 1;
        file
    }

    fn touched(&self, file: FileId, kind: FileKind, size: u64, nlink: u32) -> Touched {
        let at = self.now();
        let (uid, gid, rdev, mode) = (1000, 1000, 0, 0o644);
        let metadata = FileMetadata { kind, mode, uid, gid, size, nlink, rdev, atime: at, mtime: at, ctime: at };
        Touched { file, metadata }
    }

    fn folder_touched(&self, folder: FileId) -> Touched {
        self.touched(folder, FileKind::Directory, 4096, 2)
    }

    fn make_folder(&mut self) -> OpCode {
        let file = self.new_file();
        self.folders.push(file);
        let entry = Entry::new(FileId::ROOT, name(format!("folder-{}", self.folders.len())));
        let touched = vec![self.folder_touched(file), self.folder_touched(FileId::ROOT)];
        self.op(OpType::DirCreate { file, entry, mode: 0o755 }, OpData::None, touched, Some(Landmark::Namespace))
    }

    fn new_entry(&mut self) -> Entry {
        let folder = self.folders[self.rng.usize(..self.folders.len())];
        Entry::new(folder, name(format!("source-file-{}.rs", self.next_op)))
    }

    fn create(&mut self) -> OpCode {
        let (file, entry) = (self.new_file(), self.new_entry());
        self.files.push(LiveFile { file, entry: entry.clone(), size: 0 });
        let touched = vec![self.touched(file, FileKind::File, 0, 1), self.folder_touched(entry.dir)];
        self.op(OpType::FileCreate { file, entry, mode: 0o644 }, OpData::None, touched, Some(Landmark::Namespace))
    }

    fn write(&mut self) -> OpCode {
        let index = self.rng.usize(..self.files.len());
        let mut data = vec![0; self.rng.usize(100..4097)];
        self.rng.fill(&mut data);
        let live = &mut self.files[index];
        let (offset, size) = (live.size.min(4096 * self.rng.u64(0..8)), data.len() as u64);
        live.size = live.size.max(offset + size);
        let (file, new_size) = (live.file, live.size);
        let touched = vec![self.touched(file, FileKind::File, new_size, 1)];
        let landmark = self.rng.bool().then_some(Landmark::Close);
        self.op(OpType::FileWrite { file, offset, size }, OpData::Inline(Bytes::from(data)), touched, landmark)
    }

    fn rename(&mut self) -> OpCode {
        let (index, to) = (self.rng.usize(..self.files.len()), self.new_entry());
        let live = &mut self.files[index];
        let from = std::mem::replace(&mut live.entry, to.clone());
        let (file, size) = (live.file, live.size);
        let mut touched = vec![self.touched(file, FileKind::File, size, 1), self.folder_touched(from.dir)];
        if from.dir != to.dir {
            touched.push(self.folder_touched(to.dir));
        }
        let op_type = OpType::Rename { file, from, to, displaced: Displaced::Nothing };
        self.op(op_type, OpData::None, touched, Some(Landmark::Namespace))
    }

    fn chmod(&mut self) -> OpCode {
        let LiveFile { file, size, .. } = self.files[self.rng.usize(..self.files.len())].clone();
        let touched = vec![self.touched(file, FileKind::File, size, 1)];
        let op_type = OpType::Chmod { file, old_mode: 0o644, new_mode: 0o644 };
        self.op(op_type, OpData::None, touched, None)
    }

    fn delete(&mut self) -> OpCode {
        let LiveFile { file, entry, size } = self.files.swap_remove(self.rng.usize(..self.files.len()));
        let touched = vec![self.touched(file, FileKind::File, size, 0), self.folder_touched(entry.dir)];
        self.op(OpType::FileDelete { file, entry }, OpData::None, touched, Some(Landmark::Namespace))
    }
}

fn name(text: String) -> Name {
    Name::new(text.into_bytes()).expect("the generator makes valid names")
}

#[cfg(test)]
mod tests {
    use ize_core::storage::{FileSystemStorage, MemoryStorage};

    use super::*;

    #[test]
    fn the_strict_model_accepts_the_history() {
        let storage = MemoryStorage::new();
        let mut history = History::new(1);
        for _ in 0..20 {
            storage.commit(&history.batch(500)).unwrap();
        }
        assert_eq!(storage.head().unwrap().op, OpId::new(10_000));
    }
}
