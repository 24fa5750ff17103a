//! The largest number of names that a file can have is the host filesystem's, and the error at the limit is EMLINK.
//! (pjdfstest has this check, but skips it on FUSE: glibc does not know the limit there.)

use std::fs;
use std::io;
use std::path::Path;

use ize_proof::ize::{Ize, can_mount};
use rustix::io::Errno;

/// More than ext4 allows; where the host allows as many, nothing is to be seen.
const NAMES_MAX: u32 = 66_000;

/// So many names before that a file already has when it is linked through the mount.
const NAMES_LEFT: u32 = 2000;

/// Gives a file, which has names up to `from`, more until that fails; returns how many it has and the error.
fn link_until_refused(folder: &Path, from: u32) -> (u32, Option<Errno>) {
    let file = folder.join("file");
    let error = |error: io::Error| Errno::from_io_error(&error);
    let refused = (from..NAMES_MAX).find_map(|count| match fs::hard_link(&file, folder.join(count.to_string())) {
        Ok(()) => None,
        Err(refusal) => Some((count, error(refusal))),
    });
    refused.unwrap_or((NAMES_MAX, None))
}

#[test]
fn a_file_has_at_most_as_many_names_as_on_the_host() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let control = ize.dir().join("control");
    fs::create_dir(&control).unwrap();
    fs::write(control.join("file"), "x").unwrap();
    let (most, refusal) = link_until_refused(&control, 1);
    let mounted = ize.mount("links", &[]).unwrap();
    fs::write(mounted.join("file"), "x").unwrap();
    mounted.unmount().unwrap();
    // Most of the names are made where the files lie, and found at the next mount: that is quicker.
    let given = most.saturating_sub(NAMES_LEFT).max(1);
    let working = ize.working_dir().unwrap();
    for count in 1..given {
        fs::hard_link(working.join("file"), working.join(count.to_string())).unwrap();
    }
    let mounted = ize.mount("links", &[]).unwrap();
    assert_eq!(link_until_refused(mounted.path(), given), (most, refusal));
    mounted.unmount().unwrap();
    ize.verify("links").unwrap();
}
