//! Which files are not recorded: rules in the syntax of `.gitignore`.
//!
//! Rules come from the settings and from files named [`IgnoreRules::FILE_NAME`] in the tree. An ignored file works as any
//! other, but history does not know it and restoring leaves it alone. As with git, whatever lies below an ignored folder
//! is ignored, and no later rule brings it back.

use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::model::RelPath;

/// A set of ignore rules. Asking an empty set costs nothing.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    /// Rule sets and the folders that they hold for, outer folders first.
    sets: Vec<RuleSet>,
    /// The patterns that come from the settings.
    patterns: Vec<String>,
    problems: Vec<String>,
}

#[derive(Clone, Debug)]
struct RuleSet {
    folder: RelPath,
    rules: Gitignore,
}

impl IgnoreRules {
    /// The name of the files in the tree that hold rules.
    pub const FILE_NAME: &'static str = ".izeignore";

    /// No rules: every file is recorded.
    pub fn none() -> Self {
        Self::default()
    }

    /// Makes rules from patterns and from the content of the root folder's rule file, which has the last word. A line
    /// that is no pattern is left out, see [`IgnoreRules::problems`].
    pub fn new(patterns: &[String], root_izeignore: Option<&[u8]>) -> Self {
        let mut rules = Self { patterns: patterns.to_vec(), ..Self::default() };
        let mut lines: Vec<String> = patterns.to_vec();
        lines.extend(root_izeignore.into_iter().flat_map(file_lines));
        rules.add(RelPath::root(), &lines);
        rules
    }

    /// Returns the same rules with other content of the root folder's rule file.
    #[must_use]
    pub fn with_root_file(&self, root_izeignore: Option<&[u8]>) -> Self {
        let mut rules = Self::new(&self.patterns, root_izeignore);
        rules.sets.extend(self.sets.iter().filter(|set| !set.folder.is_root()).cloned());
        rules
    }

    /// Adds the content of the rule file of a folder; its rules hold below that folder and override outer ones.
    #[must_use]
    pub fn with_folder(mut self, folder: RelPath, izeignore: &[u8]) -> Self {
        let lines: Vec<String> = file_lines(izeignore).collect();
        self.add(folder, &lines);
        self
    }

    fn add(&mut self, folder: RelPath, lines: &[String]) {
        let mut builder = GitignoreBuilder::new("");
        for line in lines {
            if let Err(error) = builder.add_line(None, line) {
                self.problems.push(format!("{line:?} in {folder}: {error}"));
            }
        }
        match builder.build() {
            Ok(rules) if rules.is_empty() => {}
            Ok(rules) => {
                let at = self.sets.partition_point(|set| depth(&set.folder) <= depth(&folder));
                self.sets.insert(at, RuleSet { folder, rules });
            }
            Err(error) => self.problems.push(format!("the rules in {folder}: {error}")),
        }
    }

    /// Tells whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Returns a sentence for each line that was left out because it is no pattern.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Tells whether a file, or a folder with all it holds, is not recorded. The root folder always is recorded.
    pub fn is_ignored(&self, path: &RelPath, is_dir: bool) -> bool {
        if self.sets.is_empty() || path.is_root() {
            return false;
        }
        let bytes = path.as_bytes();
        let folder_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        folder_ends.map(|end| (end, true)).chain([(bytes.len(), is_dir)]).any(|(end, is_dir)| {
            // The innermost set that has an opinion decides.
            let decision = self.sets.iter().rev().find_map(|set| set.decide(&bytes[..end], is_dir));
            decision.unwrap_or(false)
        })
    }
}

impl RuleSet {
    fn decide(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        let inside = match path.strip_prefix(self.folder.as_bytes())? {
            rest if self.folder.is_root() => rest,
            rest => rest.strip_prefix(b"/")?,
        };
        let path = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(inside));
        match self.rules.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }
}

fn file_lines(content: &[u8]) -> impl Iterator<Item = String> + '_ {
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    content.split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8_lossy(line).into_owned()
    })
}

fn depth(folder: &RelPath) -> usize {
    folder.names().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::try_from(text).unwrap()
    }

    fn rules(patterns: &[&str], file: &str) -> IgnoreRules {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        IgnoreRules::new(&patterns, Some(file.as_bytes()))
    }

    #[test]
    fn no_rules_ignore_nothing() {
        assert!(IgnoreRules::none().is_empty());
        assert!(rules(&[], "# only a comment\n\n").is_empty());
        assert!(!IgnoreRules::none().is_ignored(&path("a/b"), false));
    }

    #[test]
    fn patterns_follow_the_syntax_of_gitignore() {
        let rules = rules(&["target/", "*.o"], "/build\ndoc/**/*.html\n!keep.o\r\n");
        assert!(rules.is_ignored(&path("target"), true));
        assert!(!rules.is_ignored(&path("target"), false), "a trailing slash means folders only");
        assert!(rules.is_ignored(&path("a/target/debug/x"), false), "whatever lies below an ignored folder");
        assert!(rules.is_ignored(&path("a/b.o"), false));
        assert!(!rules.is_ignored(&path("a/keep.o"), false), "the rule file has the last word");
        assert!(rules.is_ignored(&path("build"), false));
        assert!(!rules.is_ignored(&path("a/build"), false));
        assert!(rules.is_ignored(&path("doc/a/b/c.html"), false));
        assert!(!rules.is_ignored(&RelPath::root(), true));
    }

    #[test]
    fn below_an_ignored_folder_nothing_comes_back() {
        let rules = rules(&["cache/"], "!cache/keep\n");
        assert!(rules.is_ignored(&path("cache/keep"), false));
    }

    #[test]
    fn a_folders_own_rules_hold_below_it_and_override_outer_ones() {
        let rules = rules(&[], "*.log\n").with_folder(path("sub"), b"!important.log\n/local\n");
        assert!(rules.is_ignored(&path("important.log"), false));
        assert!(!rules.is_ignored(&path("sub/important.log"), false));
        assert!(rules.is_ignored(&path("sub/local"), false));
        assert!(!rules.is_ignored(&path("sub/deep/local"), false));
        assert!(!rules.is_ignored(&path("subway/local"), false));
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_by_wildcards() {
        let rules = rules(&["*.tmp"], "");
        assert!(rules.is_ignored(&RelPath::new(b"\xff\xfe.tmp").unwrap(), false));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_reported_and_left_out() {
        let rules = rules(&[], "[z-a]\n*.o\n");
        assert_eq!(rules.problems().len(), 1, "{:?}", rules.problems());
        assert!(rules.is_ignored(&path("x.o"), false));
    }
}
