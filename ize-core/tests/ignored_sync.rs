//! `fsync` of what the journal has nothing of. Alone in its program, because all changes of the disk are noted.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::channel;

use ize_core::disk::simulation::{self, Event};
use ize_core::model::{BranchId, FileId};
use ize_core::record::{Recorder, RecorderOptions};
use ize_core::storage::MemoryStorage;
use ize_core::tree::{Caller, IgnoreRules, Live, LiveOptions, OpenMode, Result, SyncScope, Then, Tree};

/// Returns the inodes that were synced before the call was answered.
fn synced_by(call: impl FnOnce(Then)) -> Vec<u64> {
    let (sender, outcome) = channel::<Result<()>>();
    simulation::start(None);
    call(Box::new(move |result| sender.send(result).unwrap()));
    outcome.recv().unwrap().unwrap();
    let inode = |event| match event {
        Event::Sync(inode, _) => Some(inode),
        _ => None,
    };
    simulation::stop().0.into_iter().filter_map(inode).collect()
}

#[test]
fn fsync_of_an_ignored_file_or_of_a_folder_with_one_syncs_it() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("working");
    std::fs::create_dir(&working).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let journal = folder.path().join("journal");
    let recorder = Arc::new(Recorder::open(storage, &journal, BranchId::MAIN, RecorderOptions::default()).unwrap());
    let mut options = LiveOptions::default();
    options.ignore = IgnoreRules::new(&["*.db".to_owned()], None);
    options.floor_bytes = 0;
    let root: OwnedFd = File::open(&working).unwrap().into();
    let live = Live::open(root, Arc::clone(&recorder), options).unwrap();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let caller = Caller { pid: std::process::id(), uid, gid };
    let mode = OpenMode { read: true, write: true, ..OpenMode::default() };
    for (name, is_ignored) in [("a.db", true), ("a.txt", false)] {
        let (_, handle) = live.create(caller, FileId::ROOT, OsStr::new(name), 0o644, mode).unwrap();
        live.write(caller, handle, 0, b"content").unwrap();
        let inode = std::fs::metadata(working.join(name)).unwrap().ino();
        for scope in [SyncScope::File, SyncScope::Data, SyncScope::Write] {
            let synced = synced_by(|then| live.sync(handle, scope, then));
            // The journal has all of the other one.
            assert_eq!(synced.contains(&inode), is_ignored, "{name}, {scope:?}");
        }
        live.release(handle);
    }
    let handle = live.open_directory(FileId::ROOT).unwrap();
    let inode = std::fs::metadata(&working).unwrap().ino();
    assert!(synced_by(|then| live.sync_directory(handle, then)).contains(&inode));
    live.release_directory(handle);
    drop(live);
    recorder.close().unwrap();
}
