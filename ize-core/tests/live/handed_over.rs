//! Files that are read and written behind the tree's back: how what is in them gets into history.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ize_core::journal::JournalOptions;
use ize_core::model::{BranchId, FileId, View};
use ize_core::record::RecorderOptions;
use ize_core::storage::FileSystemStorageExt;
use ize_core::tree::Tree;

use crate::gated::Gated;
use crate::world::{RW, World};

const MIB: u64 = 1 << 20;

/// What history has of a file.
fn content(gated: &Gated, file: FileId) -> Vec<u8> {
    gated.recorder.wait_committed(gated.recorder.recorded()).unwrap();
    let mut content = Vec::new();
    gated.recorder.storage().copy_content(View::latest(BranchId::MAIN), file, &mut content).unwrap();
    content
}

#[test]
fn a_version_that_could_be_recorded_in_part_does_not_mislead_the_next_one() {
    let journal = JournalOptions { segment_bytes: 4 * MIB, ..JournalOptions::default() };
    let gated = Gated::new(RecorderOptions { journal, ..RecorderOptions::default() }, false);
    let live = &gated.live;
    Tree::begin_passthrough(&**live);
    let (stat, handle) = live.create(World::caller(), FileId::ROOT, OsStr::new("f"), 0o644, RW).unwrap();
    let fd = Tree::hand_over(&**live, handle).unwrap().unwrap();
    let file = File::from(fd.try_clone().unwrap());
    file.write_all_at(&vec![1; 1 << 20], 0).unwrap();
    live.flush(handle).unwrap();
    assert_eq!(content(&gated, stat.file).len() as u64, MIB);

    gated.disk.set_full(true);
    file.write_all_at(&vec![2; 63 << 20], MIB).unwrap();
    live.flush(handle).unwrap_err();
    let recorded = content(&gated, stat.file).len() as u64;
    assert!((MIB + 1..64 * MIB).contains(&recorded), "{recorded} bytes are recorded");
    gated.disk.set_full(false);

    // Zeros where history has what the failed version left.
    file.set_len(MIB).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.write_all_at(b"end", 64 * MIB).unwrap();
    live.flush(handle).unwrap();
    let mut expected = vec![0; 64 << 20];
    expected[..1 << 20].fill(1);
    expected.extend(b"end");
    assert!(content(&gated, stat.file) == expected, "history is not what the file is");
    live.release(handle);
}
