//! Telling a killed process from a power cut: has everything that was written to a folder stayed there?

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use crate::model::Timestamp;

/// One mount of one filesystem in one boot of the machine. As long as a folder's session is the same, whatever any process
/// wrote there is there, synced or not; in another session what was not synced may be missing.
///
/// Its text form, two lines, is what is kept in files to compare with later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    boot: String,
    /// Never used again while the machine runs (`STATX_MNT_ID_UNIQUE`, Linux 6.8); before, the number may return.
    mount: u64,
}

impl Session {
    /// Returns the session of the filesystem that a descriptor is on; `None` where the system does not tell.
    ///
    /// # Errors
    /// If the descriptor cannot be asked.
    pub fn of(fd: impl AsFd) -> io::Result<Option<Self>> {
        let Ok(boot) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return Ok(None) };
        Ok(mount_id(fd)?.map(|mount| Self { boot: boot.trim().to_owned(), mount }))
    }

    /// Reads the text form; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (boot, mount) = text.trim_end().split_once('\n')?;
        Some(Self { boot: boot.to_owned(), mount: mount.parse().ok()? })
    }

    /// Tells whether another session was in the same boot of the machine.
    pub fn is_same_boot(&self, other: &Self) -> bool {
        self.boot == other.boot
    }
}

/// Returns when the machine was booted, by its present clock; `None` where the system does not tell.
pub fn booted_at() -> Option<Timestamp> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Timestamp::from_secs_nanos(seconds.trim().parse().ok()?, 0))
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.boot, self.mount)
    }
}

#[cfg(target_os = "linux")]
fn mount_id(fd: impl AsFd) -> io::Result<Option<u64>> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    // From statx(2); rustix has no name for it yet.
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    for flag in [MNT_ID_UNIQUE, StatxFlags::MNT_ID] {
        let found = statx(&fd, c"", AtFlags::EMPTY_PATH, flag)?;
        if found.stx_mask & flag.bits() != 0 {
            return Ok(Some(found.stx_mnt_id));
        }
    }
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn mount_id(_fd: impl AsFd) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_session_and_its_text_form_means_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: &std::path::Path| Session::of(std::fs::File::open(path).unwrap()).unwrap().unwrap();
        let session = of(dir.path());
        assert_eq!(of(dir.path()), session);
        assert_eq!(Session::parse(&session.to_string()), Some(session.clone()));
        let other = of(std::path::Path::new("/proc"));
        assert_ne!(other, session);
        assert!(other.is_same_boot(&session));
    }

    #[test]
    fn the_machine_was_booted_before_now() {
        assert!(booted_at().unwrap() <= Timestamp::now());
    }

    #[test]
    fn what_is_no_session_is_refused() {
        for text in ["", "boot", "boot\nx", "\n"] {
            assert_eq!(Session::parse(text), None, "{text:?}");
        }
    }
}
