//! `ize pijul`: Pijul's own command, on a project's repository.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT};

use super::{open, sync};
use crate::arguments::Pijul;
use crate::context::{Context, Target};
use crate::failure::{Failure, Kind, Result};

/// The program, and the version whose repositories are those of this program.
const PROGRAM: &str = "pijul";
const VERSION: &str = "1.0.0-beta.26";

pub(super) fn run(context: &Context, arguments: &Pijul) -> Result<u8> {
    let target = context.find(&arguments.name)?;
    check(&target)?;
    outlive_interrupts()?;
    let mut tell = |brought: &_| sync::tell(&target, brought);
    let ran = open::with_repository(context, &target, &mut tell, &mut |held| start(&target, arguments, held))?;
    match ran {
        Ok(status) => Ok(code_of(status)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(Kind::NotFound, format!("there is no command '{PROGRAM}' in PATH"))
                .hint(format!("'cargo install {PROGRAM} --version {VERSION}' installs it (it needs libsodium-dev)")))
        }
        Err(error) => Err(Failure::io(format_args!("cannot run {PROGRAM}"), &error)),
    }
}

fn check(target: &Target) -> Result<()> {
    let (name, backend) = (target.name(), &target.info.toml.backend);
    if backend != "pijul" {
        return Err(Failure::new(Kind::Usage, format!("the backend of '{name}' is '{backend}', not 'pijul'"))
            .hint("'ize init <new name> --backend pijul' makes a project with a Pijul repository"));
    }
    let working = target.info.working();
    if target.mount_point()?.is_some_and(|place| place == working) {
        return Err(Failure::new(
            Kind::InTheWay,
            format!("the mount of '{name}' covers its own files, where {PROGRAM} has to run"),
        )
        .hint(format!("run 'ize unmount {name}' first")));
    }
    Ok(())
}

/// Runs the command and waits for it. It holds a copy of `held`, so that nobody takes the repository back while it runs.
fn start(target: &Target, arguments: &Pijul, held: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    // Unlike the original, the copy is inherited.
    let copy = rustix::io::dup(held)?;
    let mut command = Command::new(PROGRAM);
    let mut child = command.args(&arguments.arguments).current_dir(target.info.working()).spawn()?;
    drop(copy);
    child.wait()
}

/// Ctrl-C is for the command; this process has to take the repository back afterwards.
fn outlive_interrupts() -> Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .map_err(|error| Failure::io("cannot catch signals", &error))?;
    }
    Ok(())
}

/// The exit code, as a shell has it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_passed_on_as_a_shell_does() {
        let codes = [0, 3 << 8, 9].map(|raw| code_of(ExitStatus::from_raw(raw)));
        assert_eq!(codes, [0, 3, 137]);
    }
}
