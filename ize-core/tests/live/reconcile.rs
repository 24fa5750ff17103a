//! Edits made in `working/` while nobody watched are found and recorded.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use ize_core::model::{FileId, OpId, View};
use ize_core::storage::OpQuery;
use ize_core::tree::{ReconcileOptions, ReconcileReport, Tree};

use crate::random::{Dice, Player};
use crate::world::World;

#[test]
fn nothing_is_recorded_where_nothing_happened() {
    let world = World::new();
    let dir = world.make_dir(FileId::ROOT, "dir");
    world.write_new(dir, "file", b"content");
    let before = world.settle();
    let (world, report) = world.reopened(|_| {});
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(world.recorder.recorded(), before);
}

#[test]
fn edits_made_while_closed_are_recorded_and_both_versions_can_be_read() {
    let world = World::new();
    let dir = world.make_dir(FileId::ROOT, "dir");
    let edited = world.write_new(dir, "edited", b"before");
    world.write_new(dir, "removed", b"gone soon");
    world.write_new(dir, "moved", b"the same content");
    world.write_new(FileId::ROOT, "kind", b"a file");
    let before = world.settle();
    let (world, report) = world.reopened(|working| {
        fs::write(working.join("dir/edited"), b"after, and longer").unwrap();
        fs::remove_file(working.join("dir/removed")).unwrap();
        fs::rename(working.join("dir/moved"), working.join("elsewhere")).unwrap();
        fs::remove_file(working.join("kind")).unwrap();
        fs::create_dir_all(working.join("kind/deep")).unwrap();
        fs::write(working.join("kind/deep/new"), vec![7; 3_000_000]).unwrap();
        symlink("dir/edited", working.join("link")).unwrap();
        fs::hard_link(working.join("dir/edited"), working.join("second-name")).unwrap();
        fs::set_permissions(working.join("dir"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    assert_eq!(report.renamed, 1, "{report:?}");
    world.assert_history_is_working();
    let mut buf = [0; 64];
    let read = world.storage.read(View::main(before), edited, 0, &mut buf).unwrap();
    assert_eq!(&buf[..read], b"before");
    let read = world.storage.read(View::main(OpId::MAX), edited, 0, &mut buf).unwrap();
    assert_eq!(&buf[..read], b"after, and longer");
    let since = OpQuery { since: before, ..OpQuery::all(View::main(OpId::MAX)) };
    assert!(world.storage.ops(&since).unwrap().iter().all(|op| op.op_type.is_external()));
}

#[test]
fn a_renamed_folder_is_one_operation() {
    let world = World::new();
    let dir = world.make_dir(FileId::ROOT, "old");
    for i in 0..20 {
        world.write_new(dir, &format!("file-{i}"), b"content");
    }
    let before = world.settle();
    let (world, report) = world.reopened(|working| {
        fs::rename(working.join("old"), working.join("new")).unwrap();
        fs::write(working.join("new/file-3"), b"edited after the rename").unwrap();
    });
    assert_eq!(report, ReconcileReport { renamed: 1, created: 0, removed: 0, ..report });
    world.assert_history_is_working();
    let moved =
        world.storage.entry(View::latest(Default::default()), FileId::ROOT, &"new".try_into().unwrap()).unwrap();
    assert_eq!(moved, Some(dir));
    assert!(world.recorder.recorded().get() - before.get() < 8);
}

#[test]
fn broken_and_new_hard_links_are_found() {
    let world = World::new();
    world.write_new(FileId::ROOT, "one", b"shared");
    let (world, _) = world.reopened(|working| {
        fs::hard_link(working.join("one"), working.join("two")).unwrap();
        fs::write(working.join("three"), b"alone").unwrap();
    });
    world.assert_history_is_working();
    let (world, _) = world.reopened(|working| {
        fs::remove_file(working.join("two")).unwrap();
        fs::write(working.join("two"), b"not shared any more").unwrap();
        fs::remove_file(working.join("three")).unwrap();
        fs::hard_link(working.join("one"), working.join("three")).unwrap();
    });
    world.assert_history_is_working();
}

#[test]
fn random_edits_while_closed_are_all_found() {
    for seed in 1..=5 {
        let mut dice = crate::random::Dice::new(seed);
        let mut world = World::new();
        for _ in 0..6 {
            (world, _) = world.reopened(|working| (0..40).for_each(|_| edit(working, &mut dice)));
            world.assert_history_is_working();
            let (again, report) = world.reopened(|_| {});
            assert!(report.is_clean(), "seed {seed}: {report:?}");
            world = again;
        }
    }
}

fn edit(working: &std::path::Path, dice: &mut crate::random::Dice) {
    let mut path = || {
        let name = |n: u64| ["a", "b", "c", "d"][usize::try_from(n).unwrap()];
        let (first, second) = (name(dice.below(4)), name(dice.below(4)));
        if dice.below(2) == 0 { working.join(first) } else { working.join(first).join(second) }
    };
    let (one, other) = (path(), path());
    let fill = u8::try_from(dice.below(256)).unwrap();
    // Each of these may be refused, as the names fall.
    let _refused = match dice.below(8) {
        0 => fs::create_dir(&one),
        1 => fs::remove_dir_all(&one),
        2 => fs::remove_file(&one),
        3 => fs::rename(&one, &other),
        4 => fs::hard_link(&one, &other),
        5 => symlink("a/b", &one),
        _ => fs::write(&one, vec![fill; usize::try_from(dice.below(200_000)).unwrap()]),
    };
}

#[test]
fn a_name_whose_file_vanished_beside_the_mount_can_be_made_again() {
    for is_known in [true, false] {
        let world = World::with_rules(&["*.o"]);
        let names = ["file", "dir", "link", "renamed", "other", "entered"];
        for name in names {
            let dir = world.make_dir(FileId::ROOT, name);
            world.write_new(dir, "below", b"vanishes, too");
        }
        let file = world.write_new(FileId::ROOT, "kept", b"content");
        world.write_new(FileId::ROOT, "moved", b"moves");
        world.write_new(FileId::ROOT, "built.o", b"built");
        // A tree that was opened anew does not know yet what is in history.
        let world = if is_known { world } else { world.reopened_with(&["*.o"]) };
        for name in names {
            fs::remove_dir_all(world.working().join(name)).unwrap();
        }
        let (live, caller) = (&world.live, World::caller());
        let file = if is_known { file } else { live.lookup(FileId::ROOT, "kept".as_ref()).unwrap().file };
        world.write_new(FileId::ROOT, "file", b"made again");
        world.make_dir(FileId::ROOT, "dir");
        live.make_symlink(caller, FileId::ROOT, "link".as_ref(), b"target").unwrap();
        world.rename((FileId::ROOT, "moved"), (FileId::ROOT, "renamed"));
        live.link(caller, file, FileId::ROOT, "other".as_ref()).unwrap();
        world.rename((FileId::ROOT, "built.o"), (FileId::ROOT, "entered"));
        world.assert_history_is_working();
    }
}

#[test]
fn removals_beside_the_mount_between_calls_do_not_stop_recording() {
    let names = ["a", "b", "c", "d", "e", "f"];
    for seed in 1..=20 {
        let world = World::new();
        let mut player = Player::new(&world, seed);
        let mut dice = Dice::new(seed + 1000);
        for _ in 0..300 {
            player.step();
            if dice.below(6) == 0 {
                let mut name = || names[usize::try_from(dice.below(6)).unwrap()];
                let (folder, name) = (name(), name());
                let path = if dice.below(2) == 0 { name.to_owned() } else { format!("{folder}/{name}") };
                let path = world.working().join(path);
                // It may not be there.
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
        world.live.reconcile_in_use(ReconcileOptions::default()).unwrap();
        world.assert_history_is_like_working(|_| true);
    }
}
