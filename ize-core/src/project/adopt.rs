//! Which folders may become a project's tree where they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CentralDir, ProjectError, ProjectInfo, Result};

/// The name at a project's root that is Ize's own: the past is reachable there.
pub(super) const RESERVED_NAME: &str = ".ize";

/// Checks that a folder may be adopted and returns its canonical path. It must not contain, or lie in, the central
/// folder, another project's tree or an Ize mount, nor contain any mount.
pub(super) fn check(folder: &Path, central: &CentralDir, others: &[ProjectInfo]) -> Result<PathBuf> {
    let refuse = |why: String| Err(ProjectError::NotAdoptable { folder: folder.to_owned(), why });
    let canonical = folder.canonicalize().map_err(ProjectError::io("adopt", folder))?;
    if !canonical.is_dir() {
        return refuse("it is not a folder".into());
    }
    if fs::symlink_metadata(canonical.join(RESERVED_NAME)).is_ok() {
        return refuse(format!("it holds '{RESERVED_NAME}', which is reserved"));
    }
    let central = central.path().canonicalize().unwrap_or_else(|_| central.path().to_owned());
    if overlap(&canonical, &central) {
        return refuse(format!("it overlaps the folder of all projects, {}", central.display()));
    }
    if let Some(other) = others.iter().find(|other| overlap(&canonical, &other.working())) {
        return refuse(format!("it overlaps the tree of project '{}'", other.name()));
    }
    match mounts().into_iter().find(|mount| mount.is_in_the_way_of(&canonical)) {
        Some(mount) => refuse(format!("{} is a mount", mount.point.display())),
        None => Ok(canonical),
    }
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

struct Mount {
    point: PathBuf,
    is_fuse: bool,
}

impl Mount {
    fn is_in_the_way_of(&self, folder: &Path) -> bool {
        (self.point.starts_with(folder) && self.point != folder) || (self.is_fuse && folder.starts_with(&self.point))
    }
}

/// Lists mounts as proc_pid_mountinfo(5) describes them; none where that is not available.
fn mounts() -> Vec<Mount> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let kind = fields.get(separator + 1)?;
    let point = unescape(fields.get(4)?);
    let point = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(point));
    Some(Mount { point, is_fuse: kind.starts_with(b"fuse") })
}

/// Undoes the octal escapes (`\040` for a blank) of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{NewProject, ProjectName};

    fn why(result: Result<PathBuf>) -> String {
        match result {
            Err(ProjectError::NotAdoptable { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn folders_that_overlap_something_of_ize_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("data/ize"));
        let free = dir.path().join("free");
        for folder in [free.join("sub"), dir.path().join("data/ize/inside"), dir.path().join("reserved/.ize")] {
            fs::create_dir_all(folder).unwrap();
        }
        assert_eq!(check(&free, &central, &[]).unwrap(), free.canonicalize().unwrap());
        assert!(why(check(&dir.path().join("data"), &central, &[])).contains("all projects"));
        assert!(why(check(&dir.path().join("data/ize/inside"), &central, &[])).contains("all projects"));
        assert!(why(check(&dir.path().join("reserved"), &central, &[])).contains("reserved"));
        let name = ProjectName::new("first").unwrap();
        let new = NewProject { adopt: Some(free.clone()), ..NewProject::new(name, "memory") };
        let first = central.create(new, |_| Ok(())).unwrap();
        assert!(why(check(&free.join("sub"), &central, &[first])).contains("'first'"));
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let central = CentralDir::new(dir.path().join("ize"));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(why(check(&dir.path().join("file"), &central, &[])).contains("not a folder"));
        assert!(matches!(check(&dir.path().join("none"), &central, &[]), Err(ProjectError::Io { .. })));
    }

    #[test]
    fn mounts_below_and_ize_mounts_above_are_in_the_way() {
        let mount = parse_mount(b"36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - fuse.ize ize rw").unwrap();
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert!(mount.is_in_the_way_of(Path::new("/mnt")));
        assert!(mount.is_in_the_way_of(Path::new("/mnt/a b/c")));
        assert!(!mount.is_in_the_way_of(Path::new("/srv")));
        let disk = Mount { point: "/".into(), is_fuse: false };
        assert!(!disk.is_in_the_way_of(Path::new("/home/me/notes")));
    }
}
