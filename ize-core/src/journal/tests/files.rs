//! What is particular to a real folder: the lock, space set aside, the boot id, other files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::journal::FsMedium;

#[test]
fn a_folder_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = FsMedium::open(dir.path()).unwrap();
    assert!(matches!(FsMedium::open(dir.path()), Err(JournalError::Locked)));
    drop(first);
    FsMedium::open(dir.path()).unwrap();
}

#[test]
fn segments_are_set_aside_and_found_again_between_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(Arc::new(FsMedium::open(dir.path()).unwrap()), options()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "an unused journal takes no space");
    for id in 1..=10 {
        journal.append_op(&op(id, 11_000)).unwrap();
    }
    let segment = fs::metadata(dir.path().join("0000000000000001.seg")).unwrap();
    assert_eq!(segment.len(), 64 << 10);
    assert!(segment.blocks() * 512 >= 64 << 10, "space is set aside");
    assert_eq!(segment.mode() & 0o777, 0o600);
    drop(journal);
    fs::write(dir.path().join("notes.txt"), "not a segment").unwrap();
    fs::write(dir.path().join("1.seg"), "neither").unwrap();
    let journal = Journal::open(Arc::new(FsMedium::open(dir.path()).unwrap()), options()).unwrap();
    assert_eq!(records(&journal).len(), 10);
}

#[test]
fn the_boot_id_tells_a_killed_process_from_a_restarted_system() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!FsMedium::open(dir.path()).unwrap().same_session());
    assert!(FsMedium::open(dir.path()).unwrap().same_session());
    fs::write(dir.path().join("lock"), "01234567-89ab-cdef-0123-456789abcdef\n").unwrap();
    assert!(!FsMedium::open(dir.path()).unwrap().same_session());
    assert!(FsMedium::open(dir.path()).unwrap().same_session());
}

#[test]
fn an_absurdly_long_segment_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let medium = FsMedium::open(dir.path()).unwrap();
    fs::File::create(dir.path().join("0000000000000001.seg")).unwrap().set_len(1 << 40).unwrap();
    let opened = Journal::open(Arc::new(medium), options());
    assert!(matches!(opened, Err(JournalError::Damaged { segment: 1, offset: 0, .. })));
}

#[test]
fn a_torn_end_is_cleared_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0000000000000001.seg");
    let mut journal = Journal::open(Arc::new(FsMedium::open(dir.path()).unwrap()), options()).unwrap();
    journal.append_op(&op(1, 100)).unwrap();
    let end = usize::try_from(journal.active.as_ref().unwrap().end).unwrap();
    journal.append_op(&op(2, 5_000)).unwrap();
    drop(journal);
    let mut content = fs::read(&path).unwrap();
    content[end + 2_000] ^= 1;
    fs::write(&path, content).unwrap();
    let journal = Journal::open(Arc::new(FsMedium::open(dir.path()).unwrap()), options()).unwrap();
    assert!(journal.recovery().torn_bytes > 5_000);
    assert!(fs::read(&path).unwrap()[end..].iter().all(|byte| *byte == 0));
    assert_eq!(records(&journal).len(), 1);
}

/// Closing a removed file frees its space, which takes a while: nobody who appends meanwhile may wait for that.
#[test]
fn trimmed_segments_are_closed_by_who_removed_them_not_by_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(Arc::new(FsMedium::open(dir.path()).unwrap()), options()).unwrap();
    for id in 1..=16 {
        journal.append_op(&op(id, 12_000)).unwrap();
    }
    let still_open = || {
        let of_ours = |link: &fs::DirEntry| {
            fs::read_link(link.path())
                .is_ok_and(|to| to.starts_with(dir.path()) && to.to_string_lossy().ends_with(" (deleted)"))
        };
        fs::read_dir("/proc/self/fd").unwrap().filter(|link| of_ours(link.as_ref().unwrap())).count()
    };
    let mut trimmed = journal.trimmable(Seq::new(11));
    trimmed.remove().unwrap();
    journal.finish_trim(&trimmed);
    assert_eq!(still_open(), 2);
    drop(trimmed);
    assert_eq!(still_open(), 0);
}
