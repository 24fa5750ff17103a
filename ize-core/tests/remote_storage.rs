//! A storage read over a socket answers like the storage itself.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ize_core::conformance::{LogBuilder, Workload, assert_same};
use ize_core::model::{BranchId, FileId, OpData, OpId, Timestamp, View};
use ize_core::storage::remote::{RemoteStorage, serve};
use ize_core::storage::{
    Batch, FileSystemStorage, FileSystemStorageExt, MemoryStorage, OpQuery, RefName, StorageError,
};

/// Serves a storage on a thread of its own until the client hangs up.
fn connect(storage: &Arc<MemoryStorage>) -> (RemoteStorage, JoinHandle<()>) {
    let (here, there) = UnixStream::pair().unwrap();
    let storage = storage.clone();
    let server = thread::spawn(move || serve(there, &*storage).unwrap());
    (RemoteStorage::connect(here).unwrap(), server)
}

fn hang_up(remote: RemoteStorage, server: JoinHandle<()>) {
    drop(remote);
    server.join().unwrap();
}

#[test]
fn every_read_answers_alike() {
    let storage = Arc::new(MemoryStorage::new());
    let mut workload = Workload::new(21);
    for round in 0..4 {
        for _ in 0..60 {
            workload.step();
        }
        workload.log().commit(&*storage).unwrap();
        let name = RefName::new(format!("round-{round}")).unwrap();
        storage.create_snapshot(&name, View::latest(BranchId::MAIN), Timestamp::from_nanos(round)).unwrap();
    }
    let (remote, server) = connect(&storage);
    assert_same(&*storage, &remote);
    assert_eq!(remote.info().unwrap(), storage.info().unwrap());
    hang_up(remote, server);
}

#[test]
fn answers_longer_than_a_frame_come_whole() {
    let storage = Arc::new(MemoryStorage::new());
    let mut log = LogBuilder::new();
    let many = log.create(FileId::ROOT, "many-names");
    let name = |at: usize| format!("{at:05}{}", "n".repeat(250));
    for at in 0..20_000 {
        log.hardlink(many, FileId::ROOT, name(at));
    }
    let large = log.create(FileId::ROOT, "large");
    for at in 0..10u8 {
        log.write(large, u64::from(at) * 2_000_000, &vec![at; 1_000_000]);
    }
    let value = vec![7; 64 * 1024];
    for at in 0..100 {
        log.set_xattr(large, &format!("user.{at:03}"), &value);
    }
    for at in 0..10_000 {
        log.punch(large, at * 1_000, 1);
    }
    for at in 0..3_000 {
        log.rename((FileId::ROOT, "large"), (FileId::ROOT, &format!("other{at}")));
        log.rename((FileId::ROOT, &format!("other{at}")), (FileId::ROOT, "large"));
    }
    log.commit(&*storage).unwrap();
    let (remote, server) = connect(&storage);
    let latest = View::latest(BranchId::MAIN);
    let mut names = remote.names(latest, many).unwrap();
    names.sort();
    let mut expected = storage.names(latest, many).unwrap();
    expected.sort();
    assert!(names == expected, "20,001 names");
    assert!(remote.xattrs(latest, large).unwrap() == storage.xattrs(latest, large).unwrap(), "6.4 MiB of attributes");
    assert_eq!(remote.extents(latest, large, 0, 50_000).unwrap(), storage.extents(latest, large, 0, 50_000).unwrap());
    let listed = remote.entries(latest, FileId::ROOT, None, 100_000).unwrap();
    assert!(listed == storage.entries(latest, FileId::ROOT, None, 100_000).unwrap(), "a folder of 20,002 entries");
    let entry = storage.names(latest, large).unwrap().remove(0);
    assert_eq!(remote.bindings(latest, &entry, 9_000).unwrap(), storage.bindings(latest, &entry, 9_000).unwrap());
    let (mut here, mut there) = (vec![1; 18_999_995], vec![2; 18_999_995]);
    assert_eq!(storage.read(latest, large, 5, &mut here).unwrap(), remote.read(latest, large, 5, &mut there).unwrap());
    assert!(here == there, "19 MB of content");
    let all = OpQuery { max: 1_000_000, ..OpQuery::all(latest) };
    let (here, there) = (storage.ops(&all).unwrap(), remote.ops(&all).unwrap());
    assert_eq!(there.len(), here.len());
    for (here, there) in here.iter().zip(&there) {
        assert_eq!((here.last_id, &here.op_type, here.data.size()), (there.last_id, &there.op_type, there.data.size()));
        assert!(!matches!(&there.data, OpData::Inline(bytes) if bytes.len() > 4096), "long data comes as a reference");
    }
    hang_up(remote, server);
}

#[test]
fn errors_keep_their_kind() {
    let storage = Arc::new(MemoryStorage::new());
    let (remote, server) = connect(&storage);
    let nowhere = View::latest(BranchId::new(9));
    let found = remote.node(nowhere, FileId::ROOT);
    assert!(matches!(found, Err(StorageError::UnknownBranch(branch)) if branch == BranchId::new(9)), "{found:?}");
    assert!(remote.node(View::latest(BranchId::MAIN), FileId::ROOT).unwrap().is_some(), "the connection goes on");
    hang_up(remote, server);
}

#[test]
fn nothing_can_be_changed_from_afar() {
    let storage = Arc::new(MemoryStorage::new());
    let (remote, server) = connect(&storage);
    let mut log = LogBuilder::new();
    log.create(FileId::ROOT, "a");
    let batch = Batch { ops: log.take(), landmarks: Vec::new() };
    assert!(matches!(remote.commit(&batch), Err(StorageError::Unsupported(_))));
    assert!(matches!(remote.set_ref(&RefName::new("x").unwrap(), None), Err(StorageError::Unsupported(_))));
    assert!(matches!(remote.repair(&mut |_| ()), Err(StorageError::Unsupported(_))));
    remote.verify(&mut |finding| panic!("{}", finding.what)).unwrap();
    assert_eq!(remote.head().unwrap().op, OpId::ZERO);
    hang_up(remote, server);
}

#[test]
fn a_server_that_dies_is_an_error_and_stays_one() {
    let storage = Arc::new(MemoryStorage::new());
    let (here, there) = UnixStream::pair().unwrap();
    let killed = there.try_clone().unwrap();
    let server = thread::spawn(move || _ = serve(there, &*storage));
    let remote = RemoteStorage::connect(here).unwrap();
    remote.head().unwrap();
    killed.shutdown(std::net::Shutdown::Both).unwrap();
    for _ in 0..2 {
        assert!(matches!(remote.head(), Err(StorageError::Disconnected { .. })));
    }
    server.join().unwrap();
}

#[test]
fn what_is_no_server_is_told_apart() {
    use std::io::Write;

    let (here, mut there) = UnixStream::pair().unwrap();
    there.write_all(b"\0\0\0\x02\x00\x01").unwrap();
    assert!(matches!(RemoteStorage::connect(here), Err(StorageError::Disconnected { .. })));
    let (here, mut there) = UnixStream::pair().unwrap();
    there.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(RemoteStorage::connect(here), Err(StorageError::Disconnected { .. })));
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(serve(there, &MemoryStorage::new()).is_err());
}
