//! The oracle: what history says the tree is, against what the host has.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ize_core::model::{FileId, FileKind, Name, Timestamp, View};

use crate::world::World;

/// Everything that must be equal of one inode, as text.
type Description = BTreeMap<Vec<u8>, String>;

impl World {
    /// Fails unless history's newest state equals `working/`.
    pub(crate) fn assert_history_is_working(&self) {
        let at = self.settle();
        let working = describe_host(&self.working());
        let history = self.describe_history(View::main(at));
        for (path, host) in &working {
            let known = history.get(path);
            assert_eq!(known, Some(host), "at {at}, {}: history (left), working (right)", path.escape_ascii());
        }
        for path in history.keys() {
            assert!(working.contains_key(path), "at {at}: history has {}, working has not", path.escape_ascii());
        }
    }

    /// As [`World::assert_history_is_working`], of some paths, but for what comes and goes with names that history does not see: the number of
    /// links, the change time, and a folder's modification time.
    pub(crate) fn assert_history_is_like_working(&self, is_known: impl Fn(&[u8]) -> bool) {
        let history = self.describe_history(View::main(self.settle()));
        let mut working = describe_host(&self.working());
        working.retain(|path, _| is_known(path));
        assert_eq!(Vec::from_iter(history.keys()), Vec::from_iter(working.keys()), "history (left), working (right)");
        for (path, host) in &working {
            let known = unlinked(&history[path]);
            assert_eq!(known, unlinked(host), "{}: history (left), working (right)", path.escape_ascii());
        }
    }

    pub(crate) fn describe_history(&self, view: View) -> Description {
        let mut all = Description::new();
        self.describe_folder(view, FileId::ROOT, &[], &mut all);
        all
    }

    fn describe_folder(&self, view: View, dir: FileId, path: &[u8], all: &mut Description) {
        let mut after: Option<Name> = None;
        loop {
            let page = self.storage.entries(view, dir, after.as_ref(), 7).unwrap();
            let Some(last) = page.last() else { return };
            after = Some(last.name.clone());
            for entry in page {
                let path = join(path, entry.name.as_bytes());
                let node = self.storage.node(view, entry.file).unwrap().expect("an entry names a file that exists");
                let mut content = Vec::new();
                if matches!(node.kind, FileKind::File | FileKind::Symlink) {
                    content.resize(usize::try_from(node.size).unwrap(), 0);
                    assert_eq!(self.storage.read(view, entry.file, 0, &mut content).unwrap(), content.len());
                }
                let xattrs = self.storage.xattrs(view, entry.file).unwrap();
                let xattrs = xattrs.iter().map(|xattr| (xattr.name.to_string(), xattr.value.to_vec())).collect();
                let size = if node.kind == FileKind::Directory { 0 } else { node.size };
                let links = if node.kind == FileKind::Directory { 0 } else { node.nlink };
                let owner = (node.uid, node.gid, links);
                let text =
                    describe(node.kind, node.mode, owner, node.rdev, (size, node.mtime, node.ctime), &content, xattrs);
                all.insert(path.clone(), text);
                if node.kind == FileKind::Directory {
                    self.describe_folder(view, entry.file, &path, all);
                }
            }
        }
    }
}

pub(crate) fn describe_host(root: &Path) -> Description {
    let mut all = Description::new();
    describe_host_folder(root, &[], &mut all);
    all
}

fn describe_host_folder(folder: &Path, path: &[u8], all: &mut Description) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = join(path, entry.file_name().as_bytes());
        let meta = std::fs::symlink_metadata(entry.path()).unwrap();
        let kind = meta.file_type();
        let kind = match () {
            () if kind.is_file() => FileKind::File,
            () if kind.is_dir() => FileKind::Directory,
            () if kind.is_symlink() => FileKind::Symlink,
            () if kind.is_fifo() => FileKind::Fifo,
            () => FileKind::Socket,
        };
        let content = match kind {
            FileKind::File => std::fs::read(entry.path()).unwrap(),
            FileKind::Symlink => std::fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let size = if kind == FileKind::Directory { 0 } else { meta.size() };
        let links = if kind == FileKind::Directory { 0 } else { u32::try_from(meta.nlink()).unwrap() };
        let mtime = Timestamp::from_secs_nanos(meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap());
        let ctime = Timestamp::from_secs_nanos(meta.ctime(), u32::try_from(meta.ctime_nsec()).unwrap());
        let owner = (meta.uid(), meta.gid(), links);
        let xattrs = if kind == FileKind::Symlink { Vec::new() } else { host_xattrs(&entry.path()) };
        let text = describe(kind, meta.mode() & 0o7777, owner, meta.rdev(), (size, mtime, ctime), &content, xattrs);
        all.insert(path.clone(), text);
        if kind == FileKind::Directory {
            describe_host_folder(&entry.path(), &path, all);
        }
    }
}

fn host_xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = Vec::with_capacity(4096);
    rustix::fs::listxattr(path, rustix::buffer::spare_capacity(&mut names)).unwrap();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut xattrs: Vec<_> = names
        .map(|name| {
            let mut value = Vec::with_capacity(4096);
            rustix::fs::getxattr(path, name, rustix::buffer::spare_capacity(&mut value)).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), value)
        })
        .collect();
    xattrs.sort();
    xattrs
}

fn describe(
    kind: FileKind,
    mode: u32,
    owner: (u32, u32, u32),
    rdev: u64,
    sizes: (u64, Timestamp, Timestamp),
    content: &[u8],
    xattrs: Vec<(String, Vec<u8>)>,
) -> String {
    let (uid, gid, nlink) = owner;
    let (size, mtime, ctime) = sizes;
    let (mtime, ctime) = (mtime.as_nanos(), ctime.as_nanos());
    let hash = ize_core::model::ContentHash::of(content);
    format!(
        "{kind} {mode:o} {uid}:{gid} links {nlink} rdev {rdev} size {size} mtime {mtime} ctime {ctime} {hash} {xattrs:?}"
    )
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn unlinked(text: &str) -> Vec<&str> {
    let is_dir = text.starts_with("folder ");
    // Kind, mode and owner; names and values.
    let (about, times) = text.split_at(text.find("links").unwrap());
    let times = times.split(' ').collect::<Vec<_>>();
    let is_own = |pair: &&[&str]| !(matches!(pair[0], "links" | "ctime") || is_dir && pair[0] == "mtime");
    [about].into_iter().chain(times.chunks(2).filter(is_own).flatten().copied()).collect()
}
