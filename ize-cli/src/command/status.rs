//! `ize status`.

use ize_core::project::{ProjectInfo, Status};
use ize_core::tree::Granularity;

use super::{list, open};
use crate::arguments::Status as Arguments;
use crate::context::{Context, Target};
use crate::failure::{Failure, Result};
use crate::output::json::{self, DurabilityField, StatusLine};
use crate::output::metrics::Metrics;
use crate::output::{Answer, human, note, stdout};

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<()> {
    let targets = match &arguments.name {
        Some(name) => vec![context.find(name)?],
        None => all(context)?,
    };
    let mut answer = stdout();
    let mut metrics = Metrics::default();
    let mut failed = None;
    for (index, target) in targets.iter().enumerate() {
        match open::status(context, target) {
            Ok(state) if arguments.metrics => metrics.add(&state.status),
            Ok(state) => show(context, &mut answer, &target.info, &state, arguments.json, index > 0)?,
            // One project that cannot be opened does not hide the others.
            Err(failure) if targets.len() > 1 => {
                answer.flush()?;
                note(format_args!("warning: project '{}': {}", target.name(), failure.message));
                failed = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    if arguments.metrics {
        answer.bytes(metrics.to_string().as_bytes())?;
    }
    answer.flush()?;
    match failed {
        Some(failure) => Err(Failure::new(failure.kind, "not every project could be asked")),
        None => Ok(()),
    }
}

fn all(context: &Context) -> Result<Vec<Target>> {
    let projects = context.central.projects()?.projects;
    if projects.is_empty() {
        note("no projects yet; 'ize mount notes ~/notes --create' makes one and mounts it");
    }
    Ok(projects.into_iter().map(Target::by_name).collect())
}

fn show<W: std::io::Write>(
    context: &Context,
    answer: &mut Answer<W>,
    info: &ProjectInfo,
    status: &open::State,
    as_json: bool,
    follows: bool,
) -> Result<()> {
    if as_json {
        return answer.line(json::line(&line(info, status)?)).map(drop);
    }
    if follows {
        answer.line("")?;
    }
    answer.line(text(context, info, status)).map(drop)
}

fn line(info: &ProjectInfo, state: &open::State) -> Result<StatusLine> {
    let status = &state.status;
    let mut project = list::line_of(info)?;
    project.mountpoint = status.mount_point.as_ref().map(|path| path.display().to_string());
    project.engine.clone_from(&status.engine);
    Ok(StatusLine {
        project,
        pid: state.daemon,
        recorded: status.recorded.get(),
        committed: status.committed.get(),
        pending_ops: status.pending_ops,
        pending_bytes: status.pending_bytes,
        durability: DurabilityField::from(status.durability),
        granularity: status.granularity.map(Granularity::name),
        poisoned: status.poisoned.clone(),
        sizes: sizes(status).into_iter().collect(),
        journal_bytes_max: status.journal_bytes_max,
        queue: (&status.queue).into(),
        log: info.paths.log().display().to_string(),
    })
}

fn sizes(status: &Status) -> Vec<(String, u64)> {
    let parts = status.sizes.iter().map(|size| (size.part.clone(), size.bytes));
    parts.chain([("journal".to_owned(), status.journal_bytes)]).collect()
}

fn pieces(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Write => "each write (granularity write)",
        Granularity::Close => "what files hold when they are closed or synced (granularity close)",
    }
}

fn text(context: &Context, info: &ProjectInfo, state: &open::State) -> String {
    let (status, shorten) = (&state.status, |path: &std::path::Path| context.environment.shorten(path));
    let mounted = match (&status.mount_point, state.daemon) {
        (Some(place), Some(pid)) => format!("at {} (process {pid})", shorten(place)),
        (None, Some(pid)) => format!("not mounted, but open in process {pid}"),
        _ => "no".to_owned(),
    };
    let backend = match &status.engine {
        Some(engine) => format!("{} ({engine})", status.backend),
        None => status.backend.clone(),
    };
    let pending = match status.pending_ops {
        0 => "all in history".to_owned(),
        ops => format!("{} pending, {}", human::counted(ops, "operation"), human::size(status.pending_bytes)),
    };
    let disk: Vec<String> =
        sizes(status).iter().map(|(part, bytes)| format!("{part} {}", human::size(*bytes))).collect();
    let mut lines = vec![
        format!("project    {}", info.name()),
        format!("mounted    {mounted}"),
        format!("files      {}", shorten(&info.working())),
        format!("recorded   {}, committed {}: {pending}", status.recorded, status.committed),
        format!("durability {}", status.durability),
    ];
    lines.extend(status.granularity.map(|granularity| format!("records    {}", pieces(granularity))));
    lines.extend([
        format!("backend    {backend}"),
        format!("on disk    {}", disk.join(", ")),
        format!("log        {}", shorten(&info.paths.log())),
    ]);
    if let Some(why) = &status.poisoned {
        lines.push(format!("problem    changes cannot be recorded: {why}"));
        lines.push("           reading goes on; unmount, and mount again".to_owned());
    }
    lines.join("\n")
}
