//! What waits for the disk, and what does not.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use ize_core::model::FileId;
use ize_core::record::{DurabilityMode, RecorderOptions};
use ize_core::tree::{Result, SetAttributes, SyncScope, Then, Tree};

use crate::gated::Gated;
use crate::world::{RW, World};

const SOON: Duration = Duration::from_secs(20);

fn in_mode(durability: DurabilityMode) -> RecorderOptions {
    RecorderOptions { durability, ..RecorderOptions::default() }
}

fn called_back(leave: impl FnOnce(Then)) -> Receiver<Result<()>> {
    let (sender, outcome) = channel();
    leave(Box::new(move |result| sender.send(result).unwrap()));
    outcome
}

/// Fails if the work does not end soon, instead of hanging.
fn without_waiting(work: impl FnOnce() + Send + 'static) {
    let (sender, done) = channel();
    thread::spawn(move || {
        work();
        sender.send(()).unwrap();
    });
    done.recv_timeout(SOON).expect("something waited for the disk, or failed");
}

fn is_waiting(outcome: &Receiver<Result<()>>) -> bool {
    outcome.recv_timeout(Duration::from_millis(20)).is_err()
}

#[test]
fn while_the_disk_syncs_every_call_goes_on_and_only_the_answers_wait() {
    let modes = [DurabilityMode::Immediate, DurabilityMode::default(), DurabilityMode::Relaxed];
    for (mode, sync_working) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let gated = Gated::new(in_mode(mode), sync_working);
        let (live, caller) = (&gated.live, World::caller());
        let create = |name: &str| live.create(caller, FileId::ROOT, OsStr::new(name), 0o644, RW).unwrap();
        let (_, handle) = create("a");
        live.wait_settled().unwrap();
        gated.disk.hold_syncs();
        live.write(caller, handle, 0, b"content").unwrap();
        let written = called_back(|then| live.settle(then));
        assert_eq!(is_waiting(&written), mode == DurabilityMode::Immediate, "{mode:?}");
        // More of them than there are threads anywhere.
        let synced: Vec<_> = (0..20).map(|_| called_back(|then| live.sync(handle, SyncScope::Data, then))).collect();
        let root = live.open_directory(FileId::ROOT).unwrap();
        let folder_synced = called_back(|then| live.sync_directory(root, then));
        assert!(is_waiting(&synced[0]) && is_waiting(&folder_synced), "{mode:?}");
        let (tree, other) = (Arc::clone(live), create("b").1);
        without_waiting(move || {
            let a = tree.lookup(FileId::ROOT, OsStr::new("a")).unwrap();
            assert_eq!(tree.stat(a.file, None).unwrap().metadata.size, 7);
            let mut names = 0;
            tree.read_directory(root, 0, &mut |_| {
                names += 1;
                true
            })
            .unwrap();
            assert_eq!(names, 4, "with . and ..");
            let mut content = [0; 7];
            assert_eq!(tree.read(handle, 0, &mut content).unwrap(), 7);
            // Changes, also of the file that is being synced.
            tree.write(caller, handle, 7, b"more").unwrap();
            tree.write(caller, other, 0, b"other").unwrap();
            tree.unlink(caller, FileId::ROOT, OsStr::new("b")).unwrap();
            let chmod = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
            tree.set_attributes(caller, a.file, None, &chmod).unwrap();
            tree.flush(other).unwrap();
            tree.release(other);
        });
        assert!(is_waiting(&synced[0]));
        gated.disk.let_syncs_end();
        for outcome in synced.into_iter().chain([folder_synced]) {
            outcome.recv_timeout(SOON).unwrap().unwrap();
        }
        if mode == DurabilityMode::Immediate {
            written.recv_timeout(SOON).unwrap().unwrap();
        }
        gated.recorder.close().unwrap();
    }
}

#[test]
fn closing_while_calls_wait_for_the_disk_answers_all_of_them() {
    let gated = Gated::new(in_mode(DurabilityMode::Immediate), true);
    let (_, handle) = gated.live.create(World::caller(), FileId::ROOT, OsStr::new("a"), 0o644, RW).unwrap();
    gated.disk.hold_syncs();
    gated.live.write(World::caller(), handle, 0, b"content").unwrap();
    let written = called_back(|then| gated.live.settle(then));
    let synced = called_back(|then| gated.live.sync(handle, SyncScope::File, then));
    let recorder = Arc::clone(&gated.recorder);
    let closing = thread::spawn(move || recorder.close());
    assert!(is_waiting(&written) && is_waiting(&synced));
    gated.disk.let_syncs_end();
    closing.join().unwrap().unwrap();
    written.recv_timeout(SOON).unwrap().unwrap();
    synced.recv_timeout(SOON).unwrap().unwrap();
    // Too late is an error, not a promise.
    let late = called_back(|then| gated.live.sync(handle, SyncScope::Write, then));
    let answered = late.recv_timeout(SOON);
    assert!(answered.is_ok(), "nobody is left without an answer");
}

#[test]
fn a_sync_that_fails_answers_everybody_with_an_error_and_reads_go_on() {
    let gated = Gated::new(in_mode(DurabilityMode::Immediate), false);
    let (_, handle) = gated.live.create(World::caller(), FileId::ROOT, OsStr::new("a"), 0o644, RW).unwrap();
    gated.disk.hold_syncs();
    gated.live.write(World::caller(), handle, 0, b"content").unwrap();
    let outcomes = [
        called_back(|then| gated.live.settle(then)),
        called_back(|then| gated.live.sync(handle, SyncScope::File, then)),
    ];
    gated.disk.fail_syncs();
    gated.disk.let_syncs_end();
    for outcome in outcomes {
        let error = outcome.recv_timeout(SOON).unwrap().unwrap_err();
        assert_eq!(error.errno(), rustix::io::Errno::IO);
    }
    let refused = gated.live.write(World::caller(), handle, 0, b"later").unwrap_err();
    assert_eq!(refused.errno(), rustix::io::Errno::IO);
    let mut content = [0; 7];
    assert_eq!(gated.live.read(handle, 0, &mut content).unwrap(), 7);
}
