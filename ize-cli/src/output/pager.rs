//! Long answers on a terminal go through the user's pager.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::Answer;
use crate::environment::Environment;

/// Standard output, or a pager in front of it.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Option<Child>,
}

/// What answers are written to.
pub(crate) type Output = Box<dyn Write>;

impl Pager {
    /// Starts the pager if standard output is a terminal and there is one: `$IZE_PAGER`, `$PAGER`, else `less -FRX`. `cat`
    /// and the empty string mean none.
    pub(crate) fn start(environment: &Environment, wanted: bool) -> (Self, Answer<Output>) {
        let child = (wanted && environment.stdout_is_terminal).then(|| spawn(environment.pager.as_deref())).flatten();
        match child {
            Some((child, stdin)) => {
                (Self { child: Some(child) }, Answer::new(Box::new(io::BufWriter::new(stdin)) as Output))
            }
            None => {
                let stdout = io::BufWriter::with_capacity(64 * 1024, io::stdout().lock());
                (Self { child: None }, Answer::new(Box::new(stdout) as Output))
            }
        }
    }

    /// Waits until the user left the pager. Drop the answer first: that is how the pager sees its end.
    pub(crate) fn wait(self) {
        if let Some(mut child) = self.child {
            // How the pager ended says nothing about the answer.
            let _ = child.wait();
        }
    }
}

fn spawn(command: Option<&OsStr>) -> Option<(Child, ChildStdin)> {
    let mut pager = match command.map(|command| command.to_string_lossy()) {
        Some(command) if matches!(command.trim(), "" | "cat") => return None,
        Some(command) => {
            // Through the shell, as everywhere: `PAGER="less -S"` is usual.
            let mut pager = Command::new("sh");
            pager.args(["-c", &command]);
            pager
        }
        // Directly, so that we notice where there is no `less`.
        None => Command::new("less"),
    };
    if std::env::var_os("LESS").is_none() {
        pager.env("LESS", "FRX");
    }
    let mut child = pager.stdin(Stdio::piped()).spawn().ok()?;
    let stdin = child.stdin.take()?;
    Some((child, stdin))
}
