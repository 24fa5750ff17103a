//! Real programs work in the mount of an adopted tree; 20 moments come back from history as they were. `scripts/real-programs`
//! does the same with 5,000 files and more data.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use ize_proof::ize::{Ize, can_mount};
use ize_proof::moments::Moments;
use ize_proof::programs::{self, ProgramOptions};

/// Tells whether all programs are installed. Where mounts are required, so are they.
fn can_run_programs() -> bool {
    let missing = |name: &&&str| Command::new(name).arg("--version").output().is_err();
    let missing: Vec<_> =
        ["git", "sqlite3", "cargo", "tar", "rsync", "sed", "dd"].iter().filter(missing).copied().collect();
    assert!(missing.is_empty() || std::env::var_os("IZE_REQUIRE_FUSE").is_none(), "not installed: {missing:?}");
    if !missing.is_empty() {
        eprintln!("skipped: not installed: {missing:?}");
    }
    missing.is_empty()
}

/// So many files are there to begin with; git, cargo, tar and rsync multiply them.
const FILES: usize = 400;

#[test]
fn twenty_moments_of_real_work_come_back() {
    if !can_mount() || !can_run_programs() {
        return;
    }
    let ize = Ize::new().unwrap();
    let source = ize.dir().join("source");
    fs::create_dir(&source).unwrap();
    programs::grow(&source, FILES).unwrap();
    ize.run(&["init".as_ref(), "real".as_ref(), OsStr::new("--from"), source.as_os_str()]).unwrap();
    let mounted = ize.mount("real", &[]).unwrap();
    let mut moments = Moments::new(&ize, "real", mounted.path()).unwrap();
    let options = ProgramOptions { dd_mib: 32, rows: 150 };
    programs::run(mounted.path(), &options, &mut |step| moments.take(step)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(moments.count(), 20);
    moments.check().unwrap_or_else(|why| panic!("{why}"));
    ize.verify("real").unwrap();
    mounted.unmount().unwrap();
}
