//! Giving a live file the owner, extended attributes, permissions and times that it had.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::Restored;
use crate::model::{FileId, FileKind, FileMetadata, XattrName};
use crate::storage::Xattr;
use crate::tree::{Caller, Result, SetAttributes, SetTime, Tree, TreeError, XattrMode};

/// What a file is to have.
pub(super) struct Wanted {
    pub(super) metadata: FileMetadata,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) owners: bool,
}

impl Wanted {
    /// Sets what differs and answers whether anything did; on a dry run it only answers. Refusals are told to `note`.
    pub(super) fn set(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        file: FileId,
        dry_run: bool,
        note: &mut dyn FnMut(Restored),
    ) -> Result<bool> {
        // The owner first: chown(2) takes set-user-id bits and file capabilities away. Permissions and times last.
        let owner = self.set_owner(tree, caller, file, dry_run, note)?;
        let xattrs = self.set_xattrs(tree, caller, file, dry_run, note)?;
        let attributes = self.set_mode_and_times(tree, caller, file, dry_run)?;
        Ok(owner || xattrs || attributes)
    }

    fn set_owner(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        file: FileId,
        dry_run: bool,
        note: &mut dyn FnMut(Restored),
    ) -> Result<bool> {
        let now = tree.stat(file, None)?.metadata;
        let (uid, gid) = (self.metadata.uid, self.metadata.gid);
        if !self.owners || (now.uid, now.gid) == (uid, gid) {
            return Ok(false);
        }
        let owner = SetAttributes { uid: Some(uid), gid: Some(gid), ..SetAttributes::default() };
        if dry_run {
            return Ok(true);
        }
        match tree.set_attributes(caller, file, None, &owner) {
            Ok(_) => Ok(true),
            Err(TreeError::Refused(errno)) => {
                note(Restored::OwnerRefused(errno));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn set_xattrs(
        &self,
        tree: &dyn Tree,
        caller: Caller,
        file: FileId,
        dry_run: bool,
        note: &mut dyn FnMut(Restored),
    ) -> Result<bool> {
        let mut now = xattrs_of(tree, file)?;
        let mut changed = false;
        for xattr in &self.xattrs {
            if now.remove(&xattr.name).is_some_and(|value| *value == *xattr.value) {
                continue;
            }
            let set = || tree.set_xattr(caller, file, os(&xattr.name), &xattr.value, XattrMode::Either);
            changed |= dry_run || accepted(set(), &xattr.name, note)?;
        }
        for name in now.keys().filter(|name| is_ours(name)) {
            changed |= dry_run || accepted(tree.remove_xattr(caller, file, os(name)), name, note)?;
        }
        Ok(changed)
    }

    fn set_mode_and_times(&self, tree: &dyn Tree, caller: Caller, file: FileId, dry_run: bool) -> Result<bool> {
        let now = tree.stat(file, None)?.metadata;
        let wanted = self.metadata;
        let mode = (wanted.kind != FileKind::Symlink && now.mode != wanted.mode).then_some(wanted.mode);
        // Reading alone moves the access time, so it is no difference; but it is restored along with the other.
        let times = now.mtime != wanted.mtime;
        if mode.is_none() && !times {
            return Ok(false);
        }
        let atime = times.then_some(SetTime::To(wanted.atime));
        let mtime = times.then_some(SetTime::To(wanted.mtime));
        if !dry_run {
            tree.set_attributes(caller, file, None, &SetAttributes { mode, atime, mtime, ..SetAttributes::default() })?;
        }
        Ok(true)
    }
}

/// Attributes that people and programs set; others (labels of security modules) belong to the host.
fn is_ours(name: &XattrName) -> bool {
    [&b"user."[..], b"trusted.", b"system.posix_acl_"].iter().any(|space| name.as_bytes().starts_with(space))
}

fn os(name: &XattrName) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

fn accepted(result: Result<()>, name: &XattrName, note: &mut dyn FnMut(Restored)) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(TreeError::Refused(errno)) => {
            note(Restored::XattrRefused(name.clone(), errno));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn xattrs_of(tree: &dyn Tree, file: FileId) -> Result<BTreeMap<XattrName, Vec<u8>>> {
    let names = match tree.xattr_names(file) {
        Err(error) if error.errno() == Errno::NOTSUP => Vec::new(),
        other => other?,
    };
    let names = names.split(|byte| *byte == 0).filter_map(|name| XattrName::new(name.to_vec()).ok());
    let mut xattrs = BTreeMap::new();
    for name in names {
        match tree.xattr(file, os(&name)) {
            Ok(value) => xattrs.insert(name, value),
            // Listed, but gone or not for us.
            Err(TreeError::Refused(_)) => continue,
            Err(error) => return Err(error),
        };
    }
    Ok(xattrs)
}
