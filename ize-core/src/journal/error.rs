//! Why the journal could not do something.

use std::io;

/// An error of the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has this journal open.
    #[error("another process has this journal open")]
    Locked,
    /// A record that was written is not there any more, though the process or the disk had no right to lose it.
    /// Nothing was changed on disk.
    #[error("journal segment {segment} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The number of the segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The journal was written by a later version of Ize.
    #[error("journal format version {found} is newer than the supported {supported}")]
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// There is no space for another segment.
    #[error("no space left for the journal")]
    Full,
    /// The journal is as long as it may be. There is room again when what it holds is committed and trimmed.
    #[error("the journal is as long as it may be")]
    AtLimit,
    /// A record is larger than half a segment.
    #[error("a record of {bytes} bytes is larger than the largest of {bytes_max}")]
    TooLarge {
        /// The size of the record.
        bytes: u64,
        /// The largest that fits.
        bytes_max: u64,
    },
    /// The record cannot be written down.
    #[error("an operation cannot be journalled: {0}")]
    Invalid(&'static str),
    /// An earlier write or sync failed; nothing is written any more until the journal is opened again.
    #[error("an earlier write to the journal failed")]
    Poisoned,
    /// A call to the system failed.
    #[error("{action} failed")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl JournalError {
    /// Makes a function that wraps an error of the medium.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { action, source },
        }
    }
}
