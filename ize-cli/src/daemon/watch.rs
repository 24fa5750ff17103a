//! Why a mount ends: signals, `ize unmount`, `umount` from outside.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ize_fuse::{DetachMode, Mount, MountError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Result, chain};
use crate::holders;

/// Why a mount may end.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody wants this process to end.
    Signal(&'static str),
    /// The mount is gone: unmounted through the socket or from outside.
    Ended,
    /// The mount was detached, and programs that still use it are not waited for.
    Forced,
}

/// Makes the channel that all reasons to end come through, and begins to catch signals.
///
/// # Errors
/// If the handlers cannot be installed.
pub(super) fn channel() -> Result<(Sender<Event>, Receiver<Event>)> {
    let (sender, events) = mpsc::channel();
    forward_signals(sender.clone()).map_err(|error| Failure::io("cannot catch signals", &error))?;
    Ok((sender, events))
}

fn forward_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let forward = move || {
        for signal in signals.forever() {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            if events.send(Event::Signal(name)).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("ize-signals".to_owned()).spawn(forward).map(drop)
}

/// Waits until the mount is gone.
///
/// The first signal unmounts. A mount that is in use is then taken out of the tree of folders, and those who use it are
/// served until they let go; the second signal does not wait for them.
///
/// # Errors
/// If no thread can be started for it.
pub(super) fn wait(mount: &Arc<Mount>, sender: Sender<Event>, events: &Receiver<Event>) -> Result<()> {
    let ending = Arc::clone(mount);
    let watch = move || {
        if let Err(error) = ending.wait() {
            tracing::error!("the mount ended: {}", chain(&error));
        }
        // If nobody listens any more, the process is ending already.
        let _ = sender.send(Event::Ended);
    };
    let watching = thread::Builder::new().name("ize-end".to_owned()).spawn(watch);
    watching.map_err(|error| Failure::io("cannot watch the mount", &error))?;
    let mut asked = false;
    while let Ok(event) = events.recv() {
        match event {
            Event::Ended | Event::Forced => break,
            Event::Signal(name) if asked => {
                tracing::warn!("{name} again: not waiting for programs that still use the mount");
                break;
            }
            Event::Signal(name) => {
                asked = true;
                tracing::info!("{name}: unmounting");
                end(mount);
            }
        }
    }
    Ok(())
}

fn end(mount: &Mount) {
    match mount.unmount(DetachMode::RefuseIfBusy) {
        Ok(()) => {}
        Err(MountError::Busy { path }) => {
            for holder in holders::of(&path) {
                tracing::warn!("still used by {} ({}): {}", holder.program, holder.pid, holder.what);
            }
            tracing::warn!("the mount is in use: detached, and ends when the programs that use it let go");
            if let Err(error) = mount.unmount(DetachMode::Lazy) {
                tracing::error!("cannot detach: {}", chain(&error));
            }
        }
        Err(error) => tracing::error!("cannot unmount: {}", chain(&error)),
    }
}
