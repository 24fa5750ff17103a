//! A filesystem in memory: what a folder holds, and what a power cut could leave of it.
//!
//! A cut is made from the state before, which was all on disk, and the changes since. What was synced is kept. Of the rest
//! anything may be there: each unwritten page of data, and of names and metadata as much as the [`Ordering`] lets be.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use fastrand::Rng;
use ize_core::disk::Durable;
use ize_core::disk::simulation::{Binding, Event, Inode, about};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

const PAGE: usize = 4096;

/// What a filesystem promises of names and metadata that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// They reach the disk in the order of the calls, and a file never shows a size before the data that it stands for
    /// (ext4 with its defaults, XFS).
    Journalled,
    /// They reach the disk in the order of the calls, data whenever (ext4 with `data=writeback`).
    MetadataFirst,
    /// Each folder and each file for itself; only the entries of one folder in their order.
    PerFolder,
    /// All of it was written back just before the cut: what a killed process leaves, too.
    Written,
}

impl Ordering {
    pub(crate) const ALL: [Self; 4] = [Self::Journalled, Self::MetadataFirst, Self::PerFolder, Self::Written];

    /// Chooses one; `IZE_CRASH_ORDERING` names the only one.
    pub(crate) fn choose(rng: &mut Rng) -> Self {
        let all = Self::ALL;
        let only = std::env::var("IZE_CRASH_ORDERING").ok();
        let named = all.into_iter().find(|ordering| only.as_ref().is_some_and(|only| format!("{ordering:?}") == *only));
        // The last is no hard case.
        named.unwrap_or(all[rng.usize(0..10) * 3 / 9])
    }
}

/// The content of a file: pages that are not zeros, and the size.
#[derive(Clone, Debug, Default)]
struct Content {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    size: u64,
}

impl Content {
    fn read(file: &File) -> io::Result<Self> {
        let mut content = Self { size: file.metadata()?.len(), ..Self::default() };
        let mut offset = 0;
        while offset < content.size {
            // Holes cost nothing.
            let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) else { break };
            offset = data - data % PAGE as u64;
            let mut page = [0; PAGE];
            let len = usize::try_from(content.size - offset).unwrap_or(PAGE).min(PAGE);
            file.read_exact_at(&mut page[..len], offset)?;
            content.put(offset, &page[..len]);
            offset += PAGE as u64;
        }
        Ok(content)
    }

    fn put(&mut self, mut offset: u64, mut bytes: &[u8]) {
        self.size = self.size.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let within = usize::try_from(offset % PAGE as u64).expect("less than a page");
            let len = (PAGE - within).min(bytes.len());
            let page = self.pages.entry(offset / PAGE as u64).or_insert_with(|| Box::new([0; PAGE]));
            page[within..within + len].copy_from_slice(&bytes[..len]);
            (offset, bytes) = (offset + len as u64, &bytes[len..]);
        }
    }

    fn zero(&mut self, from: u64, end: u64) {
        let numbers: Vec<u64> = self.pages.range(from / PAGE as u64..=end / PAGE as u64).map(|page| *page.0).collect();
        for number in numbers {
            let start = number * PAGE as u64;
            let (first, last) = (from.max(start), end.min(start + PAGE as u64));
            if let Some(page) = self.pages.get_mut(&number).filter(|_| first < last) {
                let within = |at: u64| usize::try_from(at - start).expect("at most a page");
                page[within(first)..within(last)].fill(0);
            }
        }
    }

    fn resize(&mut self, size: u64) {
        if size < self.size {
            self.zero(size, self.size);
            self.pages.retain(|number, _| *number * (PAGE as u64) < size);
        }
        self.size = size;
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size)?;
        for (number, page) in &self.pages {
            let start = *number * PAGE as u64;
            let len = usize::try_from(self.size.saturating_sub(start)).unwrap_or(PAGE).min(PAGE);
            file.write_all_at(&page[..len], start)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Node {
    inode: Inode,
    content: Content,
    entries: BTreeMap<OsString, u64>,
}

impl Node {
    fn new(inode: Inode) -> Self {
        Self { inode, content: Content::default(), entries: BTreeMap::new() }
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.inode.mode)
    }
}

/// All files and folders below one folder.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    root: u64,
    nodes: HashMap<u64, Node>,
}

impl Volume {
    /// Reads a folder.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut volume = Self { root: fs::metadata(folder)?.ino(), nodes: HashMap::new() };
        volume.add(folder)?;
        Ok(volume)
    }

    fn add(&mut self, path: &Path) -> io::Result<u64> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if self.nodes.contains_key(&stat.st_ino) {
            return Ok(stat.st_ino);
        }
        let mut node = Node::new(about(&fd, &stat));
        match node.kind() {
            FileType::RegularFile => node.content = Content::read(&File::open(path)?)?,
            FileType::Directory => {
                for entry in fs::read_dir(path)? {
                    let entry = entry?;
                    let inode = self.add(&entry.path())?;
                    node.entries.insert(entry.file_name(), inode);
                }
            }
            _ => {}
        }
        self.nodes.insert(stat.st_ino, node);
        Ok(stat.st_ino)
    }

    /// Writes everything to a new folder.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        self.write_node(self.root, folder, &mut HashMap::new())
    }

    fn write_node(&self, number: u64, path: &Path, known: &mut HashMap<u64, std::path::PathBuf>) -> io::Result<()> {
        let Some(node) = self.nodes.get(&number) else { return Ok(()) };
        if let Some(first) = known.get(&number) {
            return fs::hard_link(first, path);
        }
        match node.kind() {
            FileType::Directory => {
                fs::create_dir(path)?;
                for (name, inode) in &node.entries {
                    self.write_node(*inode, &path.join(name), known)?;
                }
            }
            FileType::RegularFile => node.content.write(path)?,
            FileType::Symlink => symlink(node.inode.target.clone().unwrap_or_default(), path)?,
            _ => return Ok(()),
        }
        known.insert(number, path.to_owned());
        if node.kind() != FileType::Symlink {
            for (name, value) in &node.inode.xattrs {
                rustix::fs::setxattr(path, name.as_os_str(), value, XattrFlags::empty())?;
            }
            fs::set_permissions(path, Permissions::from_mode(node.inode.mode & 0o7777))?;
        }
        let (tv_sec, tv_nsec) = node.inode.mtime;
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Returns what a power cut after these changes could leave.
    pub(crate) fn cut(&self, events: &[Event], ordering: Ordering, rng: &mut Rng) -> Self {
        Cut::new(self, events, ordering, rng).volume(rng)
    }
}

/// Up to where metadata reached the disk, and data certainly did.
struct Cut<'a> {
    before: &'a Volume,
    events: &'a [Event],
    ordering: Ordering,
    /// For all inodes, or for each; the number of the first change that did not.
    metadata: usize,
    metadata_of: HashMap<u64, usize>,
    entries_of: HashMap<u64, usize>,
    data_of: HashMap<u64, usize>,
    /// Data of all files up to here is on disk.
    data: usize,
}

impl<'a> Cut<'a> {
    fn new(before: &'a Volume, events: &'a [Event], ordering: Ordering, rng: &mut Rng) -> Self {
        let none = HashMap::new;
        let mut cut = Self {
            before,
            events,
            ordering,
            metadata: 0,
            metadata_of: none(),
            entries_of: none(),
            data_of: none(),
            data: 0,
        };
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::SyncAll => cut.sync_all(at),
                Event::Sync(inode, durable) => cut.sync(at, *inode, *durable),
                _ => {}
            }
        }
        cut.choose(rng);
        cut
    }

    fn sync_all(&mut self, at: usize) {
        (self.metadata, self.data) = (at, at);
    }

    fn sync(&mut self, at: usize, inode: u64, durable: Durable) {
        self.data_of.insert(inode, at);
        let mut size = self.before.nodes.get(&inode).map_or(0, |node| node.content.size);
        let mut last = None;
        for (number, event) in self.events[..at].iter().enumerate() {
            match event {
                Event::Inode(changed, about) if *changed == inode => {
                    if durable == Durable::All || about.size != size {
                        last = Some(number);
                    }
                    size = about.size;
                }
                Event::Bind(bindings) if bindings.iter().any(|binding| binding.dir == inode) => last = Some(number),
                // On a filesystem with a journal the file's own name goes with it.
                Event::Bind(bindings) if bindings.iter().any(|binding| binding.inode == Some(inode)) => {
                    last = last.max(Some(number).filter(|_| self.ordering != Ordering::PerFolder));
                }
                _ => {}
            }
        }
        let floor = last.map_or(0, |last| last + 1);
        if self.ordering == Ordering::PerFolder {
            self.metadata_of.insert(inode, at);
            self.entries_of.insert(inode, at);
        } else {
            self.metadata = self.metadata.max(floor);
        }
    }

    /// Chooses how much more than that is there.
    fn choose(&mut self, rng: &mut Rng) {
        let end = self.events.len();
        if self.ordering == Ordering::Written {
            (self.metadata, self.data) = (end, end);
            return;
        }
        let mut more = |floor: usize| match rng.u32(0..4) {
            0 => floor,
            1 => end,
            _ => rng.usize(floor.min(end)..=end),
        };
        let floor = self.metadata;
        if self.ordering != Ordering::PerFolder {
            self.metadata = more(floor);
            return;
        }
        let mut inodes: Vec<u64> = self.before.nodes.keys().copied().collect();
        inodes.extend(self.events.iter().filter_map(|event| match event {
            Event::Inode(inode, _) => Some(*inode),
            _ => None,
        }));
        inodes.sort_unstable();
        inodes.dedup();
        for inode in inodes {
            for of in [&mut self.metadata_of, &mut self.entries_of] {
                let least = of.get(&inode).copied().unwrap_or(0).max(floor);
                of.insert(inode, more(least));
            }
        }
        self.keep_renames_whole();
    }

    /// A rename is there in both folders, or in none.
    fn keep_renames_whole(&mut self) {
        let mut is_settled = false;
        while !is_settled {
            is_settled = true;
            for (number, event) in self.events.iter().enumerate() {
                let Event::Bind(bindings) = event else { continue };
                let is_there = bindings.iter().any(|binding| self.has_entry(number, binding.dir));
                for binding in bindings.iter().filter(|_| is_there) {
                    if !self.has_entry(number, binding.dir) {
                        self.entries_of.insert(binding.dir, number + 1);
                        is_settled = false;
                    }
                }
            }
        }
    }

    fn has_entry(&self, number: usize, dir: u64) -> bool {
        number < self.entries_of.get(&dir).copied().unwrap_or(self.metadata)
    }

    fn has_metadata(&self, number: usize, inode: u64) -> bool {
        number < self.metadata_of.get(&inode).copied().unwrap_or(self.metadata)
    }

    fn volume(&self, rng: &mut Rng) -> Volume {
        let mut volume = self.before.clone();
        self.bind(&mut volume);
        let mut of: HashMap<u64, Vec<(usize, &Event)>> = HashMap::new();
        for (number, event) in self.events.iter().enumerate() {
            match event {
                Event::Inode(inode, _) | Event::Data(inode, ..) | Event::Zeros(inode, ..) | Event::Whole(inode, _) => {
                    of.entry(*inode).or_default().push((number, event));
                }
                _ => {}
            }
        }
        let mut inodes: Vec<u64> = of.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            self.file(&mut volume, inode, &of[&inode], rng);
        }
        volume
    }

    fn bind(&self, volume: &mut Volume) {
        for (number, event) in self.events.iter().enumerate() {
            if let Event::Inode(inode, about) = event {
                // Its first state, for an entry that has no later one.
                volume.nodes.entry(*inode).or_insert_with(|| Node::new(about.clone()));
            }
            let Event::Bind(bindings) = event else { continue };
            for Binding { dir, name, inode } in bindings.iter().filter(|binding| self.has_entry(number, binding.dir)) {
                // The folder's own first state comes after its own entry and before those in it.
                let Some(node) = volume.nodes.get_mut(dir) else { continue };
                match inode {
                    Some(inode) => node.entries.insert(name.clone(), *inode),
                    None => node.entries.remove(name),
                };
            }
        }
    }

    fn file(&self, volume: &mut Volume, inode: u64, events: &[(usize, &Event)], rng: &mut Rng) {
        let is_known = self.before.nodes.contains_key(&inode);
        let Some(node) = volume.nodes.get_mut(&inode) else { return };
        let synced = self.data_of.get(&inode).copied().unwrap_or(0).max(self.data);
        let mut content = if is_known { std::mem::take(&mut node.content) } else { Content::default() };
        let (mut size, mut live_size) = (content.size, content.size);
        let taste = Taste::choose(rng);
        // Data that came after a cut of the file which is not on disk went to blocks that the file does not have.
        let mut is_detached = false;
        for (number, event) in events {
            match event {
                Event::Whole(_, bytes) => {
                    content = Content::default();
                    content.put(0, bytes);
                    (size, live_size) = (content.size, content.size);
                }
                Event::Data(_, offset, bytes) => {
                    let end = offset + bytes.len() as u64;
                    let has_size = self.has_metadata(*number, inode) || *number < synced;
                    let grows = end > live_size;
                    if *number < synced || (grows && has_size && self.ordering == Ordering::Journalled) {
                        content.put(*offset, bytes);
                    } else if !is_detached {
                        taste.put(&mut content, *offset, bytes, rng);
                    }
                }
                Event::Zeros(_, offset, len) => {
                    if self.has_metadata(*number, inode) || *number < synced {
                        content.zero(*offset, offset + len);
                    } else {
                        is_detached = true;
                    }
                }
                Event::Inode(_, about) => {
                    let is_there = self.has_metadata(*number, inode);
                    if about.size < live_size {
                        if is_there || *number < synced {
                            content.resize(about.size);
                        } else {
                            is_detached = true;
                        }
                    }
                    live_size = about.size;
                    if is_there {
                        node.inode = about.clone();
                        size = about.size;
                    } else if *number < synced {
                        size = about.size;
                    }
                }
                _ => {}
            }
        }
        content.resize(size);
        node.content = content;
    }
}

/// How much of the unsynced data of one file is there.
#[derive(Clone, Copy)]
enum Taste {
    Nothing,
    All,
    /// Each piece of so many bytes, or not.
    Pieces(usize),
    /// The first pieces of each write.
    Torn(usize),
}

impl Taste {
    fn choose(rng: &mut Rng) -> Self {
        let piece = if rng.bool() { 512 } else { PAGE };
        match rng.u32(0..5) {
            0 => Self::Nothing,
            1 => Self::All,
            2 | 3 => Self::Pieces(piece),
            _ => Self::Torn(piece),
        }
    }

    fn put(self, content: &mut Content, offset: u64, bytes: &[u8], rng: &mut Rng) {
        let (piece, torn) = match self {
            Self::Nothing => return,
            Self::All => return content.put(offset, bytes),
            Self::Pieces(piece) => (piece, usize::MAX),
            Self::Torn(piece) => (piece, rng.usize(0..=bytes.len() / piece + 1)),
        };
        let mut at = 0;
        for number in 0.. {
            // Pieces lie where sectors and pages do.
            let within = usize::try_from((offset + at as u64) % piece as u64).expect("less than a page");
            let end = (at + piece - within).min(bytes.len());
            let is_there = if torn == usize::MAX { rng.bool() } else { number < torn };
            if is_there {
                content.put(offset + at as u64, &bytes[at..end]);
            }
            at = end;
            if at >= bytes.len() {
                return;
            }
        }
    }
}
