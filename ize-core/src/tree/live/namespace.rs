//! Making, removing, renaming and linking entries.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::handles::OpenFile;
use super::{Live, Node, Place, named};
use crate::disk::{Change, change};
use crate::failpoint;
use crate::model::{Displaced, FileId, FileKind, FileMetadata, Landmark, OpData, OpType, Touched};
use crate::record::Reservation;
use crate::tree::host::{self, HostStat};
use crate::tree::{Caller, Handle, NewNode, OpenMode, RenameMode, Result, Stat};

/// Room that an operation without data may take in the journal and the queue.
pub(super) const SMALL_OP_BYTES: u64 = 1024;

const SET_GROUP_ID: u32 = 0o2000;

/// What to make.
pub(super) enum Making<'a> {
    Node(NewNode),
    Directory { mode: u32 },
    Symlink { target: &'a [u8] },
}

/// What to remove.
#[derive(Clone, Copy)]
pub(super) enum Removing {
    NonDirectory,
    Directory,
}

/// What was just made at a place.
struct Made {
    found: HostStat,
    /// The folder, afterwards.
    parent: FileMetadata,
}

/// What is at a place right now.
struct Occupant {
    stat: HostStat,
    history: Option<FileId>,
    /// The node, if it is in use.
    node: Option<Arc<Node>>,
}

impl Occupant {
    /// The id whose lock guards it. A file that nobody uses and history does not know needs none.
    fn lock_id(&self) -> Option<FileId> {
        self.node.as_ref().map(|node| node.lock_id()).or(self.history)
    }

    fn is_directory(&self) -> bool {
        self.stat.metadata.kind == FileKind::Directory
    }
}

impl Place {
    /// Has the host change the entry.
    fn change<T>(&self, call: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>) -> Result<T, Errno> {
        let (dir, name) = (self.dir.as_fd(), self.name.as_os_str());
        change(Change::Entry(dir, name), || call(dir, name))
    }
}

impl Making<'_> {
    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    fn data(&self) -> OpData {
        match self {
            Self::Symlink { target } => OpData::Inline(bytes::Bytes::copy_from_slice(target)),
            Self::Node(_) | Self::Directory { .. } => OpData::None,
        }
    }
}

/// Returns the operation that made an inode.
pub(super) fn creation(file: FileId, entry: crate::model::Entry, stat: &HostStat) -> OpType {
    let mode = stat.metadata.mode;
    match stat.metadata.kind {
        FileKind::File => OpType::FileCreate { file, entry, mode },
        FileKind::Directory => OpType::DirCreate { file, entry, mode },
        FileKind::Symlink => OpType::Symlink { file, entry },
        kind @ (FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice) => {
            OpType::Special { file, entry, kind, mode, rdev: stat.metadata.rdev }
        }
    }
}

/// Returns the operation that removed a name.
pub(super) fn removal(file: FileId, entry: crate::model::Entry, kind: FileKind) -> OpType {
    match kind {
        FileKind::Directory => OpType::DirDelete { file, entry },
        _ => OpType::FileDelete { file, entry },
    }
}

impl Live {
    pub(super) fn make(&self, caller: Caller, parent: FileId, name: &OsStr, making: Making<'_>) -> Result<Stat> {
        let place = self.place(parent, name)?;
        let reservation = self.reserve_growth(SMALL_OP_BYTES)?;
        let held = self.locks.change(&[place.parent.id]);
        make_on_host(&place, &making)?;
        let fd = host::open_path(&place.dir, place.name.as_os_str())?;
        let made = self.settle_new(caller, &place, &fd, &making)?;
        let recorded = self.record_made(caller, &place, reservation, &made, making.data());
        held.release();
        let node = recorded?;
        self.nodes.keep(&node, fd);
        Ok(self.stat_of(&node, &made.found))
    }

    pub(super) fn create_file(
        &self,
        caller: Caller,
        parent: FileId,
        name: &OsStr,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Stat, Handle)> {
        let place = self.place(parent, name)?;
        let reservation = self.reserve_growth(SMALL_OP_BYTES)?;
        let held = self.locks.change(&[place.parent.id]);
        let flags = self.access_flags(mode) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let making = Making::Node(NewNode { kind: FileKind::File, mode: permissions, rdev: 0 });
        let permitted = Mode::from_raw_mode(permissions & 0o7777);
        let opened = place.change(|dir, name| fs::openat(dir, name, flags | OFlags::CLOEXEC, permitted));
        let file = match opened {
            Err(Errno::EXIST) if !mode.exclusive => {
                drop(reservation);
                held.release();
                return self.open_existing(caller, parent, name, mode);
            }
            other => other?,
        };
        let made = self.settle_new(caller, &place, &file, &making)?;
        let node = self.record_made(caller, &place, reservation, &made, OpData::None)?;
        held.release();
        let stat = self.stat_of(&node, &made.found);
        let handle = self.handles.add_file(OpenFile::new(node, file, mode, self.actors.of(caller)));
        Ok((stat, handle))
    }

    fn open_existing(&self, caller: Caller, parent: FileId, name: &OsStr, mode: OpenMode) -> Result<(Stat, Handle)> {
        let stat = self.look_up(parent, name)?;
        match self.open_file(caller, stat.file, mode) {
            Ok(handle) => Ok((self.stat_node(stat.file, Some(handle))?, handle)),
            Err(error) => {
                self.nodes.forget(stat.file, 1);
                Err(error)
            }
        }
    }

    /// Gives a new inode what it is to have. If that fails, it is removed again.
    fn settle_new(&self, caller: Caller, place: &Place, fd: &OwnedFd, making: &Making<'_>) -> Result<Made> {
        failpoint::pass("made");
        let settled = self.own(caller, place, fd, making);
        if settled.is_err() {
            let flags = if making.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            place.change(|dir, name| fs::unlinkat(dir, name, flags))?;
        }
        Ok(settled?)
    }

    /// Gives a new inode the owner and permission bits that it is to have, whatever this process's umask is.
    fn own(&self, caller: Caller, place: &Place, fd: &OwnedFd, making: &Making<'_>) -> Result<Made, Errno> {
        let parent = host::stat(&*place.dir)?;
        let mut found = host::stat(fd)?;
        let inherits_group = parent.metadata.mode & SET_GROUP_ID != 0;
        // In a set-group-id folder the host gave it the folder's group already, see mkdir(2).
        let group = if inherits_group { found.metadata.gid } else { caller.gid };
        if self.own_new_files && (found.metadata.uid, found.metadata.gid) != (caller.uid, group) {
            host::set_owner(fd, Some(caller.uid), (!inherits_group).then_some(caller.gid))?;
            found = host::stat(fd)?;
        }
        let wanted = match making {
            Making::Node(node) => node.mode & 0o7777,
            Making::Directory { mode } if inherits_group => mode & 0o1777 | SET_GROUP_ID,
            Making::Directory { mode } => mode & 0o1777,
            Making::Symlink { .. } => found.metadata.mode,
        };
        if found.metadata.mode != wanted {
            host::set_mode(fd, wanted)?;
            found = host::stat(fd)?;
        }
        Ok(Made { found, parent: parent.metadata })
    }

    /// Records an inode that was just made at a place, and enters it into the table.
    fn record_made(
        &self,
        caller: Caller,
        place: &Place,
        reservation: Reservation<'_>,
        made: &Made,
        data: OpData,
    ) -> Result<Arc<Node>> {
        let found = &made.found;
        let is_dir = found.metadata.kind == FileKind::Directory;
        // Before it is recorded: a sync that comes between leaves it uncovered.
        let epoch = *self.writeback.epoch();
        let history = self.is_recordable(place, is_dir).then(|| self.recorder.allocate_file());
        if let (Some(file), Some(entry)) = (history, place.entry()) {
            self.record_vanished(place)?;
            let op_type = creation(file, entry.clone(), found);
            let mut draft = self.draft(caller, op_type, data, Some(Landmark::Namespace));
            draft.touched.push(Touched { file, metadata: named(found.metadata) });
            draft.touched.push(Touched { file: entry.dir, metadata: named(made.parent) });
            let op = self.record(reservation, draft)?;
            self.bindings.set(&entry, Some(file), op);
            if is_dir {
                self.bindings.made_folder(file);
            }
        }
        let node = self.enter(place, found, history);
        node.cover(epoch);
        node.note_made();
        Ok(node)
    }

    pub(super) fn remove(&self, caller: Caller, parent: FileId, name: &OsStr, what: Removing) -> Result<()> {
        let place = self.place(parent, name)?;
        let reservation = self.reserve_shrinking()?;
        let (held, victim) = self.lock_with_occupant(&place)?;
        let victim = victim.ok_or(Errno::NOENT)?;
        let fd = self.occupant_fd(&place, &victim)?;
        self.catch_up_occupant(&victim, true)?;
        let flags = match what {
            Removing::NonDirectory => AtFlags::empty(),
            Removing::Directory => AtFlags::REMOVEDIR,
        };
        place.change(|dir, name| fs::unlinkat(dir, name, flags))?;
        if let Some(node) = &victim.node {
            node.lose_name(place.parent.id, &place.name, &fd);
        }
        if let (Some(file), Some(entry)) = (victim.history, place.entry()) {
            let op_type = removal(file, entry.clone(), victim.stat.metadata.kind);
            let mut draft = self.draft(caller, op_type, OpData::None, Some(Landmark::Namespace));
            let left = self.applied(lost_a_name(file, &fd))?;
            draft.touched.push(left);
            draft.touched.extend(self.applied(self.touched(&place))?);
            let op = self.record(reservation, draft)?;
            self.bindings.set(&entry, None, op);
            victim.node.iter().for_each(|node| self.note_recorded(node, &left.metadata));
        }
        held.release();
        self.place_changed(&place);
        Ok(())
    }

    fn lock_with_occupant(&self, place: &Place) -> Result<(super::locks::Held<'_>, Option<Occupant>)> {
        let mut guess = self.guess_lock(place);
        loop {
            let mut files = vec![place.parent.id];
            files.extend(guess);
            let held = self.locks.change(&files);
            let occupant = self.occupant(place)?;
            if is_guarded(occupant.as_ref(), guess) {
                return Ok((held, occupant));
            }
            guess = occupant.as_ref().and_then(Occupant::lock_id);
        }
    }

    fn occupant(&self, place: &Place) -> Result<Option<Occupant>> {
        let stat = match host::stat_entry(&place.dir, place.name.as_os_str()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let history = self.bound(place)?;
        let node = match history {
            Some(file) => self.nodes.get_history(file),
            None => self.nodes.get_unrecorded(stat.id),
        };
        Ok(Some(Occupant { stat, history, node }))
    }

    /// Returns a descriptor of what is at a place, which its node keeps: the name is going to change. The caller holds the
    /// lock on the folder.
    fn occupant_fd(&self, place: &Place, occupant: &Occupant) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = occupant.node.as_ref().and_then(|node| node.resident()) {
            return Ok(fd);
        }
        let fd = host::open_path(&place.dir, place.name.as_os_str())?;
        Ok(match &occupant.node {
            Some(node) => self.nodes.keep(node, fd),
            None => Arc::new(fd),
        })
    }

    /// Records what changed in a file that the kernel writes to itself, before its names change. Of one that `loses` its
    /// last name nothing is of interest any more.
    fn catch_up_occupant(&self, occupant: &Occupant, loses: bool) -> Result<()> {
        let is_over = loses && occupant.stat.metadata.nlink <= 1;
        match &occupant.node {
            Some(node) if !is_over => self.catch_up(node),
            _ => Ok(()),
        }
    }

    /// Returns whose lock guards what is at a place: a guess, to be looked at again under the locks. Storage is not asked: what
    /// it says while no lock is held may be over before it is noted.
    fn guess_lock(&self, place: &Place) -> Option<FileId> {
        let file = self.bindings.guess(&place.entry()?)?;
        Some(self.nodes.get_history(file).map_or(file, |node| node.lock_id()))
    }

    pub(super) fn rename_entry(
        &self,
        caller: Caller,
        from: (FileId, &OsStr),
        to: (FileId, &OsStr),
        mode: RenameMode,
    ) -> Result<()> {
        let from = self.place(from.0, from.1)?;
        let to = self.place(to.0, to.1)?;
        let reservation = self.reserve(SMALL_OP_BYTES)?;
        let moves = (from.parent.id != to.parent.id).then(|| self.folder_moves.lock());
        let (held, source, target) = self.lock_for_rename(&from, &to)?;
        let source_fd = self.occupant_fd(&from, &source)?;
        let target_fd = target.as_ref().map(|target| self.occupant_fd(&to, target)).transpose()?;
        self.catch_up_occupant(&source, false)?;
        if let Some(target) = &target {
            self.catch_up_occupant(target, mode == RenameMode::Replace)?;
        }
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        let (old, new) = ((from.dir.as_fd(), from.name.as_os_str()), (to.dir.as_fd(), to.name.as_os_str()));
        change(Change::Entries([old, new]), || fs::renameat_with(old.0, old.1, new.0, new.1, flags))?;
        if target.as_ref().is_some_and(|target| target.stat.id == source.stat.id) {
            // Two names of one file: rename(2) does nothing.
            return Ok(());
        }
        let moved = Moved {
            from: &from,
            to: &to,
            source: (&source, &source_fd),
            target: target.as_ref().zip(target_fd.as_ref()),
            is_exchange: mode == RenameMode::Exchange,
        };
        moved.rename_nodes();
        self.record_move(caller, reservation, &moved)?;
        held.release();
        drop(moves);
        self.place_changed(&from);
        self.place_changed(&to);
        Ok(())
    }

    fn lock_for_rename(
        &self,
        from: &Place,
        to: &Place,
    ) -> Result<(super::locks::Held<'_>, Occupant, Option<Occupant>)> {
        let (mut source, mut target) = (self.guess_lock(from), self.guess_lock(to));
        // What is in a folder that enters or leaves history has locks of its own, more than can be taken one by one.
        let mut is_all = false;
        loop {
            let mut files = vec![from.parent.id, to.parent.id];
            files.extend(source);
            files.extend(target);
            let held = if is_all { self.locks.all() } else { self.locks.change(&files) };
            let source_now = self.occupant(from)?.ok_or(Errno::NOENT)?;
            let target_now = self.occupant(to)?;
            let crosses = self.folder_crosses(&source_now, to, target_now.as_ref());
            let are_guarded = is_guarded(Some(&source_now), source) && is_guarded(target_now.as_ref(), target);
            if is_all || are_guarded && !crosses {
                return Ok((held, source_now, target_now));
            }
            is_all = crosses;
            source = source_now.lock_id();
            target = target_now.as_ref().and_then(Occupant::lock_id);
        }
    }

    /// Tells whether a rename may have a folder, and all that is in it, enter or leave history.
    fn folder_crosses(&self, source: &Occupant, to: &Place, target: Option<&Occupant>) -> bool {
        let target_is_dir = target.is_some_and(Occupant::is_directory);
        let is_recordable = || self.is_recordable(to, source.is_directory());
        match (source.history, target.and_then(|target| target.history)) {
            (Some(_), Some(_)) => false,
            (Some(_), None) => target_is_dir || source.is_directory() && !is_recordable(),
            (None, Some(_)) => target_is_dir || source.is_directory(),
            (None, None) => (target_is_dir || source.is_directory()) && is_recordable(),
        }
    }

    fn record_move(&self, caller: Caller, reservation: Reservation<'_>, moved: &Moved<'_>) -> Result<()> {
        let (source, _) = moved.source;
        let target_history = moved.target.and_then(|(target, _)| target.history);
        let stays_recorded = target_history.is_some() || self.is_recordable(moved.to, source.is_directory());
        if stays_recorded && target_history.is_none() {
            self.record_vanished(moved.to)?;
        }
        match (source.history, stays_recorded) {
            (Some(file), true) => {
                self.record_rename(caller, reservation, moved, file, target_history)?;
                if moved.is_exchange && target_history.is_none() {
                    self.record_arrival(moved.from)?;
                }
                Ok(())
            }
            (Some(file), false) => {
                drop(reservation);
                self.record_departure(caller, moved.from, file, moved.source.1)?;
                if moved.is_exchange { self.record_arrival(moved.from) } else { Ok(()) }
            }
            (None, true) => {
                drop(reservation);
                if let (Some(file), Some((_, fd))) = (target_history, moved.target) {
                    self.record_departure(caller, moved.to, file, fd)?;
                }
                self.record_arrival(moved.to)?;
                if moved.is_exchange { self.record_arrival(moved.from) } else { Ok(()) }
            }
            (None, false) => Ok(()),
        }
    }

    fn record_rename(
        &self,
        caller: Caller,
        reservation: Reservation<'_>,
        moved: &Moved<'_>,
        file: FileId,
        target: Option<FileId>,
    ) -> Result<()> {
        let (Some(from), Some(to)) = (moved.from.entry(), moved.to.entry()) else { return Ok(()) };
        let displaced = match target {
            None => Displaced::Nothing,
            Some(other) if moved.is_exchange => Displaced::Exchanged(other),
            Some(victim) => Displaced::Replaced(victim),
        };
        let landmark = match displaced {
            Displaced::Replaced(_) => Landmark::Replace,
            Displaced::Nothing | Displaced::Exchanged(_) => Landmark::Namespace,
        };
        let op_type = OpType::Rename { file, from: from.clone(), to: to.clone(), displaced };
        let mut draft = self.draft(caller, op_type, OpData::None, Some(landmark));
        let metadata = self.applied(host::stat(&**moved.source.1))?.metadata;
        draft.touched.push(Touched { file, metadata: named(metadata) });
        draft.touched.extend(self.applied(self.touched(moved.from))?);
        if moved.from.parent.id != moved.to.parent.id {
            draft.touched.extend(self.applied(self.touched(moved.to))?);
        }
        if let (Some(other), Some((_, fd))) = (target, moved.target) {
            draft.touched.push(if moved.is_exchange {
                Touched { file: other, metadata: named(self.applied(host::stat(&**fd))?.metadata) }
            } else {
                self.applied(lost_a_name(other, fd))?
            });
        }
        let states: Vec<_> = draft.touched.iter().map(|touched| (touched.file, touched.metadata)).collect();
        let op = self.record(reservation, draft)?;
        for (occupant, file) in moved.occupants().zip([Some(file), target]) {
            let state = states.iter().find(|(touched, _)| Some(*touched) == file);
            if let (Some(node), Some((_, metadata))) = (&occupant.node, state) {
                self.note_recorded(node, metadata);
            }
        }
        self.bindings.set(&from, if moved.is_exchange { target } else { None }, op);
        self.bindings.set(&to, Some(file), op);
        Ok(())
    }

    pub(super) fn link_node(&self, caller: Caller, node: FileId, parent: FileId, name: &OsStr) -> Result<Stat> {
        let node = self.nodes.get(node)?;
        let place = self.place(parent, name)?;
        let reservation = self.reserve_growth(SMALL_OP_BYTES)?;
        let held = self.locks.change(&[place.parent.id, node.lock_id()]);
        let fd = self.nodes.fd(&node)?;
        self.catch_up(&node)?;
        host::link(&*fd, &place.dir, place.name.as_os_str())?;
        node.add_name(&place.parent, &place.name);
        let found = self.applied(host::stat(&*fd))?;
        self.record_vanished(&place)?;
        match (node.history(), place.entry()) {
            (Some(file), Some(entry)) if self.is_recordable(&place, false) => {
                let op_type = OpType::Hardlink { file, entry: entry.clone() };
                let mut draft = self.draft(caller, op_type, OpData::None, Some(Landmark::Namespace));
                draft.touched.push(Touched { file, metadata: named(found.metadata) });
                draft.touched.extend(self.applied(self.touched(&place))?);
                let op = self.record(reservation, draft)?;
                self.bindings.set(&entry, Some(file), op);
                self.note_recorded(&node, &found.metadata);
            }
            (None, Some(_)) if self.is_recordable(&place, false) => {
                drop(reservation);
                self.record_arrival(&place)?;
            }
            _ => {}
        }
        held.release();
        self.nodes.take_lookup(&node);
        Ok(self.stat_of(&node, &found))
    }
}

/// A rename that the host carried out.
struct Moved<'a> {
    from: &'a Place,
    to: &'a Place,
    source: (&'a Occupant, &'a Arc<OwnedFd>),
    target: Option<(&'a Occupant, &'a Arc<OwnedFd>)>,
    is_exchange: bool,
}

impl Moved<'_> {
    /// The source, and the target if there is one.
    fn occupants(&self) -> impl Iterator<Item = &Occupant> {
        std::iter::once(self.source.0).chain(self.target.map(|(target, _)| target))
    }

    /// Tells the nodes that are in use what they are called now.
    fn rename_nodes(&self) {
        let (source, source_fd) = self.source;
        if let Some(node) = &source.node {
            node.add_name(&self.to.parent, &self.to.name);
            node.lose_name(self.from.parent.id, &self.from.name, source_fd);
        }
        if let Some((Occupant { node: Some(node), .. }, fd)) = self.target {
            if self.is_exchange {
                node.add_name(&self.from.parent, &self.from.name);
            }
            node.lose_name(self.to.parent.id, &self.to.name, fd);
        }
    }
}

/// Tells whether what is at a place is under the lock that was taken for it. Nothing needs none.
fn is_guarded(occupant: Option<&Occupant>, locked: Option<FileId>) -> bool {
    occupant.is_none_or(|occupant| occupant.lock_id() == locked)
}

/// Returns the state of a file or folder that just lost a name.
fn lost_a_name(file: FileId, fd: &OwnedFd) -> Result<Touched, Errno> {
    let mut metadata = host::stat(fd)?.metadata;
    if metadata.kind == FileKind::Directory {
        // Some filesystems leave a removed folder's link count at 1.
        metadata.nlink = 0;
    }
    Ok(Touched { file, metadata })
}

fn make_on_host(place: &Place, making: &Making<'_>) -> Result<(), Errno> {
    place.change(|dir, name| match making {
        Making::Directory { mode } => fs::mkdirat(dir, name, Mode::from_raw_mode(mode & 0o1777)),
        Making::Symlink { target } => fs::symlinkat(*target, dir, name),
        Making::Node(node) => {
            if matches!(node.kind, FileKind::Directory | FileKind::Symlink) {
                return Err(Errno::INVAL);
            }
            let file_type = fs::FileType::from_raw_mode(node.kind.type_bits());
            fs::mknodat(dir, name, file_type, Mode::from_raw_mode(node.mode & 0o7777), node.rdev)
        }
    })
}
