//! A generator of operations for the benchmarks: what a project of source files goes through, without any files; and
//! pictures of what was measured.

pub mod engines;
pub mod mounted;
pub mod plot;
pub mod trace;

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

/// A project of text files in folders, and edits of them. Every edit is a save.
#[derive(Debug)]
pub struct Project {
    rng: Rng,
    actor: Arc<Actor>,
    next_op: u64,
    next_file: u64,
    created: OpId,
    files: Vec<(FileId, u64)>,
    pending: Vec<OpCode>,
}

impl Project {
    /// Makes folders of 100 files with 4 KiB of text each.
    pub fn new(files: u64) -> Self {
        let actor = Arc::new(Actor { program: "bench".to_owned(), ..Actor::default() });
        let (rng, next_file) = (Rng::with_seed(5), FileId::ROOT.get() + 1);
        let (files_made, pending) = (Vec::new(), Vec::new());
        let mut project = Self { rng, actor, next_op: 1, next_file, created: OpId::ZERO, files: files_made, pending };
        let mut folder = FileId::ROOT;
        for at in 0..files {
            if at % 100 == 0 {
                folder = project.make(FileId::ROOT, format!("folder-{}", at / 100), FileKind::Directory, Bytes::new());
            }
            let content = project.text(4096);
            let file = project.make(folder, format!("file-{at}.txt"), FileKind::File, content);
            project.files.push((file, 4096));
        }
        project.created = OpId::new(project.next_op - 1);
        project
    }

    /// Returns the operations that were made and not taken yet.
    pub fn take(&mut self) -> Batch {
        Batch { ops: std::mem::take(&mut self.pending), landmarks: Vec::new() }
    }

    /// Returns the operation that made the last of the files.
    pub const fn created(&self) -> OpId {
        self.created
    }

    /// Returns one of the files.
    pub fn file(&self, at: usize) -> FileId {
        self.files[at].0
    }

    /// Edits some file.
    pub fn edit(&mut self, bytes: usize) -> Batch {
        let at = self.rng.usize(..self.files.len());
        self.edit_of(at, bytes)
    }

    /// Edits one of the files: so much of its beginning is written anew.
    pub fn edit_of(&mut self, at: usize, bytes: usize) -> Batch {
        let (file, size) = self.files[at];
        let content = self.text(bytes);
        self.write(file, 0, content, size);
        self.take()
    }

    /// Makes a file of so many random bytes.
    pub fn create_large(&mut self, size: usize) -> (FileId, u64) {
        let mut content = vec![0; size];
        self.rng.fill(&mut content);
        let file = self.make(FileId::ROOT, "large.bin".to_owned(), FileKind::File, Bytes::from(content));
        (file, size as u64)
    }

    /// Overwrites so many bytes somewhere in a large file.
    pub fn overwrite(&mut self, (file, size): (FileId, u64), bytes: usize) -> Batch {
        let mut content = vec![0; bytes];
        self.rng.fill(&mut content);
        let offset = self.rng.u64(..size - bytes as u64);
        self.write(file, offset, Bytes::from(content), size);
        self.take()
    }

    fn text(&mut self, bytes: usize) -> Bytes {
        (0..bytes).map(|at| if at % 64 == 63 { b'\n' } else { self.rng.u8(b'a'..=b'z') }).collect()
    }

    fn make(&mut self, dir: FileId, text: String, kind: FileKind, content: Bytes) -> FileId {
        let file = FileId::new(self.next_file);
        self.next_file += 1;
        let entry = Entry::new(dir, name(text));
        let touched = self.touched(file, kind, content.len() as u64);
        let (op_type, data) = match kind {
            FileKind::Directory => (OpType::DirCreate { file, entry, mode: 0o755 }, OpData::None),
            _ => (OpType::FileCreate { file, entry, mode: 0o644 }, OpData::Inline(content)),
        };
        self.push(op_type, data, touched, None);
        file
    }

    fn write(&mut self, file: FileId, offset: u64, content: Bytes, size: u64) {
        let touched = self.touched(file, FileKind::File, size);
        let op_type = OpType::FileWrite { file, offset, size: content.len() as u64 };
        self.push(op_type, OpData::Inline(content), touched, Some(Landmark::Close));
    }

    fn touched(&self, file: FileId, kind: FileKind, size: u64) -> Touched {
        let at = self.now();
        let (uid, gid, rdev, mode, nlink) = (1000, 1000, 0, 0o755, 1);
        Touched {
            file,
            metadata: FileMetadata { kind, mode, uid, gid, size, nlink, rdev, atime: at, mtime: at, ctime: at },
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + i128::from(self.next_op) * 1_000_000)
    }

    fn push(&mut self, op_type: OpType, data: OpData, touched: Touched, landmark: Option<Landmark>) {
        let id = OpId::new(self.next_op);
        let timestamp = self.now();
        self.next_op += 1;
        self.pending.push(OpCode {
            id,
            last_id: id,
            branch: BranchId::MAIN,
            timestamp,
            op_type,
            data,
            touched: vec![touched],
            actor: self.actor.clone(),
            landmark,
            parent: None,
        });
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

    #[test]
    fn the_strict_model_accepts_the_project() {
        let storage = MemoryStorage::new();
        let mut project = Project::new(250);
        storage.commit(&project.take()).unwrap();
        storage.commit(&project.edit(100)).unwrap();
        let large = project.create_large(10_000);
        storage.commit(&project.take()).unwrap();
        storage.commit(&project.overwrite(large, 4096)).unwrap();
        assert_eq!(storage.head().unwrap().op.get(), 250 + 3 + 3);
    }
}
