//! `ize migrate`.

use ize_core::project::{ProjectError, ProjectLock, ProjectToml};
use ize_store::MigrationStep;

use super::progress;
use crate::arguments::Migrate;
use crate::backends;
use crate::context::{self, Context};
use crate::daemon::LOCK_WAIT;
use crate::failure::{Failure, Kind, Result};
use crate::output::{human, note, say};

pub(super) fn run(context: &Context, arguments: &Migrate) -> Result<()> {
    let info = context.find(&arguments.name)?.info;
    let (name, engine) = (info.name(), arguments.engine.as_str());
    if let Some(place) = context::mount_point(&info)? {
        let place = context.environment.shorten(&place);
        return Err(Failure::new(Kind::InTheWay, format!("project '{name}' is mounted at {place}"))
            .hint(format!("run 'ize unmount {name}' first")));
    }
    // Nobody opens the project until its description names the engine, too.
    let _lock = ProjectLock::acquire(&info.paths, LOCK_WAIT)?;
    let bar = progress::Bar::new();
    let mut tell = |step| bar.say(describe(step));
    let migrated = backends::migrate(&info, engine, &mut tell);
    bar.finish();
    let Some(is_new) = migrated.map_err(ProjectError::from)? else {
        let backend = &info.toml.backend;
        return Err(Failure::new(Kind::Usage, format!("the backend of '{name}' is '{backend}', which has no engines"))
            .hint("projects with the backend 'store' or 'pijul' have one"));
    };
    let path = info.paths.project_toml();
    let toml = ProjectToml::read(&path)?;
    if toml.engine.as_deref() != Some(engine) {
        ProjectToml { engine: Some(engine.to_owned()), ..toml }.write(&path)?;
    }
    if !is_new {
        note(format_args!("the engine of '{name}' is {engine} already: there is nothing to do"));
        return Ok(());
    }
    say(format_args!("the engine of '{name}' is {engine} now"))
}

fn describe(step: MigrationStep) -> String {
    match step {
        MigrationStep::Entered { op, of } => {
            format!("making the index anew: {} of {} operations", human::count(op.get()), human::count(of.get()))
        }
        _ => "comparing it with the one before".to_owned(),
    }
}
