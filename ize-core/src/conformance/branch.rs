//! Branches: each sees its own operations, and its parent's up to where it began.
//!
//! Every check here passes on a backend without branches ([`crate::storage::Capabilities`]).

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{BranchId, Entry, FileId, Name, OpId, RelPath, Timestamp, View};
use crate::storage::{Binding, FileSystemStorage, FileSystemStorageExt, OpQuery, RefName, RefTarget, StorageError};

const ROOT: FileId = FileId::ROOT;
const MAIN: BranchId = BranchId::MAIN;

fn name(name: &str) -> RefName {
    RefName::new(name).expect("a valid name")
}

fn has_branches(fixture: &dyn Fixture) -> bool {
    ok(fixture.store().info()).capabilities.branches
}

/// Commits what the log holds, then begins a branch there in the store and in the log.
fn fork(store: &dyn FileSystemStorage, log: &mut LogBuilder, id: u32) -> BranchId {
    ok(log.commit(store));
    let id = BranchId::new(id);
    let target = RefTarget::Branch { id, parent: log.branch(), base: log.head() };
    ok(store.set_ref(&name(&format!("branch{}", id.get())), Some(&target)));
    log.fork(id);
    id
}

/// What happens on a branch stays on it; so does what happens on its parent afterwards.
pub fn branches_do_not_see_each_other(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"common");
    let branch = fork(fixture.store(), &mut log, 7);
    log.write(file, 0, b"BRANCH");
    log.create(ROOT, "on-branch");
    log.set_xattr(file, "user.where", b"branch");
    log.switch(MAIN);
    log.write(file, 0, b"main!!");
    log.create(ROOT, "on-main");
    log.switch(branch);
    log.rename((ROOT, "a"), (ROOT, "renamed"));
    ok(log.commit(fixture.store()));
    fixture.reopen();
    let store = Probe::new(fixture.store());
    let (on_main, on_branch) = (View::latest(MAIN), View::latest(branch));
    assert_eq!(store.names_in(on_main, ROOT), ["a", "on-main"]);
    assert_eq!(store.names_in(on_branch, ROOT), ["on-branch", "renamed"]);
    assert_eq!(store.content(on_main, file), b"main!!");
    assert_eq!(store.content(on_branch, file), b"BRANCH");
    assert!(store.xattrs(on_main, file).is_empty());
    assert_eq!(store.xattr(on_branch, file, "user.where").as_deref(), Some(&b"branch"[..]));
    assert_eq!(store.names(on_branch, file), [Entry::new(ROOT, Name::try_from("renamed").expect("a name"))]);
    assert_eq!(store.node(on_main, file).map(|node| node.nlink), Some(1));
}

/// On a branch, moments before its base are the parent's.
pub fn a_branch_shares_its_parents_past(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let early = log.write(file, 0, b"1");
    log.write(file, 0, b"2");
    let branch = fork(fixture.store(), &mut log, 1);
    let base = log.head();
    log.write(file, 0, b"3");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let content = |at| store.content(View::new(branch, at), file);
    assert_eq!((content(early), content(base), content(OpId::MAX)), (b"1".to_vec(), b"2".to_vec(), b"3".to_vec()));
    assert_eq!(store.node(View::new(branch, OpId::ZERO), file), None);
}

/// A branch of a branch sees its own operations, its parent's until it began, and so on.
pub fn branches_of_branches_see_the_whole_line(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    log.create(ROOT, "main-early");
    let middle = fork(fixture.store(), &mut log, 2);
    log.create(ROOT, "middle-early");
    let top = fork(fixture.store(), &mut log, 9);
    log.create(ROOT, "top");
    log.switch(middle);
    log.create(ROOT, "middle-late");
    log.remove(ROOT, "middle-early");
    log.switch(MAIN);
    log.create(ROOT, "main-late");
    log.remove(ROOT, "main-early");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.names_in(View::latest(MAIN), ROOT), ["main-late"]);
    assert_eq!(store.names_in(View::latest(middle), ROOT), ["main-early", "middle-late"]);
    assert_eq!(store.names_in(View::latest(top), ROOT), ["main-early", "middle-early", "top"]);
}

/// Operations and bindings on a branch: its own and what it inherits.
pub fn history_on_a_branch_is_its_own_and_inherited(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let created = log.head();
    let branch = fork(fixture.store(), &mut log, 3);
    let on_branch = log.write(file, 0, b"b");
    log.switch(MAIN);
    let removed = log.remove(ROOT, "a");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let ids = |branch| -> Vec<OpId> {
        let query = OpQuery { file: Some(file), ..OpQuery::all(View::latest(branch)) };
        let by_file: Vec<OpId> = store.ops(&query).iter().map(|op| op.last_id).collect();
        let all: Vec<OpId> = store.ops(&OpQuery::all(View::latest(branch))).iter().map(|op| op.last_id).collect();
        assert_eq!(by_file, all);
        all
    };
    assert_eq!(ids(MAIN), [created, removed]);
    assert_eq!(ids(branch), [created, on_branch]);
    let entry = Entry::new(ROOT, Name::try_from("a").expect("a name"));
    let created = Binding { at: created, file: Some(file) };
    assert_eq!(store.bindings(View::latest(branch), &entry), [created]);
    assert_eq!(store.bindings(View::latest(MAIN), &entry), [Binding { at: removed, file: None }, created]);
}

/// A branch begins at a snapshot, and goes on from there.
pub fn a_snapshot_can_be_forked(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"then");
    ok(log.commit(fixture.store()));
    let store = fixture.store();
    ok(store.create_snapshot(&name("then"), View::latest(MAIN), Timestamp::from_nanos(0)));
    let mut on_branch = log.clone();
    log.write(file, 0, b"now!");
    ok(log.commit(store));
    let branch = ok(store.fork_from_snapshot(&name("then"), &name("work")));
    assert_ne!(branch, MAIN);
    assert_eq!(Probe::new(store).content(View::latest(branch), file), b"then");
    on_branch.fork(branch);
    on_branch.write(file, 0, b"work");
    let mut op = on_branch.take().remove(0);
    (op.id, op.last_id) = (log.head().next(), log.head().next());
    ok(store.store_opcode(op));
    assert_eq!(Probe::new(store).content(View::latest(branch), file), b"work");
    assert_eq!(Probe::new(store).content(View::latest(MAIN), file), b"now!");
    let path = RelPath::try_from("a").expect("a path");
    assert_eq!(ok(store.resolve(View::latest(branch), &path)), Some(file));
    assert!(matches!(store.fork_from_snapshot(&name("never"), &name("x")), Err(StorageError::Invalid(_))));
}

/// Views and operations of a branch that does not exist are refused, and nothing is stored.
pub fn unknown_branches_are_refused(fixture: &mut dyn Fixture) {
    let store = fixture.store();
    let view = View::latest(BranchId::new(5));
    assert!(matches!(store.node(view, ROOT), Err(StorageError::UnknownBranch(_))));
    assert!(matches!(store.entries(view, ROOT, None, 1), Err(StorageError::UnknownBranch(_))));
    assert!(matches!(store.ops(&OpQuery::all(view)), Err(StorageError::UnknownBranch(_))));
    let mut log = LogBuilder::new();
    log.create(ROOT, "a");
    log.last_mut().branch = view.branch;
    assert!(matches!(log.commit(store), Err(StorageError::UnknownBranch(_))));
    assert_eq!(ok(store.head()).op, OpId::ZERO);
}

/// A branch needs an id that none had, a parent that exists, and a base that has happened.
pub fn impossible_branches_are_refused(fixture: &mut dyn Fixture) {
    if !has_branches(fixture) {
        return;
    }
    let mut log = LogBuilder::new();
    log.create(ROOT, "a");
    let branch = fork(fixture.store(), &mut log, 1);
    let store = fixture.store();
    let set = |ref_name: &str, id, parent, base| {
        let target = RefTarget::Branch { id: BranchId::new(id), parent: BranchId::new(parent), base: OpId::new(base) };
        store.set_ref(&name(ref_name), Some(&target))
    };
    assert!(matches!(set("x", 0, 0, 0), Err(StorageError::Invalid(_))), "the main branch exists");
    assert!(matches!(set("x", branch.get(), 0, 0), Err(StorageError::Invalid(_))), "the id is taken");
    assert!(matches!(set("x", 2, 0, 99), Err(StorageError::Invalid(_))), "the base lies beyond the head");
    assert!(matches!(set("x", 2, 8, 0), Err(StorageError::UnknownBranch(_))), "no such parent");
    assert!(matches!(set("branch1", 2, 0, 0), Err(StorageError::Invalid(_))), "the name is another branch's");
    ok(set("branch1", 1, 0, 1));
    assert_eq!(ok(store.refs()).len(), 1);
}
