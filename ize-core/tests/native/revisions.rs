//! Ids in the backend's own format are revisions.

use ize_core::model::OpId;
use ize_core::project::{HistoryQuery, Revision, RevisionError};

use crate::world::{World, path};

fn resolve(project: &ize_core::project::Project, text: &str) -> Result<OpId, RevisionError> {
    project.reader().unwrap().resolve(&text.parse::<Revision>().unwrap()).map(|view| view.at)
}

#[test]
fn ids_of_the_backends_format_and_their_unique_beginnings_name_changes() {
    let world = World::new();
    let project = world.create();
    let mut ids = Vec::new();
    for (round, id) in ["7QABC2", "7QABD3", "MNOPQR", "WXYZ22"].into_iter().enumerate() {
        project.write("a.txt", round.to_string().as_bytes()).unwrap();
        ids.push((id.to_owned(), project.sync().unwrap()));
    }
    world.vault().ids.lock().unwrap().clone_from(&ids);
    for (id, op) in &ids {
        assert_eq!(resolve(&project, id).unwrap(), *op);
        assert_eq!(resolve(&project, &id[..5]).unwrap(), *op, "{id}");
    }
    assert_eq!(project.read_at("a.txt", &"7QABC2".parse().unwrap()).unwrap(), b"0");
    let error = resolve(&project, "7QAB").unwrap_err();
    let (first, second) = (ids[0].1, ids[1].1);
    assert_eq!(
        error.to_string(),
        format!("'7QAB' begins more than one change id: 7QABC2 ({first}), 7QABD3 ({second})")
    );
    assert_eq!(resolve(&project, "7QZZ").unwrap_err().to_string(), "there is no snapshot and no change '7QZZ'");
    // Small letters are Ize's own ids, whatever the backend has.
    let own = project.reader().unwrap().change_id(ids[2].1).to_string();
    assert_eq!(resolve(&project, &own).unwrap(), ids[2].1);
    assert!(resolve(&project, "mnopqr").is_err(), "no change id of this project begins so");
}

#[test]
fn an_id_of_the_backend_that_reads_like_one_of_izes_own_is_ambiguous_unless_it_is_whole_or_the_same_change() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"one").unwrap();
    let first = project.sync().unwrap();
    project.write("a.txt", b"two").unwrap();
    let second = project.sync().unwrap();
    let capitals = project.reader().unwrap().change_id(first).to_string().to_uppercase();
    let native = format!("{}2345", &capitals[..8]);
    world.vault().ids.lock().unwrap().push((native.clone(), second));
    assert!(matches!(resolve(&project, &capitals[..8]), Err(RevisionError::Ambiguous { .. })));
    assert_eq!(resolve(&project, &native).unwrap(), second);
    assert_eq!(resolve(&project, &capitals).unwrap(), first, "all twelve letters");
    world.vault().ids.lock().unwrap()[0].1 = first;
    assert_eq!(resolve(&project, &capitals[..8]).unwrap(), first, "two names of one change");
}

#[test]
fn history_has_the_id_of_each_change() {
    let world = World::new();
    let project = world.create();
    project.write("a.txt", b"one").unwrap();
    let first = project.sync().unwrap();
    project.write("a.txt", b"two").unwrap();
    world.vault().ids.lock().unwrap().push(("7QABC2".into(), first));
    let rows: Vec<_> = project.history(HistoryQuery::new(path("a.txt"))).unwrap().map(Result::unwrap).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.native.as_deref()).collect();
    assert_eq!(ids, [None, Some("7QABC2")], "the newest is in no change yet");
}
