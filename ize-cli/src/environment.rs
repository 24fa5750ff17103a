//! What the process was given: home folder, XDG folders, terminal. The only file that reads the environment.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use ize_core::project::SettingsLayer;

use crate::failure::{Failure, Kind, Result};

/// The environment that commands see. Made once.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// The user's home folder.
    pub(crate) home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/ize/config.toml`.
    pub(crate) user_config: Option<PathBuf>,
    /// `$IZE_CENTRAL_DIR`.
    pub(crate) central_dir: Option<PathBuf>,
    /// `$XDG_DATA_HOME/ize`.
    pub(crate) default_central_dir: Option<PathBuf>,
    /// How to call this program: `ize` where the shell finds it so, else its path.
    pub(crate) command: String,
    /// The current folder.
    pub(crate) current_dir: Option<PathBuf>,
    /// `$IZE_PAGER`, else `$PAGER`.
    pub(crate) pager: Option<OsString>,
    /// Who makes changes where no setting says so: `ada <ada@host>`.
    pub(crate) author: String,
    /// `$IZE_LOG`: what a daemon logs, for example `debug`.
    pub(crate) log_filter: Option<String>,
    /// Settings: `IZE_DURABILITY`, `IZE_PROCESSOR_MAX_BATCH_SIZE`...
    pub(crate) settings: Vec<Variable>,
    /// `$IZE_KILL_AT`: the step at which a daemon is to be killed, and at which of its passes.
    #[cfg(feature = "failpoints")]
    pub(crate) kill_at: Option<(String, u64)>,
    /// Standard output is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// There is somebody to ask: standard input and standard error are terminals.
    pub(crate) is_interactive: bool,
}

/// A setting from the environment.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// The setting.
    pub(crate) key: String,
    /// The variable.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

impl Environment {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        let home = absolute_var("HOME");
        Self {
            user_config: base_dir("XDG_CONFIG_HOME", home.as_deref(), ".config")
                .map(|dir| dir.join("ize").join("config.toml")),
            default_central_dir: base_dir("XDG_DATA_HOME", home.as_deref(), ".local/share").map(|dir| dir.join("ize")),
            central_dir: env::var_os("IZE_CENTRAL_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            home,
            command: command(),
            current_dir: env::current_dir().ok(),
            pager: env::var_os("IZE_PAGER").or_else(|| env::var_os("PAGER")),
            author: author(),
            log_filter: env::var("IZE_LOG").ok().filter(|filter| !filter.is_empty()),
            settings: settings(),
            #[cfg(feature = "failpoints")]
            kill_at: kill_at(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            is_interactive: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// Makes a path absolute without touching the disk: `~` is the home folder, `.` and `..` are resolved by name only
    /// where that is safe (`.`), so symlinks keep their meaning.
    ///
    /// # Errors
    /// If the current folder is needed and gone.
    pub(crate) fn absolute(&self, path: &Path) -> Result<PathBuf> {
        if let (Ok(rest), Some(home)) = (path.strip_prefix("~"), &self.home) {
            return Ok(home.join(rest));
        }
        if path.is_absolute() {
            return Ok(path.components().collect());
        }
        let Some(current) = &self.current_dir else {
            return Err(Failure::new(Kind::NotFound, "the current folder does not exist any more")
                .hint("change to another folder, or give an absolute path"));
        };
        Ok(current.join(path).components().collect())
    }

    /// Writes a path as a person would, with `~` for the home folder.
    pub(crate) fn shorten(&self, path: &Path) -> String {
        match self.home.as_deref().and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }
}

fn author() -> String {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let user = ["USER", "LOGNAME"].iter().find_map(|name| env::var(name).ok().filter(|user| plain(user)));
    // A service has no such variable.
    let user = user.unwrap_or_else(|| format!("user-{}", rustix::process::getuid().as_raw()));
    let system = rustix::system::uname();
    match system.nodename().to_str() {
        Ok(host) if plain(host) => format!("{user} <{user}@{host}>"),
        _ => user,
    }
}

fn command() -> String {
    let Ok(own) = env::current_exe() else { return "ize".to_owned() };
    let found = env::var_os("PATH")
        .and_then(|path| env::split_paths(&path).map(|dir| dir.join("ize")).find(|candidate| candidate.is_file()));
    if found.is_some_and(|found| found.canonicalize().is_ok_and(|found| found == own)) {
        return "ize".to_owned();
    }
    let below = env::current_dir().ok().and_then(|dir| own.strip_prefix(dir).ok().map(Path::to_path_buf));
    match below {
        // A bare name would be looked up in PATH.
        Some(path) if path.components().count() == 1 => format!("./{}", path.display()),
        Some(path) => path.display().to_string(),
        None => own.display().to_string(),
    }
}

#[cfg(feature = "failpoints")]
fn kill_at() -> Option<(String, u64)> {
    let value = env::var("IZE_KILL_AT").ok()?;
    let (step, count) = value.split_once(':').unwrap_or((&value, "1"));
    Some((step.to_owned(), count.parse().ok()?))
}

/// Reads a variable that holds an absolute path; the XDG specification says to ignore relative ones.
fn absolute_var(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Reads the variables of all settings but `central-dir`, which is a flag too. `processor.worker-threads` is
/// `IZE_PROCESSOR_WORKER_THREADS`.
fn settings() -> Vec<Variable> {
    let keys = SettingsLayer::keys().filter(|key| key != "central-dir");
    let variables = keys.filter_map(|key| {
        let name = format!("IZE_{}", key.to_uppercase().replace(['-', '.'], "_"));
        let value = env::var(&name).ok().filter(|value| !value.is_empty())?;
        Some(Variable { key, name, value })
    });
    variables.collect()
}

fn base_dir(variable: &str, home: Option<&Path>, below_home: &str) -> Option<PathBuf> {
    absolute_var(variable).or_else(|| home.map(|home| home.join(below_home)))
}
