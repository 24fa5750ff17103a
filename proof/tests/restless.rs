//! Where files are handed over to the kernel and the disk can clone files: what is saved of a file that never rests.
#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ize_proof::disk::{Filesystem, SmallDisk};
use ize_proof::ize::{Ize, can_mount};

/// Large enough that it cannot be read between two writes.
const FILE_BYTES: usize = 8 << 20;
const CLOSES: usize = 12;
const XFS_MIB: u64 = 320;

/// Overwrites a file as a whole, over and over, each time with another byte.
fn overwrite(file: &File, count: &AtomicU64, stop: &AtomicBool) {
    let mut content = vec![0; FILE_BYTES];
    while !stop.load(Ordering::Relaxed) {
        content.fill(u8::try_from(count.load(Ordering::Relaxed) % 251).unwrap());
        file.write_all_at(&content, 0).unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn each_close_of_a_file_that_never_rests_is_a_save_of_one_moment() {
    if !can_mount() {
        return;
    }
    let Some(disk) = SmallDisk::with(Filesystem::Xfs, XFS_MIB) else { return };
    let ize = Ize::within(disk.path()).unwrap();
    let mounted = ize.mount("restless", &["--granularity", "close"]).unwrap();
    if !mounted.is_handed_over().unwrap() {
        return;
    }
    let path = mounted.join("f");
    let file = File::create(&path).unwrap();
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| overwrite(&file, &count, &stop));
        for _ in 0..CLOSES {
            let seen = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) < seen + 2 {
                std::thread::yield_now();
            }
            drop(File::options().write(true).open(&path).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(file);

    let rows = ize.json(&["history", "restless", "f", "--ops", "--json", "--limit", "1000"].map(OsStr::new)).unwrap();
    let saves: BTreeSet<u64> =
        rows.iter().filter(|row| row["landmark"] == "close").map(|row| row["last_op"].as_u64().unwrap()).collect();
    assert!(saves.len() >= CLOSES, "{} saves of {CLOSES} closes", saves.len());
    for save in saves {
        let content = ize.cat_at("restless", Path::new("f"), save).unwrap();
        let first = content.first().copied();
        assert!(content.iter().all(|byte| Some(*byte) == first), "the save @{save} is of no one moment");
    }
    mounted.unmount().unwrap();
    ize.verify("restless").unwrap();
}
