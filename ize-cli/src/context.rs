//! What every command starts from: the central folder, the settings, the backends, and the project that is meant.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use ize_core::model::RelPath;
use ize_core::project::{
    CentralDir, Clock, ProjectError, ProjectInfo, ProjectLock, ProjectOptions, Settings, SettingsError, SettingsLayer,
};

use crate::environment::Environment;
use crate::failure::{Failure, Kind, Result};
use crate::mounts::{self, MountEntry};

/// The world a command runs in.
#[derive(Debug)]
pub(crate) struct Context {
    /// What the process was given.
    pub(crate) environment: Environment,
    /// Where all projects live.
    pub(crate) central: CentralDir,
    user: SettingsLayer,
    process: SettingsLayer,
}

impl Context {
    /// Finds the central folder: the flag or `IZE_CENTRAL_DIR`, else the user's settings, else the XDG default.
    ///
    /// # Errors
    /// If the user's settings or the environment make no sense, or no folder can be told.
    pub(crate) fn new(environment: Environment, central_dir: Option<&Path>) -> Result<Self> {
        let user = read_layer(environment.user_config.as_deref())?;
        let mut process = SettingsLayer::default();
        for variable in &environment.settings {
            process.set_toml(&variable.key, &variable.value, &variable.name).map_err(ProjectError::from)?;
        }
        let central = central_dir
            .or(environment.central_dir.as_deref())
            .or(user.central_dir.as_deref())
            .or(environment.default_central_dir.as_deref());
        let Some(central) = central else {
            return Err(Failure::new(Kind::Usage, "no folder for projects: neither HOME nor XDG_DATA_HOME is set")
                .hint("give one with --central-dir"));
        };
        let central = CentralDir::new(environment.absolute(central)?);
        Ok(Self { environment, central, user, process })
    }

    /// Merges all layers; `flags` are the strongest.
    ///
    /// # Errors
    /// If the central settings make no sense.
    pub(crate) fn settings(
        &self,
        project: Option<&ProjectInfo>,
        flags: &SettingsLayer,
    ) -> Result<Settings, ProjectError> {
        let central = self.central.settings()?;
        let layers =
            [Some(&self.user), Some(&central), project.map(|p| &p.toml.settings), Some(&self.process), Some(flags)];
        Ok(Settings::resolve(layers.into_iter().flatten()))
    }

    /// Says how a project is opened: with all its settings, and times in the user's time zone.
    ///
    /// # Errors
    /// As [`Context::settings`].
    pub(crate) fn project_options(&self, project: Option<&ProjectInfo>) -> Result<ProjectOptions, ProjectError> {
        self.project_options_with(project, &SettingsLayer::default())
    }

    /// As [`Context::project_options`], with flags as the strongest settings.
    ///
    /// # Errors
    /// As [`Context::settings`].
    pub(crate) fn project_options_with(
        &self,
        project: Option<&ProjectInfo>,
        flags: &SettingsLayer,
    ) -> Result<ProjectOptions, ProjectError> {
        let mut options = ProjectOptions::new(self.settings(project, flags)?);
        options.clock = Clock::system();
        options.settings.author.get_or_insert_with(|| self.environment.author.clone());
        Ok(options)
    }

    /// Finds the project that is meant: by its name or id, or by a path in it (`.`).
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn find(&self, name: &str) -> Result<Target> {
        if !is_path(name) {
            return Ok(Target::by_name(self.central.find(name)?));
        }
        let place = self.environment.absolute(Path::new(name))?;
        let place =
            place.canonicalize().map_err(|error| Failure::io(format_args!("cannot look at '{name}'"), &error))?;
        self.project_at(&place)?.map(|info| Target { info, by_path: true }).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("'{name}' is not inside a project"))
                .hint("change into a mount point, or give a project's name; 'ize list' shows them")
        })
    }

    fn project_at(&self, place: &Path) -> Result<Option<ProjectInfo>> {
        let projects = self.central.projects()?.projects;
        let mount = mounts::containing(place).ok().flatten();
        if let Some(mount) = mount.filter(MountEntry::is_ours) {
            return Ok(projects.into_iter().find(|info| is_mount_of(&mount, info)));
        }
        Ok(projects.into_iter().find(|info| place.starts_with(info.working())))
    }
}

/// Tells whether a project is named by a path rather than by its name.
pub(crate) fn is_path(name: &str) -> bool {
    name == "." || name == ".." || name == "~" || name.contains('/')
}

fn read_layer(path: Option<&Path>) -> Result<SettingsLayer> {
    let Some(path) = path else { return Ok(SettingsLayer::default()) };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(SettingsLayer::default()),
        Err(error) => return Err(Failure::io(format_args!("cannot read {}", path.display()), &error)),
    };
    let layer = SettingsLayer::from_toml(&text, &path.display().to_string());
    layer.map_err(|error: SettingsError| ProjectError::from(error).into())
}

/// A project that a command is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The project.
    pub(crate) info: ProjectInfo,
    /// It was named by a path, so paths are relative to the current folder.
    by_path: bool,
}

impl Target {
    /// Makes a target of a project that was named by its name.
    pub(crate) const fn by_name(info: ProjectInfo) -> Self {
        Self { info, by_path: false }
    }

    /// Returns the project's name.
    pub(crate) fn name(&self) -> &str {
        self.info.name()
    }

    /// Returns where the project is mounted, as the kernel says, if a process holds it.
    ///
    /// # Errors
    /// If the lock or the mount table cannot be read.
    pub(crate) fn mount_point(&self) -> Result<Option<PathBuf>> {
        mount_point(&self.info)
    }

    /// As [`Target::path`]. Without an argument: everything, or, named by a path, what lies in that folder.
    ///
    /// # Errors
    /// As [`Target::path`].
    pub(crate) fn path_or_root(&self, environment: &Environment, argument: Option<&OsStr>) -> Result<RelPath> {
        match argument {
            Some(argument) => self.path(environment, argument),
            None => Ok(RelPath::root()),
        }
    }

    /// Reads a path argument: inside the project's root; or absolute, below the mount point or the live files; or, where
    /// the project was named by a path, relative to the current folder.
    ///
    /// # Errors
    /// If the path leads out of the project.
    pub(crate) fn path(&self, environment: &Environment, argument: &OsStr) -> Result<RelPath> {
        let given = Path::new(argument);
        let outside = || {
            Failure::new(Kind::Usage, format!("'{}' is outside project '{}'", given.display(), self.name()))
                .hint("paths are relative to the project's root, which is '.'; or absolute, below its mount point")
        };
        let inside = if given.is_absolute() || self.by_path {
            let absolute = environment.absolute(given)?;
            let roots = self.mount_point()?.into_iter().chain([self.info.working()]);
            roots.into_iter().find_map(|root| below(&absolute, &root)).ok_or_else(outside)?
        } else {
            given.to_owned()
        };
        let plain = without_dots(&inside).ok_or_else(outside)?;
        RelPath::new(plain.as_os_str().as_encoded_bytes())
            .map_err(|source| ProjectError::InvalidPath { path: given.display().to_string(), source }.into())
    }
}

/// Returns where a project is mounted, as the kernel says, if a process holds it.
///
/// # Errors
/// If the lock or the mount table cannot be read.
pub(crate) fn mount_point(info: &ProjectInfo) -> Result<Option<PathBuf>> {
    if ProjectLock::holder(&info.paths)?.is_none() {
        return Ok(None);
    }
    let mounts = mounts::all().map_err(|error| Failure::io("cannot read the mount table", &error))?;
    Ok(mounts.into_iter().rev().find(|mount| is_mount_of(mount, info)).map(|mount| mount.mount_point))
}

/// Tells whether a mount shows this project. The name alone does not tell: a project in another central folder, perhaps
/// another user's, may have the same one. The daemon notes where it mounts.
fn is_mount_of(mount: &MountEntry, info: &ProjectInfo) -> bool {
    mount.project() == Some(info.name()) && info.toml.mount_point.as_ref() == Some(&mount.mount_point)
}

/// Returns what follows `root` in a path. Symlinks above the root are followed, those inside it are not: they are part of
/// the project.
fn below(path: &Path, root: &Path) -> Option<PathBuf> {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    let top = ancestors
        .into_iter()
        .find(|ancestor| *ancestor == root || ancestor.canonicalize().is_ok_and(|canonical| canonical == root))?;
    path.strip_prefix(top).ok().map(Path::to_owned)
}

/// Resolves `.` and `..` by name; `None` if that leads above the beginning.
fn without_dots(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_and_do_not_lead_out() {
        let resolved = |path: &str| without_dots(Path::new(path)).map(|p| p.display().to_string());
        assert_eq!(resolved("a/./b/../c"), Some("a/c".into()));
        assert_eq!(resolved("."), Some(String::new()));
        assert_eq!(resolved("a/../.."), None);
        assert_eq!(resolved("/a"), None);
    }

    #[test]
    fn symlinks_above_the_root_are_followed_and_those_inside_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        std::fs::create_dir(&root).unwrap();
        let link = root.with_file_name("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        std::os::unix::fs::symlink("/", root.join("slash")).unwrap();
        assert_eq!(below(&link.join("a/b"), &root), Some("a/b".into()));
        assert_eq!(below(&root.join("slash/etc"), &root), Some("slash/etc".into()));
        assert_eq!(below(&root, &root), Some(PathBuf::new()));
        assert_eq!(below(Path::new("/etc/passwd"), &root), None);
    }

    #[test]
    fn names_and_paths_are_told_apart() {
        assert!(is_path(".") && is_path("./a") && is_path("/a") && is_path(".."));
        assert!(!is_path("notes") && !is_path(".config") && !is_path("a b"));
    }
}
