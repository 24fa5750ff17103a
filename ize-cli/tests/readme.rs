//! What the README shows is what there is.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).expect("the file is in the repository")
}

#[test]
fn the_library_example_is_the_one_that_is_built() {
    let readme = read("README.md");
    let shown = readme.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let example = read("examples/record_and_read.rs");
    let code: String =
        example.lines().skip_while(|line| !line.starts_with("use ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(shown, code);
}

#[test]
fn links_lead_to_files() {
    let readme = read("README.md");
    for target in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let is_address = target.starts_with("http");
        assert!(is_address || Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).exists(), "{target}");
    }
}
