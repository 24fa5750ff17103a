//! Scripted logs for tests: each call is one operation on a [`MemoryStorage`].

use std::collections::HashMap;
use std::sync::Arc;

use super::{Clock, Reader};
use crate::model::{
    Actor, BranchId, Displaced, Entry, FileId, FileKind, FileMetadata, Landmark, OpCode, OpData, OpId, OpType,
    ProjectId, RelPath, Timestamp, Touched, View,
};
use crate::storage::{Batch, FileSystemStorage, FileSystemStorageExt, MemoryStorage};

/// The project of all scripts.
pub(super) const PROJECT: ProjectId = ProjectId::from_bytes([7; 16]);

/// A log that grows by one operation, and one second, with each call.
pub(super) struct Script {
    pub(super) storage: Arc<MemoryStorage>,
    files: HashMap<FileId, FileMetadata>,
    next_file: u64,
    actor: Arc<Actor>,
    pub(super) external: bool,
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::try_from(text).unwrap()
}

impl Script {
    pub(super) fn new() -> Self {
        let mut script = Self {
            storage: Arc::new(MemoryStorage::new()),
            files: HashMap::new(),
            next_file: 2,
            actor: Arc::new(Actor::default()),
            external: false,
        };
        script.by(1, "sh");
        script
    }

    /// The time of an operation.
    pub(super) fn time(op: u64) -> Timestamp {
        Timestamp::from_secs_nanos(1_000_000 + i64::try_from(op).unwrap(), 0)
    }

    /// Who acts from now on.
    pub(super) fn by(&mut self, pid: u32, program: &str) {
        self.actor = Arc::new(Actor { pid, program: program.into(), ..Actor::default() });
    }

    pub(super) fn reader(&self) -> Reader {
        let clock = Clock::new(Self::time(10_000), jiff::tz::TimeZone::UTC);
        Reader::new(self.storage.clone(), PROJECT, BranchId::MAIN).unwrap().with_clock(clock)
    }

    pub(super) fn head(&self) -> OpId {
        self.storage.head().unwrap().op
    }

    pub(super) fn file(&self, text: &str) -> FileId {
        let found = self.storage.resolve(View::main(OpId::MAX), &path(text)).unwrap();
        found.unwrap_or_else(|| panic!("no {text}"))
    }

    fn entry(&self, text: &str) -> Entry {
        let (folder, name) = path(text).split_last().unwrap();
        let folder = if folder.is_root() { FileId::ROOT } else { self.file(&folder.to_string()) };
        Entry::new(folder, name)
    }

    fn allocate(&mut self, kind: FileKind) -> FileId {
        let file = FileId::new(self.next_file);
        self.next_file += 1;
        let zero = Timestamp::default();
        let metadata = FileMetadata {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            nlink: 1,
            rdev: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
        };
        self.files.insert(file, metadata);
        file
    }

    fn commit(&mut self, op_type: OpType, data: &[u8], touched: &[FileId], landmark: Option<Landmark>) -> OpId {
        let id = self.head().next();
        let data = if data.is_empty() { OpData::None } else { OpData::Inline(data.to_vec().into()) };
        let touched = touched.iter().map(|file| Touched { file: *file, metadata: self.files[file] }).collect();
        let op_type = if self.external { OpType::ExternalChange(Box::new(op_type)) } else { op_type };
        let op = OpCode {
            id,
            last_id: id,
            branch: BranchId::MAIN,
            timestamp: Self::time(id.get()),
            op_type,
            data,
            touched,
            actor: self.actor.clone(),
            landmark,
            parent: None,
        };
        self.storage.commit(&Batch { ops: vec![op], landmarks: Vec::new() }).unwrap();
        id
    }

    pub(super) fn create(&mut self, text: &str) -> OpId {
        let entry = self.entry(text);
        let file = self.allocate(FileKind::File);
        let op = OpType::FileCreate { file, entry, mode: 0o644 };
        self.commit(op, &[], &[file], Some(Landmark::Namespace))
    }

    /// Creates a file together with its content and closes it, as merging leaves it.
    pub(super) fn create_with(&mut self, text: &str, data: &str) -> OpId {
        let entry = self.entry(text);
        let file = self.allocate(FileKind::File);
        self.files.get_mut(&file).unwrap().size = data.len() as u64;
        let op = OpType::FileCreate { file, entry, mode: 0o644 };
        self.commit(op, data.as_bytes(), &[file], Some(Landmark::Close))
    }

    pub(super) fn mkdir(&mut self, text: &str) -> OpId {
        let entry = self.entry(text);
        let file = self.allocate(FileKind::Directory);
        self.commit(OpType::DirCreate { file, entry, mode: 0o755 }, &[], &[file], Some(Landmark::Namespace))
    }

    pub(super) fn write(&mut self, text: &str, offset: u64, data: &str) -> OpId {
        let file = self.file(text);
        let size = data.len() as u64;
        let metadata = self.files.get_mut(&file).unwrap();
        metadata.size = metadata.size.max(offset + size);
        self.commit(OpType::FileWrite { file, offset, size }, data.as_bytes(), &[file], None)
    }

    pub(super) fn truncate(&mut self, text: &str, new_size: u64) -> OpId {
        let file = self.file(text);
        let metadata = self.files.get_mut(&file).unwrap();
        let old_size = std::mem::replace(&mut metadata.size, new_size);
        self.commit(OpType::FileTruncate { file, old_size, new_size }, &[], &[file], None)
    }

    /// Marks the last operation.
    pub(super) fn mark(&mut self, landmark: Landmark) -> OpId {
        let op = self.head();
        self.storage.commit(&Batch { ops: Vec::new(), landmarks: vec![(op, landmark)] }).unwrap();
        op
    }

    /// Creates a file, writes it and closes it.
    pub(super) fn save_new(&mut self, text: &str, data: &str) -> OpId {
        self.create(text);
        self.write(text, 0, data);
        self.mark(Landmark::Close)
    }

    pub(super) fn chmod(&mut self, text: &str, new_mode: u32) -> OpId {
        let file = self.file(text);
        let metadata = self.files.get_mut(&file).unwrap();
        let old_mode = std::mem::replace(&mut metadata.mode, new_mode);
        self.commit(OpType::Chmod { file, old_mode, new_mode }, &[], &[file], None)
    }

    pub(super) fn link(&mut self, old: &str, new: &str) -> OpId {
        let (file, entry) = (self.file(old), self.entry(new));
        self.files.get_mut(&file).unwrap().nlink += 1;
        self.commit(OpType::Hardlink { file, entry }, &[], &[file], Some(Landmark::Namespace))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> OpId {
        let file = self.file(from);
        let (old, new) = (self.entry(from), self.entry(to));
        let victim = self.storage.resolve(View::main(OpId::MAX), &path(to)).unwrap();
        let mut touched = vec![file];
        let (displaced, landmark) = match victim {
            Some(victim) => {
                self.files.get_mut(&victim).unwrap().nlink -= 1;
                touched.push(victim);
                (Displaced::Replaced(victim), Landmark::Replace)
            }
            None => (Displaced::Nothing, Landmark::Namespace),
        };
        self.commit(OpType::Rename { file, from: old, to: new, displaced }, &[], &touched, Some(landmark))
    }

    pub(super) fn exchange(&mut self, one: &str, other: &str) -> OpId {
        let (file, taken) = (self.file(one), self.file(other));
        let (from, to) = (self.entry(one), self.entry(other));
        let op = OpType::Rename { file, from, to, displaced: Displaced::Exchanged(taken) };
        self.commit(op, &[], &[file, taken], Some(Landmark::Namespace))
    }

    pub(super) fn delete(&mut self, text: &str) -> OpId {
        let (file, entry) = (self.file(text), self.entry(text));
        let metadata = self.files.get_mut(&file).unwrap();
        let op = if metadata.kind == FileKind::Directory {
            metadata.nlink = 0;
            OpType::DirDelete { file, entry }
        } else {
            metadata.nlink -= 1;
            OpType::FileDelete { file, entry }
        };
        self.commit(op, &[], &[file], Some(Landmark::Namespace))
    }
}
