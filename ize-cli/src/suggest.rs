//! Folders that a build or a program can make again, and that nobody wants history of.

use std::fs;
use std::path::Path;

/// A folder's name, what must be beside it (or in it) so that we are sure, and the ignore rule.
struct Known {
    folder: &'static str,
    /// Any of these in the folder that holds it; empty: the name says enough.
    beside: &'static [&'static str],
    rule: &'static str,
}

const KNOWN: &[Known] = &[
    Known { folder: "target", beside: &["Cargo.toml", "pom.xml", "build.sbt"], rule: "target/" },
    Known { folder: "node_modules", beside: &[], rule: "node_modules/" },
    Known { folder: "__pycache__", beside: &[], rule: "__pycache__/" },
    Known { folder: ".venv", beside: &[], rule: ".venv/" },
    Known { folder: "venv", beside: &["requirements.txt", "pyproject.toml", "setup.py"], rule: "venv/" },
    Known { folder: ".tox", beside: &[], rule: ".tox/" },
    Known { folder: ".mypy_cache", beside: &[], rule: ".mypy_cache/" },
    Known { folder: ".pytest_cache", beside: &[], rule: ".pytest_cache/" },
    Known { folder: ".ruff_cache", beside: &[], rule: ".ruff_cache/" },
    Known { folder: ".gradle", beside: &[], rule: ".gradle/" },
    Known { folder: ".next", beside: &["package.json"], rule: ".next/" },
    Known { folder: ".nuxt", beside: &["package.json"], rule: ".nuxt/" },
    Known { folder: ".svelte-kit", beside: &["package.json"], rule: ".svelte-kit/" },
    Known { folder: ".parcel-cache", beside: &[], rule: ".parcel-cache/" },
    Known { folder: "dist", beside: &["package.json", "pyproject.toml", "setup.py"], rule: "dist/" },
    Known {
        folder: "build",
        beside: &["build.gradle", "build.gradle.kts", "CMakeLists.txt", "setup.py"],
        rule: "build/",
    },
    Known { folder: "cmake-build-debug", beside: &[], rule: "cmake-build-*/" },
    Known { folder: "_build", beside: &["mix.exs", "dune-project"], rule: "_build/" },
    Known { folder: ".stack-work", beside: &[], rule: ".stack-work/" },
    Known { folder: "dist-newstyle", beside: &[], rule: "dist-newstyle/" },
    Known { folder: "DerivedData", beside: &[], rule: "DerivedData/" },
    Known { folder: ".terraform", beside: &[], rule: ".terraform/" },
    Known { folder: ".direnv", beside: &[], rule: ".direnv/" },
    Known { folder: ".cache", beside: &[], rule: ".cache/" },
];

/// How deep and how far to look: a suggestion is not worth a walk over millions of files.
const DEPTH_MAX: usize = 5;
const FOLDERS_MAX: usize = 5_000;

/// Returns ignore rules for the build and cache folders below `root`, in the order of the list above. Does not follow
/// symlinks and does not look into what it found; leaves out what the tree's own `.izeignore` has already.
pub(crate) fn ignore_rules(root: &Path) -> Vec<&'static str> {
    let present = fs::read_to_string(root.join(".izeignore")).unwrap_or_default();
    let mut found = [false; KNOWN.len()];
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        seen += 1;
        if seen > FOLDERS_MAX {
            break;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let known = KNOWN.iter().position(|known| name == known.folder && known.is_sure(&folder));
            match known {
                Some(index) => found[index] = true,
                None if depth < DEPTH_MAX && name != ".git" => folders.push((entry.path(), depth + 1)),
                None => {}
            }
        }
    }
    let is_new =
        |rule: &str| !present.lines().any(|line| line.trim().trim_end_matches('/') == rule.trim_end_matches('/'));
    KNOWN.iter().zip(found).filter(|(known, found)| *found && is_new(known.rule)).map(|(known, _)| known.rule).collect()
}

impl Known {
    fn is_sure(&self, parent: &Path) -> bool {
        self.beside.is_empty() || self.beside.iter().any(|witness| parent.join(witness).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_folders_are_suggested_only_where_they_are_that() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(dir.path().join(path)).unwrap();
        make("app/node_modules/x/__pycache__");
        make("crate/target/debug");
        make("archery/target");
        make(".git/.cache");
        fs::write(dir.path().join("crate/Cargo.toml"), "").unwrap();
        assert_eq!(ignore_rules(dir.path()), ["target/", "node_modules/"]);
        fs::write(dir.path().join(".izeignore"), "target\n").unwrap();
        assert_eq!(ignore_rules(dir.path()), ["node_modules/"]);
    }
}
