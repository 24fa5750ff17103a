//! The largest number of names that a file can have is the host filesystem's, and the error at the limit is EMLINK.
//! (pjdfstest has this check, but skips it on FUSE: glibc does not know the limit there.)

#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

use std::fs;
use std::io;
use std::path::Path;

use ize_proof::ize::{Ize, can_mount};
use rustix::io::Errno;

/// More than ext4 allows; where the host allows as many, nothing is to be seen.
const NAMES_MAX: u32 = 66_000;

/// Gives a file names until that fails; returns how many it has and the error.
fn link_until_refused(folder: &Path) -> (u32, Option<Errno>) {
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    let error = |error: io::Error| Errno::from_io_error(&error);
    let refused = (1..NAMES_MAX).find_map(|count| match fs::hard_link(&file, folder.join(count.to_string())) {
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
    let mounted = ize.mount("links", &[]).unwrap();
    assert_eq!(link_until_refused(mounted.path()), link_until_refused(&control));
    mounted.unmount().unwrap();
    ize.verify("links").unwrap();
}
