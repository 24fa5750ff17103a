//! Set-user-id and set-group-id bits, which drop when somebody changes a file who may not set them.
//!
//! The kernel would see to that itself, but then asks for a file's `security.capability` before each write. With
//! `FUSE_HANDLE_KILLPRIV_V2` it asks once, and leaves the bits to us: after each change of an owner, and after a change of
//! content by whoever lacks `CAP_FSETID`. It marks such writes; of other requests fuser 0.18 does not hand on the mark, so
//! there we look at the caller ourselves. (The kernel goes on to remove `security.capability` by a request of its own.)

use ize_core::model::FileKind;
use ize_core::tree::{Caller, Stat};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, capabilities};

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// Returns the permission bits that a file is left with, if it loses any.
///
/// Without the group's right to execute, set-group-id is no privilege.
pub(crate) fn dropped(stat: &Stat) -> Option<u32> {
    if stat.metadata.kind == FileKind::Directory {
        return None;
    }
    let mode = stat.metadata.mode;
    let lost = SET_USER_ID | if mode & GROUP_EXECUTE == 0 { 0 } else { SET_GROUP_ID };
    (mode & lost != 0).then_some(mode & !lost)
}

/// Tells whether this process leaves such bits alone when it writes to a file. If not, the host drops them.
pub(crate) fn survive_our_writes() -> bool {
    capabilities(None).map_or_else(|_| rustix::process::geteuid().is_root(), holds_the_right)
}

/// Tells whether a caller may change a file and leave such bits alone.
pub(crate) fn survive_writes_of(caller: Caller) -> bool {
    let pid = i32::try_from(caller.pid).ok().and_then(Pid::from_raw);
    // A caller that is gone, or in another pid namespace, is taken for what its user id says.
    pid.and_then(|pid| capabilities(Some(pid)).ok()).map_or(caller.uid == 0, holds_the_right)
}

fn holds_the_right(sets: rustix::thread::CapabilitySets) -> bool {
    sets.effective.contains(CapabilitySet::FSETID)
}

#[cfg(test)]
mod tests {
    use ize_core::model::{FileId, FileMetadata, Timestamp};

    use super::*;

    fn stat(kind: FileKind, mode: u32) -> Stat {
        let (atime, mtime, ctime) = (Timestamp::default(), Timestamp::default(), Timestamp::default());
        let metadata = FileMetadata { kind, mode, uid: 0, gid: 0, size: 0, nlink: 1, rdev: 0, atime, mtime, ctime };
        Stat { file: FileId::new(7), metadata, blocks: 0, block_size: 4096 }
    }

    #[test]
    fn what_is_no_privilege_stays() {
        let of = |mode| dropped(&stat(FileKind::File, mode));
        assert_eq!(of(0o755), None);
        assert_eq!(of(0o1644), None);
        assert_eq!(of(0o2644), None);
        assert_eq!(of(0o6755), Some(0o755));
        assert_eq!(of(0o6745), Some(0o2745));
        assert_eq!(dropped(&stat(FileKind::Directory, 0o6755)), None);
    }

    #[test]
    fn a_caller_is_judged_by_its_own_capabilities() {
        let own = Caller { pid: std::process::id(), uid: 65534, gid: 65534 };
        assert_eq!(survive_writes_of(own), survive_our_writes());
        let unknown = |uid| survive_writes_of(Caller { pid: 0, uid, gid: uid });
        assert!(unknown(0) && !unknown(1000));
    }
}
