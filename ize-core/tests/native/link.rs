//! The link to the backend's folder at the root of the live files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;

use ize_core::model::{FileId, RelPath};
use ize_core::project::{HistoryQuery, NewProject, Project, ProjectError, Revision};
use ize_core::tree::{Caller, Tree};
use rustix::io::Errno;

use crate::world::{World, options, path, write};

fn names(project: &Project) -> Vec<String> {
    project.entries("").unwrap().iter().map(|name| name.as_os_str().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_link_is_made_and_mended_and_never_shown_recorded_or_changed() {
    let world = World::new();
    let project = world.create();
    let link = world.live(".vault");
    assert_eq!(fs::read_link(&link).unwrap(), OsStr::new("../.vault"));
    assert_eq!(link.canonicalize().unwrap(), world.info().paths.store(".vault").canonicalize().unwrap());
    project.write("a.txt", b"one").unwrap();
    let before = project.sync().unwrap();
    assert_eq!(names(&project), ["a.txt"]);
    let tree = project.live();
    let name = OsStr::new(".vault");
    assert_eq!(tree.lookup(FileId::ROOT, name).unwrap_err().errno(), Errno::NOENT);
    let caller = Caller::default();
    assert_eq!(tree.make_directory(caller, FileId::ROOT, name, 0o755).unwrap_err().errno(), Errno::PERM);
    assert_eq!(tree.unlink(caller, FileId::ROOT, name).unwrap_err().errno(), Errno::PERM);
    assert!(project.rename("a.txt", ".vault").is_err());
    // Below the root it is a name like any other.
    project.make_dir("sub").unwrap();
    project.make_dir("sub/.vault").unwrap();
    project.restore(&RelPath::root(), project.at(&Revision::Op(before)).unwrap().view(), false, &mut |_| {}).unwrap();
    assert!(link.is_symlink(), "a restore leaves it");
    project.close().unwrap();
    drop(project);
    for damage in ["removed", "replaced"] {
        fs::remove_file(&link).unwrap();
        if damage == "replaced" {
            symlink("/elsewhere", &link).unwrap();
        }
        let project = world.open();
        assert!(project.found().is_clean(), "{damage}: {:?}", project.found());
        assert_eq!(fs::read_link(&link).unwrap(), OsStr::new("../.vault"), "{damage}");
        let rows = project.history(HistoryQuery::new(RelPath::root())).unwrap().map(Result::unwrap);
        assert!(rows.into_iter().all(|row| row.path != path(".vault")));
        project.close().unwrap();
    }
}

#[test]
fn something_else_of_that_name_is_left_and_not_recorded() {
    let world = World::new();
    world.create().close().unwrap();
    fs::remove_file(world.live(".vault")).unwrap();
    fs::create_dir(world.live(".vault")).unwrap();
    fs::write(world.live(".vault/x"), "x").unwrap();
    let project = world.open();
    assert_eq!(names(&project), [""; 0]);
    assert!(project.found().is_clean());
    assert_eq!(fs::read(world.live(".vault/x")).unwrap(), b"x");
    // Nor does an edit reach into it.
    world.vault().put("evil", vec![write(".vault/x", "y")]);
    assert!(project.bring_in().is_ok());
    assert_eq!(fs::read(world.live(".vault/x")).unwrap(), b"x");
}

#[test]
fn an_adopted_folder_gets_an_absolute_link_that_goes_with_the_project() {
    let world = World::new();
    let folder = world.dir.path().join("mine");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.txt"), "one").unwrap();
    let new = NewProject { adopt: Some(folder.clone()), ..World::new_project() };
    let project = Project::create(&world.central, new, &world.backends, options()).unwrap();
    assert_eq!(names(&project), ["a.txt"]);
    let info = world.info();
    assert_eq!(fs::read_link(folder.join(".vault")).unwrap(), info.paths.store(".vault"));
    project.close().unwrap();
    drop(project);
    world.central.delete(&info).unwrap();
    assert!(!folder.join(".vault").is_symlink());
    assert_eq!(fs::read(folder.join("a.txt")).unwrap(), b"one");
}

#[test]
fn a_folder_that_is_a_repository_already_is_neither_adopted_nor_copied_in() {
    let world = World::new();
    let folder = world.dir.path().join("mine");
    fs::create_dir_all(folder.join(".vault")).unwrap();
    for (adopt, import) in [(Some(folder.clone()), None), (None, Some(folder.clone()))] {
        let new = NewProject { adopt, import, ..World::new_project() };
        let refused = Project::create(&world.central, new, &world.backends, options());
        match refused {
            Err(ProjectError::NotAdoptable { why, .. }) => assert!(why.contains("repository"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let plain = NewProject { backend: "memory".into(), adopt: Some(folder), ..World::new_project() };
    Project::create(&world.central, plain, &world.backends, options()).unwrap();
}
