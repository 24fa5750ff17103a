//! `ize export`.

use ize_core::project::ProjectError;

use super::{open, progress, restore};
use crate::arguments::{Export, ExportFormat};
use crate::backends;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{human, say};

pub(super) fn run(context: &Context, arguments: &Export) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let folder = context.environment.absolute(&arguments.folder)?;
    restore::refuse_inside(&target, &folder)?;
    let opened = open::reading(context, &target)?;
    let reader = opened.reader();
    let options = context.project_options(Some(&target.info))?;
    let author = options.settings.author.as_deref().unwrap_or_default();
    let bar = progress::Bar::new();
    let exported = match arguments.to {
        ExportFormat::Pijul => {
            let mut tell = |op| bar.say(format_args!("exporting: {op} of {}", reader.head()));
            backends::export_to_pijul(reader.storage().as_ref(), reader.newest(), &folder, author, &mut tell)
        }
    };
    bar.finish();
    let changes = human::counted(exported.map_err(ProjectError::from)?, "change");
    say(format_args!("exported {changes} to {}", context.environment.shorten(&folder)))
}
