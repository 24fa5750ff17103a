//! `ize migrate`: the engine below a history changes, and nothing else.
#![cfg(feature = "redb")]
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod support;

use std::fs;

use support::{Home, can_mount};

fn project_with_history(home: &Home, arguments: &[&str]) {
    let tree = home.path("tree");
    fs::create_dir_all(tree.join("src")).unwrap();
    fs::write(tree.join("src/main.rs"), "fn main() {}\n").unwrap();
    home.ok([&["init", "p", "--from", tree.to_str().unwrap()], arguments].concat());
}

fn engine(home: &Home) -> String {
    home.status("p")["engine"].as_str().unwrap().to_owned()
}

fn project_toml(home: &Home) -> String {
    let projects = fs::read_dir(home.path(".local/share/ize/projects")).unwrap();
    let dir = projects.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    fs::read_to_string(dir.join("meta/project.toml")).unwrap()
}

#[test]
fn a_project_changes_its_engine_and_keeps_its_history() {
    let home = Home::new();
    project_with_history(&home, &[]);
    let before = home.ok(["history", "p", "--ops"]);
    let told = home.ok(["migrate", "p", "--engine", "redb"]);
    assert_eq!(told, "the engine of 'p' is redb now\n");
    assert_eq!(engine(&home), "redb");
    assert!(project_toml(&home).contains("engine = \"redb\""));
    assert_eq!(home.ok(["history", "p", "--ops"]), before);
    assert_eq!(home.ok(["cat", "p", "src/main.rs"]), "fn main() {}\n");
    home.ok(["verify", "p"]);

    let again = home.run(["migrate", "p", "--engine", "redb"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);

    home.ok(["migrate", "p", "--engine", "sanakirja"]);
    assert_eq!(engine(&home), "sanakirja");
    assert_eq!(home.ok(["history", "p", "--ops"]), before);
}

#[test]
fn a_project_that_was_made_with_redb_has_it() {
    let home = Home::new();
    project_with_history(&home, &["--engine", "redb"]);
    assert_eq!(engine(&home), "redb");
}

#[cfg(feature = "pijul")]
#[test]
fn the_index_of_a_pijul_repository_changes_its_engine_too() {
    let home = Home::new();
    project_with_history(&home, &["--backend", "pijul"]);
    let before = home.ok(["history", "p"]);
    home.ok(["migrate", "p", "--engine", "redb"]);
    assert_eq!(home.ok(["history", "p"]), before);
    home.ok(["verify", "p"]);
}

#[test]
fn a_mounted_project_is_refused() {
    if !can_mount("a_mounted_project_is_refused") {
        return;
    }
    let home = Home::new();
    let place = home.path("mnt");
    home.ok(["mount", "p", place.to_str().unwrap(), "--create"]);
    let refused = home.run(["migrate", "p", "--engine", "redb"]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("hint: run 'ize unmount p' first"), "{}", refused.stderr);
    fs::write(place.join("a"), "still recorded").unwrap();
    home.ok(["unmount", "p"]);
    home.ok(["migrate", "p", "--engine", "redb"]);
    assert_eq!(home.ok(["cat", "p", "a"]), "still recorded");
}
