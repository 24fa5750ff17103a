//! `ize init`.

use std::path::{Path, PathBuf};

use ize_core::project::{NewProject, Project, ProjectName, Settings, SettingsLayer};

use super::progress;
use crate::arguments::{Durability, Init, StorageChoice};
use crate::backends;
use crate::context::Context;
use crate::failure::{Failure, Kind, Result};
use crate::output::{ask, human, note, say};
use crate::suggest;

pub(super) fn run(context: &Context, arguments: &Init) -> Result<()> {
    let mut new = describe(context, &arguments.name, &arguments.storage)?;
    for pattern in &arguments.ignore {
        let set = new.settings.set("ignore", pattern, "--ignore");
        set.map_err(|error| Failure::from(ize_core::project::ProjectError::from(error)))?;
    }
    new.settings.durability = arguments.durability.map(Durability::layer);
    new.adopt = folder(context, arguments.in_place.as_deref())?;
    new.import = folder(context, arguments.from.as_deref())?;
    if let Some(origin) = new.adopt.as_ref().or(new.import.as_ref()) {
        let rules = suggested(context, origin, &new);
        new.settings.ignore.extend(rules);
    }
    let (project, copied) = create(context, new)?;
    tell(context, &project, arguments)?;
    project.close()?;
    copied
}

/// Describes a project as settings and flags want it.
///
/// # Errors
/// If the name cannot be one, or there is no such backend.
pub(super) fn describe(context: &Context, name: &str, choice: &StorageChoice) -> Result<NewProject> {
    let name = ProjectName::new(name)?;
    let flags = SettingsLayer {
        backend: choice.backend.map(|backend| backend.as_str().to_owned()),
        engine: choice.engine.map(|engine| engine.as_str().to_owned()),
        ..SettingsLayer::default()
    };
    let settings = context.settings(None, &flags)?;
    let backend = settings.backend.as_deref().unwrap_or(Settings::BACKEND_DEFAULT);
    backends::all().get(backend)?;
    let mut new = NewProject::new(name, backend);
    new.engine = settings.engine;
    Ok(new)
}

/// Makes a project, with a progress bar where it takes long. Beside the project answers whether all was copied.
///
/// # Errors
/// As [`Project::create`].
pub(super) fn create(context: &Context, new: NewProject) -> Result<(Project, Result<()>)> {
    let mut options = context.project_options(None)?;
    let bar = progress::Bar::new();
    options.progress = Some(bar.listener());
    let project = Project::create(&context.central, new, &backends::all(), options);
    bar.finish();
    let project = project?;
    let copied = check_copy(&project);
    Ok((project, copied))
}

fn check_copy(project: &Project) -> Result<()> {
    let Some(report) = project.imported() else { return Ok(()) };
    for (path, omission) in &report.omitted {
        note(format_args!("warning: {path}: {omission}"));
    }
    match report.omitted.iter().filter(|(_, omission)| omission.is_loss()).count() as u64 {
        0 => Ok(()),
        lost => Err(Failure::new(Kind::Failed, format!("{} could not be copied", human::counted(lost, "file")))
            .hint("the project is there, with all the others")),
    }
}

fn folder(context: &Context, given: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(given) = given else { return Ok(None) };
    let absolute = context.environment.absolute(given)?;
    let metadata = std::fs::metadata(&absolute).map_err(|error| {
        Failure::io(format_args!("cannot read {}", absolute.display()), &error).hint("check the path")
    })?;
    if !metadata.is_dir() {
        return Err(Failure::new(Kind::Usage, format!("{} is not a folder", absolute.display())));
    }
    Ok(Some(absolute))
}

/// Suggests rules for build and cache folders; on a terminal asks whether to take them, and returns them if so.
fn suggested(context: &Context, origin: &Path, new: &NewProject) -> Vec<String> {
    let rules: Vec<&str> = suggest::ignore_rules(origin)
        .into_iter()
        .filter(|rule| !new.settings.ignore.iter().any(|has| has == rule))
        .collect();
    if rules.is_empty() {
        return Vec::new();
    }
    note(format_args!("these folders can be made again, and their history is seldom wanted: {}", rules.join(" ")));
    if context.environment.is_interactive && ask("Leave them out of history? [Y/n]", true) {
        return rules.into_iter().map(ToOwned::to_owned).collect();
    }
    let flags: Vec<String> = rules.iter().map(|rule| format!("--ignore {rule}")).collect();
    note(format_args!("to leave them out, use {}, or write them to .izeignore in the folder", flags.join(" ")));
    Vec::new()
}

fn tell(context: &Context, project: &Project, arguments: &Init) -> Result<()> {
    let (info, environment) = (project.info(), &context.environment);
    let (name, ize) = (info.name(), &environment.command);
    say(format_args!("made project '{name}' in {}", environment.shorten(&info.paths.dir)))?;
    let found = project.found();
    if let Some(report) = project.imported() {
        let (files, folders) = (human::counted(report.files, "file"), human::counted(report.folders, "folder"));
        say(format_args!("copied and recorded {files} in {folders}, {}", human::size(report.bytes)))?;
    } else if !found.is_clean() {
        say(format_args!("recorded {}", human::counted(found.created, "new name")))?;
    }
    let place = if arguments.in_place.is_some() { String::new() } else { format!(" ~/{name} --create") };
    note(format_args!("next:  {ize} mount {name}{place}"));
    Ok(())
}
