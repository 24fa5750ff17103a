//! `ize sync`.

use super::open;
use crate::arguments::Sync;
use crate::context::Context;
use crate::failure::Result;
use crate::output::say;

pub(super) fn run(context: &Context, arguments: &Sync) -> Result<()> {
    let target = context.find(&arguments.name)?;
    say(open::sync(context, &target)?)
}
