//! `ize mount`: finds or makes the project and the mount point, then starts the daemon, or is it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ize_core::project::ProjectInfo;

use super::init;
use crate::arguments::{BackendName, Mount, StorageChoice};
use crate::context::{self, Context, Target};
use crate::daemon::{self, Parent, Ready, Request};
use crate::failure::{Failure, Kind, Result};
use crate::output::{note, say};

pub(super) fn run(context: &Context, arguments: &Mount) -> Result<()> {
    if arguments.serve {
        return serve(context, arguments);
    }
    let (target, created) = find_or_create(context, arguments)?;
    let mount_point = mount_point(context, arguments, &target.info)?;
    refuse_second_mount(context, &target.info)?;
    prepare(context, arguments, &mount_point)?;
    let request = Request {
        mount_point,
        read_only: arguments.read_only,
        allow_other: arguments.allow_other,
        durability: arguments.durability,
        granularity: arguments.granularity,
        set: arguments.set.clone(),
        foreground: arguments.foreground,
    };
    // Told here, before anything is started.
    request.settings()?;
    if arguments.foreground {
        return daemon::serve(context, &target.info, &request, Parent::none(), &|ready| {
            greet(context, &target, ready, created);
        });
    }
    let ready = daemon::start(&mut daemon_command(context, &target.info, &request)?, &target.info.paths.log())?;
    check_it_answers(&ready)?;
    greet(context, &target, &ready, created);
    Ok(())
}

/// The daemon itself: everything was checked by the process that started it.
fn serve(context: &Context, arguments: &Mount) -> Result<()> {
    let mut parent = Parent::detach()?;
    let request = Request {
        mount_point: arguments.mount_point.clone().unwrap_or_default(),
        read_only: arguments.read_only,
        allow_other: arguments.allow_other,
        durability: arguments.durability,
        granularity: arguments.granularity,
        set: arguments.set.clone(),
        foreground: false,
    };
    let info = context.central.find(&arguments.name);
    let info = info.map_err(|error| parent.report(error.into()))?;
    daemon::serve(context, &info, &request, parent, &|_| {})
}

fn find_or_create(context: &Context, arguments: &Mount) -> Result<(Target, bool)> {
    match context.find(&arguments.name) {
        Err(failure) if failure.kind == Kind::NotFound && !context::is_path(&arguments.name) => {
            if !arguments.create {
                return Err(failure.hint("--create makes the project"));
            }
            let new = init::describe(context, &arguments.name, &arguments.storage)?;
            let (project, _) = init::create(context, new)?;
            project.close()?;
            Ok((Target::by_name(project.info().clone()), true))
        }
        found => {
            let target = found?;
            check_storage(&target.info, &arguments.storage)?;
            Ok((target, false))
        }
    }
}

/// A project that is there keeps the storage that it was made with.
fn check_storage(info: &ProjectInfo, choice: &StorageChoice) -> Result<()> {
    match choice.backend.map(BackendName::as_str).filter(|wanted| *wanted != info.toml.backend) {
        None => Ok(()),
        Some(wanted) => Err(Failure::new(
            Kind::Usage,
            format!("project '{}' was made with the backend '{}', not '{wanted}'", info.name(), info.toml.backend),
        )
        .hint("leave --backend out, or make a project of another name")),
    }
}

/// The argument, else the adopted folder itself, else where it was mounted last.
fn mount_point(context: &Context, arguments: &Mount, info: &ProjectInfo) -> Result<PathBuf> {
    if let Some(given) = &arguments.mount_point {
        return context.environment.absolute(given);
    }
    let known = info.toml.mount_point.clone().or_else(|| info.toml.working.clone());
    known.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("project '{}' was never mounted, so say where", info.name())).hint(format!(
            "for example: {} mount {} ~/{}  --create",
            context.environment.command,
            info.name(),
            info.name()
        ))
    })
}

fn refuse_second_mount(context: &Context, info: &ProjectInfo) -> Result<()> {
    let Some(place) = context::mount_point(info)? else { return Ok(()) };
    if ize_fuse::is_dead_mount(&place) {
        return Ok(());
    }
    let place = context.environment.shorten(&place);
    Err(Failure::new(Kind::InTheWay, format!("project '{}' is mounted at {place} already", info.name())).hint(format!(
        "work there, or run '{} unmount {}' first",
        context.environment.command,
        info.name()
    )))
}

/// Clears what a killed daemon left, and makes the mount point if that is wanted.
fn prepare(context: &Context, arguments: &Mount, mount_point: &Path) -> Result<()> {
    if ize_fuse::clear_dead_mount(mount_point)? {
        note(format_args!("cleared the dead mount at {}", context.environment.shorten(mount_point)));
    }
    if arguments.create {
        fs::create_dir_all(mount_point)
            .map_err(|error| Failure::io(format_args!("cannot make {}", mount_point.display()), &error))?;
    }
    Ok(())
}

fn daemon_command(context: &Context, info: &ProjectInfo, request: &Request) -> Result<Command> {
    let own = std::env::current_exe().map_err(|error| Failure::io("cannot find this program again", &error))?;
    let mut command = Command::new(own);
    command.arg("mount").arg("--serve").arg("--central-dir").arg(context.central.path());
    for (wanted, flag) in [(request.read_only, "--read-only"), (request.allow_other, "--allow-other")] {
        if wanted {
            command.arg(flag);
        }
    }
    if let Some(durability) = request.durability {
        command.arg("--durability").arg(durability.kind().1);
    }
    if let Some(granularity) = request.granularity {
        command.arg("--granularity").arg(granularity.kind().name());
    }
    for set in &request.set {
        command.arg("--set").arg(set);
    }
    // By id: nobody else can take that meanwhile.
    command.arg("--").arg(info.paths.id.to_string()).arg(&request.mount_point);
    Ok(command)
}

/// Asks the mount for something, so that "ready" means what it says.
fn check_it_answers(ready: &Ready) -> Result<()> {
    fs::metadata(&ready.mount_point).map(drop).map_err(|error| {
        Failure::io(format_args!("the mount at {} does not answer", ready.mount_point.display()), &error)
    })
}

fn greet(context: &Context, target: &Target, ready: &Ready, created: bool) {
    let (name, ize) = (target.name(), &context.environment.command);
    let place = context.environment.shorten(&ready.mount_point);
    if created {
        let dir = context.environment.shorten(&target.info.paths.dir);
        note(format_args!("made project '{name}' in {dir}"));
    }
    for found in &ready.notes {
        note(found);
    }
    // The mount works, whoever reads this.
    let _ = say(format_args!("'{name}' is mounted at {place}: every change there is recorded"));
    let name = if name.contains(' ') { format!("'{name}'") } else { name.to_owned() };
    let rows = [
        (format!("{ize} history {name}"), "what happened, newest first"),
        (format!("{ize} restore {name} <file> <change>"), "bring a file back"),
        (format!("{ize} unmount {name}"), "record what is left, and leave"),
    ];
    let width = rows.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in rows {
        note(format_args!("  {command:width$}   {what}"));
    }
}
