//! The process is killed at each step of a commit, of opening, of closing and of accepting what others pushed; afterwards
//! index and repository agree, nothing acknowledged is lost and nothing is recorded twice.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use ize_core::conformance::{LogBuilder, Workload};
use ize_core::failpoint::kill_at;
use ize_core::model::{BranchId, FileId, OpId};
use ize_core::storage::{FileSystemStorage, RefName, RefTarget};
use ize_vcs::PijulOptions;
use support::{Foreign, create, findings, open};

/// Each step, what the process does when it is killed there, and at which of the passes.
const STEPS: &[(&str, &str, &[u64])] = &[
    ("vcs-index-committed", "commit", &[1, 4]),
    ("vcs-change-saved", "commit", &[1, 9]),
    ("vcs-changes-synced", "commit", &[1, 4]),
    ("vcs-repository-committed", "commit", &[1, 4]),
    ("vcs-repository-closed", "commit", &[1]),
    ("vcs-ledger-complete", "commit", &[1]),
    ("vcs-branch-in-index", "branch", &[1]),
    ("vcs-channel-made", "branch", &[1]),
    ("vcs-incoming-recorded", "accept", &[1]),
    ("vcs-incoming-noted", "accept", &[1]),
];

const SEED: u64 = 3;
const OPS: usize = 40;

fn options() -> PijulOptions {
    PijulOptions::default()
}

/// What the killed process does. It is this test program, started again with these variables.
#[test]
fn child() {
    let Ok(dir) = std::env::var("IZE_VCS_KILL_DIR") else { return };
    let (step, pass) = (std::env::var("IZE_VCS_KILL_STEP").unwrap(), std::env::var("IZE_VCS_KILL_PASS").unwrap());
    kill_at(&step, pass.parse().unwrap()).unwrap();
    let dir = Path::new(&dir);
    let storage = open(dir, &options());
    match std::env::var("IZE_VCS_KILL_WORK").unwrap().as_str() {
        "commit" => commit_all(&storage, dir),
        "branch" => make_branch(&storage),
        _ => {
            let incoming = storage.incoming().unwrap().unwrap();
            storage.accept_incoming(&incoming.changes).unwrap();
        }
    }
    drop(storage);
}

/// Commits what is left of the workload, noting each operation that was acknowledged.
fn commit_all(storage: &dyn FileSystemStorage, dir: &Path) {
    let mut work = Workload::new(SEED);
    while work.log().head().get() < OPS as u64 {
        (0..4).for_each(|_| work.step());
        let ops = work.log().take();
        let head = storage.head().unwrap().op;
        if ops[0].id > head {
            let last = ops[ops.len() - 1].last_id;
            storage.commit(&ize_core::storage::Batch { ops, landmarks: Vec::new() }).unwrap();
            std::fs::write(dir.join("acknowledged"), last.get().to_string()).unwrap();
        }
    }
}

fn make_branch(storage: &dyn FileSystemStorage) {
    let target = RefTarget::Branch { id: BranchId::new(1), parent: BranchId::MAIN, base: OpId::new(1) };
    storage.set_ref(&RefName::new("idea").unwrap(), Some(&target)).unwrap();
}

fn kill(dir: &Path, step: &str, work: &str, pass: u64) {
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--test-threads", "1"])
        .env("IZE_VCS_KILL_DIR", dir)
        .env("IZE_VCS_KILL_STEP", step)
        .env("IZE_VCS_KILL_PASS", pass.to_string())
        .env("IZE_VCS_KILL_WORK", work)
        .output()
        .unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{step} did not come: {}", String::from_utf8_lossy(&killed.stdout));
}

fn prepare(dir: &Path, work: &str) {
    let storage = create(dir, &options());
    if work == "commit" {
        return;
    }
    let mut log = LogBuilder::new();
    log.create_with(FileId::ROOT, "a", b"1\n");
    log.commit(&storage).unwrap();
    drop(storage);
    if work == "accept" {
        let foreign = Foreign::checkout(dir);
        foreign.write("a", b"2\n");
        foreign.record("elsewhere");
    }
}

/// Counts the changes that the repository's channel and its ledger have, and those that no operation stands for twice.
fn assert_nothing_twice(storage: &dyn FileSystemStorage) {
    let all = storage.find_native_id("", 10_000).unwrap();
    let ends: BTreeSet<OpId> = all.iter().map(|(_, last)| *last).collect();
    assert_eq!(ends.len(), all.len(), "two changes for one operation: {all:?}");
}

#[test]
fn a_kill_at_each_step_leaves_index_and_repository_agreeing() {
    for (step, work, passes) in STEPS {
        for pass in *passes {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path(), work);
            kill(dir.path(), step, work, *pass);
            let storage = open(dir.path(), &options());
            let name = format!("{step}, pass {pass}");
            if *work == "accept" {
                // Accepted or not: the change is there once, and waits for its edit.
                if let Some(incoming) = storage.incoming().unwrap() {
                    assert_eq!(incoming.changes.len(), 1, "{name}");
                    storage.accept_incoming(&incoming.changes).unwrap();
                }
            }
            let acknowledged = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap_or_default();
            assert!(storage.head().unwrap().op.get() >= acknowledged.parse().unwrap_or(0), "{name}");
            assert_eq!(findings(&storage), [], "{name}");
            if *work == "commit" {
                assert_nothing_twice(&storage);
                commit_all(&storage, dir.path());
            } else {
                make_branch(&storage);
            }
            assert_eq!(findings(&storage), [], "{name}, and went on");
        }
    }
}

#[test]
fn every_step_of_the_source_is_killed_at() {
    let known: BTreeSet<String> = STEPS.iter().map(|(step, ..)| (*step).to_owned()).collect();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let folder = path.is_dir().then(|| path.join("mod.rs"));
        let text = std::fs::read_to_string(folder.unwrap_or(path)).unwrap();
        let steps = text.split("failpoint::pass(\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(steps.map(str::to_owned));
    }
    assert_eq!(found, known);
}
