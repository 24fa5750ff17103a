//! Projects as a Rust program uses them: made, changed by path, closed, opened again.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ize_core::model::{OpId, RelPath, View};
use ize_core::project::{
    Backends, CentralDir, ErrorKind, HistoryQuery, NewProject, OfflineReader, Project, ProjectError, ProjectInfo,
    ProjectName, ProjectOptions, Revision, Settings, SettingsLayer,
};
use ize_core::storage::RefName;

/// A central folder for one test.
struct World {
    dir: tempfile::TempDir,
    central: CentralDir,
    backends: Backends,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("ize"));
        Self { dir, central, backends: Backends::new() }
    }

    fn new_project(&self) -> NewProject {
        NewProject::new(ProjectName::new("notes").unwrap(), "memory")
    }

    fn create(&self) -> Project {
        self.create_as(self.new_project())
    }

    fn create_as(&self, new: NewProject) -> Project {
        Project::create(&self.central, new, &self.backends, options()).unwrap()
    }

    fn info(&self) -> ProjectInfo {
        self.central.find("notes").unwrap()
    }

    fn open(&self) -> Project {
        let info = self.info();
        let mut options = options();
        options.settings = options.settings.overlaid(&info.toml.settings);
        Project::open(info, &self.backends, options).unwrap()
    }
}

fn options() -> ProjectOptions {
    ProjectOptions::new(Settings::default())
}

fn revision(text: &str) -> Revision {
    text.parse().unwrap()
}

fn kinds(project: &Project, path: &str) -> Vec<String> {
    let query = HistoryQuery::new(RelPath::try_from(path).unwrap());
    let row = |row: ize_core::project::Result<ize_core::project::HistoryRow>| {
        let row = row.unwrap();
        format!("{} {}", row.kind, row.path)
    };
    project.history(query).unwrap().map(row).collect()
}

fn content_at(project: &Project, at: OpId, path: &str) -> Vec<u8> {
    project.read_at(path, &Revision::Op(at)).unwrap()
}

#[test]
fn what_is_written_by_path_is_in_the_tree_and_in_history() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"first").unwrap();
    let first = project.sync().unwrap();
    project.write("a.txt", b"second").unwrap();
    project.append("a.txt", b" and more").unwrap();
    project.make_dir("d").unwrap();
    project.rename("a.txt", "d/b.txt").unwrap();
    project.symlink("d/b.txt", "link").unwrap();
    project.write("gone", b"").unwrap();
    project.remove("gone").unwrap();
    assert_eq!(project.read("d/b.txt").unwrap(), b"second and more");
    assert_eq!(fs::read(project.info().working().join("d/b.txt")).unwrap(), b"second and more");
    assert_eq!(project.entries(".").unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["d", "link"]);
    assert_eq!(content_at(&project, first, "a.txt"), b"first");
    assert_eq!(
        kinds(&project, "."),
        [
            "delete gone",
            "create gone",
            "symlink link",
            "rename d/b.txt",
            "mkdir d",
            "write a.txt",
            "write a.txt",
            "create a.txt"
        ]
    );
    assert_eq!(kinds(&project, "d/b.txt"), ["rename d/b.txt", "write a.txt", "write a.txt", "create a.txt"]);
    project.close().unwrap();
}

#[test]
fn a_closed_project_opens_again_with_its_history() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"one").unwrap();
    project.close().unwrap();
    assert!(matches!(project.write("a", b"two"), Err(ProjectError::Tree(_))), "nothing is recorded after closing");
    drop(project);
    let project = world.open();
    assert_eq!(kinds(&project, "a").last().map(String::as_str), Some("create a"));
}

#[test]
fn a_second_owner_is_refused_until_the_first_is_gone() {
    let world = World::new();
    let project = world.create();
    match Project::open(world.info(), &world.backends, options()) {
        Err(error @ ProjectError::InUse { holder: Some(_) }) => {
            assert_eq!(error.kind(), ErrorKind::InTheWay);
            assert!(error.to_string().contains(&std::process::id().to_string()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(OfflineReader::open(&world.info(), &world.backends, &options()), Err(ProjectError::InUse { .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut options = options();
            options.lock_wait = Duration::from_secs(10);
            OfflineReader::open(&world.info(), &world.backends, &options).map(drop)
        });
        std::thread::sleep(Duration::from_millis(30));
        drop(project);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn edits_made_while_nobody_looked_are_recorded_and_both_versions_can_be_read() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"recorded").unwrap();
    let before = project.sync().unwrap();
    drop(project);
    let working = world.info().working();
    fs::write(working.join("a"), "edited by hand").unwrap();
    fs::write(working.join("b"), "new").unwrap();
    let project = world.open();
    assert_eq!((project.found().created, project.found().changed), (1, 1));
    let now = project.sync().unwrap();
    assert_eq!(content_at(&project, before, "a"), b"recorded");
    assert_eq!(content_at(&project, now, "a"), b"edited by hand");
    let rows = kinds(&project, ".");
    assert_eq!(rows, ["external-create b", "external-write a", "create a"]);
}

#[test]
fn reading_history_alone_leaves_the_tree_alone() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"recorded").unwrap();
    drop(project);
    let working = world.info().working();
    fs::write(working.join("b"), "unseen").unwrap();
    fs::rename(&working, working.with_extension("away")).unwrap();
    let reader = OfflineReader::open(&world.info(), &world.backends, &options()).unwrap();
    let view = reader.resolve(&revision("@")).unwrap();
    assert!(reader.find(view, &RelPath::try_from("a").unwrap()).is_ok());
    assert!(reader.find(view, &RelPath::try_from("b").unwrap()).is_err());
}

fn sample_tree(dir: &Path) {
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("src/main.rs"), "fn main() {}").unwrap();
    std::os::unix::fs::symlink("src/main.rs", dir.join("main")).unwrap();
}

#[test]
fn an_imported_tree_is_copied_and_recorded_as_the_projects_own() {
    let world = World::new();
    let from = world.dir.path().join("from");
    sample_tree(&from);
    let project = world.create_as(NewProject { import: Some(from.clone()), ..world.new_project() });
    assert_eq!(project.imported().unwrap().files, 1);
    assert_eq!(project.read("src/main.rs").unwrap(), b"fn main() {}");
    let rows = kinds(&project, ".");
    assert_eq!(rows.len(), 3, "one row for each file: {rows:?}");
    assert!(rows.contains(&"create src/main.rs".to_owned()), "{rows:?}");
    assert!(from.join("src/main.rs").exists());
}

#[test]
fn history_does_not_lead_before_it_has_what_an_adopted_folder_holds() {
    let world = World::new();
    let folder = world.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for n in 0..20 {
        fs::write(folder.join(n.to_string()), "mine").unwrap();
    }
    let state = {
        let projects = world.dir.path().join("ize/projects");
        move || {
            let project = fs::read_dir(&projects).unwrap().next().unwrap().unwrap().path();
            fs::read_to_string(project.join("meta/tree.toml")).unwrap_or_default()
        }
    };
    let mut options = options();
    let seen = Arc::new(Mutex::new(Vec::new()));
    options.progress = Some(Arc::new({
        let (state, seen) = (state.clone(), Arc::clone(&seen));
        move |_| seen.lock().unwrap().push(state())
    }));
    let new = NewProject { adopt: Some(folder), ..world.new_project() };
    let project = Project::create(&world.central, new, &world.backends, options).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() >= 20, "the folder was looked at");
    assert!(seen.iter().all(|state| !state.contains("open")), "a power cut meanwhile would remove files: {seen:?}");
    assert!(state().contains("open"));
    project.close().unwrap();
    assert!(state().contains("closed"));
}

#[test]
fn an_adopted_folder_is_recorded_where_it_is() {
    let world = World::new();
    let folder = world.dir.path().join("mine");
    sample_tree(&folder);
    let project = world.create_as(NewProject { adopt: Some(folder.clone()), ..world.new_project() });
    project.write("new", b"1").unwrap();
    assert_eq!(fs::read(folder.join("new")).unwrap(), b"1");
    let rows = kinds(&project, ".");
    assert!(rows.contains(&"create src/main.rs".to_owned()), "{rows:?}");
}

#[test]
fn a_creation_that_fails_leaves_no_project() {
    let world = World::new();
    let new = NewProject { import: Some(world.dir.path().join("none")), ..world.new_project() };
    let error = Project::create(&world.central, new, &world.backends, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let new = NewProject { backend: "stor".into(), ..world.new_project() };
    let error = Project::create(&world.central, new, &world.backends, options()).unwrap_err();
    assert!(error.hint().unwrap().contains("memory"));
    assert!(world.central.projects().unwrap().projects.is_empty());
}

#[test]
fn ignored_files_work_but_are_not_recorded() {
    let world = World::new();
    let settings = SettingsLayer { ignore: vec!["*.o".into()], ..SettingsLayer::default() };
    let project = world.create_as(NewProject { settings, ..world.new_project() });
    project.write("a.o", b"object").unwrap();
    project.write("a.c", b"source").unwrap();
    assert_eq!(project.read("a.o").unwrap(), b"object");
    assert_eq!(kinds(&project, "."), ["create a.c"]);
    project.write(".izeignore", b"build/\n").unwrap();
    drop(project);
    let project = world.open();
    project.make_dir("build").unwrap();
    project.write("build/x", b"").unwrap();
    assert_eq!(kinds(&project, "."), ["create .izeignore", "create a.c"]);
}

#[test]
fn a_read_only_project_can_be_read_but_not_changed() {
    let world = World::new();
    world.create().write("a", b"one").unwrap();
    let mut options = options();
    options.read_only = true;
    let project = Project::open(world.info(), &world.backends, options).unwrap();
    assert_eq!(project.read("a").unwrap(), b"one");
    let error = project.write("a", b"two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotWrite);
}

#[test]
fn snapshots_name_the_present() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"one").unwrap();
    let at = project.snapshot(&RefName::new("release-1").unwrap()).unwrap();
    project.write("a", b"two").unwrap();
    let reader = project.reader().unwrap();
    assert_eq!(reader.resolve(&revision("release-1")).unwrap(), View::main(at));
    assert_eq!(content_at(&project, at, "a"), b"one");
    assert_eq!(project.read_at("a", &revision("release-1")).unwrap(), b"one");
    let file = project.at(&revision("release-1")).unwrap().resolve(&RelPath::try_from("a").unwrap()).unwrap();
    assert!(file.is_recorded());
    for name in ["now", "yesterday"] {
        let error = project.snapshot(&RefName::new(name).unwrap()).unwrap_err();
        assert!(matches!(error, ProjectError::NotAName { .. }), "{name}");
    }
}

#[test]
fn status_tells_how_far_it_is() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"one").unwrap();
    let op = project.barrier().unwrap();
    project.set_mount_point(Some("/mnt/notes".into())).unwrap();
    let status = project.status().unwrap();
    assert_eq!((status.recorded, status.committed, status.pending_ops), (op, op, 0));
    assert_eq!((status.name.as_str(), status.backend.as_str()), ("notes", "memory"));
    assert_eq!(status.mount_point.as_deref(), Some(Path::new("/mnt/notes")));
    assert_eq!(world.info().toml.mount_point.as_deref(), Some(Path::new("/mnt/notes")));
    project.set_mount_point(None).unwrap();
    assert_eq!(project.status().unwrap().mount_point, None);
}

#[test]
fn errors_by_path_say_what_is_wrong() {
    let world = World::new();
    let project = world.create();
    for (result, kind) in [
        (project.read("none").map(drop), ErrorKind::NotFound),
        (project.write("none/a", b""), ErrorKind::NotFound),
        (project.write("../a", b""), ErrorKind::Usage),
        (project.write("/a", b""), ErrorKind::Usage),
        (project.remove("."), ErrorKind::Usage),
        (project.write(".ize", b""), ErrorKind::CannotWrite),
    ] {
        assert_eq!(result.as_ref().unwrap_err().kind(), kind, "{result:?}");
    }
}

fn restore(project: &Project, path: &str, at: OpId, dry_run: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let path = RelPath::try_from(path).unwrap();
    project
        .restore(&path, View::main(at), dry_run, &mut |restored| {
            lines.push(format!(
                "{}{} {}",
                if restored.is_change { "" } else { "note: " },
                restored.path,
                restored.what
            ));
        })
        .unwrap();
    lines
}

#[test]
fn restoring_brings_the_past_back_and_can_be_undone() {
    let world = World::new();
    let project = world.create();
    project.write("a", b"one").unwrap();
    project.write("b", b"b").unwrap();
    let before = project.sync().unwrap();
    project.write("a", b"two").unwrap();
    project.remove("b").unwrap();
    project.write("c", b"c").unwrap();
    let after = project.sync().unwrap();
    let planned = restore(&project, ".", before, true);
    assert_eq!(project.sync().unwrap(), after, "a dry run changes nothing");
    assert_eq!(restore(&project, ".", before, false), planned);
    assert_eq!((project.read("a").unwrap(), project.read("b").unwrap()), (b"one".to_vec(), b"b".to_vec()));
    assert!(project.read("c").is_err());
    restore(&project, ".", after, false);
    assert_eq!((project.read("a").unwrap(), project.read("c").unwrap()), (b"two".to_vec(), b"c".to_vec()));
    let error =
        project.restore(&RelPath::try_from("none").unwrap(), View::main(after), false, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn restoring_leaves_ignored_files_alone() {
    let world = World::new();
    let settings = SettingsLayer { ignore: vec!["*.o".into()], ..SettingsLayer::default() };
    let project = world.create_as(NewProject { settings, ..world.new_project() });
    project.write("a", b"one").unwrap();
    let before = project.sync().unwrap();
    project.write("a.o", b"object").unwrap();
    project.write("b", b"b").unwrap();
    restore(&project, ".", before, false);
    assert_eq!(project.read("a.o").unwrap(), b"object");
    assert!(project.read("b").is_err());
}
