//! Projects on disk: where they lie, how they are set up and opened, and how their history is asked.
//!
//! [`CentralDir`] lists, makes and deletes projects; [`ProjectPaths`] knows where the parts of one lie; [`Settings`] are
//! the values that all layers of configuration come down to; [`Revision`] is what people type to name a moment.
//! Nothing here reads the environment, the home folder or the terminal: callers pass such values in.

mod adopt;
mod backend;
mod by_path;
mod change_ids;
pub mod control;
mod error;
mod history;
mod incoming;
mod layout;
mod link;
mod lock;
mod memory;
mod nearest;
mod open;
mod options;
mod owner;
mod reader;
mod registry;
mod restore;
mod revision;
#[cfg(test)]
mod script;
mod settings;
mod status;
mod tree_state;

pub use backend::{Backend, BackendOptions, Backends};
pub use error::{ErrorKind, ProjectError};
pub use history::{History, HistoryKind, HistoryQuery, HistoryRow};
pub use incoming::BroughtIn;
pub use layout::{PROJECT_FORMAT_VERSION, ProjectName, ProjectPaths, ProjectToml};
pub use lock::ProjectLock;
pub use memory::MemoryBackend;
pub use open::OfflineReader;
pub use options::{Progress, ProjectOptions};
pub use owner::Project;
pub use reader::Reader;
pub use registry::{CentralDir, DamagedProject, NewProject, ProjectInfo, ProjectList};
pub use restore::RestoredPath;
pub use revision::{Clock, InvalidRevision, Moment, Revision, RevisionError};
pub use settings::{DurabilityKind, DurabilityLayer, ProcessorLayer, Settings, SettingsError, SettingsLayer};
pub use status::Status;

/// A specialised `Result` for calls on projects.
pub type Result<T, E = ProjectError> = std::result::Result<T, E>;
