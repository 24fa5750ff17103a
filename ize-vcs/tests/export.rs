//! Any storage's saves become a Pijul repository with its working copy.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use ize_core::conformance::LogBuilder;
use ize_core::model::{BranchId, FileId, Landmark, View};
use ize_core::storage::{MemoryStorage, StorageError};
use ize_vcs::{PijulOptions, export};
use support::Foreign;

#[test]
fn every_save_becomes_a_change_and_the_newest_tree_is_there() {
    let (source, mut log) = (MemoryStorage::new(), LogBuilder::new());
    let dir = log.make_dir(FileId::ROOT, "src");
    let file = log.create_with(dir, "main.rs", b"fn main() {}\n");
    log.mark(Landmark::Close);
    for round in 0..3 {
        log.write(file, 0, format!("// {round}\n").as_bytes());
        log.write(file, 40, b"// end\n");
        log.mark(Landmark::Close);
    }
    let past = log.head();
    log.rename((dir, "main.rs"), (FileId::ROOT, "moved.rs"));
    log.commit(&source).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let options = PijulOptions::default().author("Ada", None);
    let (all, until) = (parent.path().join("all"), parent.path().join("until"));
    let mut seen = Vec::new();
    let changes = export(&source, View::latest(BranchId::MAIN), &all, &options, &mut |op| seen.push(op)).unwrap();
    assert_eq!((changes, seen.as_slice()), (5, [log.head()].as_slice()));
    assert_eq!(export(&source, View::main(past), &until, &options, &mut |_| {}).unwrap(), 4);
    let text = std::fs::read(all.join("moved.rs")).unwrap();
    assert!(text.starts_with(b"// 2\n") && text.ends_with(b"// end\n"));
    assert!(all.join("src").is_dir() && until.join("src/main.rs").is_file());
    assert!(!all.join(".pijul/ize").exists());
    assert_eq!(Foreign::checkout(&all).read("moved.rs").unwrap(), text);
    let again = export(&source, View::latest(BranchId::MAIN), &all, &options, &mut |_| {});
    assert!(matches!(again, Err(StorageError::Invalid(_))));
}
