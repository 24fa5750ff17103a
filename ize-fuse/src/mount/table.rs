//! The mount table, `/proc/self/mountinfo` (proc_pid_mountinfo(5)): which mount lies where.
//!
//! Reading it sends no request to any mounted filesystem, so it cannot hang on a dead one.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The kernel's id of the mount; reused after it is gone.
    pub(super) id: u64,
    /// The device, `major:minor`.
    pub(super) device: String,
    pub(super) path: PathBuf,
    pub(super) kind: String,
    pub(super) source: String,
}

impl Entry {
    /// Tells whether this is a mount of ours.
    pub(super) fn is_ize(&self) -> bool {
        self.kind == "fuse.ize"
    }
}

/// Returns all mounts, the later over the earlier.
pub(super) fn read() -> io::Result<Vec<Entry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// Returns the topmost mount on exactly this path.
pub(super) fn on(path: &Path) -> io::Result<Option<Entry>> {
    Ok(read()?.into_iter().rfind(|entry| entry.path == path))
}

/// Reads one line: `id parent major:minor root path options [optional..] - kind source options`.
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let device = text(fields.nth(1)?);
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = text(rest.next()?);
    let source = String::from_utf8_lossy(&unescape(rest.next()?)).into_owned();
    Some(Entry { id, device, path, kind, source })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// Undoes the kernel's `\ooo` for blanks, backslashes and line ends.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line =
            br"69 27 0:45 / /mnt/a\040b rw,nosuid,nodev shared:5 master:1 - fuse.ize ize:my\040notes rw,user_id=0";
        assert_eq!(
            parse(line),
            Some(Entry {
                id: 69,
                device: "0:45".into(),
                path: "/mnt/a b".into(),
                kind: "fuse.ize".into(),
                source: "ize:my notes".into(),
            })
        );
    }

    #[test]
    fn strange_lines_are_left_out() {
        for line in ["", "x y z", "12 1 0:4 / /a rw", "12 1 0:4 / /a rw -"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(unescape(br"a\134b\0\999"), br"a\b\0\999");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(on(Path::new("/")).unwrap().is_some());
        assert_eq!(on(Path::new("/no such folder")).unwrap(), None);
    }
}
