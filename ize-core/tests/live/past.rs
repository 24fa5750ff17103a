//! A snapshot as a tree: a read-only mount of the past.

use std::ffi::{OsStr, OsString};

use ize_core::model::{FileId, FileKind, View};
use ize_core::tree::{OpenMode, SeekFor, SetAttributes, Snapshot, Tree, XattrMode};
use rustix::io::Errno;

use crate::world::World;

const READ: OpenMode =
    OpenMode { read: true, write: false, append: false, truncate: false, exclusive: false, sync: false, direct: false };

/// Reads a folder in pieces of `piece` entries, from the offset where the last piece ended.
fn list(tree: &dyn Tree, dir: FileId, piece: usize) -> Vec<OsString> {
    let handle = tree.open_directory(dir).unwrap();
    let mut names = Vec::new();
    let mut after = 0;
    loop {
        let mut taken = 0;
        tree.read_directory(handle, after, &mut |entry| {
            if taken == piece {
                return false;
            }
            taken += 1;
            after = entry.next;
            names.push(entry.name.to_os_string());
            true
        })
        .unwrap();
        if taken == 0 {
            tree.release_directory(handle);
            return names;
        }
    }
}

#[test]
fn the_past_is_read_through_the_same_calls() {
    let world = World::new();
    let folder = world.make_dir(FileId::ROOT, "folder");
    let file = world.write_new(folder, "file", b"then");
    world.live.make_symlink(World::caller(), folder, OsStr::new("link"), b"file").unwrap();
    world.live.set_xattr(World::caller(), file, OsStr::new("user.note"), b"n", XattrMode::Either).unwrap();
    let at = world.settle();
    world.write_new(folder, "file", b"much later");
    world.live.unlink(World::caller(), folder, OsStr::new("link")).unwrap();
    world.settle();

    let past = Snapshot::new(world.storage.clone(), View::main(at));
    let tree: &dyn Tree = &past;
    let stat = tree.lookup(folder, OsStr::new("file")).unwrap();
    assert_eq!((stat.file, stat.metadata.size, stat.blocks), (file, 4, 1));
    assert_eq!(tree.lookup(folder, OsStr::new("..")).unwrap().file, FileId::ROOT);
    let handle = tree.open(World::caller(), file, READ).unwrap();
    let mut buf = [0; 10];
    assert_eq!(tree.read(handle, 0, &mut buf).unwrap(), 4);
    assert_eq!(&buf[..4], b"then");
    assert_eq!(tree.read(handle, 4, &mut buf).unwrap(), 0);
    let link = tree.lookup(folder, OsStr::new("link")).unwrap();
    assert_eq!((link.metadata.kind, tree.read_link(link.file).unwrap()), (FileKind::Symlink, b"file".to_vec()));
    assert_eq!(tree.xattr_names(file).unwrap(), b"user.note\0");
    assert_eq!(tree.xattr(file, OsStr::new("user.note")).unwrap(), b"n");
    assert_eq!(tree.xattr(file, OsStr::new("user.other")).unwrap_err().errno(), Errno::NODATA);
    for (name, errno) in [("gone", Errno::NOENT), (&"x".repeat(256), Errno::NAMETOOLONG)] {
        assert_eq!(tree.lookup(folder, OsStr::new(name)).unwrap_err().errno(), errno);
    }
    assert_eq!(tree.lookup(file, OsStr::new("x")).unwrap_err().errno(), Errno::NOTDIR);
}

#[test]
fn the_past_cannot_be_changed() {
    let world = World::new();
    let file = world.write_new(FileId::ROOT, "file", b"then");
    let past = Snapshot::new(world.storage.clone(), View::main(world.settle()));
    let tree: &dyn Tree = &past;
    let (caller, root, name) = (World::caller(), FileId::ROOT, OsStr::new("new"));
    let write = OpenMode { write: true, ..READ };
    let read_only = [
        tree.make_directory(caller, root, name, 0o755).map(drop),
        tree.make_symlink(caller, root, name, b"x").map(drop),
        tree.unlink(caller, root, OsStr::new("file")),
        tree.link(caller, file, root, name).map(drop),
        tree.open(caller, file, write).map(drop),
        tree.create(caller, root, name, 0o644, write).map(drop),
        tree.set_attributes(caller, file, None, &SetAttributes::default()).map(drop),
        tree.set_xattr(caller, file, OsStr::new("user.x"), b"", XattrMode::Either),
    ];
    for (n, result) in read_only.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().errno(), Errno::ROFS, "call {n}");
    }
    let existing = tree.create(caller, root, OsStr::new("file"), 0o644, READ).unwrap();
    assert_eq!(existing.0.file, file);
}

#[test]
fn folders_are_read_in_any_pieces_and_from_any_offset() {
    let world = World::new();
    let folder = world.make_dir(FileId::ROOT, "folder");
    for n in 0..2500 {
        world.live.make_symlink(World::caller(), folder, OsStr::new(&format!("entry {n}")), b"x").unwrap();
    }
    let past = Snapshot::new(world.storage.clone(), View::main(world.settle()));
    let all = list(&past, folder, usize::MAX);
    assert_eq!(all.len(), 2502);
    assert_eq!(all[..2], [".", ".."]);
    for piece in [1, 7, 1000, 1003] {
        assert_eq!(list(&past, folder, piece), all, "{piece}");
    }
    let handle = past.open_directory(folder).unwrap();
    for after in [2000, 1, 1002, 2501, 0] {
        let mut first = None;
        past.read_directory(handle, after, &mut |entry| {
            first = Some(entry.name.to_os_string());
            false
        })
        .unwrap();
        assert_eq!(first.as_ref(), all.get(usize::try_from(after).unwrap()), "{after}");
    }
}

#[test]
fn holes_of_the_past_are_found() {
    let world = World::new();
    let (file, handle) = world.create(FileId::ROOT, "sparse");
    world.live.write(World::caller(), handle, 1 << 20, &[1; 4096]).unwrap();
    let size = SetAttributes { size: Some(4 << 20), ..SetAttributes::default() };
    world.live.set_attributes(World::caller(), file, Some(handle), &size).unwrap();
    world.live.release(handle);
    let past = Snapshot::new(world.storage.clone(), View::main(world.settle()));
    let handle = past.open(World::caller(), file, READ).unwrap();
    let seek = |offset, what| past.seek(handle, offset, what).map_err(|error| error.errno());
    assert_eq!(seek(0, SeekFor::Data), Ok(1 << 20));
    assert_eq!(seek(0, SeekFor::Hole), Ok(0));
    assert_eq!(seek(1 << 20, SeekFor::Hole), Ok((1 << 20) + 4096));
    assert_eq!(seek(2 << 20, SeekFor::Data), Err(Errno::NXIO));
    assert_eq!(seek(4 << 20, SeekFor::Hole), Err(Errno::NXIO));
    assert_eq!(past.lookup(FileId::ROOT, OsStr::new("sparse")).unwrap().blocks, 8);
}
