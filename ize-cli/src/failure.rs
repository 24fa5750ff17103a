//! Errors as people see them: what went wrong, what to do about it, and the exit code.

use std::error::Error;
use std::fmt;
use std::io;

pub(crate) use ize_core::project::ErrorKind as Kind;
use ize_core::project::ProjectError;
use ize_fuse::MountError;
use serde::{Deserialize, Serialize};

/// A specialised `Result` for commands.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Returns the exit code of a kind of failure. The numbers are part of the interface: see `ize --help`.
pub(crate) const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::InTheWay => 4,
        Kind::Damaged => 5,
        Kind::CannotWrite => 6,
        // `Failed`, and kinds that do not exist yet.
        _ => 1,
    }
}

/// Why a command failed. A daemon sends it to the `ize mount` that waits for it, hence serde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Which exit code.
    pub(crate) kind: Kind,
    /// What went wrong, causes included, without a full stop.
    pub(crate) message: String,
    /// What to do about it; one line each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// Makes a failure without hints.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    /// Makes a failure of an error and its causes, `doing` in front: "cannot read /x: permission denied".
    pub(crate) fn from_error(kind: Kind, doing: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        Self::new(kind, format!("{doing}: {}", chain(error)))
    }

    /// Makes a failure of an I/O error, with the exit code that suits it.
    pub(crate) fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        Self::from_error(kind_of_io(error), doing, error)
    }

    /// Adds what can generally be done about this kind of failure, if nothing better is known.
    #[must_use]
    pub(crate) fn with_some_hint(self) -> Self {
        if !self.hints.is_empty() {
            return self;
        }
        let hint = match self.kind {
            Kind::Usage => "'ize --help' and 'ize <command> --help' have examples",
            Kind::NotFound => "'ize list' shows the projects, 'ize history <name>' what is in them",
            Kind::InTheWay => "choose another name or place, or try again when the other is done",
            Kind::Damaged => "'ize verify <name>' says what is damaged, and --repair mends what can be mended",
            Kind::CannotWrite => "make room, or check that the disk is writable and that you may write there",
            _ => "'ize status <name>' names the log, which may say more",
        };
        self.hint(hint)
    }

    /// Names the project in hints that the library wrote for any.
    #[must_use]
    pub(crate) fn about(mut self, project: Option<&str>) -> Self {
        if let Some(name) = project {
            for hint in &mut self.hints {
                *hint = hint.replace("<name>", name);
            }
        }
        self
    }

    /// Adds a line that says what can be done.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// Joins an error and its causes with colons, leaving out a cause that its wrapper already printed.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = plain(inner);
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// Leaves out the number behind an error of the operating system: "(os error 2)" says nothing that the words do not.
fn plain(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let numbered = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (os error "));
    match numbered {
        Some((words, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => words.to_owned(),
        _ => text,
    }
}

/// Returns the exit code for an error of the operating system.
pub(crate) fn kind_of_io(error: &io::Error) -> Kind {
    use io::ErrorKind as E;
    match error.kind() {
        E::NotFound => Kind::NotFound,
        E::AlreadyExists | E::DirectoryNotEmpty | E::ResourceBusy => Kind::InTheWay,
        E::StorageFull | E::QuotaExceeded | E::ReadOnlyFilesystem | E::PermissionDenied => Kind::CannotWrite,
        _ => Kind::Failed,
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let failure = Self::new(error.kind(), chain(&error));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let failure = |kind| Self::new(kind, chain(&error));
        match &error {
            MountError::MountPoint { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => failure(Kind::NotFound).hint("--create makes it"),
                io::ErrorKind::NotADirectory => failure(Kind::InTheWay).hint("a mount point is an empty folder"),
                _ => failure(kind_of_io(source)),
            },
            MountError::NotEmpty { path } => failure(Kind::InTheWay)
                .hint("a mount hides what lies below it; choose an empty folder")
                .hint(format!("to record this very folder, run 'ize init <name> --in-place {}'", path.display())),
            MountError::AlreadyMounted { .. } => failure(Kind::InTheWay).hint("choose another folder, or unmount that first"),
            MountError::DeadMount { path } => {
                failure(Kind::InTheWay).hint(format!("'umount -l {}' clears it", path.display()))
            }
            MountError::Device { .. } => failure(Kind::Failed)
                .hint("load the kernel's module with 'modprobe fuse'; a container needs '--device /dev/fuse --cap-add SYS_ADMIN'"),
            MountError::HelperMissing { .. } => {
                failure(Kind::Failed).hint("install the package fuse3, or mount as root")
            }
            MountError::Helper { message } if message.contains("allow_other") => {
                failure(Kind::CannotWrite).hint("root can use --allow-other; others need 'user_allow_other' in /etc/fuse.conf")
            }
            MountError::Refused { source, .. } => failure(kind_of_io(&io::Error::from(*source))),
            MountError::Busy { .. } => failure(Kind::InTheWay).hint("close the programs that use it, and leave its folders"),
            _ => failure(Kind::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_print_the_error_then_the_hints() {
        let failure = Failure::new(Kind::NotFound, "no project 'nots'").hint("did you mean 'notes'?");
        assert_eq!(failure.to_string(), "error: no project 'nots'\nhint: did you mean 'notes'?");
        assert_eq!(code(failure.kind), 3);
    }

    #[test]
    fn causes_are_joined_without_their_numbers() {
        let failure = Failure::io("cannot read a", &io::Error::from_raw_os_error(2));
        assert_eq!(failure.message, "cannot read a: No such file or directory");
    }

    #[test]
    fn operating_system_errors_have_the_exit_code_that_suits_them() {
        let code = |errno: i32| code(kind_of_io(&io::Error::from_raw_os_error(errno)));
        assert_eq!((code(2), code(16), code(28), code(30), code(5)), (3, 4, 6, 6, 1));
    }
}
