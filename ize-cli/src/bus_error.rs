//! What is said when the disk cannot read or write a page of a file that is mapped into memory, as the index is.
//!
//! The system has no error for that, only SIGBUS, which ends the process. The thread that it meets meets it again and again
//! until the one that waits here has spoken and ended the process.

use std::thread;

use signal_hook::consts::SIGBUS;
use signal_hook::iterator::Signals;

use crate::failure::{self, Failure, Kind};
use crate::output;

/// Waits for SIGBUS in a thread. Where that cannot be, the process ends without a word.
pub(crate) fn watch(project: Option<&str>) {
    let failure = Failure::new(
        Kind::Damaged,
        "the disk could not read or write a page of a file that is mapped into memory, as the index is (SIGBUS)",
    )
    .hint("what was recorded is in the journal and the packs; the system's log (dmesg) has the disk's own error")
    .hint(
        "to have the index made anew, remove 'index' (after a migration 'index-ENGINE') from 'store' in the project's \
             folder, and run 'ize verify <name> --repair'",
    )
    .about(project);
    let Ok(mut signals) = Signals::new([SIGBUS]) else { return };
    let waiting = move || {
        if signals.forever().next().is_some() {
            output::note(&failure);
            signal_hook::low_level::exit(failure::code(failure.kind).into());
        }
    };
    // Best effort, as said.
    let _ = thread::Builder::new().name("ize-bus-error".to_owned()).spawn(waiting);
}
