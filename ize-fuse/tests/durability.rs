//! What a program in a mount waits for, and what it does not.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod mapped;
mod mounted;
mod project;
mod slow;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ize_core::model::FileId;
use ize_core::record::{DurabilityMode, RecorderOptions};
use ize_core::tree::{Caller, Granularity, OpenMode, Tree};
use ize_fuse::DetachMode;
use mounted::{Mounted, can_hand_over, can_mount, inside, run_inside};
use project::TemporaryProject;
use rustix::fs::OFlags;
use rustix::io::{ReadWriteFlags, pwritev2};
use slow::SlowMedium;

/// How long a sync of the journal takes here. Nothing else may.
const SYNC_TAKES: Duration = Duration::from_millis(400);
/// More programs than the mount has threads.
const WAITING: usize = 12;
/// How often is looked, each time at something else.
const LOOKS: usize = 8;

fn slow_project(durability: DurabilityMode, sync_takes: Duration) -> (TemporaryProject, SlowMedium) {
    let options = RecorderOptions { durability, guards_tree: true, ..RecorderOptions::default() };
    let mut disk = None;
    let project = TemporaryProject::with(options, |journal| {
        let medium = SlowMedium::open(journal, sync_takes);
        disk = Some(medium.clone());
        Arc::new(medium)
    });
    (project, disk.unwrap())
}

/// Runs the rest of a test inside of a mount whose journal syncs slowly, and returns how many syncs that took.
fn with_slow_syncs(test: &str, durability: DurabilityMode, body: fn(&Path)) -> Option<u64> {
    with_slow_syncs_after(test, durability, Granularity::Write, |_| {}, body)
}

/// As [`with_slow_syncs`], in a project that was prepared.
fn with_slow_syncs_after(
    test: &str,
    durability: DurabilityMode,
    granularity: Granularity,
    prepare: fn(&TemporaryProject),
    body: fn(&Path),
) -> Option<u64> {
    if let Some(folder) = inside() {
        body(&folder);
        return None;
    }
    if !can_mount() {
        return None;
    }
    let (project, disk) = slow_project(durability, SYNC_TAKES);
    prepare(&project);
    let mounted = Mounted::with(project.tree(), granularity);
    if granularity == Granularity::Close && !can_hand_over(&mounted.mount) {
        return None;
    }
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    let synced = disk.synced();
    project.live.end_passthrough().unwrap();
    project.assert_history_is_working();
    Some(synced)
}

/// Looks at the folder in all ways, each of them at something that the kernel does not know yet.
fn look_around(root: &Path, round: usize) {
    assert!(fs::read_dir(root.join("other")).unwrap().count() >= LOOKS);
    assert_eq!(fs::read(root.join(format!("other/{round}"))).unwrap(), b"content");
    assert!(fs::metadata(root.join(format!("other/missing-{round}"))).is_err());
    rustix::fs::statvfs(root).unwrap();
}

/// Makes what [`look_around`] looks at, with few waits where each change waits.
fn prepare(root: &Path) {
    fs::create_dir(root.join("other")).unwrap();
    thread::scope(|scope| {
        for n in 0..LOOKS {
            let path = root.join(format!("other/{n}"));
            scope.spawn(move || {
                let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
                file.write_all_at(b"content", 0).unwrap();
            });
        }
    });
}

/// While `WAITING` threads do something slow over and over, looking around takes no time.
fn looking_takes_no_time_while(root: &Path, slow: impl Fn(usize) + Sync) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..WAITING {
            let (slow, done) = (&slow, &done);
            scope.spawn(move || {
                let began = Instant::now();
                slow(n);
                assert!(began.elapsed() >= SYNC_TAKES / 2, "this was to wait for the disk");
                while !done.load(Ordering::SeqCst) {
                    slow(n);
                }
            });
        }
        thread::sleep(SYNC_TAKES / 4);
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        for round in 0..LOOKS {
            let began = Instant::now();
            look_around(root, round);
            longest = longest.max(began.elapsed());
        }
        let took = began.elapsed();
        done.store(true, Ordering::SeqCst);
        assert!(longest < SYNC_TAKES / 2, "one look took {longest:?}, all of them {took:?}");
    });
}

#[test]
fn a_slow_fsync_makes_nobody_else_wait() {
    let name = "a_slow_fsync_makes_nobody_else_wait";
    with_slow_syncs(name, DurabilityMode::Relaxed, |root| {
        prepare(root);
        fs::create_dir(root.join("folder")).unwrap();
        looking_takes_no_time_while(root, |n| {
            let mut file = OpenOptions::new().append(true).create(true).open(root.join(n.to_string())).unwrap();
            file.write_all(b"line\n").unwrap();
            match n % 3 {
                0 => file.sync_all().unwrap(),
                1 => file.sync_data().unwrap(),
                _ => File::open(root.join("folder")).unwrap().sync_all().unwrap(),
            }
        });
    });
}

#[test]
fn a_change_that_waits_for_the_disk_makes_nobody_else_wait() {
    let name = "a_change_that_waits_for_the_disk_makes_nobody_else_wait";
    with_slow_syncs(name, DurabilityMode::Immediate, |root| {
        prepare(root);
        looking_takes_no_time_while(root, |n| {
            fs::create_dir_all(root.join(format!("work-{n}"))).unwrap();
            let path = root.join(format!("work-{n}/file"));
            fs::write(&path, "content").unwrap();
            fs::rename(&path, root.join(format!("work-{n}/renamed"))).unwrap();
            fs::remove_file(root.join(format!("work-{n}/renamed"))).unwrap();
        });
    });
}

/// Makes files whose content is synced, so that changing it in place must be announced on disk first.
fn make_old_files(project: &TemporaryProject) {
    let (live, caller) = (&project.live, Caller::default());
    for n in 0..WAITING * LOOKS {
        let name = format!("old-{n}");
        let mode = OpenMode { write: true, ..OpenMode::default() };
        let (stat, handle) = live.create(caller, FileId::ROOT, OsStr::new(&name), 0o666, mode).unwrap();
        live.write(caller, handle, 0, &[1; 8192]).unwrap();
        live.release(handle);
        live.forget(stat.file, 1);
    }
    live.sync_tree().unwrap();
}

#[test]
fn a_change_in_place_that_is_announced_on_disk_first_makes_nobody_else_wait() {
    let name = "a_change_in_place_that_is_announced_on_disk_first_makes_nobody_else_wait";
    with_slow_syncs_after(name, DurabilityMode::Relaxed, Granularity::Write, make_old_files, |root| {
        prepare(root);
        let rounds: Vec<_> = (0..WAITING).map(|_| AtomicUsize::new(0)).collect();
        looking_takes_no_time_while(root, |n| {
            let round = rounds[n].fetch_add(1, Ordering::SeqCst) % LOOKS;
            let file = OpenOptions::new().write(true).open(root.join(format!("old-{}", round * WAITING + n))).unwrap();
            file.write_all_at(b"in place", 4096).unwrap();
        });
    });
}

#[test]
fn writes_that_ask_for_it_are_durable_when_they_return() {
    const WRITES: u64 = 3;
    let name = "writes_that_ask_for_it_are_durable_when_they_return";
    let synced = with_slow_syncs(name, DurabilityMode::Relaxed, |root| {
        let open = |name: &str, flags: OFlags| {
            let flags = flags.bits().cast_signed();
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags)
                .open(root.join(name))
                .unwrap()
        };
        let waited = |what: &str, write: &dyn Fn()| {
            for _ in 0..WRITES {
                let began = Instant::now();
                write();
                assert!(began.elapsed() >= SYNC_TAKES, "{what}: {:?}", began.elapsed());
            }
        };
        let plain = open("plain", OFlags::empty());
        for (what, file) in [("O_SYNC", open("a", OFlags::SYNC)), ("O_DSYNC", open("b", OFlags::DSYNC))] {
            waited(what, &|| file.write_all_at(b"content", 0).unwrap());
        }
        let direct = open("c", OFlags::SYNC | OFlags::DIRECT);
        waited("O_SYNC and O_DIRECT", &|| direct.write_all_at(&[7; 4096], 0).unwrap());
        waited("RWF_DSYNC", &|| {
            let written = pwritev2(&plain, &[std::io::IoSlice::new(b"x")], 0, ReadWriteFlags::DSYNC).unwrap();
            assert_eq!(written, 1);
        });
        let began = Instant::now();
        plain.write_all_at(b"y", 0).unwrap();
        assert!(began.elapsed() < SYNC_TAKES / 2, "a plain write waited");
    });
    if let Some(synced) = synced {
        assert_eq!(synced, 4 * WRITES, "one sync for each write, though the kernel asks for one more of its own");
    }
}

#[test]
fn msync_is_durable_when_it_returns() {
    let name = "msync_is_durable_when_it_returns";
    let synced = with_slow_syncs(name, DurabilityMode::Relaxed, |root| {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(root.join("file")).unwrap();
        file.set_len(8192).unwrap();
        file.sync_all().unwrap();
        let mut mapping = mapped::Mapping::new(&file, 8192);
        mapping.bytes()[4096..4115].copy_from_slice(b"through the mapping");
        let began = Instant::now();
        mapping.flush();
        assert!(began.elapsed() >= SYNC_TAKES, "msync did not wait for the disk");
        assert_eq!(&fs::read(root.join("file")).unwrap()[4096..4115], b"through the mapping");
    });
    if let Some(synced) = synced {
        assert_eq!(synced, 2);
    }
}

#[test]
fn unmounting_while_calls_wait_for_the_disk_answers_them_and_ends() {
    let name = "unmounting_while_calls_wait_for_the_disk_answers_them_and_ends";
    if let Some(root) = inside() {
        let mut file = File::create(root.join("file")).unwrap();
        file.write_all(b"content").unwrap();
        for _ in 0..3 {
            // Out of sight meanwhile, and served all the same.
            file.sync_all().unwrap();
            file.write_all(b", and more").unwrap();
        }
        return;
    }
    if !can_mount() {
        return;
    }
    for mode in [DurabilityMode::Immediate, DurabilityMode::default(), DurabilityMode::Relaxed] {
        let (project, disk) = slow_project(mode, SYNC_TAKES);
        let mounted = Mounted::new(project.tree());
        thread::scope(|scope| {
            let working = scope.spawn(|| run_inside(name, mounted.path()));
            let patience = Instant::now() + Duration::from_secs(60);
            while fs::metadata(project.working().join("file")).map_or(0, |file| file.len()) == 0 {
                assert!(Instant::now() < patience, "nothing was written");
                thread::sleep(Duration::from_millis(5));
            }
            assert!(mounted.mount.unmount(DetachMode::RefuseIfBusy).is_err(), "a file is open in it");
            mounted.mount.unmount(DetachMode::Lazy).unwrap();
            working.join().unwrap();
        });
        mounted.mount.wait().unwrap();
        project.recorder.close().unwrap();
        assert!(disk.synced() >= 3, "{mode:?}");
        assert_eq!(fs::read(project.working().join("file")).unwrap(), b"content, and more, and more, and more");
        project.assert_history_is_working();
    }
}

#[test]
fn where_files_are_handed_over_a_close_waits_for_what_it_records() {
    let name = "where_files_are_handed_over_a_close_waits_for_what_it_records";
    with_slow_syncs_after(
        name,
        DurabilityMode::Immediate,
        Granularity::Close,
        |_| {},
        |root| {
            let file = File::create(root.join("f")).unwrap();
            let began = Instant::now();
            file.write_all_at(b"content", 0).unwrap();
            drop(file);
            assert!(began.elapsed() >= SYNC_TAKES, "the close did not wait for the disk");
        },
    );
}
