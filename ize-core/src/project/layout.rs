//! Where the parts of a project lie, and the file that describes it.
//!
//! ```text
//! projects/{uuid}/
//!     meta/project.toml     what the project is
//!     meta/tree.toml        whether its live files are on disk
//!     meta/change-ids       a cache: the order of its change ids
//!     working/              its live files, unless it adopted a folder elsewhere
//!     journal/  store/      what was recorded; a backend may have folders of its own, as .pijul/
//!     lock  socket  log     of the process that has it open
//! ```
//! Folders are made with mode 0700, files with 0600. `project.toml` is replaced as a whole, so that a crash leaves the
//! old one or the new one.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::nearest::nearest;
use super::{ProjectError, Result, SettingsError, SettingsLayer};
use crate::disk;
use crate::model::{BranchId, ProjectId};

/// The newest version of a project's layout that this library reads, and the one that it writes.
pub const PROJECT_FORMAT_VERSION: u32 = 1;

/// A project's name: 1 to 64 characters without `/` and control characters, not `.` or `..`, no blanks at its ends, not
/// beginning with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`ProjectError::InvalidProjectName`] says which rule it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let why = if name.is_empty() {
            "it is empty"
        } else if name.chars().count() > Self::CHARS_MAX {
            "it is longer than 64 characters"
        } else if name == "." || name == ".." {
            "'.' and '..' stand for folders"
        } else if name.contains('/') {
            "it holds a slash"
        } else if name.chars().any(char::is_control) {
            "it holds a control character"
        } else if name.trim() != name {
            "it begins or ends with a blank"
        } else if name.starts_with('-') {
            "it begins with '-', as options do"
        } else {
            return Ok(Self(name));
        };
        Err(ProjectError::InvalidProjectName { name, why })
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the parts of one project lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPaths {
    /// Its identity.
    pub id: ProjectId,
    /// Its folder.
    pub dir: PathBuf,
}

impl ProjectPaths {
    /// Returns the file that describes the project.
    pub fn project_toml(&self) -> PathBuf {
        self.dir.join("meta").join("project.toml")
    }

    /// Returns the file that tells what is known of the live files.
    pub fn tree_toml(&self) -> PathBuf {
        self.dir.join("meta").join("tree.toml")
    }

    /// Returns the file that keeps the order of change ids, so that they are found fast.
    pub fn change_ids(&self) -> PathBuf {
        self.dir.join("meta").join("change-ids")
    }

    /// Returns where the live files are, unless the project adopted a folder: see [`ProjectToml::working`].
    pub fn working(&self) -> PathBuf {
        self.dir.join("working")
    }

    /// Returns the folder of the journal.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Returns the folder of the storage whose backend uses the given name for it.
    pub fn store(&self, folder: &str) -> PathBuf {
        self.dir.join(folder)
    }

    /// Returns the Unix socket on which the process that has the project open answers.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Returns the file that a process in the background writes its messages to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Returns the file whose lock makes a process the project's owner.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(super) fn create(&self) -> Result<()> {
        for dir in [self.dir.clone(), self.dir.join("meta"), self.journal()] {
            make_private_dir(&dir).map_err(ProjectError::io("make", dir))?;
        }
        Ok(())
    }
}

/// What `meta/project.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectToml {
    /// The project's name.
    pub name: ProjectName,
    /// The version of the layout.
    pub format_version: u32,
    /// Which storage it has.
    pub backend: String,
    /// Which engine of that storage, where there are several.
    pub engine: Option<String>,
    /// The adopted folder that holds the live files; `None` where that is the project's own.
    pub working: Option<PathBuf>,
    /// Where it was mounted last.
    pub mount_point: Option<PathBuf>,
    /// The branch that `working` shows.
    pub branch: BranchId,
    /// The project's own settings: the same keys as in a settings file, except `central-dir`, `backend` and `engine`.
    pub settings: SettingsLayer,
}

const KEYS: [&str; 12] = [
    "format-version",
    "name",
    "backend",
    "engine",
    "working",
    "mount-point",
    "branch",
    "author",
    "durability",
    "ignore",
    "floor-bytes",
    "processor",
];

impl ProjectToml {
    /// Reads a project's description.
    ///
    /// # Errors
    /// [`ProjectError::NewerFormat`] if a later version wrote it; [`ProjectError::Damaged`]; [`ProjectError::Settings`];
    /// what the operating system says.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged(path, "it is not text")),
            Err(error) => return Err(ProjectError::io("read", path)(error)),
        };
        let table: Table = text.parse().map_err(|error: toml::de::Error| damaged(path, error.message()))?;
        let format_version = table.get("format-version").and_then(Value::as_integer);
        let format_version = format_version
            .and_then(|version| u32::try_from(version).ok())
            .ok_or_else(|| damaged(path, "it does not state its format-version"))?;
        if format_version > PROJECT_FORMAT_VERSION {
            return Err(ProjectError::NewerFormat {
                path: path.to_owned(),
                found: format_version,
                supported: PROJECT_FORMAT_VERSION,
            });
        }
        Self::from_table(&table, format_version, path)
    }

    fn from_table(table: &Table, format_version: u32, path: &Path) -> Result<Self> {
        let text = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(damaged(path, format!("'{key}' is not a text"))),
        };
        let required = |key: &str| text(key)?.ok_or_else(|| damaged(path, format!("'{key}' is missing")));
        let branch = match table.get("branch") {
            None => BranchId::MAIN,
            Some(value) => value
                .as_integer()
                .and_then(|id| u32::try_from(id).ok())
                .map(BranchId::new)
                .ok_or_else(|| damaged(path, "'branch' is not a branch's number"))?,
        };
        Ok(Self {
            name: ProjectName::new(required("name")?)?,
            format_version,
            backend: required("backend")?,
            engine: text("engine")?,
            working: text("working")?.map(PathBuf::from),
            mount_point: text("mount-point")?.map(PathBuf::from),
            branch,
            settings: settings_of(table, path)?,
        })
    }

    /// Writes the description, durably and as a whole.
    ///
    /// # Errors
    /// [`ProjectError::Damaged`] if a path in it is not UTF-8, which TOML cannot hold; what the operating system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut table = Table::new();
        self.settings.write_to(&mut table);
        table.insert("format-version".into(), Value::Integer(i64::from(self.format_version)));
        table.insert("name".into(), Value::from(self.name.as_str()));
        table.insert("backend".into(), Value::from(self.backend.as_str()));
        if let Some(engine) = &self.engine {
            table.insert("engine".into(), Value::from(engine.as_str()));
        }
        for (key, value) in [("working", &self.working), ("mount-point", &self.mount_point)] {
            if let Some(value) = value {
                let text = value.to_str().ok_or_else(|| damaged(path, format!("'{key}' would not be UTF-8")))?;
                table.insert(key.into(), Value::from(text));
            }
        }
        if self.branch != BranchId::MAIN {
            table.insert("branch".into(), Value::Integer(i64::from(self.branch.get())));
        }
        let text = format!("# An Ize project. Settings of this project alone may be added here.\n\n{table}");
        write_atomically(path, text.as_bytes()).map_err(ProjectError::io("write", path))
    }
}

fn settings_of(table: &Table, path: &Path) -> Result<SettingsLayer> {
    let origin = path.display().to_string();
    let mut settings = SettingsLayer::default();
    for (key, value) in table {
        match key.replace('_', "-").as_str() {
            "format-version" | "name" | "backend" | "engine" | "working" | "mount-point" | "branch" => {}
            known if KEYS.contains(&known) => settings.set_value(key, value, &origin)?,
            unknown => {
                return Err(SettingsError::UnknownKey {
                    origin,
                    key: key.clone(),
                    nearest: nearest(unknown, KEYS).map(ToOwned::to_owned),
                    known: KEYS.to_vec(),
                }
                .into());
            }
        }
    }
    Ok(settings)
}

fn damaged(path: &Path, why: impl Into<String>) -> ProjectError {
    ProjectError::Damaged { path: path.to_owned(), why: why.into() }
}

/// Makes a folder (and those above it, if need be) that only its owner may enter.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a file so that a crash leaves the old content or the new content.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()?;
    disk::replaced(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sample() -> ProjectToml {
        ProjectToml {
            name: ProjectName::new("notes").unwrap(),
            format_version: PROJECT_FORMAT_VERSION,
            backend: "store".into(),
            engine: Some("redb".into()),
            working: Some("/home/me/notes".into()),
            mount_point: None,
            branch: BranchId::MAIN,
            settings: SettingsLayer { ignore: vec!["target/".into()], ..SettingsLayer::default() },
        }
    }

    #[test]
    fn names_follow_the_rules() {
        for good in ["notes", "a b", "ä", "x".repeat(64).as_str(), ".config"] {
            ProjectName::new(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a\nb", " a", "-a", "x".repeat(65).as_str()] {
            assert!(matches!(ProjectName::new(bad), Err(ProjectError::InvalidProjectName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn descriptions_read_back_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("project.toml");
        sample().write(&path).unwrap();
        assert_eq!(ProjectToml::read(&path).unwrap(), sample());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_newer_format_is_refused_before_anything_else_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("project.toml");
        fs::write(&path, "format-version = 99\nwhat = 'ever'").unwrap();
        assert!(matches!(ProjectToml::read(&path), Err(ProjectError::NewerFormat { found: 99, .. })));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("project.toml");
        for text in ["", "a = = b", "format-version = 1", "format-version = 1\nname = 3\nbackend = 'store'"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(ProjectToml::read(&path), Err(ProjectError::Damaged { .. })), "{text}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(ProjectToml::read(&path), Err(ProjectError::Damaged { .. })));
        fs::write(&path, "format-version = 1\nname = 'a'\nbackend = 'store'\ndurabilty = 'relaxed'").unwrap();
        let error = ProjectToml::read(&path).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean 'durability'?");
    }
}
