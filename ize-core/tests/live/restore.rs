//! Restoring: the live tree becomes what it was, by few changes, and all of it is recorded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ize_core::model::{BranchId, FileId, OpId, RelPath, View};
use ize_core::tree::{
    Allocation, CopyError, CopyOptions, IgnoreRules, RestoreError, RestoreOptions, RestoreReport, Restored,
    SetAttributes, SetTime, Snapshot, Tree, XattrMode, export, restore,
};
use ize_proof::compare::{CompareOptions, compare};
use ize_proof::copy::copy_tree;

use crate::random::{Dice, Player};
use crate::world::World;

impl World {
    /// Returns the moment, with everything until then committed.
    fn moment(&self) -> OpId {
        let at = self.recorder.barrier().unwrap();
        self.settle();
        at
    }

    fn snapshot(&self, at: OpId) -> Snapshot {
        Snapshot::new(Arc::clone(&self.storage), View::main(at))
    }

    fn options(&self) -> RestoreOptions {
        let mut options = RestoreOptions::default();
        options.caller = Self::caller();
        options.newest = Some(View::latest(BranchId::MAIN));
        options
    }

    fn try_restore(&self, path: &str, at: OpId, options: &RestoreOptions) -> Result<RestoreReport, RestoreError> {
        self.moment();
        restore(&*self.live, &self.snapshot(at), &RelPath::try_from(path).unwrap(), options)
    }

    fn restore(&self, path: &str, at: OpId) -> RestoreReport {
        self.try_restore(path, at, &self.options()).unwrap()
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.working().join(path)).unwrap()
    }
}

fn assert_same(left: &Path, right: &Path, what: &str) {
    let differences = compare(left, right, &CompareOptions::default()).unwrap();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

/// Some calls (copying a hole, zeroing a range) leave zeros on the host where history knows a hole.
fn assert_same_but_for_holes(left: &Path, right: &Path, what: &str) {
    let mut options = CompareOptions::default();
    options.hole_block_bytes = None;
    let differences = compare(left, right, &options).unwrap();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

fn changes(report: &RestoreReport) -> Vec<(String, Restored)> {
    let mut changes: Vec<_> = report.changes().map(|(path, what)| (path.to_string(), what.clone())).collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

/// A moment that was kept: its operation and a plain copy of the tree.
struct Kept {
    at: OpId,
    copy: PathBuf,
}

fn keep(world: &World, folder: &Path, kept: &mut Vec<Kept>) {
    let copy = folder.join(format!("copy-{}", kept.len()));
    copy_tree(&world.working(), &copy).unwrap();
    kept.push(Kept { at: world.moment(), copy });
}

/// Plays, keeps moments, and goes to random ones of them.
fn play(seed: u64, newest: bool) {
    if !rustix::process::geteuid().is_root() {
        // The copies that it compares with cannot be made: it takes permissions away from folders.
        return;
    }
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let mut player = Player { preallocates: false, ..Player::new(&world, seed) };
    let mut kept = Vec::new();
    for _ in 0..5 {
        (0..60).for_each(|_| player.step());
        keep(&world, folder.path(), &mut kept);
    }
    for moment in &kept {
        let dest = folder.path().join(format!("export-{}", moment.at.get()));
        export(&world.snapshot(moment.at), &RelPath::root(), &dest, CopyOptions::default()).unwrap();
        assert_same_but_for_holes(&moment.copy, &dest, &format!("seed {seed}: export of {}", moment.at));
    }
    let mut dice = Dice::new(seed + 1000);
    for round in 0..8 {
        let moment = &kept[usize::try_from(dice.below(5)).unwrap()];
        let what = format!("seed {seed}, round {round}: {}", moment.at);
        let mut options = world.options();
        options.newest = options.newest.filter(|_| newest);
        options.dry_run = true;
        let before = world.moment();
        let planned = world.try_restore(".", moment.at, &options).unwrap();
        assert_eq!(world.moment(), before, "{what}: a dry run changes nothing");
        options.dry_run = false;
        let done = world.try_restore(".", moment.at, &options).unwrap();
        assert_same_but_for_holes(&moment.copy, &world.working(), &what);
        if !newest {
            // Everything was compared, so the holes are those that history knows.
            let exported = folder.path().join(format!("export-{}", moment.at.get()));
            assert_same(&exported, &world.working(), &what);
        }
        assert_eq!(changes(&planned), changes(&done), "{what}: planned (left), done (right)");
        let again = world.try_restore(".", moment.at, &options).unwrap();
        assert_eq!(
            changes(&again),
            [],
            "{what}: again, after {:?}",
            done.entries.iter().filter(|(p, _)| p.as_bytes() == b"a").collect::<Vec<_>>()
        );
        world.assert_history_is_working();
        if dice.below(2) == 0 {
            (0..20).for_each(|_| player.step());
        }
    }
}

#[test]
fn random_moments_come_back_exactly() {
    (1..=8).for_each(|seed| play(seed, true));
}

#[test]
fn random_moments_come_back_exactly_without_the_help_of_history() {
    (21..=24).for_each(|seed| play(seed, false));
}

#[test]
fn a_restore_is_undone_by_restoring_the_moment_before_it() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let mut player = Player::new(&world, 77);
    let mut kept = Vec::new();
    for _ in 0..2 {
        (0..100).for_each(|_| player.step());
        keep(&world, folder.path(), &mut kept);
    }
    world.restore(".", kept[0].at);
    assert_same_but_for_holes(&kept[0].copy, &world.working(), "back");
    world.restore(".", kept[1].at);
    assert_same_but_for_holes(&kept[1].copy, &world.working(), "and forth");
    world.restore(".", OpId::ZERO);
    assert_eq!(std::fs::read_dir(world.working()).unwrap().count(), 0);
    world.restore(".", kept[0].at);
    assert_same_but_for_holes(&kept[0].copy, &world.working(), "from nothing");
}

fn note(world: &World, path: &str, content: &[u8]) -> FileId {
    let path = RelPath::try_from(path).unwrap();
    let (folder, name) = path.split_last().unwrap();
    let mut dir = FileId::ROOT;
    for name in folder.names() {
        dir = match world.live.lookup(dir, name.as_os_str()) {
            Ok(stat) => stat.file,
            Err(_) => world.make_dir(dir, &name.to_string()),
        };
    }
    world.write_new(dir, &name.to_string(), content)
}

fn look(world: &World, path: &str) -> FileId {
    let path = RelPath::try_from(path).unwrap();
    path.names().fold(FileId::ROOT, |dir, name| world.live.lookup(dir, name.as_os_str()).unwrap().file)
}

#[test]
fn only_what_differs_is_written() {
    let world = World::new();
    let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    note(&world, "big", &content);
    note(&world, "same", b"same");
    let at = world.moment();
    let big = world.live.open(World::caller(), look(&world, "big"), crate::world::RW).unwrap();
    world.live.write(World::caller(), big, 500_000, b"different").unwrap();
    world.live.release(big);
    let before = world.moment();
    let report = world.restore(".", at);
    assert_eq!(changes(&report), [("big".to_owned(), Restored::Content)]);
    assert_eq!(world.read("big"), content);
    let mut query = ize_core::storage::OpQuery::all(View::latest(BranchId::MAIN));
    query.since = before;
    world.settle();
    let written: u64 = world.storage.ops(&query).unwrap().iter().map(|op| op.data.size()).sum();
    assert!(written <= 4096, "{written} bytes were written");
}

#[test]
fn a_single_file_comes_back_and_nothing_else_changes() {
    let world = World::new();
    note(&world, "docs/a.txt", b"first");
    note(&world, "docs/b.txt", b"first");
    let at = world.moment();
    note(&world, "docs/a.txt", b"FIRST");
    note(&world, "docs/b.txt", b"FIRST");
    let report = world.restore("docs/a.txt", at);
    assert_eq!(changes(&report), [("docs/a.txt".to_owned(), Restored::Content)]);
    assert_eq!((world.read("docs/a.txt"), world.read("docs/b.txt")), (b"first".to_vec(), b"FIRST".to_vec()));
    world.assert_history_is_working();
}

#[test]
fn a_file_comes_back_with_the_folders_that_held_it() {
    let world = World::new();
    note(&world, "a/b/c.txt", b"kept");
    let (a, b) = (look(&world, "a"), look(&world, "a/b"));
    let old = SetTime::To(ize_core::model::Timestamp::from_secs_nanos(1_000_000_000, 7));
    for (folder, mode) in [(b, 0o500), (a, 0o751)] {
        let attributes = SetAttributes { mode: Some(mode), mtime: Some(old), atime: Some(old), ..Default::default() };
        world.live.set_attributes(World::caller(), folder, None, &attributes).unwrap();
    }
    let at = world.moment();
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&world.working(), &folder.path().join("copy")).unwrap();
    note(&world, "a/later", b"");
    let full = SetAttributes { mode: Some(0o755), ..Default::default() };
    world.live.set_attributes(World::caller(), b, None, &full).unwrap();
    std::fs::remove_dir_all(world.working().join("a")).unwrap();
    let (world, _) = world.reopened(|_| {});
    world.restore("a/b/c.txt", at);
    assert_same(&folder.path().join("copy/a"), &world.working().join("a"), "restored");
    world.assert_history_is_working();
}

#[test]
fn what_was_only_renamed_is_renamed_back() {
    let world = World::new();
    for n in 0..20 {
        note(&world, &format!("project/src/{n}"), &[n; 100]);
    }
    note(&world, "x", b"x");
    note(&world, "y", b"y");
    let (project, x) = (look(&world, "project"), look(&world, "x"));
    let at = world.moment();
    let archive = world.make_dir(FileId::ROOT, "archive");
    world.rename((FileId::ROOT, "project"), (archive, "old project"));
    world.rename((FileId::ROOT, "x"), (FileId::ROOT, "z"));
    world.rename((FileId::ROOT, "y"), (FileId::ROOT, "x"));
    world.rename((FileId::ROOT, "z"), (FileId::ROOT, "y"));
    let before = world.moment();
    let report = world.restore(".", at);
    let moved = |from: &str| Restored::Moved { from: RelPath::try_from(from).unwrap() };
    let all = changes(&report);
    assert!(all.contains(&("project".to_owned(), moved("archive/old project"))), "{all:?}");
    assert!(all.contains(&("archive".to_owned(), Restored::Removed)), "{all:?}");
    assert!(!all.iter().any(|(path, _)| path.starts_with("project/")), "{all:?}");
    assert_eq!((look(&world, "project"), look(&world, "x")), (project, x));
    assert_eq!((world.read("x"), world.read("y")), (b"x".to_vec(), b"y".to_vec()));
    let after = world.moment();
    assert!(after.get() - before.get() < 10, "{before} to {after}");
    world.assert_history_is_working();
}

#[test]
fn hard_links_come_back_as_links() {
    let world = World::new();
    let file = note(&world, "a", b"one file");
    world.live.link(World::caller(), file, FileId::ROOT, OsStr::new("b")).unwrap();
    note(&world, "c", b"another");
    let at = world.moment();
    // b becomes a file of its own, c another name of a.
    for name in ["b", "c"] {
        world.live.unlink(World::caller(), FileId::ROOT, OsStr::new(name)).unwrap();
    }
    note(&world, "b", b"one file");
    world.live.link(World::caller(), file, FileId::ROOT, OsStr::new("c")).unwrap();
    world.restore(".", at);
    assert_eq!(look(&world, "a"), look(&world, "b"));
    assert_ne!(look(&world, "a"), look(&world, "c"));
    assert_eq!((world.read("b"), world.read("c")), (b"one file".to_vec(), b"another".to_vec()));
    assert_eq!(changes(&world.restore(".", at)), []);
}

#[test]
fn holes_come_back_as_holes() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let (file, handle) = world.create(FileId::ROOT, "sparse");
    let caller = World::caller();
    world.live.write(caller, handle, 10_000_000, &[1; 100_000]).unwrap();
    world.live.write(caller, handle, 50_000_000, &[0; 8192]).unwrap();
    let size = SetAttributes { size: Some(1 << 40), ..Default::default() };
    world.live.set_attributes(caller, file, Some(handle), &size).unwrap();
    let at = world.moment();
    copy_tree(&world.working(), &folder.path().join("copy")).unwrap();
    world.live.write(caller, handle, 0, &[2; 300_000]).unwrap();
    world.live.allocate(caller, handle, Allocation::PunchHole, 50_000_000 / 4096 * 4096, 1 << 20).unwrap();
    world.live.write(caller, handle, (1 << 40) - 5, b"end of it").unwrap();
    world.live.release(handle);
    world.restore(".", at);
    assert_same(&folder.path().join("copy"), &world.working(), "restored");
    export(&world.snapshot(at), &RelPath::root(), &folder.path().join("out"), CopyOptions::default()).unwrap();
    assert_same(&folder.path().join("copy"), &folder.path().join("out"), "exported");
}

#[test]
fn ignored_files_are_left_alone() {
    let world = World::with_rules(&["*.o", "target/"]);
    note(&world, "src/main.c", b"1");
    let at = world.moment();
    note(&world, "src/main.o", b"object");
    note(&world, "new/deep/main.o", b"object");
    note(&world, "new/deep/other", b"other");
    note(&world, "target/out", b"out");
    let mut options = world.options();
    options.ignore = IgnoreRules::new(&["*.o".to_owned(), "target/".to_owned()], None);
    let report = world.try_restore(".", at, &options).unwrap();
    assert!(changes(&report).contains(&("new/deep/other".to_owned(), Restored::Removed)), "{report:?}");
    let kept = report.entries.iter().filter(|(_, what)| *what == Restored::KeptIgnored);
    let mut kept: Vec<_> = kept.map(|(path, _)| path.to_string()).collect();
    kept.sort();
    assert_eq!(kept, ["new", "new/deep", "new/deep/main.o", "src/main.o", "target"]);
    for path in ["src/main.o", "new/deep/main.o", "target/out"] {
        assert!(world.working().join(path).exists(), "{path}");
    }
    assert!(!world.working().join("new/deep/other").exists());
    let error = world.try_restore("target/out", at, &options).unwrap_err();
    assert!(matches!(error, RestoreError::NotThere(_)), "{error:?}");
}

#[test]
fn other_kinds_are_replaced() {
    let world = World::new();
    note(&world, "a", b"file");
    note(&world, "b/in/side", b"file");
    world.live.make_symlink(World::caller(), FileId::ROOT, OsStr::new("c"), b"a").unwrap();
    let at = world.moment();
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&world.working(), &folder.path().join("copy")).unwrap();
    std::fs::remove_dir_all(world.working().join("b")).unwrap();
    let (world, _) = world.reopened(|working| {
        std::fs::remove_file(working.join("a")).unwrap();
        std::fs::remove_file(working.join("c")).unwrap();
        std::fs::create_dir_all(working.join("a/deep/er")).unwrap();
        std::fs::write(working.join("b"), "").unwrap();
        std::os::unix::fs::symlink("b", working.join("c")).unwrap();
    });
    let report = world.restore(".", at);
    for path in ["a", "b", "c"] {
        assert!(report.changes().any(|(at, what)| at.to_string() == path && *what == Restored::Replaced), "{report:?}");
    }
    assert_same(&folder.path().join("copy"), &world.working(), "restored");
    world.assert_history_is_working();
}

#[test]
fn what_was_not_there_and_what_is_in_the_way_are_clear_errors() {
    let world = World::new();
    note(&world, "folder/file", b"x");
    let at = world.moment();
    note(&world, "later", b"x");
    assert!(matches!(world.try_restore("later", at, &world.options()), Err(RestoreError::NotThere(_))));
    world.live.unlink(World::caller(), look(&world, "folder"), OsStr::new("file")).unwrap();
    world.live.remove_directory(World::caller(), FileId::ROOT, OsStr::new("folder")).unwrap();
    note(&world, "folder", b"now a file");
    let before = world.moment();
    let error = world.try_restore("folder/file", at, &world.options()).unwrap_err();
    assert!(matches!(&error, RestoreError::ParentIsNoFolder(path) if path.as_bytes() == b"folder"), "{error:?}");
    assert_eq!(world.moment(), before);
    world.restore("folder", at);
    assert_eq!(world.read("folder/file"), b"x");
}

#[test]
fn attributes_come_back() {
    let world = World::new();
    let file = note(&world, "a", b"x");
    let caller = World::caller();
    let set = |name: &str, value: &[u8]| {
        world.live.set_xattr(caller, file, OsStr::new(name), value, XattrMode::Either).unwrap();
    };
    set("user.kept", b"1");
    set("user.changed", b"1");
    let at = world.moment();
    set("user.changed", b"2");
    set("user.new", b"2");
    let report = world.restore("a", at);
    assert_eq!(changes(&report), [("a".to_owned(), Restored::Metadata)]);
    assert_eq!(world.live.xattr(file, OsStr::new("user.changed")).unwrap(), b"1");
    assert!(world.live.xattr(file, OsStr::new("user.new")).is_err());
}

#[test]
fn exports_go_where_people_expect() {
    let world = World::new();
    note(&world, "docs/a.txt", b"first");
    let at = world.moment();
    note(&world, "docs/a.txt", b"SECOND");
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let export = |path: &str, dest: &Path| {
        export(&world.snapshot(at), &RelPath::try_from(path).unwrap(), dest, CopyOptions::default())
    };
    export("docs/a.txt", &out("copy.txt")).unwrap();
    assert_eq!(std::fs::read(out("copy.txt")).unwrap(), b"first");
    export("docs/a.txt", folder.path()).unwrap();
    assert_eq!(std::fs::read(out("a.txt")).unwrap(), b"first");
    assert!(
        matches!(export("docs/a.txt", &out("copy.txt")), Err(CopyError::Occupied(path)) if path == out("copy.txt"))
    );
    assert!(matches!(export("docs/a.txt", folder.path()), Err(CopyError::Occupied(_))));
    export("docs", &out("new folder")).unwrap();
    assert_eq!(std::fs::read(out("new folder/a.txt")).unwrap(), b"first");
    std::fs::create_dir(out("empty")).unwrap();
    export(".", &out("empty")).unwrap();
    assert_eq!(std::fs::read(out("empty/docs/a.txt")).unwrap(), b"first");
    assert!(matches!(export("docs", &out("empty")), Err(CopyError::Occupied(path)) if path == out("empty")));
    assert!(matches!(export("docs", &out("copy.txt")), Err(CopyError::Occupied(_))));
    assert!(matches!(export("docs", &out("no/such")), Err(CopyError::Destination { .. })));
    assert!(matches!(export("docs/later", &out("x")), Err(CopyError::NotThere(_))));
    assert!(matches!(export("docs/a.txt/x", &out("x")), Err(CopyError::NotThere(_))));
}

#[test]
fn files_that_their_permissions_close_come_back_too() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    for name in ["closed/a", "closed/in/b", "open/c"] {
        note(&world, name, b"then");
    }
    let copy = folder.path().join("copy");
    copy_tree(&world.working(), &copy).unwrap();
    let at = world.moment();
    note(&world, "closed/in/later/deep/d", b"later");
    for name in ["closed/a", "closed/in/b", "open/c"] {
        note(&world, name, b"changed");
    }
    for (name, mode) in [("closed/a", 0), ("open/c", 0o400), ("closed/in/later/deep", 0o500), ("closed/in", 0o100)] {
        let mode = SetAttributes { mode: Some(mode), ..Default::default() };
        world.live.set_attributes(World::caller(), look(&world, name), None, &mode).unwrap();
    }
    let closed = SetAttributes { mode: Some(0), ..Default::default() };
    world.live.set_attributes(World::caller(), look(&world, "closed"), None, &closed).unwrap();
    world.restore(".", at);
    assert_same(&copy, &world.working(), "restored");
    assert_eq!(changes(&world.restore(".", at)), []);
}

#[test]
fn a_folder_that_may_not_be_written_is_restored_too() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    for name in ["kept", "gone", "changed"] {
        note(&world, &format!("folder/{name}"), b"then");
    }
    let read_only = SetAttributes { mode: Some(0o555), ..Default::default() };
    let dir = look(&world, "folder");
    world.live.unlink(World::caller(), dir, OsStr::new("kept")).unwrap();
    world.live.set_attributes(World::caller(), dir, None, &read_only).unwrap();
    let copy = folder.path().join("copy");
    copy_tree(&world.working(), &copy).unwrap();
    let at = world.moment();
    let writable = SetAttributes { mode: Some(0o755), ..Default::default() };
    world.live.set_attributes(World::caller(), dir, None, &writable).unwrap();
    world.live.unlink(World::caller(), dir, OsStr::new("gone")).unwrap();
    note(&world, "folder/later", b"x");
    world.live.set_attributes(World::caller(), dir, None, &read_only).unwrap();
    world.restore(".", at);
    assert_same(&copy, &world.working(), "restored");
}

#[test]
fn deep_trees_come_back() {
    const DEPTH: usize = 100;
    let world = World::new();
    let mut dirs = vec![FileId::ROOT];
    for _ in 0..DEPTH {
        dirs.push(world.make_dir(dirs[dirs.len() - 1], "down"));
    }
    world.write_new(dirs[DEPTH], "bottom", b"then");
    let at = world.moment();
    world.live.unlink(World::caller(), dirs[DEPTH], OsStr::new("bottom")).unwrap();
    for dir in dirs[..DEPTH].iter().rev() {
        world.live.remove_directory(World::caller(), *dir, OsStr::new("down")).unwrap();
    }
    let report = world.restore(".", at);
    assert_eq!(report.changes().filter(|(_, what)| *what == Restored::Created).count(), DEPTH + 1);
    assert_eq!(changes(&world.restore(".", at)), []);
    world.restore(".", OpId::ZERO);
    assert_eq!(std::fs::read_dir(world.working()).unwrap().count(), 0);
}
