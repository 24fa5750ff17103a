use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::message::{Hello, Refusal, Service, VERSION};
use super::*;
use crate::model::{OpId, RelPath, View};
use crate::project::{
    Backends, CentralDir, ErrorKind, HistoryQuery, NewProject, Project, ProjectError, ProjectName, ProjectOptions,
    Reader, Settings,
};
use crate::storage::RefName;
use crate::storage::remote::frame;

struct World {
    _dir: tempfile::TempDir,
    project: Arc<Project>,
}

impl World {
    /// The central folder's path has more bytes than the path of a socket may have.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("x".repeat(120)));
        let new = NewProject::new(ProjectName::new("notes").unwrap(), "memory");
        let options = ProjectOptions::new(Settings::default());
        let project = Project::create(&central, new, &Backends::new(), options).unwrap();
        Self { _dir: dir, project: Arc::new(project) }
    }

    fn serve(&self) -> Server {
        Server::start(Arc::clone(&self.project), |_| Ok(())).unwrap()
    }

    fn connect(&self) -> Option<Client> {
        Client::connect(&self.project.info().paths.socket()).unwrap()
    }
}

#[test]
fn a_client_asks_for_status_and_waits_for_what_was_recorded() {
    let world = World::new();
    let _server = world.serve();
    let mut client = world.connect().unwrap();
    world.project.write("a", b"one").unwrap();
    let op = client.sync(&mut |_| {}).unwrap();
    assert_eq!(op, world.project.recorder().recorded());
    assert_eq!(client.barrier().unwrap(), op);
    let status = client.status().unwrap();
    assert_eq!((status.name.as_str(), status.recorded, status.committed), ("notes", op, op));
    assert_eq!(client.snapshot(&RefName::new("release-1").unwrap()).unwrap(), op);
    let mut findings = Vec::new();
    client.verify(false, &mut |finding| findings.push(finding)).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn history_read_over_the_socket_has_everything_that_was_acknowledged() {
    let world = World::new();
    let _server = world.serve();
    let client = world.connect().unwrap();
    for round in 1..=20u64 {
        world.project.write("a", round.to_string().as_bytes()).unwrap();
        let info = world.project.info();
        let reader = Reader::new(client.storage().unwrap(), info.paths.id, info.toml.branch).unwrap();
        assert_eq!(reader.head(), world.project.recorder().recorded());
        let rows = reader.history(HistoryQuery::new(RelPath::try_from("a").unwrap())).unwrap();
        assert_eq!(rows.map(Result::unwrap).count() as u64, round);
    }
}

/// Rows that the project's process finds are those that a reader finds, over several answers, and for each kind of change.
#[test]
fn a_client_is_told_the_rows_of_a_history() {
    let world = World::new();
    let _server = world.serve();
    (0..7).for_each(|folder| world.project.make_dir(format!("folder-{folder}")).unwrap());
    for round in 0..130u32 {
        world.project.write(format!("folder-{}/{round}", round % 7), &round.to_be_bytes()).unwrap();
    }
    world.project.rename("folder-1", "moved").unwrap();
    world.project.remove("moved/1").unwrap();
    let rows = |query: HistoryQuery| {
        let client = world.connect().unwrap();
        let told: Vec<_> = client.history(&query).unwrap().map(Result::unwrap).collect();
        let found: Vec<_> = world.project.history(query).unwrap().map(Result::unwrap).collect();
        assert_eq!(told, found);
        told.len()
    };
    let saves = rows(HistoryQuery::default());
    assert!(saves > 130, "{saves}");
    let ops = rows(HistoryQuery { ops: true, ..HistoryQuery::default() });
    assert!(ops > saves, "{ops}");
    assert_eq!(rows(HistoryQuery { limit: Some(100), ..HistoryQuery::default() }), 100);
    let missing = HistoryQuery::new(RelPath::try_from("never").unwrap());
    let error = world.connect().unwrap().history(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn errors_keep_their_message_hint_and_kind() {
    let world = World::new();
    let _server = world.serve();
    let mut client = world.connect().unwrap();
    match client.snapshot(&RefName::new("yesterday").unwrap()) {
        Err(error @ ProjectError::Remote { .. }) => {
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains("yesterday"));
        }
        other => panic!("{other:?}"),
    }
    assert!(client.status().is_ok(), "the connection goes on");
}

#[test]
fn a_client_restores() {
    let world = World::new();
    let _server = world.serve();
    let mut client = world.connect().unwrap();
    world.project.write("a", b"one").unwrap();
    let view = View::main(client.sync(&mut |_| {}).unwrap());
    world.project.write("a", b"two").unwrap();
    let path = RelPath::try_from("a").unwrap();
    let mut restored = Vec::new();
    let op = client.restore(&path, view, false, &mut |line| restored.push(line)).unwrap();
    assert_eq!(restored.len(), 1);
    assert_eq!(world.project.read("a").unwrap(), b"one");
    assert_eq!(op, world.project.recorder().recorded());
    let none = RelPath::try_from("none").unwrap();
    assert_eq!(client.restore(&none, view, false, &mut |_| {}).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn unmounting_answers_when_it_is_done() {
    let world = World::new();
    let done = Arc::new(AtomicBool::new(false));
    let (called, was_called) = mpsc::channel();
    let server = Server::start(Arc::clone(&world.project), {
        let done = Arc::clone(&done);
        move |options| {
            if !options.force {
                let message = "the mount is in use".to_owned();
                return Err(ProjectError::Remote { message, hint: None, kind: ErrorKind::InTheWay });
            }
            called.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            done.store(true, Ordering::SeqCst);
            Ok(())
        }
    });
    let server = server.unwrap();
    let mut client = world.connect().unwrap();
    assert_eq!(client.unmount(UnmountOptions::default()).unwrap_err().kind(), ErrorKind::InTheWay);
    std::thread::scope(|scope| {
        let unmounting = scope.spawn(|| {
            client.unmount(UnmountOptions { force: true }).unwrap();
            assert!(done.load(Ordering::SeqCst));
        });
        was_called.recv().unwrap();
        // The main thread of a daemon stops the server as soon as the mount is gone.
        server.stop();
        unmounting.join().unwrap();
    });
}

#[test]
fn where_nobody_answers_there_is_no_client() {
    let world = World::new();
    assert!(world.connect().is_none(), "no socket");
    let server = world.serve();
    let socket = world.project.info().paths.socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = world.connect().unwrap();
    server.stop();
    assert!(!socket.exists());
    assert!(world.connect().is_none());
    assert!(client.status().is_err());
    // A process that was killed leaves its socket behind.
    let (_folder, listener) = (socket.parent().unwrap(), super::socket::listen(&socket).unwrap());
    drop(listener);
    assert!(socket.exists());
    assert!(world.connect().is_none());
    let _server = world.serve();
    assert!(world.connect().is_some());
}

#[test]
fn another_version_is_refused() {
    let world = World::new();
    let _server = world.serve();
    let mut stream = super::socket::connect(&world.project.info().paths.socket()).unwrap().unwrap();
    frame::write(&mut stream, &Hello { version: VERSION + 1, service: Service::Control }).unwrap();
    let welcome = frame::read::<std::result::Result<(), Refusal>>(&mut stream).unwrap().unwrap();
    assert!(ProjectError::from(welcome.unwrap_err()).to_string().contains("version"));
}

#[test]
fn nonsense_ends_its_own_connection_only() {
    use std::io::{Read, Write};
    let world = World::new();
    let _server = world.serve();
    let mut client = world.connect().unwrap();
    let mut stream: UnixStream = super::socket::connect(&world.project.info().paths.socket()).unwrap().unwrap();
    stream.write_all(&[0xff; 64]).unwrap();
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).is_err() || answer.is_empty());
    assert_eq!(client.barrier().unwrap(), OpId::new(client.status().unwrap().recorded.get()));
}

#[test]
fn stopping_does_not_wait_for_idle_clients() {
    let world = World::new();
    let server = world.serve();
    let client = world.connect().unwrap();
    let _storage = client.storage().unwrap();
    let begin = std::time::Instant::now();
    server.stop();
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn connections_beyond_the_bound_are_refused_and_free_again_later() {
    let world = World::new();
    let _server = world.serve();
    let clients: Vec<Client> = (0..64).map(|_| world.connect().unwrap()).collect();
    assert!(Client::connect(&world.project.info().paths.socket()).is_err());
    drop(clients);
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Client::connect(&world.project.info().paths.socket()).is_ok()
    });
    assert!(freed);
}
