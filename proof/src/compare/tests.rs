//! Each kind of difference is found, and a faithful copy shows none.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, mknodat, setxattr,
    utimensat,
};
use tempfile::TempDir;

use super::*;
use crate::copy::copy_tree;

/// A tree that has one of everything, and an exact copy of it.
struct Pair {
    _dir: TempDir,
    left: PathBuf,
    right: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        fs::create_dir_all(left.join("sub/deeper")).unwrap();
        fs::write(left.join("file"), vec![7; 300_000]).unwrap();
        fs::write(left.join("sub/script"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(left.join("sub/script"), PermissionsExt::from_mode(0o4755)).unwrap();
        fs::write(left.join(OsStr::from_bytes(b"not utf-8 \xff")), "x").unwrap();
        let sparse = File::create(left.join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        sparse.write_all_at(b"island", 1 << 30).unwrap();
        symlink("file", left.join("link")).unwrap();
        fs::hard_link(left.join("file"), left.join("sub/deeper/other name")).unwrap();
        mknodat(CWD, left.join("fifo"), FileType::Fifo, Mode::RUSR, Dev::default()).unwrap();
        setxattr(left.join("file"), "user.color", b"red", XattrFlags::empty()).unwrap();
        copy_tree(&left, &right).unwrap();
        Self { _dir: dir, left, right }
    }

    fn differences(&self, options: &CompareOptions) -> Vec<Difference> {
        compare(&self.left, &self.right, options).unwrap()
    }

    /// Asserts that exactly these aspects differ, each at its path.
    fn expect(&self, expected: &[(&str, Aspect)]) {
        let options = CompareOptions {
            mtimes: expected.iter().any(|(_, aspect)| *aspect == Aspect::Mtime),
            ..Default::default()
        };
        let found = self.differences(&options);
        let found: Vec<_> = found.iter().map(|d| (d.path.to_str().unwrap(), d.aspect)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_copy_shows_no_difference() {
    assert_eq!(Pair::new().differences(&CompareOptions::default()), []);
}

#[test]
fn a_missing_and_an_additional_name_are_found() {
    let pair = Pair::new();
    fs::remove_file(pair.right.join("link")).unwrap();
    fs::write(pair.right.join("sub/new"), "").unwrap();
    pair.expect(&[("link", Aspect::Name), ("sub/new", Aspect::Name)]);
}

#[test]
fn a_name_that_differs_in_one_byte_outside_utf_8_is_found() {
    let pair = Pair::new();
    let names = [OsStr::from_bytes(b"not utf-8 \xff"), OsStr::from_bytes(b"not utf-8 \xfe")];
    fs::rename(pair.right.join(names[0]), pair.right.join(names[1])).unwrap();
    assert_eq!(pair.differences(&CompareOptions::same_calls()).len(), 2);
}

#[test]
fn another_kind_is_found() {
    let pair = Pair::new();
    fs::remove_file(pair.right.join("link")).unwrap();
    fs::create_dir(pair.right.join("link")).unwrap();
    pair.expect(&[("link", Aspect::Kind)]);
}

#[test]
fn another_byte_and_another_size_are_found() {
    let pair = Pair::new();
    File::options().write(true).open(pair.right.join("file")).unwrap().write_all_at(b"!", 280_000).unwrap();
    File::options().append(true).open(pair.right.join("sub/script")).unwrap().set_len(3).unwrap();
    // A file that has two names is looked at under both. Changing the size of a program clears its set-user-id bit
    // for everyone but root.
    fs::set_permissions(pair.right.join("sub/script"), PermissionsExt::from_mode(0o4755)).unwrap();
    pair.expect(&[("file", Aspect::Content), ("sub/deeper/other name", Aspect::Content), ("sub/script", Aspect::Size)]);
}

#[test]
fn the_offset_of_another_byte_is_told() {
    let pair = Pair::new();
    File::options().write(true).open(pair.right.join("file")).unwrap().write_all_at(b"!", 280_001).unwrap();
    let found = pair.differences(&CompareOptions::same_calls());
    assert_eq!(found[0].detail, "first at byte 280001 of 300000");
}

#[test]
fn data_where_a_hole_was_is_found_even_if_it_reads_the_same() {
    let pair = Pair::new();
    File::options().write(true).open(pair.right.join("sparse")).unwrap().write_all_at(&[0; 4096], 1 << 20).unwrap();
    pair.expect(&[("sparse", Aspect::Holes)]);
}

#[test]
fn zeros_may_become_holes_but_holes_stay_holes() {
    let pair = Pair::new();
    File::options().write(true).open(pair.left.join("sparse")).unwrap().write_all_at(&[0; 4096], 1 << 20).unwrap();
    let options = CompareOptions { mtimes: false, ..CompareOptions::history() };
    assert_eq!(pair.differences(&options), []);
    File::options().write(true).open(pair.right.join("sparse")).unwrap().write_all_at(&[0; 4096], 1 << 25).unwrap();
    assert_eq!(pair.differences(&options).len(), 1);
}

#[test]
fn a_byte_in_a_hole_is_found() {
    let pair = Pair::new();
    File::options().write(true).open(pair.right.join("sparse")).unwrap().write_all_at(b"!", 1 << 39).unwrap();
    pair.expect(&[("sparse", Aspect::Content), ("sparse", Aspect::Holes)]);
}

#[test]
fn another_mode_is_found() {
    let pair = Pair::new();
    fs::set_permissions(pair.right.join("sub/script"), PermissionsExt::from_mode(0o755)).unwrap();
    pair.expect(&[("sub/script", Aspect::Mode)]);
}

#[test]
fn another_owner_is_found() {
    let pair = Pair::new();
    let owner = (Some(Uid::from_raw(1)), Some(Gid::from_raw(1)));
    if chownat(CWD, pair.right.join("link"), owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    pair.expect(&[("link", Aspect::Owner)]);
}

#[test]
fn a_nanosecond_is_found() {
    let pair = Pair::new();
    let times = |nanoseconds| {
        let at = Timespec { tv_sec: 1_000_000, tv_nsec: nanoseconds };
        Timestamps { last_access: at, last_modification: at }
    };
    utimensat(CWD, pair.left.join("link"), &times(5), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    utimensat(CWD, pair.right.join("link"), &times(6), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    pair.expect(&[("link", Aspect::Mtime)]);
}

#[test]
fn another_target_is_found() {
    let pair = Pair::new();
    fs::remove_file(pair.right.join("link")).unwrap();
    symlink("elsewhere", pair.right.join("link")).unwrap();
    pair.expect(&[("link", Aspect::Target)]);
}

#[test]
fn a_copy_in_place_of_a_hard_link_is_found() {
    let pair = Pair::new();
    fs::remove_file(pair.right.join("file")).unwrap();
    fs::copy(pair.right.join("sub/deeper/other name"), pair.right.join("file")).unwrap();
    setxattr(pair.right.join("file"), "user.color", b"red", XattrFlags::empty()).unwrap();
    pair.expect(&[("sub/deeper/other name", Aspect::Links)]);
}

#[test]
fn another_attribute_and_another_value_are_found() {
    let pair = Pair::new();
    setxattr(pair.right.join("sub"), "user.color", b"red", XattrFlags::empty()).unwrap();
    setxattr(&pair.right, "user.root", b"", XattrFlags::empty()).unwrap();
    pair.expect(&[("", Aspect::Xattrs), ("sub", Aspect::Xattrs)]);
    setxattr(pair.left.join("sub"), "user.color", b"blue", XattrFlags::empty()).unwrap();
    setxattr(&pair.left, "user.root", b"", XattrFlags::empty()).unwrap();
    pair.expect(&[("sub", Aspect::Xattrs)]);
}

#[test]
fn another_device_number_is_found() {
    let pair = Pair::new();
    let make = |side: &Path, minor| {
        mknodat(CWD, side.join("device"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, minor))
    };
    if make(&pair.left, 3).is_err() {
        eprintln!("skipped: only root can make devices");
        return;
    }
    make(&pair.right, 5).unwrap();
    pair.expect(&[("device", Aspect::Rdev)]);
}

#[test]
fn the_list_ends_where_it_was_told_to() {
    let pair = Pair::new();
    for index in 0..20 {
        fs::write(pair.left.join(format!("{index}")), "").unwrap();
    }
    let options = CompareOptions { differences_max: 3, ..Default::default() };
    assert_eq!(pair.differences(&options).len(), 3);
}
