//! Finding a shorter sequence of calls that two folders still answer differently.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::call::Call;
use super::plan::Plan;
use super::side::Side;

/// Removes calls as long as the rest still shows a difference, each attempt in a new empty folder on both sides. Returns
/// `None` if not even the whole sequence shows it there.
pub(super) fn shrink(calls: &[Call], thread: usize, roots: &[PathBuf; 2], seconds: u64) -> Option<Vec<Call>> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut replay = Replay { roots, thread, attempts: 0 };
    // The last calls are often enough, and much faster to try.
    let beginnings = [500, 3000, usize::MAX].map(|count| calls.len().saturating_sub(count));
    let mut failing = beginnings.into_iter().find_map(|from| replay.fails(&calls[from..]))?;
    let mut chunk = failing.len() / 2;
    while chunk > 0 && Instant::now() < deadline {
        let mut at = 0;
        while at < failing.len() && Instant::now() < deadline {
            let mut fewer = failing.clone();
            fewer.drain(at..(at + chunk).min(failing.len()));
            match replay.fails(&fewer) {
                Some(shorter) => failing = shorter,
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    Some(failing)
}

struct Replay<'a> {
    roots: &'a [PathBuf; 2],
    thread: usize,
    attempts: usize,
}

impl Replay<'_> {
    /// Returns the calls up to the first that answers differently, if any does.
    fn fails(&mut self, calls: &[Call]) -> Option<Vec<Call>> {
        self.attempts += 1;
        let folders = self.roots.each_ref().map(|root| root.join(format!("shrink-{}-{}", self.thread, self.attempts)));
        let failed = replay(calls, self.thread, &folders).unwrap_or(None);
        for folder in &folders {
            // What cannot be removed stays; the next attempt has another name.
            let _ = fs::remove_dir_all(folder);
        }
        failed.map(|count| calls[..count].to_vec())
    }
}

fn replay(calls: &[Call], thread: usize, folders: &[PathBuf; 2]) -> io::Result<Option<usize>> {
    for folder in folders {
        fs::create_dir(folder)?;
        fs::create_dir(folder.join(Plan::SHARED))?;
        fs::create_dir(folder.join(Plan::own_folder(thread)))?;
    }
    let (mut left, mut right) = (Side::new(&folders[0])?, Side::new(&folders[1])?);
    let differs = |call: &Call| left.perform(call) != right.perform(call);
    Ok(calls.iter().position(differs).map(|index| index + 1))
}
