//! The daemon's log.

use tracing_subscriber::EnvFilter;

/// What is logged unless `IZE_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// Sends log records to standard error, which in the background is the project's log file. An `IZE_LOG` that makes no
/// sense is ignored with a note in the log.
pub(crate) fn start(filter: Option<&str>, with_color: bool) {
    let parsed = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER));
    let complaint = parsed.as_ref().err().map(ToString::to_string);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER)))
        .with_ansi(with_color)
        .with_writer(std::io::stderr);
    // Only a second call in one process fails, and then there is a log already.
    let _ = builder.try_init();
    if let Some(complaint) = complaint {
        tracing::warn!("IZE_LOG is ignored: {complaint}");
    }
}
