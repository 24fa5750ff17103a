//! The inodes that somebody works with: their descriptors, their names, and how history calls them.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::model::{FileId, FileKind, Name, RelPath};
use crate::tree::host::{self, HostId, HostStat};

/// More descriptors than this are not kept, however many the process may open.
const DESCRIPTORS_MAX: usize = 16_384;

/// An inode of `working/` that is in use.
pub(super) struct Node {
    /// How the adapter calls it. Does not change while the node is in use.
    pub(super) id: FileId,
    pub(super) kind: FileKind,
    pub(super) host: HostId,
    /// How history calls it: nearly always like `id`, but a file may enter or leave history while it is in use (a rename
    /// from or to an ignored name). 0 while history does not know it.
    history: AtomicU64,
    /// The last epoch in which a change in place needs no announcement any more; 0 for none. See [`super::writeback`].
    covered: AtomicU64,
    has_no_capability: AtomicBool,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    /// An `O_PATH` descriptor; may be given up while the inode has a name under which it can be found again.
    fd: Option<Arc<OwnedFd>>,
    names: Vec<(Arc<Node>, Name)>,
}

impl Node {
    /// Returns how history calls the file, if it is recorded.
    pub(super) fn history(&self) -> Option<FileId> {
        match self.history.load(Ordering::Acquire) {
            0 => None,
            id => Some(FileId::new(id)),
        }
    }

    /// Tells whether the file's content may change in place in an epoch without being announced.
    pub(super) fn is_covered(&self, epoch: u64) -> bool {
        self.covered.load(Ordering::Acquire) == epoch
    }

    /// Notes that it may.
    pub(super) fn cover(&self, epoch: u64) {
        self.covered.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Returns the id whose lock guards this file.
    pub(super) fn lock_id(&self) -> FileId {
        self.id
    }

    /// Returns the descriptor that is kept, if one is.
    pub(super) fn resident(&self) -> Option<Arc<OwnedFd>> {
        self.state.lock().fd.clone()
    }

    fn names(&self) -> Vec<(Arc<Self>, Name)> {
        self.state.lock().names.clone()
    }

    /// Notes that the file was made here just now: the host gave it no capabilities.
    pub(super) fn note_made(&self) {
        self.has_no_capability.store(true, Ordering::Release);
    }

    /// Notes that an extended attribute is about to be set.
    pub(super) fn note_attribute(&self) {
        self.has_no_capability.store(false, Ordering::Release);
    }

    /// Tells whether it is known that the file has no `security.capability`, for which the kernel asks before a new file
    /// is written to.
    pub(super) fn has_no_capability(&self) -> bool {
        self.has_no_capability.load(Ordering::Acquire)
    }

    /// Adds a name under which the inode can be found.
    pub(super) fn add_name(&self, parent: &Arc<Self>, name: &Name) {
        let mut state = self.state.lock();
        if !state.names.iter().any(|(dir, known)| dir.id == parent.id && known == name) {
            state.names.push((Arc::clone(parent), name.clone()));
        }
    }

    /// Removes a name that the inode lost, and keeps its descriptor: without a name there is no other way to it.
    pub(super) fn lose_name(&self, parent: FileId, name: &Name, fd: &Arc<OwnedFd>) {
        let mut state = self.state.lock();
        state.names.retain(|(dir, known)| dir.id != parent || known != name);
        if state.names.is_empty() {
            state.fd = Some(Arc::clone(fd));
        }
    }

    /// Returns a path of the node, by the names that are known; `None` if it has none.
    pub(super) fn path(&self) -> Option<RelPath> {
        if self.id == FileId::ROOT {
            return Some(RelPath::root());
        }
        let mut names = Vec::new();
        let mut step = self.state.lock().names.first().cloned()?;
        loop {
            names.push(step.1);
            if step.0.id == FileId::ROOT {
                break;
            }
            let up = step.0.state.lock().names.first().cloned()?;
            step = up;
        }
        Some(names.iter().rev().fold(RelPath::root(), |path, name| path.join(name)))
    }
}

/// A table of the nodes in use, with a bound on open descriptors.
pub(super) struct Nodes {
    table: Mutex<Table>,
    descriptors_max: usize,
}

struct Table {
    by_id: HashMap<FileId, Slot>,
    /// Nodes whose id differs from how history calls them, by the latter.
    by_history: HashMap<FileId, FileId>,
    /// Files that history does not know, by their inode.
    unrecorded: HashMap<HostId, FileId>,
    next_unrecorded: u64,
    /// Nodes whose descriptor is open, the longest open first; some were closed since.
    resident: VecDeque<FileId>,
}

struct Slot {
    node: Arc<Node>,
    lookups: u64,
}

/// A node to be entered into the table.
pub(super) struct NewEntry<'a> {
    pub(super) history: Option<FileId>,
    pub(super) kind: FileKind,
    pub(super) host: HostId,
    pub(super) parent: &'a Arc<Node>,
    pub(super) name: &'a Name,
}

impl Nodes {
    pub(super) fn new(root: OwnedFd, host: HostId, descriptors_max: usize) -> Self {
        let node = Node {
            id: FileId::ROOT,
            kind: FileKind::Directory,
            host,
            history: AtomicU64::new(FileId::ROOT.get()),
            covered: AtomicU64::new(0),
            has_no_capability: AtomicBool::new(false),
            state: Mutex::new(NodeState { fd: Some(Arc::new(root)), names: Vec::new() }),
        };
        let root = Slot { node: Arc::new(node), lookups: 1 };
        Self {
            table: Mutex::new(Table {
                by_id: HashMap::from([(FileId::ROOT, root)]),
                by_history: HashMap::new(),
                unrecorded: HashMap::new(),
                next_unrecorded: FileId::UNRECORDED_BASE.get(),
                resident: VecDeque::new(),
            }),
            descriptors_max: descriptors_max.clamp(64, DESCRIPTORS_MAX),
        }
    }

    /// Returns a node in use.
    pub(super) fn get(&self, id: FileId) -> Result<Arc<Node>, Errno> {
        self.table.lock().by_id.get(&id).map(|slot| Arc::clone(&slot.node)).ok_or(Errno::STALE)
    }

    /// Returns the node that stands for a file of history, if it is in use.
    pub(super) fn get_history(&self, file: FileId) -> Option<Arc<Node>> {
        let table = self.table.lock();
        let id = table.by_history.get(&file).copied().unwrap_or(file);
        table.by_id.get(&id).map(|slot| &slot.node).filter(|node| node.history() == Some(file)).map(Arc::clone)
    }

    /// Enters the node for an entry, or finds it, and takes a lookup reference on it. It gets a descriptor when it first
    /// needs one.
    pub(super) fn enter(&self, entry: &NewEntry<'_>) -> Arc<Node> {
        let mut table = self.table.lock();
        let id = table.id_of(entry).unwrap_or_else(|| table.new_id(entry));
        let slot = table.by_id.entry(id).or_insert_with(|| Slot { node: new_node(id, entry), lookups: 0 });
        if slot.node.host != entry.host {
            // The file was exchanged underneath the mount. Whoever holds the old node keeps it by its handles.
            slot.node = new_node(id, entry);
        }
        slot.lookups += 1;
        let node = Arc::clone(&slot.node);
        if entry.history.is_none() {
            table.unrecorded.insert(entry.host, id);
        }
        drop(table);
        node.add_name(entry.parent, entry.name);
        node
    }

    /// Returns the node of a file that history does not know, if it is in use.
    pub(super) fn get_unrecorded(&self, host: HostId) -> Option<Arc<Node>> {
        let table = self.table.lock();
        let id = table.unrecorded.get(&host)?;
        table.by_id.get(id).map(|slot| Arc::clone(&slot.node))
    }

    /// Takes one more lookup reference on a node.
    pub(super) fn take_lookup(&self, node: &Arc<Node>) {
        if let Some(slot) = self.table.lock().by_id.get_mut(&node.id) {
            slot.lookups += 1;
        }
    }

    /// Gives lookup references back.
    pub(super) fn forget(&self, id: FileId, lookups: u64) {
        if id == FileId::ROOT {
            return;
        }
        let mut table = self.table.lock();
        if let Some(slot) = table.by_id.get_mut(&id) {
            slot.lookups = slot.lookups.saturating_sub(lookups);
        }
        table.remove_unused(id);
    }

    /// Returns an `O_PATH` descriptor of a node, opening it if it has none or it was given up.
    pub(super) fn fd(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(fd) = node.resident() {
            return Ok(fd);
        }
        let by_name = |dir: &OwnedFd, name: &OsStr| {
            let fd = host::open_path(dir, name)?;
            Ok((host::stat(&fd)?, fd))
        };
        match self.by_names(node, by_name) {
            Ok(fd) => Ok(self.keep(node, fd)),
            Err(refusal) => node.resident().ok_or(refusal),
        }
    }

    /// Keeps an `O_PATH` descriptor of a node, unless one is kept already, and returns the one that is. As long as anybody has
    /// it, it is not given up.
    pub(super) fn keep(&self, node: &Node, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = {
            let mut state = node.state.lock();
            if let Some(kept) = &state.fd {
                return Arc::clone(kept);
            }
            Arc::clone(state.fd.insert(Arc::new(fd)))
        };
        let mut table = self.table.lock();
        table.resident.push_back(node.id);
        table.close_surplus(self.descriptors_max);
        fd
    }

    /// Opens a node that is a regular file.
    pub(super) fn open(&self, node: &Arc<Node>, flags: OFlags) -> Result<OwnedFd, Errno> {
        if let Some(fd) = node.resident() {
            return host::reopen(&*fd, flags);
        }
        let by_name = |dir: &OwnedFd, name: &OsStr| {
            let file = host::open_file(dir, name, flags)?;
            Ok((host::stat(&file)?, file))
        };
        self.by_names(node, by_name).or_else(|refusal| host::reopen(&*node.resident().ok_or(refusal)?, flags))
    }

    /// Returns what the host says of a node.
    pub(super) fn stat(&self, node: &Arc<Node>) -> Result<HostStat, Errno> {
        if let Some(fd) = node.resident() {
            return host::stat(&*fd);
        }
        let by_name = |dir: &OwnedFd, name: &OsStr| host::stat_entry(dir, name).map(|found| (found, found));
        self.by_names(node, by_name).or_else(|refusal| host::stat(&*node.resident().ok_or(refusal)?))
    }

    /// Reaches a node by one of its names; what is there must be the node's inode. A node that loses a name or gets another
    /// one is given a descriptor first: so where this fails, a look at that comes next.
    fn by_names<T>(
        &self,
        node: &Node,
        reach: impl Fn(&OwnedFd, &OsStr) -> Result<(HostStat, T), Errno>,
    ) -> Result<T, Errno> {
        let mut refusal = Errno::STALE;
        for (parent, name) in node.names() {
            match self.fd(&parent).and_then(|dir| reach(&dir, name.as_os_str())) {
                Ok((found, reached)) if found.id == node.host => return Ok(reached),
                Ok(_) | Err(Errno::NOENT | Errno::LOOP) => {}
                Err(errno) => refusal = errno,
            }
        }
        Err(refusal)
    }

    /// Notes how history calls a node from now on.
    pub(super) fn set_history(&self, node: &Arc<Node>, history: Option<FileId>) {
        let mut table = self.table.lock();
        if let Some(old) = node.history() {
            table.by_history.remove(&old);
        }
        node.history.store(history.map_or(0, FileId::get), Ordering::Release);
        match history {
            Some(file) => {
                table.unrecorded.remove(&node.host);
                if file != node.id {
                    table.by_history.insert(file, node.id);
                }
            }
            None => {
                table.unrecorded.insert(node.host, node.id);
            }
        }
    }
}

fn new_node(id: FileId, entry: &NewEntry<'_>) -> Arc<Node> {
    Arc::new(Node {
        id,
        kind: entry.kind,
        host: entry.host,
        history: AtomicU64::new(entry.history.map_or(0, FileId::get)),
        covered: AtomicU64::new(0),
        has_no_capability: AtomicBool::new(false),
        state: Mutex::default(),
    })
}

impl Table {
    fn id_of(&self, entry: &NewEntry<'_>) -> Option<FileId> {
        match entry.history {
            Some(file) => {
                let id = self.by_history.get(&file).copied().unwrap_or(file);
                self.by_id.contains_key(&id).then_some(id)
            }
            None => self.unrecorded.get(&entry.host).copied(),
        }
    }

    fn new_id(&mut self, entry: &NewEntry<'_>) -> FileId {
        entry.history.unwrap_or_else(|| {
            let id = FileId::new(self.next_unrecorded);
            self.next_unrecorded += 1;
            id
        })
    }

    /// Drops a node that nobody refers to, and then the parents that only it referred to.
    fn remove_unused(&mut self, id: FileId) {
        let mut unused = vec![id];
        while let Some(id) = unused.pop() {
            let Some(slot) = self.by_id.get(&id) else { continue };
            if slot.lookups > 0 || Arc::strong_count(&slot.node) > 1 {
                continue;
            }
            let Some(slot) = self.by_id.remove(&id) else { continue };
            match slot.node.history() {
                Some(file) => self.by_history.remove(&file),
                None => self.unrecorded.remove(&slot.node.host),
            };
            let names = std::mem::take(&mut slot.node.state.lock().names);
            unused.extend(names.iter().map(|(parent, _)| parent.id));
        }
    }

    /// Gives up descriptors that can be opened again, the longest open first.
    fn close_surplus(&mut self, max: usize) {
        let mut tries = self.resident.len();
        while self.resident.len() > max && tries > 0 {
            tries -= 1;
            let Some(id) = self.resident.pop_front() else { break };
            let Some(slot) = self.by_id.get(&id) else { continue };
            let mut state = slot.node.state.lock();
            // Where it has no name, the descriptor is the only way to it; and while its names change, the sure one.
            let is_needed = |fd: &Arc<OwnedFd>| state.names.is_empty() || Arc::strong_count(fd) > 1;
            if state.fd.as_ref().is_some_and(is_needed) {
                self.resident.push_back(id);
            } else {
                state.fd = None;
            }
        }
    }
}
