//! A tree to begin with.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use fastrand::Rng;
use rustix::fs::{XattrFlags, setxattr};

/// Fills an empty folder with that many files of the sizes that source trees have, and some symlinks, hard links, odd
/// names, modes, extended attributes and a sparse file among them.
///
/// # Errors
/// Any error of the filesystem.
pub fn grow(root: &Path, files: usize) -> io::Result<()> {
    let mut rng = Rng::with_seed(5);
    for index in 0..files {
        let folder = root.join(format!("part-{}/unit-{}", index % 17, index % 293));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("source-{index}.rs"));
        fs::write(&path, text(&mut rng))?;
        match index % 100 {
            0 => symlink(format!("source-{index}.rs"), folder.join(format!("link-{index}")))?,
            1 => fs::hard_link(&path, folder.join(format!("twin-{index}.rs")))?,
            2 => fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?,
            3 => setxattr(&path, "user.origin", b"grown", XattrFlags::empty())?,
            4 => fs::rename(&path, folder.join(OsStr::from_bytes(b"not utf-8 \xff\xfe.rs")))?,
            _ => {}
        }
    }
    let sparse = fs::File::create(root.join("sparse.img"))?;
    sparse.set_len(1 << 30)
}

/// Lines of words, mostly a few KiB, sometimes many.
fn text(rng: &mut Rng) -> String {
    let lines = if rng.u32(0..50) == 0 { rng.usize(1000..3000) } else { rng.usize(0..120) };
    let words = ["let", "name", "=", "value", ";", "fn", "match", "{", "}", "// because"];
    let line = |rng: &mut Rng| -> String {
        let count = rng.usize(1..9);
        let mut line: Vec<String> = (0..count).map(|_| words[rng.usize(..words.len())].to_owned()).collect();
        line.push(rng.u16(..).to_string());
        line.join(" ")
    };
    (0..lines).map(|_| line(rng) + "\n").collect()
}
