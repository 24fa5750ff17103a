//! A process that records is killed with `kill -9`; whatever it had acknowledged is found again.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ize_core::model::{
    Actor, BranchId, Entry, FileId, FileKind, FileMetadata, Landmark, Name, OpData, OpId, OpType, Timestamp, Touched,
    View,
};
use ize_core::record::{DurabilityMode, OpDraft, Recorder, RecorderOptions};
use ize_core::storage::{FileSystemStorage, MemoryStorage, OpQuery};

const JOURNAL: &str = "IZE_TEST_JOURNAL";
const MODE: &str = "IZE_TEST_MODE";

fn options(durability: DurabilityMode) -> RecorderOptions {
    let mut options = RecorderOptions { durability, ..RecorderOptions::default() };
    options.journal.segment_bytes = 128 << 10;
    // Nothing is committed before the process is killed, so that all depends on the journal.
    options.processor.poll_interval = Duration::from_secs(3600);
    options.processor.max_batch_size = usize::MAX;
    options
}

fn mode(name: &str) -> DurabilityMode {
    match name {
        "immediate" => DurabilityMode::Immediate,
        "group" => DurabilityMode::GroupCommit { max_delay_ms: 5, max_pending_ops: 100 },
        _ => DurabilityMode::Relaxed,
    }
}

fn metadata(kind: FileKind, size: u64) -> FileMetadata {
    let time = Timestamp::now();
    FileMetadata { kind, mode: 0o644, uid: 0, gid: 0, size, nlink: 1, rdev: 0, atime: time, mtime: time, ctime: time }
}

fn record(recorder: &Recorder, op_type: OpType, data: OpData, touched: Vec<Touched>) -> OpId {
    let reservation = recorder.reserve(data.size()).unwrap();
    let draft = OpDraft { op_type, data, touched, actor: Arc::new(Actor::default()), landmark: None, parent: None };
    recorder.record(reservation, draft).unwrap()
}

/// Records for ever, and prints the id of each operation that was acknowledged.
fn record_for_ever(recorder: &Recorder) {
    let file = recorder.allocate_file();
    let name = Name::try_from(format!("f{file}").as_str()).unwrap();
    let touched = vec![
        Touched { file, metadata: metadata(FileKind::File, 0) },
        Touched { file: FileId::ROOT, metadata: metadata(FileKind::Directory, 0) },
    ];
    let create = OpType::FileCreate { file, entry: Entry::new(FileId::ROOT, name), mode: 0o644 };
    acknowledge(record(recorder, create, OpData::None, touched));
    for n in 0usize.. {
        let content = vec![b'x'; 1 + n * 977 % 30_000];
        let size = content.len() as u64;
        let touched = vec![Touched { file, metadata: metadata(FileKind::File, size) }];
        let write = OpType::FileWrite { file, offset: 0, size };
        let op = record(recorder, write, OpData::Inline(Bytes::from(content)), touched);
        acknowledge(op);
        if n.is_multiple_of(7) {
            recorder.mark(op, Landmark::Close).unwrap();
        }
    }
}

fn acknowledge(op: OpId) {
    // One write per line, so that the lines of several threads do not mix.
    std::io::stdout().lock().write_all(format!("acknowledged {}\n", op.get()).as_bytes()).unwrap();
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "started and killed by the tests"]
fn recording_process() {
    let Some(journal) = std::env::var_os(JOURNAL) else { return };
    let options = options(mode(&std::env::var(MODE).unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let recorder = Recorder::open(storage, Path::new(&journal), BranchId::MAIN, options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| record_for_ever(&recorder));
        }
    });
}

fn start(journal: &Path, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recording_process", "--ignored", "--nocapture"])
        .env(JOURNAL, journal)
        .env(MODE, mode)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process after so many acknowledged operations and returns the last one of which it told.
fn kill_after(mut child: Child, acknowledged: usize) -> OpId {
    let id = |line: String| line.strip_prefix("acknowledged ").and_then(|id| id.parse().ok()).map(OpId::new);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter_map(id);
    let before = lines.by_ref().take(acknowledged).max();
    child.kill().unwrap();
    let after = lines.max();
    child.wait().unwrap();
    before.max(after).unwrap()
}

fn kill_rounds(mode_name: &str, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        let journal = dir.path().join(format!("{mode_name}-{round}"));
        let acknowledged = kill_after(start(&journal, mode_name), 1 + round * 37);
        let storage = Arc::new(MemoryStorage::new());
        let recorder = Recorder::open(storage.clone(), &journal, BranchId::MAIN, options(mode(mode_name))).unwrap();
        let recorded = recorder.recorded();
        assert!(recorded >= acknowledged, "round {round}: {acknowledged} was acknowledged, {recorded} is left");
        // One operation per thread may have been written but not acknowledged; lines may be lost with the process.
        let query = OpQuery { max: usize::MAX, ..OpQuery::all(View::latest(BranchId::MAIN)) };
        let ops = storage.ops(&query).unwrap();
        let ends = ops.iter().map(|op| op.last_id);
        assert!(ops.iter().map(|op| op.id.prev()).eq(std::iter::once(OpId::ZERO).chain(ends).take(ops.len())));
        assert_eq!(ops.last().map(|op| op.last_id), Some(recorded));
    }
}

#[test]
fn a_recorder_killed_in_relaxed_mode_keeps_what_it_acknowledged() {
    kill_rounds("relaxed", 8);
}

#[test]
fn a_recorder_killed_in_group_mode_keeps_what_it_acknowledged() {
    kill_rounds("group", 4);
}

#[test]
fn a_recorder_killed_in_immediate_mode_keeps_what_it_acknowledged() {
    kill_rounds("immediate", 4);
}
