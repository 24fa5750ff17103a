//! The repository in another program's hands.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ize_core::model::{FileId, Name};
use ize_core::project::control::{Client, Server};
use ize_core::project::{ErrorKind, Project, ProjectError, Revision};
use ize_core::storage::IncomingEdit;
use ize_core::tree::Invalidator;

use crate::world::{World, path, write};

#[derive(Default)]
struct Told {
    entries: Mutex<Vec<Vec<u8>>>,
    files: Mutex<Vec<FileId>>,
}

struct Tell(Arc<Told>);

impl Invalidator for Tell {
    fn entry(&self, _dir: FileId, name: &Name) {
        self.0.entries.lock().unwrap().push(name.as_bytes().to_vec());
    }
    fn inode(&self, file: FileId) {
        self.0.files.lock().unwrap().push(file);
    }
}

#[test]
fn meanwhile_writes_and_reads_go_on_and_afterwards_all_is_in_history() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"one").unwrap();
    project.write("b.txt", b"one").unwrap();
    let before = project.sync().unwrap();
    let told = Arc::new(Told::default());
    project.live().set_invalidator(Some(Box::new(Tell(Arc::clone(&told)))));
    assert!(project.suspend().unwrap().is_empty());
    assert!(matches!(project.suspend(), Err(ProjectError::Suspended)), "one at a time");
    project.write("a.txt", b"two").unwrap();
    assert_eq!(project.read("a.txt").unwrap(), b"two");
    assert_eq!(project.read_at("a.txt", &Revision::Newest).unwrap(), b"one", "history is of that moment");
    assert_eq!(project.reader().unwrap().head(), before);
    assert!(matches!(project.sync(), Err(ProjectError::Suspended)));
    // The other program writes into the live files beside the tree, and into the repository.
    fs::write(world.live("b.txt"), "two").unwrap();
    fs::write(world.live("direct.txt"), "direct").unwrap();
    fs::write(world.live("a.txt"), "2").unwrap();
    world.vault().put("pulled", vec![write("b.txt", "two"), write("pulled.txt", "pulled")]);
    let brought = project.resume().unwrap();
    assert_eq!(brought.entries.len(), 1, "what it wrote already is as it should be: {brought}");
    for (file, content) in [("a.txt", "2"), ("b.txt", "two"), ("direct.txt", "direct"), ("pulled.txt", "pulled")] {
        assert_eq!(project.read_at(file, &Revision::Newest).unwrap(), content.as_bytes(), "{file}");
    }
    assert_eq!(project.read_at("b.txt", &Revision::Op(before)).unwrap(), b"one");
    let [(named, ours)] = brought.overwritten.as_slice() else { panic!("{brought}") };
    assert_eq!(*named, path("a.txt"), "it was written through the tree, and then over it");
    assert_eq!(project.read_at("a.txt", &Revision::Op(*ours)).unwrap(), b"two");
    let entries = told.entries.lock().unwrap().clone();
    for name in ["direct.txt", "pulled.txt"] {
        assert!(entries.contains(&name.as_bytes().to_vec()), "a mount was told of {name}");
    }
    assert!(told.files.lock().unwrap().contains(&project.metadata_id("b.txt")), "and of the content of b.txt");
    assert!(project.resume().unwrap().is_empty(), "nothing was handed out");
    project.close().unwrap();
    drop(project);
    assert!(world.open().found().is_clean());
}

trait MetadataId {
    fn metadata_id(&self, at: &str) -> FileId;
}

impl MetadataId for Project {
    fn metadata_id(&self, at: &str) -> FileId {
        let reader = self.reader().unwrap();
        reader.find(reader.newest(), &path(at)).unwrap().file
    }
}

#[test]
fn closing_while_another_program_has_the_repository_leaves_the_rest_to_the_journal() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"one").unwrap();
    project.suspend().unwrap();
    project.write("a.txt", b"two").unwrap();
    assert!(project.close().is_err());
    drop(project);
    world.vault().suspended.store(false, std::sync::atomic::Ordering::SeqCst);
    let project = world.open();
    assert_eq!(project.read_at("a.txt", &Revision::Newest).unwrap(), b"two");
    assert!(project.found().is_clean());
}

#[test]
fn over_the_socket_the_repository_comes_back_when_it_is_asked_for_or_the_connection_ends() {
    let world = World::new();
    let project = Arc::new(world.create());
    let _server = Server::start(Arc::clone(&project), |_| Ok(())).unwrap();
    let connect = || Client::connect(&world.info().paths.socket()).unwrap().unwrap();
    let (mut one, mut two) = (connect(), connect());
    project.write("a.txt", b"one").unwrap();
    one.suspend(&mut |_| {}).unwrap();
    for refused in [two.suspend(&mut |_| {}), two.sync(&mut |_| {}).map(drop), two.unmount(Default::default())] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InTheWay);
    }
    let head = project.recorder().storage().head().unwrap().op;
    world.vault().ids.lock().unwrap().push(("7QABC2".into(), head));
    let storage = two.storage().unwrap();
    assert_eq!(storage.find_native_id("7QA", 9).unwrap(), [("7QABC2".to_owned(), head)], "history can be read");
    assert_eq!(storage.native_id(head).unwrap().as_deref(), Some("7QABC2"));
    assert!(storage.incoming().is_err() && storage.suspend().is_err(), "but nothing is changed by reading");
    world.vault().put("pushed", vec![write("a.txt", "two"), IncomingEdit::MakeDir { path: path("new") }]);
    let mut came = Vec::new();
    one.resume(&mut |brought| came.push(brought)).unwrap();
    assert_eq!((came.len(), came[0].changes[0].message.as_str()), (1, "pushed"));
    assert_eq!(project.read("a.txt").unwrap(), b"two");
    // A copy of the connection, as a program holds it, keeps the repository handed out.
    one.suspend(&mut |_| {}).unwrap();
    let copy = one.connection().try_clone_to_owned().unwrap();
    drop(one);
    std::thread::sleep(Duration::from_millis(50));
    assert!(project.is_suspended());
    world.vault().put("killed", vec![write("a.txt", "three")]);
    drop(copy);
    let deadline = Instant::now() + Duration::from_secs(20);
    while project.read("a.txt").unwrap() != b"three" {
        assert!(Instant::now() < deadline, "the repository was not taken back");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut told = Vec::new();
    two.sync(&mut |brought| told.push(brought)).unwrap();
    assert!(told.is_empty(), "it was told in the log");
    world.vault().put("later", vec![write("a.txt", "four")]);
    two.sync(&mut |brought| told.push(brought)).unwrap();
    assert_eq!((told.len(), project.read("a.txt").unwrap().as_slice()), (1, b"four".as_slice()));
}
