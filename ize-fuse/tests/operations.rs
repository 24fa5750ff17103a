//! Every operation of a mount, one after the other, as programs see it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod mapped;
mod mirror;
mod mounted;
mod project;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ize_core::tree::{Granularity, Tree};
use ize_fuse::DetachMode;
use mirror::Mirror;
use mounted::{Mounted, can_hand_over, can_mount, inside, run_inside};
use project::TemporaryProject;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, fallocate,
};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use tempfile::TempDir;

/// Declares tests: each body runs inside of a mount, with the mounted folder; once of a mirror, once of a live
/// tree, and once of a live tree whose files the kernel reads and writes itself.
macro_rules! inside_a_mount {
    ($($(#[$attribute:meta])* fn $name:ident($root:ident) $body:block)+) => {
        $(fn $name($root: &Path) $body)+

        mod on_a_mirror {$(
            $(#[$attribute])*
            #[test]
            fn $name() {
                super::on_a_mirror(concat!("on_a_mirror::", stringify!($name)), super::$name);
            }
        )+}

        mod on_a_live_tree {$(
            $(#[$attribute])*
            #[test]
            fn $name() {
                super::on_a_live_tree(concat!("on_a_live_tree::", stringify!($name)), super::$name);
            }
        )+}

        mod on_files_handed_over {$(
            $(#[$attribute])*
            #[test]
            fn $name() {
                super::on_files_handed_over(concat!("on_files_handed_over::", stringify!($name)), super::$name);
            }
        )+}
    };
}

fn on_a_mirror(test: &str, body: fn(&Path)) {
    if let Some(folder) = inside() {
        return body(&folder);
    }
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mounted = Mounted::new(Arc::new(Mirror::new(folder.path())));
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
}

fn on_a_live_tree(test: &str, body: fn(&Path)) {
    if let Some(folder) = inside() {
        return body(&folder);
    }
    if !can_mount() {
        return;
    }
    let project = TemporaryProject::new();
    let mounted = Mounted::new(project.tree());
    project.live.set_invalidator(Some(Box::new(mounted.mount.caches())));
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    project.assert_history_is_working();
}

fn on_files_handed_over(test: &str, body: fn(&Path)) {
    if let Some(folder) = inside() {
        return body(&folder);
    }
    if !can_mount() {
        return;
    }
    let project = TemporaryProject::new();
    let mounted = Mounted::with(project.tree(), Granularity::Close);
    if !can_hand_over(&mounted.mount) {
        return;
    }
    project.live.set_invalidator(Some(Box::new(mounted.mount.caches())));
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    project.live.end_passthrough().unwrap();
    project.assert_history_is_working();
}

fn options() -> OpenOptions {
    OpenOptions::new()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

inside_a_mount! {
    fn files_are_made_read_renamed_and_removed(root) {
        fs::write(root.join("a"), "one").unwrap();
        assert_eq!(fs::read(root.join("a")).unwrap(), b"one");
        fs::rename(root.join("a"), root.join("b")).unwrap();
        assert_eq!(fs::read(root.join("a")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(names(root), ["b"]);
        fs::remove_file(root.join("b")).unwrap();
        assert!(names(root).is_empty());
    }

    fn folders_are_made_listed_and_removed(root) {
        let links = fs::metadata(root).unwrap().nlink();
        fs::create_dir(root.join("d")).unwrap();
        fs::create_dir(root.join("d/e")).unwrap();
        assert_eq!(fs::remove_dir(root.join("d")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        assert_eq!(fs::metadata(root).unwrap().nlink(), links + 1);
        fs::rename(root.join("d/e"), root.join("e")).unwrap();
        assert_eq!(fs::metadata(root).unwrap().nlink(), links + 2);
        assert_eq!(names(root), ["d", "e"]);
        fs::remove_dir(root.join("d")).unwrap();
        assert_eq!(fs::remove_file(root.join("e")).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    fn what_was_missing_is_seen_once_it_is_there(root) {
        for name in ["a", "b", "c", "d"] {
            assert!(!root.join(name).exists());
            assert!(!root.join(name).exists());
        }
        fs::write(root.join("a"), "").unwrap();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::hard_link(root.join("b"), root.join("c")).unwrap();
        std::os::unix::fs::symlink("b", root.join("d")).unwrap();
        assert!(!root.join("a").exists());
        assert!(root.join("b").exists() && root.join("c").exists() && root.join("d").exists());
    }

    fn names_are_bytes_of_at_most_255(root) {
        let odd = OsStr::from_bytes(b"\xff\xfe \n\\");
        fs::write(root.join(odd), "odd").unwrap();
        assert_eq!(fs::read_dir(root).unwrap().next().unwrap().unwrap().file_name(), odd);
        fs::write(root.join("x".repeat(255)), "").unwrap();
        let error = fs::write(root.join("x".repeat(256)), "").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    }

    fn permissions_owners_and_sizes_are_set(root) {
        let path = root.join("f");
        fs::write(&path, "12345678").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode(), 0o100_640);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    }

    fn sizes_are_set_by_path_and_by_handle(root) {
        let path = root.join("f");
        fs::write(&path, "12345678").unwrap();
        let file = options().write(true).open(&path).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1234");
        file.set_len(6).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1234\0\0");
        assert!(Command::new("truncate").args(["-s", "2"]).arg(&path).status().unwrap().success());
        assert_eq!((fs::read(&path).unwrap(), file.metadata().unwrap().len()), (b"12".to_vec(), 2));
    }

    fn times_are_set_kept_and_taken_from_the_clock(root) {
        let path = root.join("f");
        fs::write(&path, "").unwrap();
        let set = |access: Timespec, modification: Timespec| {
            let times = Timestamps { last_access: access, last_modification: modification };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
            fs::metadata(&path).unwrap()
        };
        let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let metadata = set(at(1_000, 5), at(2_000_000_000, 999_999_999));
        assert_eq!((metadata.atime(), metadata.atime_nsec()), (1_000, 5));
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (2_000_000_000, 999_999_999));
        let metadata = set(at(0, rustix::fs::UTIME_OMIT), at(0, rustix::fs::UTIME_NOW));
        assert_eq!((metadata.atime(), metadata.atime_nsec()), (1_000, 5));
        assert!(metadata.mtime() > 1_500_000_000 && metadata.mtime() != 2_000_000_000);
        // Before 1970, with a fraction: 0.25 s after second -10.
        let metadata = set(at(-10, 250_000_000), at(-1_000_000_000, 0));
        assert_eq!((metadata.atime(), metadata.atime_nsec()), (-10, 250_000_000));
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-1_000_000_000, 0));
    }

    fn nodes_of_every_kind_are_made(root) {
        let make = |name: &str, kind, device| {
            rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o600), device)
        };
        make("file", FileType::RegularFile, 0).unwrap();
        make("fifo", FileType::Fifo, 0).unwrap();
        make("socket", FileType::Socket, 0).unwrap();
        let kind = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().file_type();
        assert!(kind("file").is_file() && kind("fifo").is_fifo() && kind("socket").is_socket());
        std::os::unix::net::UnixListener::bind(root.join("bound")).unwrap();
        let device = rustix::fs::makedev(259, 70_000);
        match make("device", FileType::BlockDevice, device) {
            Ok(()) => {
                assert!(kind("device").is_block_device());
                assert_eq!(fs::symlink_metadata(root.join("device")).unwrap().rdev(), device);
            }
            Err(error) => assert_eq!(error, Errno::PERM, "only root makes devices"),
        }
    }

    fn renames_obey_their_flags(root) {
        fs::write(root.join("a"), "a").unwrap();
        fs::write(root.join("b"), "b").unwrap();
        let rename = |from: &str, to: &str, flags| {
            rustix::fs::renameat_with(CWD, root.join(from), CWD, root.join(to), flags)
        };
        assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
        rename("a", "b", RenameFlags::EXCHANGE).unwrap();
        assert_eq!((fs::read(root.join("a")).unwrap(), fs::read(root.join("b")).unwrap()), (b"b".into(), b"a".into()));
        assert_eq!(rename("a", "c", RenameFlags::EXCHANGE), Err(Errno::NOENT));
        assert_eq!(rename("a", "c", RenameFlags::WHITEOUT), Err(Errno::INVAL));
        rename("a", "b", RenameFlags::empty()).unwrap();
        assert_eq!(fs::read(root.join("b")).unwrap(), b"b");
        assert_eq!(names(root), ["b"]);
    }

    fn links_share_a_file(root) {
        fs::write(root.join("a"), "one").unwrap();
        fs::hard_link(root.join("a"), root.join("b")).unwrap();
        let (a, b) = (fs::metadata(root.join("a")).unwrap(), fs::metadata(root.join("b")).unwrap());
        assert_eq!((a.ino(), a.nlink(), b.nlink()), (b.ino(), 2, 2));
        fs::write(root.join("b"), "two!").unwrap();
        assert_eq!(fs::read(root.join("a")).unwrap(), b"two!");
        fs::remove_file(root.join("a")).unwrap();
        assert_eq!(fs::metadata(root.join("b")).unwrap().nlink(), 1);
        std::os::unix::fs::symlink("no/such/\u{fc}", root.join("s")).unwrap();
        assert_eq!(fs::read_link(root.join("s")).unwrap(), Path::new("no/such/\u{fc}"));
        assert_eq!(fs::symlink_metadata(root.join("s")).unwrap().len(), 10);
    }

    fn open_flags_are_obeyed(root) {
        let path = root.join("f");
        options().write(true).create_new(true).open(&path).unwrap().write_all(b"12345").unwrap();
        assert_eq!(options().write(true).create_new(true).open(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let mut appending = options().append(true).read(true).open(&path).unwrap();
        appending.write_all(b"67").unwrap();
        appending.seek(SeekFrom::Start(0)).unwrap();
        appending.write_all(b"89").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"123456789");
        options().write(true).truncate(true).open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        appending.write_all(b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let tmpfile = options().write(true).custom_flags(OFlags::TMPFILE.bits().cast_signed()).open(root).unwrap_err();
        assert_eq!(tmpfile.raw_os_error(), Some(Errno::OPNOTSUPP.raw_os_error()));
    }

    fn a_program_that_runs_is_not_emptied(root) {
        let path = root.join("program");
        fs::copy("/bin/sleep", &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let size = fs::metadata(&path).unwrap().len();
        let mut running = Command::new(&path).arg("60").spawn().unwrap();
        for access in [OFlags::WRONLY, OFlags::RDWR, OFlags::RDONLY] {
            let opened = rustix::fs::open(&path, access | OFlags::TRUNC, Mode::empty());
            assert_eq!(opened.unwrap_err(), Errno::TXTBSY, "{access:?}");
        }
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        // Nobody runs it any more: even a descriptor for reading empties it.
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::TRUNC, Mode::empty()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    fn set_user_id_bits_drop_when_another_user_changes_the_file(root) {
        let path = root.join("f");
        let as_nobody = |script: &str| {
            fs::write(&path, "content").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
            let script = format!("exec 2>&1; {script}");
            let done = Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script])
                .current_dir(root)
                .output()
                .unwrap();
            assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stdout));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777, "{script}");
        };
        if !rustix::process::geteuid().is_root() {
            return;
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        as_nobody("echo more >> f");
        as_nobody("echo less > f");
        as_nobody("truncate -s 3 f");
        as_nobody("fallocate --length 100 f");
        as_nobody("dd if=f of=f bs=1 count=1 seek=1 conv=notrunc status=none");
    }

    fn set_user_id_bits_drop_when_root_without_the_right_to_them_changes_the_file(root) {
        let sets = rustix::thread::capabilities(None).unwrap();
        if !sets.effective.contains(CapabilitySet::FSETID) {
            return;
        }
        fs::write(root.join("source"), "copied").unwrap();
        let source = File::open(root.join("source")).unwrap();
        let path = root.join("f");
        fs::write(&path, "some content").unwrap();
        // Of this thread alone.
        let effective = sets.effective.difference(CapabilitySet::FSETID);
        rustix::thread::set_capabilities(None, CapabilitySets { effective, ..sets }).unwrap();
        let changes: [&dyn Fn(&File); 4] = [
            &|file| file.write_all_at(b"content", 0).unwrap(),
            &|file| file.set_len(3).unwrap(),
            &|file| fallocate(file, FallocateFlags::empty(), 0, 8192).unwrap(),
            &|file| assert_eq!(rustix::fs::copy_file_range(&source, Some(&mut 0), file, Some(&mut 1), 6).unwrap(), 6),
        ];
        for (index, change) in changes.iter().enumerate() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
            change(&options().write(true).open(&path).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755, "change {index}");
        }
    }

    fn set_user_id_bits_outlive_changes_by_root_but_not_by_chown(root) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let path = root.join("f");
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        fs::write(&path, "content").unwrap();
        set(0o6755);
        fs::write(&path, "other content").unwrap();
        options().write(true).open(&path).unwrap().set_len(3).unwrap();
        assert_eq!(mode(), 0o6755);
        std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
        assert_eq!(mode(), 0o755);
        set(0o6755);
        std::os::unix::fs::chown(&path, None, None).unwrap();
        assert_eq!(mode(), 0o755);
        // Without the group's right to execute, this is no privilege.
        set(0o2644);
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        assert_eq!(mode(), 0o2644);
    }

    fn large_files_are_read_back_as_written(root) {
        let content: Vec<u8> = (0..9_000_001_u32).map(|index| (index % 251).to_le_bytes()[0]).collect();
        fs::write(root.join("large"), &content).unwrap();
        let file = File::open(root.join("large")).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(fs::read(root.join("large")).unwrap() == content);
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        File::open(root).unwrap().sync_all().unwrap();
    }

    fn appends_of_several_processes_are_all_there(root) {
        let path = root.join("log");
        let append = "for i in $(seq 200); do echo \"$0 $i\" >> log; done";
        let writers: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| Command::new("sh").args(["-c", append, name]).current_dir(root).spawn().unwrap())
            .into();
        for mut writer in writers {
            assert!(writer.wait().unwrap().success());
        }
        let mut lines: Vec<_> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 800);
    }

    fn a_file_without_a_name_lives_until_it_is_closed(root) {
        let path = root.join("f");
        let mut file = options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(b"before").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        file.write_all(b" and after").unwrap();
        file.set_len(13).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o400)).unwrap();
        file.rewind().unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "before and af");
        fs::write(&path, "another").unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), file.metadata().unwrap().ino());
    }

    fn stores_through_a_shared_mapping_land_where_they_belong(root) {
        let path = root.join("f");
        fs::write(&path, vec![b'.'; 10_000]).unwrap();
        let appending = options().read(true).append(true).open(&path).unwrap();
        let mut map = mapped::Mapping::new(&appending, 10_000);
        map.bytes()[5_000..5_005].copy_from_slice(b"store");
        map.flush();
        drop(map);
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len(), 10_000);
        assert_eq!(&content[4_999..5_006], b".store.");
        // A mapping sees what is written beside it.
        let mut map = mapped::Mapping::new(&appending, 10_000);
        options().write(true).open(&path).unwrap().write_all_at(b"write", 100).unwrap();
        assert_eq!(&map.bytes()[100..105], b"write");
    }

    fn listings_are_whole_while_entries_come_and_go(root) {
        let stay = |index: usize| format!("stay-{index:04}");
        for index in 0..1_500 {
            fs::write(root.join(stay(index)), "").unwrap();
            fs::write(root.join(format!("go-{index:04}")), "").unwrap();
        }
        let mut seen = Vec::new();
        for (index, entry) in fs::read_dir(root).unwrap().enumerate() {
            let entry = entry.unwrap();
            if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with("stay")) {
                seen.push(name.to_owned());
            }
            if index % 2 == 0 && index < 3_000 {
                fs::remove_file(root.join(format!("go-{:04}", index / 2))).unwrap();
                fs::write(root.join(format!("new-{index:04}")), "").unwrap();
            }
        }
        seen.sort();
        assert!(seen == (0..1_500).map(stay).collect::<Vec<_>>(), "each of them exactly once");
    }

    fn listings_show_the_numbers_that_stat_shows(root) {
        fs::create_dir(root.join("d")).unwrap();
        for index in 0..100 {
            fs::write(root.join(format!("d/{index}")), "").unwrap();
        }
        for _ in 0..3 {
            for entry in fs::read_dir(root.join("d")).unwrap() {
                let entry = entry.unwrap();
                use std::os::unix::fs::DirEntryExt;
                assert_eq!(entry.ino(), fs::metadata(entry.path()).unwrap().ino());
                assert!(entry.file_type().unwrap().is_file());
            }
        }
        let parent = fs::metadata(root.join("d/..")).unwrap().ino();
        assert_eq!(parent, fs::metadata(root).unwrap().ino());
    }

    fn attributes_follow_the_size_protocol(root) {
        let path = root.join("f");
        fs::write(&path, "").unwrap();
        let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
        let get = |name: &str, space: usize| {
            let mut value = vec![0; space];
            rustix::fs::getxattr(&path, name, &mut value[..]).map(|size| (size, value))
        };
        set("user.a", b"value", XattrFlags::empty()).unwrap();
        assert_eq!(set("user.a", b"x", XattrFlags::CREATE), Err(Errno::EXIST));
        assert_eq!(set("user.b", b"x", XattrFlags::REPLACE), Err(Errno::NODATA));
        set("user.empty", b"", XattrFlags::CREATE).unwrap();
        assert_eq!(rustix::fs::getxattr_query(&path, "user.a"), Ok(5));
        assert_eq!(get("user.a", 5).unwrap().1, b"value");
        assert_eq!(get("user.a", 4).unwrap_err(), Errno::RANGE);
        assert_eq!(get("user.empty", 5).unwrap().0, 0);
        assert_eq!(get("user.none", 5).unwrap_err(), Errno::NODATA);
        let mut list = [0; 100];
        let size = rustix::fs::listxattr(&path, &mut list[..]).unwrap();
        let mut listed: Vec<_> = list[..size].split_inclusive(|byte| *byte == 0).collect();
        listed.sort();
        assert_eq!(listed, [&b"user.a\0"[..], b"user.empty\0"]);
        assert_eq!(rustix::fs::listxattr(&path, &mut list[..3]), Err(Errno::RANGE));
        rustix::fs::removexattr(&path, "user.a").unwrap();
        assert_eq!(rustix::fs::removexattr(&path, "user.a"), Err(Errno::NODATA));
        let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
        assert_eq!(set("system.posix_acl_access", acl, XattrFlags::empty()), Err(Errno::OPNOTSUPP));
    }

    fn ranges_are_allocated_punched_and_zeroed(root) {
        let path = root.join("f");
        fs::write(&path, vec![b'x'; 64 * 1024]).unwrap();
        let file = options().read(true).write(true).open(&path).unwrap();
        let keep = FallocateFlags::KEEP_SIZE;
        fallocate(&file, FallocateFlags::empty(), 64 * 1024, 4_096).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 68 * 1024);
        fallocate(&file, keep, 1024 * 1024, 4_096).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 68 * 1024);
        fallocate(&file, FallocateFlags::PUNCH_HOLE | keep, 4_096, 8_192).unwrap();
        fallocate(&file, FallocateFlags::ZERO_RANGE | keep, 16_384, 100).unwrap();
        let content = fs::read(&path).unwrap();
        assert!(content[4_096..12_288].iter().chain(&content[16_384..16_484]).all(|byte| *byte == 0));
        assert!(content[..4_096].iter().chain(&content[16_484..65_536]).all(|byte| *byte == b'x'));
        assert_eq!(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4_096), Err(Errno::OPNOTSUPP));
        use rustix::fs::SeekFrom::{Data, Hole};
        assert_eq!(rustix::fs::seek(&file, Hole(0)), Ok(4_096));
        assert_eq!(rustix::fs::seek(&file, Data(5_000)), Ok(12_288));
        assert_eq!(rustix::fs::seek(&file, Hole(1024 * 1024)), Err(Errno::NXIO));
    }

    fn ranges_are_copied(root) {
        fs::write(root.join("a"), (0..=255).cycle().take(300_000).collect::<Vec<u8>>()).unwrap();
        assert_eq!(fs::copy(root.join("a"), root.join("b")).unwrap(), 300_000);
        assert!(fs::read(root.join("a")).unwrap() == fs::read(root.join("b")).unwrap());
        let from = File::open(root.join("a")).unwrap();
        let to = options().write(true).open(root.join("b")).unwrap();
        let (mut at, mut into) = (7, 100_000);
        let copied = rustix::fs::copy_file_range(&from, Some(&mut at), &to, Some(&mut into), 1_000).unwrap();
        let range = fs::read(root.join("b")).unwrap()[100_000..100_000 + copied].to_vec();
        assert_eq!(range, fs::read(root.join("a")).unwrap()[7..7 + copied]);
    }

    fn space_is_told(root) {
        let space = rustix::fs::statvfs(root).unwrap();
        assert!(space.f_blocks > 0 && space.f_bavail <= space.f_blocks && space.f_namemax == 255);
        assert!(space.f_bsize >= 512 && space.f_frsize >= 512);
    }

    fn locks_work_between_processes(root) {
        let path = root.join("f");
        let file = File::create(&path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let other = Command::new("flock").args(["-n"]).arg(&path).arg("true").status().unwrap();
        assert!(!other.success());
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    }

    fn umask_is_applied_once(root) {
        let made = Command::new("sh")
            .args(["-c", "umask 027; touch f; mkdir d; mkfifo p; stat -c %a f d p"])
            .current_dir(root)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&made.stdout), "640\n750\n640\n");
    }
}

fn direct_reads_and_writes(root: &Path) {
    let path = root.join("f");
    let direct = options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags((OFlags::DIRECT | OFlags::SYNC).bits().cast_signed())
        .open(&path)
        .unwrap();
    let block = vec![7_u8; 3 * 1024 * 1024];
    direct.write_all_at(&block, 0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), block);
    options().write(true).open(&path).unwrap().write_all_at(b"buffered", 4096).unwrap();
    let mut read = vec![0; block.len()];
    direct.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read[4096..4104], b"buffered");
    direct.write_all_at(b"direct", 4096).unwrap();
    assert_eq!(&fs::read(&path).unwrap()[4096..4104], b"directed");
}

// A file that is handed over has the host's rules for `O_DIRECT`, which these calls break.
#[test]
fn direct_reads_and_writes_work_beside_buffered_ones_on_a_mirror() {
    on_a_mirror("direct_reads_and_writes_work_beside_buffered_ones_on_a_mirror", direct_reads_and_writes);
}

#[test]
fn direct_reads_and_writes_work_beside_buffered_ones_on_a_live_tree() {
    on_a_live_tree("direct_reads_and_writes_work_beside_buffered_ones_on_a_live_tree", direct_reads_and_writes);
}

fn a_panic_of_the_tree_is_an_error(root: &Path) {
    for _ in 0..10 {
        let error = fs::metadata(root.join("panic")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    }
    fs::write(root.join("a"), "a").unwrap();
}

#[test]
fn a_panic_of_the_tree_is_an_error_and_the_mount_goes_on() {
    on_a_mirror("a_panic_of_the_tree_is_an_error_and_the_mount_goes_on", a_panic_of_the_tree_is_an_error);
}

fn many_writes(root: &Path) {
    let file = File::create(root.join("f")).unwrap();
    for index in 0..100 {
        file.write_all_at(b"content", index * 4096).unwrap();
    }
}

#[test]
fn the_kernel_does_not_ask_for_an_attribute_before_each_write() {
    let test = "the_kernel_does_not_ask_for_an_attribute_before_each_write";
    if let Some(folder) = inside() {
        return many_writes(&folder);
    }
    if !can_mount() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mirror = Arc::new(Mirror::new(folder.path()));
    let mounted = Mounted::new(Arc::clone(&mirror) as Arc<dyn Tree>);
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    // Once before the first.
    assert!(mirror.values_asked() <= 1, "asked {} times", mirror.values_asked());
}

fn a_slow_write(root: &Path) {
    let path = root.join("f");
    let writer = std::thread::spawn(move || fs::write(path, "slow").unwrap());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let began = std::time::Instant::now();
    for index in 0..50 {
        fs::write(root.join(format!("{index}")), "fast").unwrap();
    }
    assert_eq!(names(root).len(), 51);
    assert!(began.elapsed() < std::time::Duration::from_millis(1_500), "{:?}", began.elapsed());
    writer.join().unwrap();
}

#[test]
fn one_slow_write_does_not_stop_a_listing() {
    on_a_mirror("one_slow_write_does_not_stop_a_listing", a_slow_write);
}
