//! What is known of `working/` between two openings of a project: `meta/tree.toml`.
//!
//! It tells whether the files on disk can be trusted to be those that programs saw. While a project is open, that depends
//! on its *session* ([`Session`]): a killed process leaves every change where it was, another boot or mount need not.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::write_atomically;
use super::{ProjectError, Result};
use crate::model::{OpId, Timestamp, View};
use crate::record::Recorder;
use crate::session::Session;
use crate::storage::{Direction, OpQuery};
use crate::tree::PowerCut;

/// The version of the file that this library reads and writes.
const FORMAT_VERSION: u32 = 1;
/// A power cut loses at most the records of its last moments. What changed this long after the last record was changed
/// by somebody afterwards, in nanoseconds.
const EDITED_LATER_NS: i128 = 600_000_000_000;

/// The state of `working/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TreeState {
    /// It is on disk as history has it, but for what somebody edited since.
    Closed,
    /// A process has it open, or had when it ended.
    Open {
        /// In which session; `None` where the system does not tell.
        session: Option<Session>,
        /// An operation at which the tree was on disk as history has it.
        synced: OpId,
        /// The kernel may write to its files itself, unseen.
        handed_over: bool,
    },
    /// It is being made what it was at an operation.
    Mending {
        /// As before the power cut.
        synced: OpId,
        /// The operation.
        target: OpId,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
enum Written {
    Closed,
    Open {
        session: Option<String>,
        synced: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        handed_over: bool,
    },
    Mending {
        synced: u64,
        target: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    format_version: u32,
    #[serde(flatten)]
    state: Written,
}

impl TreeState {
    /// Reads the state; a project that has none yet is [`TreeState::Closed`].
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Closed),
            Err(error) => return Err(ProjectError::io("read", path)(error)),
        };
        let damaged = |why: String| ProjectError::Damaged { path: path.to_owned(), why };
        let file: File = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
        if file.format_version > FORMAT_VERSION {
            let (found, supported) = (file.format_version, FORMAT_VERSION);
            return Err(ProjectError::NewerFormat { path: path.to_owned(), found, supported });
        }
        Ok(match file.state {
            Written::Closed => Self::Closed,
            Written::Open { session, synced, handed_over } => Self::Open {
                session: session.as_deref().and_then(Session::parse),
                synced: OpId::new(synced),
                handed_over,
            },
            Written::Mending { synced, target } => {
                Self::Mending { synced: OpId::new(synced), target: OpId::new(target) }
            }
        })
    }

    /// Writes the state, durably and as a whole.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let state = match self {
            Self::Closed => Written::Closed,
            Self::Open { session, synced, handed_over } => Written::Open {
                session: session.as_ref().map(ToString::to_string),
                synced: synced.get(),
                handed_over: *handed_over,
            },
            Self::Mending { synced, target } => Written::Mending { synced: synced.get(), target: target.get() },
        };
        let text = toml::to_string(&File { format_version: FORMAT_VERSION, state });
        let text = text.map_err(|error| ProjectError::Damaged { path: path.to_owned(), why: error.to_string() })?;
        write_atomically(path, text.as_bytes()).map_err(ProjectError::io("write", path))
    }

    /// Tells what happened since the state was written, if the tree may have lost something since.
    pub(super) fn power_cut(&self, working: impl AsFd, recorder: &Recorder) -> Result<Option<PowerCut>> {
        let unsynced = recorder.unsynced();
        let cut = |synced: OpId, target, edited_after| PowerCut {
            target,
            synced,
            dirty: unsynced.dirty.clone(),
            edited_after,
        };
        match self {
            Self::Closed => Ok(None),
            Self::Mending { synced, target } => Ok(Some(cut(*synced, *target, None))),
            Self::Open { session, synced, .. } => {
                let now = Session::of(working).map_err(ProjectError::io("open", "working"))?;
                if now.is_some() && now == *session {
                    return Ok(None);
                }
                let target = recorder.recorded();
                let same_boot = now.zip(session.as_ref()).is_some_and(|(now, before)| now.is_same_boot(before));
                let edited_after = if same_boot { last_recorded(recorder)? } else { crate::session::booted_at() };
                let synced = unsynced.synced.unwrap_or(*synced).max(*synced).min(target);
                Ok(Some(cut(synced, target, edited_after)))
            }
        }
    }
}

/// Returns a time that is surely later than anything that was recorded.
fn last_recorded(recorder: &Recorder) -> Result<Option<Timestamp>> {
    let view = View::new(recorder.branch(), recorder.recorded());
    let query = OpQuery { direction: Direction::NewestFirst, max: 1, ..OpQuery::all(view) };
    let last = recorder.storage().ops(&query)?;
    Ok(last.first().map(|op| Timestamp::from_nanos(op.timestamp.as_nanos().saturating_add(EDITED_LATER_NS))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_and_a_missing_file_is_a_closed_tree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        assert_eq!(TreeState::read(&path).unwrap(), TreeState::Closed);
        let session = Session::of(fs::File::open(dir.path()).unwrap()).unwrap();
        let (synced, target) = (OpId::new(7), OpId::new(9));
        for state in [
            TreeState::Open { session, synced, handed_over: false },
            TreeState::Open { session: None, synced, handed_over: true },
            TreeState::Mending { synced, target },
            TreeState::Closed,
        ] {
            state.write(&path).unwrap();
            assert_eq!(TreeState::read(&path).unwrap(), state);
        }
    }

    #[test]
    fn damage_and_later_formats_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree.toml");
        for text in ["", "format-version = 1", "format-version = 1\nstate = 'lost'", "x"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(TreeState::read(&path), Err(ProjectError::Damaged { .. })), "{text:?}");
        }
        fs::write(&path, "format-version = 2\nstate = 'closed'").unwrap();
        assert!(matches!(TreeState::read(&path), Err(ProjectError::NewerFormat { found: 2, .. })));
    }
}
