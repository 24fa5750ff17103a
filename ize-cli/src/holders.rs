//! Which processes keep a mount busy: those with an open file, a current folder, a program or a mapping in it.

use std::fs;
use std::path::{Path, PathBuf};

/// A process that holds a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its id.
    pub(crate) pid: u32,
    /// Its short name.
    pub(crate) program: String,
    /// What it holds: "its current folder", or a path.
    pub(crate) what: String,
}

/// Finds the processes that hold something below a mount point, as far as we may look. Only reads links in `/proc`, which
/// never asks the mounted filesystem, so it cannot block on it.
pub(crate) fn of(mount_point: &Path) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders: Vec<Holder> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| holder(pid, mount_point))
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

fn holder(pid: u32, mount_point: &Path) -> Option<Holder> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let what = held_below(&process, mount_point)?;
    let program = fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
    Some(Holder { pid, program, what })
}

fn held_below(process: &Path, mount_point: &Path) -> Option<String> {
    let below = |link: PathBuf| fs::read_link(link).ok().filter(|target| target.starts_with(mount_point));
    if below(process.join("cwd")).is_some() {
        return Some("its current folder".to_owned());
    }
    if let Some(path) = below(process.join("root")).or_else(|| below(process.join("exe"))) {
        return Some(path.display().to_string());
    }
    for folder in ["fd", "map_files"] {
        let links = fs::read_dir(process.join(folder)).into_iter().flatten().flatten();
        if let Some(path) = links.map(|link| link.path()).find_map(below) {
            return Some(path.display().to_string());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        assert!(of(&folder).is_empty());
        let _open = fs::File::create(folder.join("a")).unwrap();
        let holders = of(&folder);
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].pid, std::process::id());
        assert!(holders[0].what.ends_with("/a"));
    }
}
