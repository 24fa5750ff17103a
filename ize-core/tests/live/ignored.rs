//! Ignored names work like any other and are not recorded.

use std::ffi::OsStr;

use ize_core::model::{FileId, Name, View};
use ize_core::tree::{RenameMode, Tree};

use crate::world::World;

impl World {
    fn in_history(&self, path: &str) -> Option<Vec<u8>> {
        let view = View::main(self.settle());
        let mut file = FileId::ROOT;
        for name in path.split('/') {
            file = self.storage.entry(view, file, &Name::try_from(name).unwrap()).unwrap()?;
        }
        let mut content = vec![0; 1000];
        let read = self.storage.read(view, file, 0, &mut content).unwrap();
        content.truncate(read);
        Some(content)
    }
}

#[test]
fn what_is_ignored_is_there_but_not_in_history() {
    let world = World::with_rules(&["*.o", "target/"]);
    let target = world.make_dir(FileId::ROOT, "target");
    assert!(!target.is_recorded());
    world.write_new(target, "anything", b"built");
    world.write_new(FileId::ROOT, "main.o", b"built");
    world.write_new(FileId::ROOT, "main.c", b"written");
    assert_eq!(std::fs::read(world.working().join("target/anything")).unwrap(), b"built");
    assert_eq!(world.in_history("target"), None);
    assert_eq!(world.in_history("main.o"), None);
    assert_eq!(world.in_history("main.c").unwrap(), b"written");
}

#[test]
fn renames_between_ignored_and_recorded_names_enter_and_leave_history() {
    let world = World::with_rules(&["*.tmp"]);
    world.write_new(FileId::ROOT, "a.txt", b"first");
    world.write_new(FileId::ROOT, "a.tmp", b"second");
    world.rename((FileId::ROOT, "a.tmp"), (FileId::ROOT, "a.txt"));
    assert_eq!(world.in_history("a.txt").unwrap(), b"second");
    world.rename((FileId::ROOT, "a.txt"), (FileId::ROOT, "b.tmp"));
    assert_eq!(world.in_history("a.txt"), None);
    let stat = world.live.lookup(FileId::ROOT, OsStr::new("b.tmp")).unwrap();
    assert_eq!(stat.metadata.size, 6);
    world.rename((FileId::ROOT, "b.tmp"), (FileId::ROOT, "c.txt"));
    assert_eq!(world.in_history("c.txt").unwrap(), b"second");
}

#[test]
fn an_ignored_folder_replaces_an_empty_one_of_history() {
    let world = World::with_rules(&["build/"]);
    let build = world.make_dir(FileId::ROOT, "build");
    world.write_new(build, "page", b"built");
    world.make_dir(FileId::ROOT, "site");
    world.rename((FileId::ROOT, "build"), (FileId::ROOT, "site"));
    assert_eq!(world.in_history("site/page").unwrap(), b"built");
}

#[test]
fn an_ignored_folder_and_one_of_history_change_places() {
    let world = World::with_rules(&["build/"]);
    let (build, site) = (world.make_dir(FileId::ROOT, "build"), world.make_dir(FileId::ROOT, "site"));
    world.write_new(build, "page", b"built");
    world.write_new(site, "old", b"was there");
    let (from, to) = ((FileId::ROOT, OsStr::new("build")), (FileId::ROOT, OsStr::new("site")));
    for known in [["site/page", "site/old"], ["site/old", "site/page"]] {
        world.live.rename(World::caller(), from, to, RenameMode::Exchange).unwrap();
        assert!(world.in_history(known[0]).is_some());
        assert_eq!(world.in_history(known[1]), None);
        assert_eq!(world.in_history("build"), None);
    }
}

#[test]
fn a_folder_that_enters_history_brings_its_files_and_later_writes() {
    let world = World::with_rules(&["build/"]);
    let build = world.make_dir(FileId::ROOT, "build");
    let (_, handle) = world.create(build, "out");
    world.live.write(World::caller(), handle, 0, b"early ").unwrap();
    world.rename((FileId::ROOT, "build"), (FileId::ROOT, "kept"));
    world.live.write(World::caller(), handle, 6, b"late").unwrap();
    world.live.release(handle);
    assert_eq!(world.in_history("kept/out").unwrap(), b"early late");
    world.rename((FileId::ROOT, "kept"), (FileId::ROOT, "build"));
    assert_eq!(world.in_history("kept"), None);
}

#[test]
fn a_file_that_somebody_put_into_working_is_recorded_when_it_is_met() {
    let world = World::new();
    std::fs::write(world.working().join("stray"), b"from outside").unwrap();
    world.live.lookup(FileId::ROOT, OsStr::new("stray")).unwrap();
    assert_eq!(world.in_history("stray").unwrap(), b"from outside");
}

#[test]
fn the_reserved_name_is_refused() {
    let world = World::new();
    assert!(world.live.make_directory(World::caller(), FileId::ROOT, OsStr::new(".ize"), 0o755).is_err());
    assert!(world.live.lookup(FileId::ROOT, OsStr::new(".ize")).is_err());
    world.write_new(FileId::ROOT, "a", b"");
    let to = (FileId::ROOT, OsStr::new(".ize"));
    assert!(world.live.rename(World::caller(), (FileId::ROOT, OsStr::new("a")), to, RenameMode::Replace).is_err());
}

#[test]
fn rules_take_effect_when_their_file_is_saved_or_removed() {
    let world = World::new();
    world.write_new(FileId::ROOT, ".izeignore", b"*.log\n");
    world.write_new(FileId::ROOT, "early.log", b"ignored");
    assert_eq!(world.in_history("early.log"), None);
    world.write_new(FileId::ROOT, ".izeignore.new", b"*.out\n");
    world.rename((FileId::ROOT, ".izeignore.new"), (FileId::ROOT, ".izeignore"));
    world.write_new(FileId::ROOT, "a.out", b"ignored");
    world.write_new(FileId::ROOT, "late.log", b"recorded");
    assert_eq!(world.in_history("a.out"), None);
    assert_eq!(world.in_history("late.log").unwrap(), b"recorded");
    world.live.unlink(World::caller(), FileId::ROOT, OsStr::new(".izeignore")).unwrap();
    world.write_new(FileId::ROOT, "b.out", b"recorded");
    assert_eq!(world.in_history("b.out").unwrap(), b"recorded");
}
