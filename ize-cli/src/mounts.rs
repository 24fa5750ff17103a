//! The kernel's mount table (`/proc/self/mountinfo`, see proc_pid_mountinfo(5)): where Ize's mounts are.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// Type and subtype, `fuse.ize`.
    pub(crate) kind: String,
    /// What is mounted, as its driver says.
    pub(crate) source: OsString,
}

impl MountEntry {
    /// Tells whether Ize made this mount.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == "fuse.ize"
    }

    /// Returns the name of the project that is mounted here.
    pub(crate) fn project(&self) -> Option<&str> {
        self.source.to_str().filter(|_| self.is_ours())?.strip_prefix("ize:")
    }
}

/// Reads all mounts of this process's mount namespace, in mount order: of two with one mount point the later is on top.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn all() -> io::Result<Vec<MountEntry>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Returns the topmost mount that a path lies in. The path must be absolute and without symlinks.
///
/// # Errors
/// As [`all`].
pub(crate) fn containing(path: &Path) -> io::Result<Option<MountEntry>> {
    Ok(topmost(&all()?, path).cloned())
}

fn topmost<'a>(mounts: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    // The longest mount point wins, among equal ones the last; `max_by_key` answers the last maximum.
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())
}

fn parse(table: &[u8]) -> Vec<MountEntry> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// Fields: id, parent, device, root, mount point, options, optional fields..., `-`, type, source, super options.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_point = unescape(fields.nth(4)?);
    let mut behind_dash = fields.skip_while(|field| *field != b"-").skip(1);
    Some(MountEntry {
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        kind: String::from_utf8_lossy(behind_dash.next()?).into_owned(),
        source: OsString::from_vec(unescape(behind_dash.next()?)),
    })
}

/// Undoes the kernel's escapes: `\040` is a space.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 22 0:40 / /home/a\\040b/notes rw,nosuid,nodev shared:7 master:2 - fuse.ize ize:notes rw,user_id=0\n\
        31 22 0:41 / /home rw - tmpfs tmpfs rw\n\
        not a line\n";

    #[test]
    fn lines_are_read_with_optional_fields_and_escapes() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].mount_point, Path::new("/home/a b/notes"));
        assert_eq!((mounts[1].kind.as_str(), mounts[1].source.to_str()), ("fuse.ize", Some("ize:notes")));
        assert!(mounts[1].is_ours() && !mounts[0].is_ours());
    }

    #[test]
    fn a_path_lies_in_the_deepest_mount() {
        let mounts = parse(TABLE);
        let kind = |path: &str| topmost(&mounts, Path::new(path)).map(|mount| mount.kind.as_str());
        assert_eq!(kind("/home/a b/notes/x/y"), Some("fuse.ize"));
        assert_eq!(kind("/home/a b"), Some("tmpfs"));
        assert_eq!(kind("/etc"), Some("ext4"));
    }
}
