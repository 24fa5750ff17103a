//! Files that the kernel reads and writes itself: what history has of them, and when.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod mapped;
mod mounted;
mod project;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ize_core::model::{Landmark, OpCode, OpId, View};
use ize_core::storage::OpQuery;
use ize_core::tree::Granularity;
use ize_fuse::DetachMode;
use mapped::Mapping;
use mounted::{Mounted, can_hand_over, can_mount, inside, run_inside};
use project::TemporaryProject;

/// Runs `body` inside of a mount whose files are handed over, then unmounts, and returns the project.
fn handed_over(test: &str, body: fn(&Path)) -> Option<TemporaryProject> {
    if let Some(folder) = inside() {
        body(&folder);
        return None;
    }
    if !can_mount() {
        return None;
    }
    let project = TemporaryProject::new();
    let mounted = Mounted::with(project.tree(), Granularity::Close);
    if !can_hand_over(&mounted.mount) {
        return None;
    }
    project.live.set_invalidator(Some(Box::new(mounted.mount.caches())));
    run_inside(test, mounted.path());
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    Some(project)
}

/// Ends the use of a project, and checks that history has what is there.
fn end(project: &TemporaryProject) {
    project.live.end_passthrough().unwrap();
    project.assert_history_is_working();
}

fn ops(project: &TemporaryProject) -> Vec<OpCode> {
    let last = project.recorder.recorded();
    project.recorder.wait_committed(last).unwrap();
    project.storage().ops(&OpQuery { max: 10_000, ..OpQuery::all(View::main(last)) }).unwrap()
}

/// What history has of the only file in the root, at each of its saves.
fn saves(project: &TemporaryProject) -> Vec<Vec<u8>> {
    let ops = ops(project);
    let file = ops.iter().find(|op| op.op_type.to_string().starts_with("Create")).unwrap().op_type.file();
    let is_save = |op: &&OpCode| matches!(op.landmark, Some(Landmark::Close | Landmark::Sync));
    let content = |at: OpId| {
        let view = View::main(at);
        let size = project.storage().node(view, file).unwrap().unwrap().size;
        let mut content = vec![0; usize::try_from(size).unwrap()];
        let read = project.storage().read(view, file, 0, &mut content).unwrap();
        assert_eq!(read, content.len());
        content
    };
    ops.iter().filter(|op| op.op_type.file() == file).filter(is_save).map(|op| content(op.last_id)).collect()
}

fn several_saves(root: &Path) {
    let path = root.join("f");
    fs::write(&path, "first").unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b", second").unwrap();
    file.sync_all().unwrap();
    file.write_all(b", third").unwrap();
    drop(file);
    fs::write(&path, vec![7; 300_000]).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for _ in 0..3 {
        file.write_all_at(b"here", 100_000).unwrap();
    }
    drop(file);
    // Nothing is written, and nothing saved.
    drop(OpenOptions::new().write(true).open(&path).unwrap());
}

#[test]
fn each_close_and_each_sync_after_a_change_is_a_save_and_brings_what_differs() {
    let Some(project) =
        handed_over("each_close_and_each_sync_after_a_change_is_a_save_and_brings_what_differs", several_saves)
    else {
        return;
    };
    let mut changed = vec![7; 300_000];
    changed[100_000..100_004].copy_from_slice(b"here");
    let expected: Vec<Vec<u8>> =
        vec![b"first".to_vec(), b"first, second".to_vec(), b"first, second, third".to_vec(), vec![7; 300_000], changed];
    assert!(saves(&project) == expected, "{:?}", saves(&project).iter().map(Vec::len).collect::<Vec<_>>());
    let last = ops(&project).into_iter().next_back().unwrap();
    assert!(last.data.size() <= 8192, "{last:?}");
    end(&project);
}

fn stores_after_the_close(root: &Path) {
    let path = root.join("f");
    fs::write(&path, vec![b'.'; 20_000]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut mapping = Mapping::new(&file, 20_000);
    // The page is dirty, and stays writable.
    mapping.bytes()[0] = b'1';
    drop(file);
    std::thread::sleep(Duration::from_millis(50));
    mapping.bytes()[1] = b'2';
    mapping.flush();
    mapping.bytes()[19_999] = b'3';
}

#[test]
fn stores_after_the_close_are_found_when_the_mount_ends() {
    for _ in 0..5 {
        let test = "stores_after_the_close_are_found_when_the_mount_ends";
        let Some(project) = handed_over(test, stores_after_the_close) else { return };
        end(&project);
        let last = saves(&project).into_iter().next_back().unwrap();
        assert_eq!((&last[..3], last[19_999]), (&b"12."[..], b'3'));
    }
}

#[test]
fn stores_after_the_close_are_found_at_the_next_sync() {
    let test = "stores_after_the_close_are_found_at_the_next_sync";
    let Some(project) = handed_over(test, stores_after_the_close) else { return };
    project.live.record_versions().unwrap();
    project.assert_history_is_working();
    end(&project);
}

fn several_writers(root: &Path) {
    let path = root.join("f");
    let writers: Vec<_> = (0..4)
        .map(|nth: u64| {
            let path = path.clone();
            std::thread::spawn(move || {
                for round in 0..20_u8 {
                    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
                    let file = options.open(&path).unwrap();
                    file.write_all_at(&vec![round + 1; 5000], nth * 10_000).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn several_writers_of_one_file_agree_and_history_has_the_end() {
    let test = "several_writers_of_one_file_agree_and_history_has_the_end";
    let Some(project) = handed_over(test, several_writers) else { return };
    project.assert_history_is_working();
    end(&project);
}

fn names_and_metadata_meanwhile(root: &Path) {
    let (a, b) = (root.join("a"), root.join("b"));
    let file = File::create(&a).unwrap();
    file.write_all_at(&[1; 10_000], 0).unwrap();
    fs::rename(&a, &b).unwrap();
    file.write_all_at(&[2; 10_000], 20_000).unwrap();
    fs::hard_link(&b, root.join("c")).unwrap();
    file.set_len(25_000).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 50_000).unwrap();
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    file.write_all_at(&[3; 10], 49_990).unwrap();
    fs::remove_file(&b).unwrap();
    // Over an open file, and away under one.
    fs::write(root.join("d"), "other").unwrap();
    let replaced = OpenOptions::new().read(true).write(true).open(root.join("d")).unwrap();
    replaced.write_all_at(b"lost", 0).unwrap();
    fs::rename(root.join("c"), root.join("d")).unwrap();
    replaced.write_all_at(b"lost, too", 0).unwrap();
    let gone = File::create(root.join("gone")).unwrap();
    gone.write_all_at(b"content", 0).unwrap();
    fs::remove_file(root.join("gone")).unwrap();
    gone.write_all_at(b"content", 100).unwrap();
    gone.sync_all().unwrap();
}

#[test]
fn names_and_metadata_may_change_while_a_file_is_open() {
    let test = "names_and_metadata_may_change_while_a_file_is_open";
    let Some(project) = handed_over(test, names_and_metadata_meanwhile) else { return };
    project.assert_history_is_working();
    end(&project);
}

#[test]
fn a_change_of_names_has_the_content_of_that_moment() {
    let test = "a_change_of_names_has_the_content_of_that_moment";
    let Some(project) = handed_over(test, |root| {
        let (a, b) = (root.join("a"), root.join("b"));
        let file = File::create(&a).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        fs::rename(&a, &b).unwrap();
        file.write_all_at(b"after!", 0).unwrap();
    }) else {
        return;
    };
    let renamed = ops(&project).into_iter().find(|op| op.op_type.to_string().starts_with("Rename")).unwrap();
    let mut content = [0; 6];
    project.storage().read(View::main(renamed.last_id), renamed.op_type.file(), 0, &mut content).unwrap();
    assert_eq!(&content, b"before");
    end(&project);
}

fn real_programs(root: &Path) {
    let script = "
        set -e
        git init --quiet repository && cd repository
        git config user.name Ize && git config user.email ize@example.org
        for i in $(seq 40); do seq $i 500 > file-$i; done
        git add --all && git commit --quiet --message one
        sed -i s/4/5/ file-1 file-2 && git commit --quiet --all --message two
        git gc --quiet && git fsck --strict && git checkout --quiet HEAD~1
        cd .. && cp -r repository copy && tar cf copy.tar copy && mkdir out && tar xf copy.tar -C out
        diff -r repository out/copy
        if command -v sqlite3 > /dev/null; then
            sqlite3 base 'pragma journal_mode = wal; create table t (a, b);' > /dev/null
            for i in 1 2 3 4 5; do sqlite3 base \"insert into t values ($i, randomblob(20000));\"; done
            sqlite3 base 'pragma integrity_check;' | grep -q ok
            sqlite3 base 'pragma journal_mode = delete; vacuum;' > /dev/null
        fi";
    let done = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn git_tar_and_sqlite_work_and_history_has_what_they_made() {
    let Some(project) = handed_over("git_tar_and_sqlite_work_and_history_has_what_they_made", real_programs) else {
        return;
    };
    end(&project);
}

#[test]
fn a_file_that_is_open_can_be_changed_from_here() {
    let test = "a_file_that_is_open_can_be_changed_from_here";
    if let Some(folder) = inside() {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(folder.join("f")).unwrap();
        file.write_all_at(&[1; 9000], 0).unwrap();
        fs::write(folder.join("ready"), "").unwrap();
        while folder.join("ready").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut content = vec![0; 9000];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content[..4000] == [1; 4000] && content[4000..4010] == [9; 10], "what was written here is not seen");
        file.write_all_at(&[2; 10], 0).unwrap();
        return;
    }
    if !can_mount() {
        return;
    }
    let project = TemporaryProject::new();
    let mounted = Mounted::with(project.tree(), Granularity::Close);
    if !can_hand_over(&mounted.mount) {
        return;
    }
    let from_here = {
        let (live, point) = (Arc::clone(&project.live), mounted.path().to_path_buf());
        std::thread::spawn(move || {
            while !point.join("ready").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            // As a restore does.
            let (tree, caller) = (&*live as &dyn ize_core::tree::Tree, ize_core::tree::Caller::default());
            let file = tree.lookup(ize_core::model::FileId::ROOT, "f".as_ref()).unwrap().file;
            let mode = ize_core::tree::OpenMode { read: true, write: true, ..Default::default() };
            let handle = tree.open(caller, file, mode).unwrap();
            tree.write(caller, handle, 4000, &[9; 10]).unwrap();
            tree.release(handle);
            tree.forget(file, 1);
            fs::remove_file(point.join("ready")).unwrap();
        })
    };
    run_inside(test, mounted.path());
    from_here.join().unwrap();
    mounted.mount.unmount(DetachMode::RefuseIfBusy).unwrap();
    end(&project);
}
