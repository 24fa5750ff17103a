//! After a power cut: whatever is left of `working/`, it becomes what history says, and nothing that was found is lost.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ize_core::model::{FileId, Landmark, OpId, OpType, Timestamp, View};
use ize_core::storage::OpQuery;
use ize_core::tree::{MendReport, PowerCut, ReconcileOptions, Tree};

use crate::compare::describe_host;
use crate::random::{Dice, Player};
use crate::world::World;

impl World {
    /// Says that no content can be trusted.
    fn cut(&self, target: OpId, synced: OpId) -> PowerCut {
        let ops = self.storage.ops(&OpQuery { max: usize::MAX, ..OpQuery::all(View::main(target)) }).unwrap();
        let dirty: BTreeSet<FileId> = ops.iter().map(|op| op.op_type.file()).collect();
        PowerCut { target, synced, dirty, edited_after: None }
    }

    /// Recovers, and fails unless `working/` and history are what they were at the target.
    fn recover(&self, cut: &PowerCut) -> MendReport {
        let report = self.live.mend(cut).unwrap();
        let wanted = self.describe_history(View::main(cut.target));
        assert_eq!(but_change_times(describe_host(&self.working())), but_change_times(wanted));
        let mut options = ReconcileOptions::default();
        options.external = false;
        self.live.reconcile(options).unwrap();
        self.assert_history_is_working();
        report
    }

    /// Tells whether any version in history has this content.
    fn has_ever_had(&self, content: &[u8]) -> bool {
        let ops = self.storage.ops(&OpQuery { max: usize::MAX, ..OpQuery::all(View::main(self.settle())) }).unwrap();
        ops.iter().any(|op| {
            let view = View::main(op.last_id);
            let Some(node) = self.storage.node(view, op.op_type.file()).unwrap() else { return false };
            let mut found = vec![0; usize::try_from(node.size).unwrap()];
            self.storage.read(view, op.op_type.file(), 0, &mut found).unwrap();
            found == content
        })
    }
}

/// Change times cannot be set.
fn but_change_times(all: std::collections::BTreeMap<Vec<u8>, String>) -> Vec<(String, String)> {
    let strip = |text: String| {
        let (before, after) = text.split_once(" ctime ").unwrap();
        let (_, after) = after.split_once(' ').unwrap();
        format!("{before} {after}")
    };
    all.into_iter().map(|(path, text)| (path.escape_ascii().to_string(), strip(text))).collect()
}

fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    paths
}

/// Does to a tree what a power cut, or worse, could.
fn damage(dice: &mut Dice, folder: &Path) {
    for _ in 0..dice.below(12) {
        let paths = paths_in(folder);
        let Some(path) = paths.get(usize::try_from(dice.below(paths.len().max(1) as u64)).unwrap()) else { return };
        let Ok(meta) = fs::symlink_metadata(path) else { continue };
        match dice.below(7) {
            0 => drop(if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }),
            1 => drop(fs::rename(path, path.with_extension("moved"))),
            2 => drop(fs::write(path.with_extension("new"), format!("never recorded {}", dice.below(1 << 30)))),
            3 => drop(fs::create_dir_all(path.with_extension("folder").join("below"))),
            4 if meta.is_file() => drop(fs::OpenOptions::new().write(true).open(path).unwrap().set_len(dice.below(99))),
            // Blindly: size and times stay.
            5 if meta.is_file() && meta.len() > 0 => {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(b"torn", dice.below(meta.len()).min(meta.len().saturating_sub(4))).unwrap();
                let mtime = SystemTime::UNIX_EPOCH + Duration::new(meta.mtime().unsigned_abs(), 5);
                file.set_modified(mtime).unwrap();
            }
            6 if meta.is_file() => drop(fs::hard_link(path, path.with_extension("link"))),
            _ => {}
        }
    }
}

#[test]
fn whatever_is_left_becomes_what_history_says() {
    let seeds = std::env::var("IZE_MEND_SEEDS").ok().map_or(40, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let world = World::new();
        let mut player = Player { preallocates: false, ..Player::new(&world, seed) };
        let before = player.dice.below(60);
        (0..before).for_each(|_| player.step());
        let synced = world.settle();
        let aside = tempfile::tempdir().unwrap();
        copy_tree(&world.working(), &aside.path().join("old"));
        let mut player = Player { preallocates: false, ..Player::new(&world, seed + 7000) };
        let after = player.dice.below(60);
        (0..after).for_each(|_| player.step());
        let mut dice = Dice::new(seed + 99);
        world.recorder.barrier().unwrap();
        let target = world.settle();
        let world = world.struck(|working| {
            if dice.below(3) > 0 {
                // All that was not synced is lost.
                fs::remove_dir_all(working).unwrap();
                copy_tree(&aside.path().join("old"), working);
            }
            damage(&mut dice, working);
        });
        eprintln!("seed {seed}: {:?}", world.recover(&world.cut(target, synced)));
        let now = world.settle();
        let again = world.live.mend(&world.cut(now, target)).unwrap();
        assert!(again.is_clean(), "seed {seed}: {again:?}");
    }
}

#[test]
fn bytes_that_were_never_recorded_become_a_version() {
    let world = World::new();
    world.write_new(FileId::ROOT, "file", &[7; 5000]);
    let target = world.settle();
    let mut ahead = vec![7; 5000];
    ahead[1024..1536].fill(8);
    let world = world.struck(|working| {
        fs::write(working.join("file"), &ahead).unwrap();
        fs::write(working.join("draft"), "not yet recorded").unwrap();
    });
    let report = world.recover(&world.cut(target, target));
    assert_eq!((report.saved, report.mended, report.removed), (2, 1, 1));
    assert!(world.has_ever_had(&ahead));
    assert!(world.has_ever_had(b"not yet recorded"));
}

#[test]
fn what_history_had_once_is_not_recorded_again() {
    let world = World::new();
    let file = world.write_new(FileId::ROOT, "file", &[1; 9000]);
    let folder = world.make_dir(FileId::ROOT, "folder");
    world.write_new(folder, "gone", b"known");
    let synced = world.settle();
    let caller = World::caller();
    // A safe save, and a removed folder: both are still undone on disk.
    world.write_new(FileId::ROOT, "file.tmp", &[2; 9000]);
    world.rename((FileId::ROOT, "file.tmp"), (FileId::ROOT, "file"));
    world.live.unlink(caller, folder, OsStr::new("gone")).unwrap();
    world.live.remove_directory(caller, FileId::ROOT, OsStr::new("folder")).unwrap();
    world.live.forget(file, 1);
    let target = world.settle();
    let world = world.struck(|working| {
        let mut half = vec![1; 9000];
        half[..4096].fill(2);
        fs::write(working.join("file"), half).unwrap();
        fs::write(working.join("file.tmp"), [2; 9000]).unwrap();
        fs::create_dir(working.join("folder")).unwrap();
        fs::write(working.join("folder/gone"), "known").unwrap();
        fs::write(working.join("folder/zeros"), [0; 3000]).unwrap();
    });
    let report = world.recover(&world.cut(target, synced));
    assert_eq!((report.saved, report.mended, report.removed), (0, 1, 2));
}

#[test]
fn a_file_that_has_another_name_is_renamed_back_and_keeps_its_identity() {
    let world = World::new();
    let file = world.write_new(FileId::ROOT, "name", b"content");
    let target = world.settle();
    let world = world.struck(|working| fs::rename(working.join("name"), working.join("other")).unwrap());
    let report = world.recover(&world.cut(target, target));
    assert_eq!((report.renamed, report.created, report.removed, report.saved), (1, 0, 0, 0));
    assert_eq!(world.live.lookup(FileId::ROOT, OsStr::new("name")).unwrap().file, file);
}

#[test]
fn who_edited_after_the_power_cut_wins() {
    let world = World::new();
    world.write_new(FileId::ROOT, "edited", b"before");
    world.write_new(FileId::ROOT, "damaged", b"before");
    let target = world.settle();
    let mut cut = world.cut(target, target);
    let world = world.struck(|working| {
        fs::write(working.join("damaged"), "").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        cut.edited_after = Some(Timestamp::now());
        std::thread::sleep(Duration::from_millis(30));
        fs::write(working.join("edited"), "after").unwrap();
        fs::write(working.join("new"), "after").unwrap();
    });
    world.live.mend(&cut).unwrap();
    let report = world.live.reconcile(ReconcileOptions::default()).unwrap();
    assert_eq!((report.created, report.removed), (1, 0));
    world.assert_history_is_working();
    let read = |name| fs::read_to_string(world.working().join(name)).unwrap();
    assert_eq!((read("damaged"), read("edited"), read("new")), ("before".into(), "after".into(), "after".into()));
    let ops = world.storage.ops(&OpQuery { since: target, ..OpQuery::all(View::main(world.settle())) }).unwrap();
    assert!(ops.iter().all(|op| matches!(op.op_type, OpType::ExternalChange(_))));
    assert!(ops.iter().any(|op| op.landmark == Some(Landmark::Close)));
}

#[test]
fn an_interrupted_recovery_is_done_again() {
    let world = World::new();
    world.write_new(FileId::ROOT, "one", &[1; 100_000]);
    world.write_new(FileId::ROOT, "two", &[2; 100_000]);
    let target = world.settle();
    let cut = world.cut(target, target);
    let world = world.struck(|working| {
        fs::write(working.join("one"), "torn").unwrap();
        fs::write(working.join("extra"), "extra").unwrap();
    });
    world.live.mend(&cut).unwrap();
    // What the first try recorded is there; the power goes again, and other files suffer.
    let world = world.struck(|working| {
        fs::remove_file(working.join("two")).unwrap();
        fs::create_dir_all(working.join(".ize")).unwrap();
        fs::write(working.join(".ize/0"), "left aside").unwrap();
        fs::write(working.join("extra"), "extra").unwrap();
    });
    let report = world.recover(&cut);
    assert_eq!(report.saved, 0, "it was saved by the first try");
    assert!(!world.working().join(".ize").exists());
}
