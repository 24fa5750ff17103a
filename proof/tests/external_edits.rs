//! Edits made in working/ while the project is not mounted are found at the next mount; both versions can be read.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use ize_proof::compare::CompareOptions;
use ize_proof::ize::{Ize, can_mount};
use ize_proof::moments::equal;

#[test]
fn edits_made_while_unmounted_are_recorded_and_both_versions_can_be_read() {
    if !can_mount() {
        return;
    }
    let ize = Ize::new().unwrap();
    let mounted = ize.mount("outside", &[]).unwrap();
    fs::create_dir(mounted.join("sub")).unwrap();
    fs::write(mounted.join("sub/edited.txt"), "before\n").unwrap();
    fs::write(mounted.join("removed.txt"), "still here\n").unwrap();
    fs::write(mounted.join("moved.txt"), "carried along\n").unwrap();
    let before = ize.recorded("outside").unwrap();
    mounted.unmount().unwrap();

    let working = ize.working_dir().unwrap();
    fs::write(working.join("sub/edited.txt"), "after, from outside\n").unwrap();
    fs::write(working.join("sub/new.txt"), "new\n").unwrap();
    fs::remove_file(working.join("removed.txt")).unwrap();
    fs::rename(working.join("moved.txt"), working.join("sub/moved.txt")).unwrap();

    let mounted = ize.mount("outside", &[]).unwrap();
    let after = ize.recorded("outside").unwrap();
    assert!(after > before);
    let cat = |path: &str, op| ize.cat_at("outside", Path::new(path), op).unwrap();
    assert_eq!(cat("sub/edited.txt", before), b"before\n");
    assert_eq!(cat("sub/edited.txt", after), b"after, from outside\n");
    assert_eq!(cat("removed.txt", before), b"still here\n");
    assert_eq!(cat("sub/moved.txt", after), b"carried along\n");
    assert!(ize.cat_at("outside", Path::new("removed.txt"), after).is_err());

    let rows = ize.json(&["history", "outside", "sub/edited.txt", "--json"].map(OsStr::new)).unwrap();
    assert!(rows.len() >= 2, "{rows:?}");
    let external = rows[0]["kind"].as_str().is_some_and(|kind| kind.contains("external"));
    assert!(external, "the newest row is the edit from outside: {rows:?}");

    let restored = ize.dir().join("restored");
    ize.restore_to("outside", Path::new("."), after, &restored).unwrap();
    equal("the mount against history", mounted.path(), &restored, &CompareOptions::history()).unwrap();
    ize.verify("outside").unwrap();
    mounted.unmount().unwrap();
}
