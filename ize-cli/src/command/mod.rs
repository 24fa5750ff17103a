//! The commands, one file each.

mod cat;
mod delete;
mod export;
mod history;
mod init;
mod list;
mod migrate;
mod mount;
mod open;
mod pijul;
mod progress;
mod restore;
mod status;
mod sync;
mod unmount;
mod verify;

use crate::arguments::Command;
use crate::context::Context;
use crate::failure::Result;

/// Carries out a command and returns the exit code.
///
/// # Errors
/// [`crate::failure::Failure`], which has an exit code of its own.
pub(crate) fn run(context: &Context, command: &Command) -> Result<u8> {
    match command {
        Command::Pijul(arguments) => return pijul::run(context, arguments),
        Command::Init(arguments) => init::run(context, arguments),
        Command::Mount(arguments) => mount::run(context, arguments),
        Command::Unmount(arguments) => unmount::run(context, arguments),
        Command::List(arguments) => list::run(context, arguments),
        Command::Status(arguments) => status::run(context, arguments),
        Command::Sync(arguments) => sync::run(context, arguments),
        Command::History(arguments) => history::run(context, arguments),
        Command::Cat(arguments) => cat::run(context, arguments),
        Command::Restore(arguments) => restore::run(context, arguments),
        Command::Verify(arguments) => verify::run(context, arguments),
        Command::Migrate(arguments) => migrate::run(context, arguments),
        Command::Export(arguments) => export::run(context, arguments),
        Command::Delete(arguments) => delete::run(context, arguments),
    }?;
    Ok(0)
}
