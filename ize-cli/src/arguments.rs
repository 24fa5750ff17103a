//! The command line: what can be asked, and the help that teaches it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ize_core::project::{DurabilityKind, DurabilityLayer};

/// A filesystem that records every change.
#[derive(Debug, Parser)]
#[command(
    name = "ize",
    version,
    about = "A filesystem that records every change",
    long_about = "A filesystem that records every change.\n\n\
        Mount a project, work in it with any program, and bring back any file, folder or the whole tree as it was at \
        any moment.",
    after_help = ROOT_HELP,
    propagate_version = true,
    arg_required_else_help = true,
    disable_help_subcommand = false
)]
pub(crate) struct Arguments {
    /// Where all projects live [default: $IZE_CENTRAL_DIR, else ~/.local/share/ize]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) central_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const ROOT_HELP: &str = "\
Start here:
  ize mount notes ~/notes --create    make a project and mount it
  ize history notes                   what happened, newest first
  ize restore notes todo.txt '2h ago' bring a file back
  ize unmount notes                   record what is left, and leave

A project is named by its name, or by '.' inside its mount point.

A revision is one of:
  kzmwqtpslruv            a change id, as `ize history` shows it; a unique beginning will do
  4XQ3VPN2                a Pijul hash or its beginning, where the project's backend is pijul
  @1234                   a position in the log
  '2h ago', '2026-03-01 14:00', 'yesterday 14:00', 2026-03-01T14:00:00Z
  release-1               a snapshot's name

Exit codes:
  0  done
  1  failed
  2  the command line or a configuration file is wrong
  3  not found: the project, the path or the revision
  4  in the way: it exists, is mounted, is busy, or is not empty
  5  stored data is damaged, or was written by a newer version of Ize
  6  cannot write: no space left, read-only, or not permitted";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project
    Init(Init),
    /// Mount a project: from then on every change in it is recorded
    Mount(Mount),
    /// Unmount a project once everything is recorded
    #[command(visible_alias = "umount")]
    Unmount(Unmount),
    /// List the projects
    List(List),
    /// Show where a project is mounted and how far it is recorded
    Status(Status),
    /// Wait until everything that happened so far is in history, durably
    Sync(Sync),
    /// Show what happened to a project, a folder or a file
    History(History),
    /// Print a file as it was
    Cat(Cat),
    /// Bring back a file, a folder or the whole tree
    Restore(Restore),
    /// Check that everything recorded can be read back
    Verify(Verify),
    /// Change the engine below a project's history
    Migrate(Migrate),
    /// Run the pijul command on a project whose backend is pijul
    Pijul(Pijul),
    /// Write a project's saves as a repository of another format
    Export(Export),
    /// Delete a project with its history
    Delete(Delete),
}

impl Command {
    /// Returns the project as it was named, if one was.
    pub(crate) fn project(&self) -> Option<&str> {
        match self {
            Self::Init(arguments) => Some(&arguments.name),
            Self::Mount(arguments) => Some(&arguments.name),
            Self::Unmount(arguments) => Some(&arguments.name),
            Self::Status(arguments) => arguments.name.as_deref(),
            Self::Sync(arguments) => Some(&arguments.name),
            Self::History(arguments) => Some(&arguments.name),
            Self::Cat(arguments) => Some(&arguments.name),
            Self::Restore(arguments) => Some(&arguments.name),
            Self::Verify(arguments) => Some(&arguments.name),
            Self::Migrate(arguments) => Some(&arguments.name),
            Self::Pijul(arguments) => Some(&arguments.name),
            Self::Export(arguments) => Some(&arguments.name),
            Self::Delete(arguments) => Some(&arguments.name),
            Self::List(_) => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize init notes                         an empty project
  ize init site --from ~/site            a copy of a folder; the folder itself stays as it is
  ize init code --in-place ~/code        the folder stays where it is; `ize mount code` covers it
  ize init code --in-place ~/code --ignore target/ --ignore '*.o'
  ize init data --engine redb            another engine below the history
  ize init book --backend pijul          history is a Pijul repository, for `ize pijul book -- log`
  ize init books --durability immediate  no change returns before it is on disk

What a folder holds is recorded at once. Where build or cache folders are seen, rules to leave them out are suggested;
they can also be written to `.izeignore` in the folder, before or later.")]
pub(crate) struct Init {
    /// The new project's name
    pub(crate) name: String,

    /// Copy this folder in and record it
    #[arg(long, value_name = "DIR", conflicts_with = "in_place")]
    pub(crate) from: Option<PathBuf>,

    /// Adopt this folder where it is
    #[arg(long, value_name = "DIR")]
    pub(crate) in_place: Option<PathBuf>,

    /// Leave out files that match, as in .gitignore; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore: Vec<String>,

    /// When a change is on disk, safe from a power cut [default: as configured, else group]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) durability: Option<Durability>,

    #[command(flatten)]
    pub(crate) storage: StorageChoice,
}

/// When a change is on disk. A killed process loses nothing in any mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// Before the program that made it goes on
    Immediate,
    /// A few milliseconds later; no program waits for that
    Group,
    /// With the next fsync or `ize sync`, or when it is stored
    Relaxed,
}

impl Durability {
    /// Returns the mode as settings have it, and its name.
    pub(crate) const fn kind(self) -> (DurabilityKind, &'static str) {
        match self {
            Self::Immediate => (DurabilityKind::Immediate, "immediate"),
            Self::Group => (DurabilityKind::Group, "group"),
            Self::Relaxed => (DurabilityKind::Relaxed, "relaxed"),
        }
    }

    /// Returns a layer of settings that only chooses this mode.
    pub(crate) const fn layer(self) -> DurabilityLayer {
        DurabilityLayer::of(self.kind().0)
    }
}

/// In what pieces changes of content are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Granularity {
    /// Each write, as it is made
    Write,
    /// What a file holds when it is closed or synced; reads and writes are as fast as without Ize (needs root)
    Close,
}

impl Granularity {
    /// Returns the granularity as settings have it.
    pub(crate) const fn kind(self) -> ize_core::tree::Granularity {
        match self {
            Self::Write => ize_core::tree::Granularity::Write,
            Self::Close => ize_core::tree::Granularity::Close,
        }
    }
}

/// How history is stored.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StorageChoice {
    /// What keeps the history [default: store]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,

    /// The engine below the `store` backend [default: sanakirja]
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineName>,
}

/// A storage backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// Content packs with an index
    Store,
    /// A Pijul repository
    Pijul,
}

impl BackendName {
    /// Returns the name as settings have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Pijul => "pijul",
        }
    }
}

/// An engine of the `store` backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Copy-on-write B trees (the default)
    Sanakirja,
    /// redb
    Redb,
}

impl EngineName {
    /// Returns the name as settings have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sanakirja => "sanakirja",
            Self::Redb => "redb",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize mount notes ~/notes --create    make the project and the folder if they are missing, and mount
  ize mount book ~/book --create --backend pijul    the same, with a Pijul repository
  ize mount notes                     mount it where it was mounted last
  ize mount code                      cover a folder adopted with `ize init --in-place`
  ize mount notes /mnt --read-only    look, and change nothing
  ize mount notes ~/notes --foreground    stay here until Ctrl-C; for service managers
  ize mount notes --durability immediate  no change returns before it is on disk
  ize mount notes --granularity close     record what is saved, not each write (needs root)

Returns when the mount is ready; the process that serves it stays in the background and writes a log (see
`ize status`). End it with `ize unmount`; `umount`, SIGINT and SIGTERM do the same.")]
pub(crate) struct Mount {
    /// The project's name
    pub(crate) name: String,

    /// An empty folder [default: where it was mounted last]
    #[arg(value_name = "MOUNTPOINT")]
    pub(crate) mount_point: Option<PathBuf>,

    /// Make the project and the mount point if they are missing
    #[arg(long)]
    pub(crate) create: bool,

    #[command(flatten)]
    pub(crate) storage: StorageChoice,

    /// Serve the mount from this process instead of one in the background
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Refuse changes
    #[arg(long)]
    pub(crate) read_only: bool,

    /// When a change is on disk, for this mount [default: as the project has it, else group]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) durability: Option<Durability>,

    /// In what pieces changes of content are recorded, for this mount [default: as configured, else write]
    #[arg(long, value_enum, value_name = "PIECES")]
    pub(crate) granularity: Option<Granularity>,

    /// Let other users in; a new file belongs to the user who makes it (needs root)
    #[arg(long)]
    pub(crate) allow_other: bool,

    /// A setting for this mount, as in a configuration file: processor.worker-threads=2
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Serve the mount for a waiting parent: how `ize mount` starts itself again
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub(crate) serve: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize unmount notes
  cd ~/notes/work && ize unmount notes    fails: the shell itself holds the mount; leave it first

Returns when everything is recorded and committed and the mount is gone.")]
pub(crate) struct Unmount {
    /// The project's name
    pub(crate) name: String,

    /// Even if programs use the mount: they get errors from then on
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize list
  ize list --json | jq -r .name")]
pub(crate) struct List {
    /// One JSON object per line (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize status            all projects
  ize status notes      one
  ize status .          the one mounted here
  ize status notes --json | jq .pending_ops
  ize status --metrics > /var/lib/node_exporter/ize.prom")]
pub(crate) struct Status {
    /// The project's name [default: all projects]
    pub(crate) name: Option<String>,

    /// One JSON object per line (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,

    /// Numbers for Prometheus, in its text format (docs/metrics.md)
    #[arg(long, conflicts_with = "json")]
    pub(crate) metrics: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize sync notes        prints the position in the log up to which all is committed, as @1234

With the backend pijul, what others pushed into the repository is brought into the files first.

When it returns, everything that was acknowledged before is on disk: in the log, in history, and in the live files.")]
pub(crate) struct Sync {
    /// The project's name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize history notes                       every save, newest first
  ize history notes todo.txt              one file, also across renames and after it was deleted
  ize history notes src --since '2h ago'  a folder and everything below it
  ize history notes todo.txt --ops        each operation instead of saves
  cd ~/notes && ize history . todo.txt    inside a mount
  ize history notes --json | jq -r 'select(.kind == \"delete\") | .path'

A save is what a person would call one: closing a file after writing, replacing it by a rename, making, renaming or
removing a file. The change id in the first column is what `ize cat --at` and `ize restore` take.
With the backend pijul each change has a hash, too, which they take as well.")]
pub(crate) struct History {
    /// The project's name
    pub(crate) name: String,

    /// A file or folder [default: everything]
    pub(crate) path: Option<OsString>,

    /// Show each operation
    #[arg(long)]
    pub(crate) ops: bool,

    /// Only what happened after this revision
    #[arg(long, value_name = "REV")]
    pub(crate) since: Option<String>,

    /// Only what happened up to this revision
    #[arg(long, value_name = "REV")]
    pub(crate) until: Option<String>,

    /// At most this many
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,

    /// One JSON object per line (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not page on a terminal
    #[arg(long)]
    pub(crate) no_pager: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize cat notes todo.txt                      as it is in history now
  ize cat notes todo.txt --at 'yesterday 14:00'
  ize cat notes todo.txt --at kzmw | diff - ~/notes/todo.txt")]
pub(crate) struct Cat {
    /// The project's name
    pub(crate) name: String,

    /// The file
    pub(crate) path: OsString,

    /// When [default: now]
    #[arg(long, value_name = "REV")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize restore notes todo.txt kzmwqtpslruv     one file, as it was right after that change
  ize restore notes src '2h ago'              a folder with everything below it
  ize restore notes . @1234                   the whole tree
  ize restore notes . @1234 --dry-run         only show what would change
  ize restore notes . @1234 --to ~/old        copy it out; the project stays as it is

What a restore replaces or removes stays in history: undo it with the `ize restore` line that it prints.
Ignored files are left alone.")]
pub(crate) struct Restore {
    /// The project's name
    pub(crate) name: String,

    /// The file or folder; '.' is the whole tree
    pub(crate) path: OsString,

    /// When: a change id, @op, a time or a snapshot's name
    pub(crate) change: String,

    /// Write there instead, outside the project; must not exist, or be an empty folder
    #[arg(long, value_name = "DEST", conflicts_with = "dry_run")]
    pub(crate) to: Option<PathBuf>,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize verify notes
  ize verify notes --repair     rebuild what can be rebuilt; only while the project is not mounted

Reads everything back and checks it. Exits with 5 if something is wrong.")]
pub(crate) struct Verify {
    /// The project's name
    pub(crate) name: String,

    /// Mend what can be mended
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize migrate notes --engine redb
  ize migrate notes --engine sanakirja    and back

Makes the index of the history anew in another engine, compares it with the one before, and puts it
in its place at once: whatever interrupts that, the project has the one or the other. Content and
history stay as they are. Only while the project is not mounted.")]
pub(crate) struct Migrate {
    /// The project's name
    pub(crate) name: String,

    /// The engine that it is to have
    #[arg(long, value_enum)]
    pub(crate) engine: EngineName,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize pijul book -- log
  ize pijul book -- diff                        nothing: every save is a change already
  ize pijul book -- pull me@example.org:book    and then the files have it, recorded

Runs pijul in the folder of the live files, mounted or not. Everything is recorded first; while the
command runs, changes wait in the journal; then what it did comes into history. Exits as pijul does.

Pijul's own command is a program of its own: cargo install pijul --version 1.0.0-beta.26 (needs libsodium-dev).")]
pub(crate) struct Pijul {
    /// The project's name
    pub(crate) name: String,

    /// What to run: pijul's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize export notes --to pijul ~/notes-repository

Every save becomes a change with its time, and the folder gets the newest files as its working copy.
The project stays as it is. What Pijul cannot hold (owners, times, symlinks) is left out.")]
pub(crate) struct Export {
    /// The project's name
    pub(crate) name: String,

    /// The format of the repository
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) to: ExportFormat,

    /// Where to make it, outside the project; must not exist, or be an empty folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// What a project can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A Pijul repository
    Pijul,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ize delete notes
  ize delete notes --yes        without asking

Files and history are gone for good. A folder adopted with `ize init --in-place` stays as it is.")]
pub(crate) struct Delete {
    /// The project's name
    pub(crate) name: String,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}
