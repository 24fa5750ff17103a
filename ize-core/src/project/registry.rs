//! The central folder: all projects of a user, found by name.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layout::make_private_dir;
use super::nearest::nearest;
use super::{
    PROJECT_FORMAT_VERSION, ProjectError, ProjectLock, ProjectName, ProjectPaths, ProjectToml, Result, SettingsLayer,
    adopt, link, settings,
};
use crate::model::{BranchId, ProjectId};

/// How long making or deleting a project waits for another process that does the same.
const REGISTRY_WAIT: Duration = Duration::from_secs(10);

/// A project as the central folder lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectInfo {
    /// Where its parts lie.
    pub paths: ProjectPaths,
    /// What it is.
    pub toml: ProjectToml,
}

impl ProjectInfo {
    /// Reads the description of a project.
    ///
    /// # Errors
    /// As [`ProjectToml::read`].
    pub fn read(paths: ProjectPaths) -> Result<Self> {
        let toml = ProjectToml::read(&paths.project_toml())?;
        Ok(Self { paths, toml })
    }

    /// Returns the project's name.
    pub fn name(&self) -> &str {
        self.toml.name.as_str()
    }

    /// Returns the folder of the live files: the project's own, or the adopted one.
    pub fn working(&self) -> PathBuf {
        self.toml.working.clone().unwrap_or_else(|| self.paths.working())
    }
}

/// A folder that should hold a project, but cannot be read as one.
#[derive(Debug)]
pub struct DamagedProject {
    /// The folder.
    pub dir: PathBuf,
    /// Its name, if that much can be read.
    pub name: Option<String>,
    /// Why it cannot be read.
    pub error: ProjectError,
}

/// All projects.
#[derive(Debug, Default)]
pub struct ProjectList {
    /// Those that can be read, by name.
    pub projects: Vec<ProjectInfo>,
    /// Those that cannot.
    pub damaged: Vec<DamagedProject>,
}

/// What a new project is to be.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// Its name.
    pub name: ProjectName,
    /// Which storage it gets.
    pub backend: String,
    /// Which engine of that storage, where there are several.
    pub engine: Option<String>,
    /// A folder to adopt as its tree, where it is; `None` for an empty tree of its own.
    pub adopt: Option<PathBuf>,
    /// A folder to copy in; not together with `adopt`.
    pub import: Option<PathBuf>,
    /// Where it is going to be mounted.
    pub mount_point: Option<PathBuf>,
    /// Its own settings.
    pub settings: SettingsLayer,
}

impl NewProject {
    /// Describes an empty project.
    pub fn new(name: ProjectName, backend: impl Into<String>) -> Self {
        Self {
            name,
            backend: backend.into(),
            engine: None,
            adopt: None,
            import: None,
            mount_point: None,
            settings: SettingsLayer::default(),
        }
    }
}

/// The folder in which all projects of a user live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CentralDir {
    path: PathBuf,
}

impl CentralDir {
    /// Names a central folder. It is made when the first project is.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the settings for all projects here; none if there is no such file.
    ///
    /// # Errors
    /// [`ProjectError::Settings`]; what the operating system says.
    pub fn settings(&self) -> Result<SettingsLayer> {
        settings::read_file(&self.path.join("config.toml"))
    }

    /// Lists the projects. A damaged one does not hide the others.
    ///
    /// # Errors
    /// If the folder cannot be read. That it does not exist is not an error: then there are no projects.
    pub fn projects(&self) -> Result<ProjectList> {
        let dir = self.projects_dir();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ProjectList::default()),
            entries => entries.map_err(ProjectError::io("read", &dir))?,
        };
        let mut list = ProjectList::default();
        for entry in entries {
            let entry = entry.map_err(ProjectError::io("read", &dir))?;
            let Some(paths) = paths_of(&entry) else { continue };
            match ProjectInfo::read(paths.clone()) {
                Ok(info) => list.projects.push(info),
                Err(error) => list.damaged.push(DamagedProject { name: name_in(&paths), dir: paths.dir, error }),
            }
        }
        list.projects.sort_by(|a, b| a.toml.name.cmp(&b.toml.name));
        Ok(list)
    }

    /// Finds a project by its name, or by its id.
    ///
    /// # Errors
    /// [`ProjectError::UnknownProject`], with the name that was probably meant.
    pub fn find(&self, name: &str) -> Result<ProjectInfo> {
        let list = self.projects()?;
        let is_it = |info: &&ProjectInfo| info.name() == name || info.paths.id.to_string() == name;
        if let Some(info) = list.projects.iter().find(is_it) {
            return Ok(info.clone());
        }
        let is_it = |damaged: &DamagedProject| damaged.dir.ends_with(name) || damaged.name.as_deref() == Some(name);
        if let Some(damaged) = list.damaged.into_iter().find(is_it) {
            return Err(damaged.error);
        }
        let known: Vec<String> = list.projects.iter().map(|info| info.name().to_owned()).collect();
        let nearest = nearest(name, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        Err(ProjectError::UnknownProject { name: name.to_owned(), nearest, known })
    }

    /// Makes a project's folders and description. `prepare` makes what must be there before the project is listed (its
    /// storage). If anything fails, nothing is left behind.
    ///
    /// # Errors
    /// [`ProjectError::NameTaken`]; [`ProjectError::NotAdoptable`]; whatever `prepare` answers; what the operating system
    /// says.
    pub fn create(&self, new: NewProject, prepare: impl FnOnce(&ProjectInfo) -> Result<()>) -> Result<ProjectInfo> {
        let _lock = self.lock()?;
        let others = self.projects()?.projects;
        if others.iter().any(|other| other.toml.name == new.name) {
            return Err(ProjectError::NameTaken { name: new.name.to_string() });
        }
        let working = new.adopt.map(|folder| adopt::check(&folder, self, &others)).transpose()?;
        let id = ProjectId::random();
        let paths = ProjectPaths { id, dir: self.projects_dir().join(id.to_string()) };
        let toml = ProjectToml {
            name: new.name,
            format_version: PROJECT_FORMAT_VERSION,
            backend: new.backend,
            engine: new.engine,
            working,
            mount_point: new.mount_point,
            branch: BranchId::MAIN,
            settings: new.settings,
        };
        let info = ProjectInfo { paths, toml };
        build(&info, prepare).inspect_err(|_| {
            // Nothing of value is in there yet, and the first error is the one to tell.
            let _ = fs::remove_dir_all(&info.paths.dir);
        })?;
        Ok(info)
    }

    /// Deletes a project with its history. An adopted folder stays where it is.
    ///
    /// # Errors
    /// [`ProjectError::InUse`]; what the operating system says.
    pub fn delete(&self, info: &ProjectInfo) -> Result<()> {
        let _registry = self.lock()?;
        let _owner = ProjectLock::acquire(&info.paths, Duration::ZERO)?;
        link::remove(info)?;
        // First out of sight: a deletion that is interrupted must not leave half a project.
        let doomed = self.projects_dir().join(format!("{DELETED_PREFIX}{}", info.paths.id));
        fs::rename(&info.paths.dir, &doomed).map_err(ProjectError::io("delete", &info.paths.dir))?;
        self.remove_deleted()
    }

    fn remove_deleted(&self) -> Result<()> {
        let dir = self.projects_dir();
        for entry in fs::read_dir(&dir).map_err(ProjectError::io("read", &dir))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(DELETED_PREFIX.as_bytes()) {
                fs::remove_dir_all(entry.path()).map_err(ProjectError::io("delete", entry.path()))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<ProjectLock> {
        let dir = self.projects_dir();
        make_private_dir(&dir).map_err(ProjectError::io("make", &dir))?;
        ProjectLock::acquire_file(&self.path.join("lock"), REGISTRY_WAIT)
    }

    fn projects_dir(&self) -> PathBuf {
        self.path.join("projects")
    }
}

const DELETED_PREFIX: &str = ".deleted-";

fn build(info: &ProjectInfo, prepare: impl FnOnce(&ProjectInfo) -> Result<()>) -> Result<()> {
    info.paths.create()?;
    if info.toml.working.is_none() {
        let working = info.paths.working();
        make_private_dir(&working).map_err(ProjectError::io("make", working))?;
    }
    prepare(info)?;
    // The description comes last: a folder without it is not a project yet.
    info.toml.write(&info.paths.project_toml())
}

/// Returns the name in a description of which nothing else is understood.
fn name_in(paths: &ProjectPaths) -> Option<String> {
    let table: toml::Table = fs::read_to_string(paths.project_toml()).ok()?.parse().ok()?;
    table.get("name")?.as_str().map(ToOwned::to_owned)
}

/// Returns the paths of what is, or should be, a project: a folder with a UUID for a name and a description in it. A
/// folder that is still being made, or whose making was interrupted, has none.
fn paths_of(entry: &DirEntry) -> Option<ProjectPaths> {
    let id: ProjectId = entry.file_name().to_str()?.parse().ok()?;
    let paths = ProjectPaths { id, dir: entry.path() };
    paths.project_toml().exists().then_some(paths)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn central() -> (tempfile::TempDir, CentralDir) {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("ize"));
        (dir, central)
    }

    fn new(name: &str) -> NewProject {
        NewProject::new(ProjectName::new(name).unwrap(), "memory")
    }

    fn create(central: &CentralDir, name: &str) -> ProjectInfo {
        central.create(new(name), |_| Ok(())).unwrap()
    }

    #[test]
    fn projects_are_made_listed_found_and_deleted() {
        let (_dir, central) = central();
        assert!(central.projects().unwrap().projects.is_empty());
        let b = create(&central, "b");
        let a = create(&central, "a");
        let names: Vec<String> = central.projects().unwrap().projects.iter().map(|p| p.name().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(central.find("b").unwrap(), b);
        assert_eq!(central.find(&a.paths.id.to_string()).unwrap(), a);
        central.delete(&b).unwrap();
        assert!(!b.paths.dir.exists());
        assert!(matches!(central.find("b"), Err(ProjectError::UnknownProject { .. })));
    }

    #[test]
    fn folders_are_private() {
        let (_dir, central) = central();
        let info = create(&central, "a");
        for dir in [central.path().to_owned(), info.paths.dir.clone(), info.working(), info.paths.journal()] {
            assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let (_dir, central) = central();
        create(&central, "a");
        assert!(matches!(central.create(new("a"), |_| Ok(())), Err(ProjectError::NameTaken { .. })));
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let (_dir, central) = central();
        create(&central, "notes");
        let error = central.find("ntoes").unwrap_err();
        assert_eq!(error.to_string(), "there is no project 'ntoes'");
        assert_eq!(error.hint().unwrap(), "did you mean 'notes'?");
    }

    #[test]
    fn a_damaged_project_does_not_hide_the_others() {
        let (_dir, central) = central();
        create(&central, "good");
        let bad = create(&central, "bad");
        fs::write(bad.paths.project_toml(), "no toml").unwrap();
        let list = central.projects().unwrap();
        assert_eq!(list.projects.len(), 1);
        assert_eq!(list.damaged.len(), 1);
        assert!(matches!(list.damaged[0].error, ProjectError::Damaged { .. }));
        assert!(matches!(central.find(&bad.paths.id.to_string()), Err(ProjectError::Damaged { .. })));
    }

    #[test]
    fn a_project_of_a_newer_version_is_found_by_its_name_and_refused() {
        let (_dir, central) = central();
        let newer = create(&central, "newer");
        fs::write(newer.paths.project_toml(), "format-version = 99\nname = 'newer'\nwhat = 'ever'").unwrap();
        assert!(matches!(central.find("newer"), Err(ProjectError::NewerFormat { .. })));
        assert!(matches!(central.find("other"), Err(ProjectError::UnknownProject { .. })));
    }

    #[test]
    fn a_failed_creation_leaves_nothing() {
        let (_dir, central) = central();
        let refuse = |_: &ProjectInfo| Err(ProjectError::UnknownBackend { name: "x".into(), known: vec![] });
        central.create(new("a"), refuse).unwrap_err();
        assert_eq!(fs::read_dir(central.projects_dir()).unwrap().count(), 0);
        create(&central, "a");
    }

    #[test]
    fn a_project_in_use_is_not_deleted() {
        let (_dir, central) = central();
        let info = create(&central, "a");
        let _owner = ProjectLock::acquire(&info.paths, Duration::ZERO).unwrap();
        assert!(matches!(central.delete(&info), Err(ProjectError::InUse { .. })));
        assert!(info.paths.dir.exists());
    }

    #[test]
    fn deleting_leaves_an_adopted_folder_alone() {
        let (dir, central) = central();
        let folder = dir.path().join("mine");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a"), "a").unwrap();
        let info = central.create(NewProject { adopt: Some(folder.clone()), ..new("a") }, |_| Ok(())).unwrap();
        assert_eq!(info.working(), folder.canonicalize().unwrap());
        central.delete(&info).unwrap();
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"a");
    }
}
