//! What commands print: answers on standard output, notes on standard error. A reader that went away is no error.

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod metrics;
mod pager;
pub(crate) mod table;

use std::fmt;
use std::io::{self, Write};

pub(crate) use pager::Pager;

use crate::failure::{Failure, Result};

/// Where an answer goes. After the reader went away (`ize history | head`) it says so, and the command ends well.
#[derive(Debug)]
pub(crate) struct Answer<W: Write> {
    to: W,
    closed: bool,
}

impl<W: Write> Answer<W> {
    /// Wraps a writer.
    pub(crate) const fn new(to: W) -> Self {
        Self { to, closed: false }
    }

    /// Writes one line; answers `false` once nobody reads any more.
    ///
    /// # Errors
    /// Any other error than a broken pipe.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<bool> {
        self.keep(|to| writeln!(to, "{line}"))
    }

    /// Writes bytes; answers `false` once nobody reads any more.
    ///
    /// # Errors
    /// Any other error than a broken pipe.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<bool> {
        self.keep(|to| to.write_all(bytes))
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// Any other error than a broken pipe.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        self.keep(|to| to.flush())
    }

    fn keep(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> Result<bool> {
        if self.closed {
            return Ok(false);
        }
        match write(&mut self.to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(false)
            }
            Err(error) => Err(Failure::io("cannot write the answer", &error)),
        }
    }
}

/// Returns standard output, buffered.
pub(crate) fn stdout() -> Answer<io::BufWriter<io::StdoutLock<'static>>> {
    Answer::new(io::BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
}

/// Prints one line of an answer.
///
/// # Errors
/// Any other error than a broken pipe.
pub(crate) fn say(line: impl fmt::Display) -> Result<()> {
    Answer::new(io::stdout().lock()).line(line).map(drop)
}

/// Prints a note on standard error: progress, advice. Nobody depends on it, so errors do not count.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Asks a question on the terminal; an empty answer means `default`, and so does none at all.
pub(crate) fn ask(question: &str, default: bool) -> bool {
    // On standard error, as standard output may be a file.
    let _ = write!(io::stderr(), "{question} ");
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).is_err() {
        return false;
    }
    match answer.trim().to_lowercase().as_str() {
        "" => default,
        "y" | "yes" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_ends_the_answer_and_is_no_error() {
        let mut answer = Answer::new(Failing(io::ErrorKind::BrokenPipe));
        assert_eq!(answer.line("a"), Ok(false));
        assert_eq!(answer.bytes(b"b"), Ok(false));
        assert!(Answer::new(Failing(io::ErrorKind::StorageFull)).line("a").is_err());
    }
}
