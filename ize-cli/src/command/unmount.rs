//! `ize unmount`.

use std::thread;
use std::time::Duration;

use ize_core::project::control::UnmountOptions;
use ize_core::project::{ProjectInfo, ProjectLock};

use super::open;
use crate::arguments::Unmount;
use crate::context::{self, Context};
use crate::failure::{Failure, Kind, Result};
use crate::holders;
use crate::output::{note, say};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The most processes that a message lists.
const HOLDERS_LISTED: usize = 5;

pub(super) fn run(context: &Context, arguments: &Unmount) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let info = &target.info;
    let Some(mut client) = open::daemon(info)? else {
        return not_running(context, info);
    };
    // The daemon gives a program that just ended the time to close its files.
    if let Err(error) = client.unmount(UnmountOptions { force: arguments.force }) {
        return Err(explained(context, info, Failure::from(error))?);
    }
    wait_until_gone(info)?;
    say(format_args!("'{}' is unmounted; everything is recorded", info.name()))
}

/// The daemon holds the project until all is committed, so its lock tells when it is done.
fn wait_until_gone(info: &ProjectInfo) -> Result<()> {
    while ProjectLock::holder(&info.paths)?.is_some() {
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn not_running(context: &Context, info: &ProjectInfo) -> Result<()> {
    if let Some(place) = &info.toml.mount_point
        && ize_fuse::clear_dead_mount(place)?
    {
        note(format_args!("the daemon was gone; cleared its dead mount at {}", context.environment.shorten(place)));
        return say(format_args!("'{}' is unmounted; what was acknowledged is kept", info.name()));
    }
    note(format_args!("'{}' is not mounted", info.name()));
    Ok(())
}

fn explained(context: &Context, info: &ProjectInfo, failure: Failure) -> Result<Failure> {
    let Some(place) = context::mount_point(info)?.filter(|_| failure.kind == Kind::InTheWay) else {
        return Ok(failure);
    };
    let holders = holders::of(&place);
    let mut busy = Failure::new(Kind::InTheWay, format!("{} is in use", context.environment.shorten(&place)));
    for holder in holders.iter().take(HOLDERS_LISTED) {
        busy = busy.hint(format!("process {} ({}) uses {}", holder.pid, holder.program, holder.what));
    }
    if holders.len() > HOLDERS_LISTED {
        busy = busy.hint(format!("and {} more", holders.len() - HOLDERS_LISTED));
    }
    Ok(busy.hint("close these programs or leave the folder, then try again; --force does not wait for them"))
}
