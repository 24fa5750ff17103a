//! What others put into the repository comes into the tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use ize_core::model::{OpId, OpType, View};
use ize_core::project::{Project, Revision};
use ize_core::storage::{IncomingEdit, OpQuery};
use ize_core::tree::{Caller, Incorporated, Obstacle, Snapshot, incorporate};

use crate::world::{World, path, write};

/// A tree, and edits of every kind.
fn prepare(world: &World) -> OpId {
    let project = world.create();
    for folder in ["src", "old"] {
        project.make_dir(folder).unwrap();
    }
    for (file, content) in [("a.txt", "one\ntwo\n"), ("src/b.txt", "b"), ("old/c.txt", "c"), ("run.sh", "#!/bin/sh\n")]
    {
        project.write(file, content.as_bytes()).unwrap();
    }
    let before = project.sync().unwrap();
    project.close().unwrap();
    world.vault().put("from afar", edits());
    before
}

fn edits() -> Vec<IncomingEdit> {
    vec![
        IncomingEdit::MakeDir { path: path("new") },
        write("new/n.txt", "new"),
        write("a.txt", "one\nTWO\nthree\n"),
        IncomingEdit::Rename { from: path("src/b.txt"), to: path("new/b.txt") },
        write("new/b.txt", "B and more"),
        IncomingEdit::Rename { from: path("src"), to: path("sources") },
        IncomingEdit::Remove { path: path("old/c.txt") },
        IncomingEdit::Remove { path: path("old") },
        IncomingEdit::Write { path: path("run.sh"), content: "#!/bin/sh\n".into(), executable: true },
        // Longer than one write, and shorter than before in the end.
        write("long.txt", &"0123456789".repeat(60_000)),
    ]
}

fn is_applied(world: &World) {
    let read = |file: &str| fs::read_to_string(world.live(file)).unwrap();
    assert_eq!(read("a.txt"), "one\nTWO\nthree\n");
    assert_eq!(read("new/n.txt"), "new");
    assert_eq!(read("new/b.txt"), "B and more");
    assert_eq!(read("long.txt").len(), 600_000);
    assert!(world.live("sources").is_dir());
    assert!(!world.live("src").exists() && !world.live("old").exists());
    let mode = |file: &str| fs::metadata(world.live(file)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("run.sh"), mode("a.txt")), (0o111, 0));
}

#[test]
fn edits_of_every_kind_are_made_when_the_project_is_opened_and_both_versions_can_be_read() {
    let world = World::new();
    let before = prepare(&world);
    let project = world.open();
    is_applied(&world);
    let brought = project.brought_in().unwrap().clone();
    assert!(brought.to_string().contains("from afar"), "{brought}");
    assert_eq!((brought.changes.len(), brought.is_partial), (1, false));
    assert_eq!(*world.vault().accepted.lock().unwrap(), ["ZZZZ2345ABCDEFGH"]);
    assert_eq!(project.read_at("a.txt", &Revision::Op(before)).unwrap(), b"one\ntwo\n");
    assert_eq!(project.read_at("a.txt", &Revision::Newest).unwrap(), b"one\nTWO\nthree\n");
    let query = OpQuery { since: before, ..OpQuery::all(View::main(OpId::MAX)) };
    let ops = project.recorder().storage().ops(&query).unwrap();
    assert!(!ops.is_empty());
    assert!(ops.iter().all(|op| op.actor.is_incoming() && op.op_type.is_external()), "{ops:#?}");
    project.close().unwrap();
    drop(project);
    let project = world.open();
    assert!(project.brought_in().unwrap().is_empty());
    assert!(project.found().is_clean());
}

#[test]
fn wherever_it_was_interrupted_it_goes_on() {
    for done in 0..=edits().len() {
        let world = World::new();
        prepare(&world);
        let vault = world.vault();
        let incoming = vault.incoming.lock().unwrap().take();
        let project = world.open();
        let base = Snapshot::new(Arc::clone(project.recorder().storage()), View::main(project.barrier().unwrap()));
        incorporate(project.live().as_ref(), &base, &edits()[..done], Caller::incoming(0, 0)).unwrap();
        if let Some(IncomingEdit::Write { path: at, content, .. }) = edits().get(done)
            && let Ok(file) = fs::OpenOptions::new().write(true).open(world.live(at.as_path().to_str().unwrap()))
        {
            // The process was killed within a write, before that was recorded.
            std::os::unix::fs::FileExt::write_all_at(&file, &content[..content.len() / 2], 0).unwrap();
        }
        *vault.incoming.lock().unwrap() = incoming;
        drop(project);
        let project = world.open();
        is_applied(&world);
        assert!(!project.brought_in().unwrap().is_partial, "after {done} steps");
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_not_overwritten_before_its_change_is_in_history() {
    let world = World::new();
    let project = Arc::new(world.create());
    project.write("a.txt", b"one").unwrap();
    project.write("gone.txt", b"one").unwrap();
    let vault = world.vault();
    vault.put("later", vec![write("a.txt", "theirs"), IncomingEdit::Remove { path: path("gone.txt") }]);
    let weak: Weak<Project> = Arc::downgrade(&project);
    *vault.asked.lock().unwrap() = Some(Box::new(move || {
        let project = weak.upgrade().unwrap();
        project.write("a.txt", b"ours").unwrap();
        project.append("gone.txt", b" and two").unwrap();
    }));
    vault.times_asked.store(0, Ordering::SeqCst);
    let brought = project.bring_in().unwrap();
    assert_eq!(vault.times_asked.load(Ordering::SeqCst), 3, "asked again, with the change committed");
    assert!(!brought.is_partial, "{brought}");
    let named: Vec<_> = brought.overwritten.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(named, [path("a.txt"), path("gone.txt")], "who reads the report can have them back");
    let (ours, gone) = (brought.overwritten[0].1, brought.overwritten[1].1);
    assert_eq!(project.read_at("a.txt", &Revision::Op(ours)).unwrap(), b"ours");
    assert_eq!(project.read_at("gone.txt", &Revision::Op(gone)).unwrap(), b"one and two");
    assert_eq!(project.read("a.txt").unwrap(), b"theirs");
    let rows = project.history(ize_core::project::HistoryQuery::new(path("a.txt"))).unwrap();
    let versions: Vec<Vec<u8>> =
        rows.map(|row| project.read_at("a.txt", &Revision::Op(row.unwrap().last_op)).unwrap()).collect();
    assert!(versions.contains(&b"ours".to_vec()), "{versions:?}");
}

#[test]
fn what_is_not_as_the_edits_expect_stays_and_is_named() {
    let world = World::new();
    let project = world.create();
    project.write(".izeignore", b"*.o\n").unwrap();
    project.write("changed.txt", b"one").unwrap();
    project.make_dir("full").unwrap();
    project.write("full/other.txt", b"other").unwrap();
    project.symlink("elsewhere", "link").unwrap();
    project.write("built.o", b"ignored").unwrap();
    let base = Snapshot::new(Arc::clone(project.recorder().storage()), View::main(project.barrier().unwrap()));
    project.write("changed.txt", b"later").unwrap();
    project.barrier().unwrap();
    let edits = [
        write("changed.txt", "theirs"),
        IncomingEdit::Remove { path: path("changed.txt") },
        IncomingEdit::Remove { path: path("full") },
        write("link", "a file now"),
        write("built.o", "theirs"),
        IncomingEdit::Remove { path: path("built.o") },
        write("nowhere/a.txt", "a"),
        IncomingEdit::Rename { from: path("full/other.txt"), to: path("changed.txt") },
        IncomingEdit::Rename { from: path("missing"), to: path("new") },
        IncomingEdit::MakeDir { path: path("changed.txt") },
        // These are as they should be already.
        IncomingEdit::MakeDir { path: path("full") },
        write("full/other.txt", "other"),
        IncomingEdit::Remove { path: path("missing") },
    ];
    let report = incorporate(project.live().as_ref(), &base, &edits, Caller::incoming(0, 0)).unwrap();
    let obstacles: Vec<_> = report.entries.iter().map(|(_, what)| what.clone()).collect();
    let kept = [
        Obstacle::Changed,
        Obstacle::Changed,
        Obstacle::NotEmpty,
        Obstacle::Occupied,
        Obstacle::NotRecorded,
        Obstacle::NotRecorded,
        Obstacle::Missing,
        Obstacle::Occupied,
        Obstacle::Missing,
        Obstacle::Occupied,
    ];
    assert_eq!(obstacles, kept.map(Incorporated::Kept));
    assert_eq!(project.read("changed.txt").unwrap(), b"later");
    assert_eq!(project.read("built.o").unwrap(), b"ignored");
    assert!(report.written.is_empty());
}

#[test]
fn a_write_by_a_program_is_no_external_change_whatever_the_program_calls_itself() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"one").unwrap();
    project.barrier().unwrap();
    let ops = project.recorder().storage().ops(&OpQuery::all(View::main(OpId::MAX))).unwrap();
    assert!(ops.iter().all(|op| !matches!(op.op_type, OpType::ExternalChange(_))));
    // comm has at most 15 bytes, see proc(5).
    assert!(ize_core::model::Actor::INCOMING.len() > 15);
}
