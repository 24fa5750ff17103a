//! `ize sync`.

use ize_core::project::BroughtIn;

use super::open;
use crate::arguments::Sync;
use crate::context::{Context, Target};
use crate::failure::Result;
use crate::output::{note, say};

pub(super) fn run(context: &Context, arguments: &Sync) -> Result<()> {
    let target = context.find(&arguments.name)?;
    say(open::sync(context, &target, &mut |brought| tell(&target, brought))?)
}

/// Says what came from elsewhere.
pub(super) fn tell(target: &Target, brought: &BroughtIn) {
    if !brought.is_empty() {
        note(brought.to_string().replace("<name>", target.name()));
    }
}
