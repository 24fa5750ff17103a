//! `ize delete`.

use ize_core::project::ProjectInfo;

use crate::arguments::Delete;
use crate::context::{self, Context};
use crate::failure::{Failure, Kind, Result};
use crate::output::{ask, say};

pub(super) fn run(context: &Context, arguments: &Delete) -> Result<()> {
    let info = context.find(&arguments.name)?.info;
    if let Some(place) = context::mount_point(&info)? {
        let place = context.environment.shorten(&place);
        return Err(Failure::new(Kind::InTheWay, format!("project '{}' is mounted at {place}", info.name()))
            .hint(format!("run 'ize unmount {}' first", info.name())));
    }
    if !arguments.yes {
        confirm(context, &info)?;
    }
    context.central.delete(&info)?;
    match &info.toml.working {
        Some(folder) => say(format_args!(
            "deleted the history of '{}'; its files stay in {}",
            info.name(),
            context.environment.shorten(folder)
        )),
        None => say(format_args!("deleted '{}', its files and its history", info.name())),
    }
}

fn confirm(context: &Context, info: &ProjectInfo) -> Result<()> {
    let what = match &info.toml.working {
        Some(folder) => format!("history of '{}' (its files stay in {})", info.name(), folder.display()),
        None => format!("project '{}' with all files and all history", info.name()),
    };
    if !context.environment.is_interactive {
        return Err(Failure::new(Kind::Usage, format!("this would delete the {what}"))
            .hint("there is no terminal to ask on; add --yes if you mean it"));
    }
    match ask(&format!("Delete the {what}? It cannot be brought back. [y/N]"), false) {
        true => Ok(()),
        false => Err(Failure::new(Kind::Failed, "nothing was deleted").hint("answer 'y', or add --yes")),
    }
}
