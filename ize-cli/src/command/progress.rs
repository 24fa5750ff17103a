//! A progress bar on standard error, where that is a terminal.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ize_core::project::Progress;

use crate::output::human;

/// How often the terminal is written, per second.
const DRAWS_PER_SECOND: u8 = 10;

/// What is shown while a tree is copied in or compared with history.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// Makes a bar that shows nothing yet.
    pub(super) fn new() -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar }
    }

    /// Returns what the library tells how far it is.
    pub(super) fn listener(&self) -> Arc<dyn Fn(Progress) + Send + Sync> {
        let bar = self.bar.clone();
        Arc::new(move |progress| {
            bar.set_message(describe(progress));
            bar.tick();
        })
    }

    /// Shows how far something is.
    pub(super) fn say(&self, how_far: impl std::fmt::Display) {
        self.bar.set_message(how_far.to_string());
        self.bar.tick();
    }

    /// Removes it from the terminal.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn describe(progress: Progress) -> String {
    match progress {
        Progress::Importing(copied) => {
            format!("copying: {}, {}", human::counted(copied.entries, "file"), human::size(copied.bytes))
        }
        Progress::Reconciling(seen) => format!("recording: {}", human::counted(seen, "file")),
        _ => "working".to_owned(),
    }
}
