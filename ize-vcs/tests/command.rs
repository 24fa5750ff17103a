//! Pijul's own command on a repository of ours. Runs where the variable `PIJUL` names the command, 1.0.0-beta.26:
//! `scripts/pijul-interop` sees to that.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ize_core::conformance::{LogBuilder, Workload};
use ize_core::model::{BranchId, FileId, FileKind, RelPath, View};
use ize_core::storage::{FileSystemStorage, FileSystemStorageExt, IncomingEdit, RefName, RefTarget};
use ize_vcs::PijulOptions;
use support::{create, findings, open};
use tempfile::TempDir;

const NOW: View = View::latest(BranchId::MAIN);

/// A project's folder: the repository, its index, and the live files with a link to the repository.
struct Project {
    dir: TempDir,
    pijul: PathBuf,
}

impl Project {
    fn new(pijul: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("home")).unwrap();
        std::fs::create_dir_all(dir.path().join("project/working")).unwrap();
        let project = Self { dir, pijul };
        symlink("../.pijul", project.working().join(".pijul")).unwrap();
        let made = ["identity", "new", "--no-prompt", "--display-name", "Bob", "--email", "bob@example.org", "bob"];
        project.run(project.dir.path(), &made);
        project
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn working(&self) -> PathBuf {
        self.path().join("working")
    }

    /// Runs the command in a folder and returns what it printed.
    fn run(&self, folder: &Path, arguments: &[&str]) -> String {
        let ran = Command::new(&self.pijul)
            .args(arguments)
            .current_dir(folder)
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("home/.config"))
            .env("EDITOR", "true")
            .env("PAGER", "cat")
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "pijul {arguments:?}: {text}");
        text
    }

    /// Writes out the live files.
    fn write_working(&self, storage: &dyn FileSystemStorage) {
        for entry in storage.walk(NOW, &RelPath::root()).unwrap() {
            let entry = entry.unwrap();
            let path = self.working().join(entry.path.as_path());
            match entry.metadata.kind {
                FileKind::Directory if !path.exists() => std::fs::create_dir(&path).unwrap(),
                FileKind::File => {
                    let mut content = Vec::new();
                    storage.copy_content(NOW, entry.file, &mut content).unwrap();
                    std::fs::write(&path, content).unwrap();
                    let mode = std::fs::Permissions::from_mode(entry.metadata.mode & 0o777 | 0o600);
                    std::fs::set_permissions(&path, mode).unwrap();
                }
                _ => {}
            }
        }
    }

    /// Returns the files beside the live files and the repository, with their content.
    fn beside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_owned();
                if path.is_dir() {
                    if name != "working" && name != ".pijul" {
                        folders.push(path.clone());
                    }
                    found.insert(path, Vec::new());
                } else {
                    let content = std::fs::read(&path).unwrap();
                    found.insert(path, content);
                }
            }
        }
        found
    }
}

/// Returns names, content and exec bits below a folder; `.pijul` and what `pijul clone` adds are left out.
fn tree(folder: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if name == ".pijul" || name == ".ignore" {
                continue;
            }
            let is_dir = path.is_dir();
            let exec = std::fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0;
            let content = if is_dir { b"folder".to_vec() } else { std::fs::read(&path).unwrap() };
            found.insert(name, (content, exec));
            folders.extend(is_dir.then_some(path));
        }
    }
    found
}

#[test]
fn pijuls_own_command_works_on_the_live_files_and_touches_nothing_else() {
    let Some(pijul) = std::env::var_os("PIJUL").map(PathBuf::from) else { return };
    let project = Project::new(pijul);
    let options = PijulOptions::default().author("Ada", Some("ada@example.org".to_owned()));
    let storage = create(&project.path(), &options);
    let mut log = LogBuilder::new();
    let src = log.make_dir(FileId::ROOT, "src");
    log.make_dir(FileId::ROOT, "empty");
    let main = log.create_with(src, "main.rs", b"fn main() {\n    one();\n    two();\n}\n");
    let script = log.create_with(FileId::ROOT, "run \u{fc}.sh", b"#!/bin/sh\n");
    log.chmod(script, 0o755);
    let noise: Vec<u8> = (0..50_000u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let binary = log.create_with(FileId::ROOT, "noise.bin", &noise);
    log.write(binary, 1_000, b"other");
    log.rename((src, "main.rs"), (src, "lib.rs"));
    log.create_with(FileId::ROOT, "gone", b"x");
    log.remove(FileId::ROOT, "gone");
    log.write(main, 0, b"fn MAIN");
    log.commit(&storage).unwrap();
    let target = RefTarget::Branch { id: BranchId::new(1), parent: BranchId::MAIN, base: log.head() };
    storage.set_ref(&RefName::new("idea").unwrap(), Some(&target)).unwrap();
    let hash = storage.native_id(log.head()).unwrap().unwrap();
    project.write_working(&storage);
    drop(storage);
    let (beside, before) = (project.beside(), tree(&project.working()));

    let text = project.run(&project.working(), &["log"]);
    assert!(text.contains(&hash) && text.contains("Ada"), "{text}");
    let text = project.run(&project.working(), &["change", &hash]);
    assert!(text.contains("src/lib.rs"), "{text}");
    assert_eq!(project.run(&project.working(), &["diff"]), "");
    let text = project.run(&project.working(), &["channel"]);
    assert!(text.contains("* main") && text.contains("idea"), "{text}");
    std::fs::write(project.working().join("src/lib.rs"), "broken\n").unwrap();
    assert!(project.run(&project.working(), &["diff"]).contains("broken"));
    project.run(&project.working(), &["reset"]);
    assert_eq!(tree(&project.working()), before);

    let clone = project.dir.path().join("clone");
    project.run(project.dir.path(), &["clone", "project/working", "clone"]);
    assert_eq!(tree(&clone), before);
    std::fs::write(clone.join("src/lib.rs"), "fn MAIN() {\n    one();\n    two();\n    three();\n}\n").unwrap();
    std::fs::write(clone.join("from the clone"), "new\n").unwrap();
    project.run(&clone, &["add", "from the clone"]);
    project.run(&clone, &["record", "--all", "--message", "from the clone"]);
    let working = project.working();
    project.run(&clone, &["push", "--all", working.to_str().unwrap()]);
    assert_eq!(project.beside(), beside, "something beside the live files and the repository changed");

    let storage = open(&project.path(), &options);
    let incoming = storage.incoming().unwrap().unwrap();
    assert_eq!(incoming.changes.len(), 1);
    assert_eq!(incoming.changes[0].message, "from the clone");
    let written =
        |edit: &IncomingEdit| matches!(edit, IncomingEdit::Write { path, .. } if path.to_string() == "src/lib.rs");
    assert!(incoming.edits.iter().any(written), "{:?}", incoming.edits);
    let mut log_goes_on = |content: &[u8]| {
        log.truncate(main, 0);
        log.write(main, 0, content);
        log.create_with(FileId::ROOT, "from the clone", b"new\n");
        log.commit(&storage).unwrap();
    };
    log_goes_on(b"fn MAIN() {\n    one();\n    two();\n    three();\n}\n");
    let again = storage.incoming().unwrap().unwrap();
    assert!(again.edits.is_empty(), "{:?}", again.edits);
    storage.accept_incoming(&again.changes).unwrap();
    assert_eq!(findings(&storage), []);
}

#[test]
fn the_clone_of_random_work_has_its_tree_and_no_difference() {
    let Some(pijul) = std::env::var_os("PIJUL").map(PathBuf::from) else { return };
    for seed in 1..=3 {
        let project = Project::new(pijul.clone());
        let options = PijulOptions::default().author("Ada", None).change_per_op(seed % 2 == 0);
        let storage = create(&project.path(), &options);
        let mut work = Workload::new(seed);
        (0..150).for_each(|_| work.step());
        work.log().commit(&storage).unwrap();
        project.write_working(&storage);
        drop(storage);
        assert_eq!(project.run(&project.working(), &["diff"]), "", "seed {seed}");
        project.run(project.dir.path(), &["clone", "project/working", "clone"]);
        assert_eq!(tree(&project.dir.path().join("clone")), tree(&project.working()), "seed {seed}");
        assert_eq!(findings(&open(&project.path(), &options)), [], "seed {seed}");
    }
}
