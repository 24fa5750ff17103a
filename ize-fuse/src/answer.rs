//! Replies: what the tree answered, as the kernel wants it. Sent from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuser::{Errno, Generation, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite, ReplyXattr};
use ize_core::tree::{Stat, TreeError};

use crate::{errno, wire};

/// How long the kernel may remember attributes and names, present or absent. We own the tree, so nothing changes behind
/// the kernel's back; a year is as good as for ever and far from the overflow of the kernel's clock ticks.
pub(crate) const REMEMBER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// File ids are never reused, so no generation is needed to tell two files with one number apart.
pub(crate) const GENERATION: Generation = Generation(0);

/// Turns what a tree answers into error numbers, and logs what is no mere refusal.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    /// Whether a failure to record or to read history has been logged already: programs repeat themselves.
    logged: Arc<AtomicBool>,
}

impl Failures {
    pub(crate) fn errno(&self, what: &'static str, error: &TreeError) -> Errno {
        let refusal = matches!(error, TreeError::Refused(_) | TreeError::NearlyFull);
        if !refusal && !self.logged.swap(true, Ordering::Relaxed) {
            let error: &dyn std::error::Error = error;
            tracing::error!(what, error, "a request failed; later failures of this mount are not logged");
        }
        errno::of(error)
    }
}

pub(crate) fn answer_entry(reply: ReplyEntry, result: Result<Stat, Errno>) {
    match result {
        Ok(stat) => reply.entry(&REMEMBER, &wire::attributes(&stat), GENERATION),
        Err(errno) => reply.error(errno),
    }
}

pub(crate) fn answer_attributes(reply: ReplyAttr, result: Result<Stat, Errno>) {
    match result {
        Ok(stat) => reply.attr(&REMEMBER, &wire::attributes(&stat)),
        Err(errno) => reply.error(errno),
    }
}

pub(crate) fn answer_empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(crate) fn answer_written(reply: ReplyWrite, result: Result<usize, Errno>) {
    match result {
        Ok(bytes) => reply.written(u32::try_from(bytes).unwrap_or(u32::MAX)),
        Err(errno) => reply.error(errno),
    }
}

/// Answers with a value, or with its size if none was asked for (`size` 0).
pub(crate) fn answer_value(reply: ReplyXattr, size: u32, result: Result<Vec<u8>, Errno>) {
    match result.map(|value| (u32::try_from(value.len()), value)) {
        Ok((Ok(bytes), _)) if size == 0 => reply.size(bytes),
        Ok((Ok(bytes), value)) if bytes <= size => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}
