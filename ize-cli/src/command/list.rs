//! `ize list`.

use ize_core::project::ProjectInfo;

use crate::arguments::List;
use crate::context::{self, Context};
use crate::failure::{Result, chain};
use crate::output::json::{self, ProjectLine};
use crate::output::table::{Align, layout};
use crate::output::{note, stdout};

pub(super) fn run(context: &Context, arguments: &List) -> Result<()> {
    let list = context.central.projects()?;
    for damaged in &list.damaged {
        note(format_args!("warning: {} is left out: {}", damaged.dir.display(), chain(&damaged.error)));
    }
    let lines = list.projects.iter().map(line_of).collect::<Result<Vec<_>>>()?;
    let mut answer = stdout();
    if arguments.json {
        for line in &lines {
            answer.line(json::line(line))?;
        }
    } else if lines.is_empty() {
        note("no projects yet; 'ize mount notes ~/notes --create' makes one and mounts it");
    } else {
        answer.line(table(context, &lines))?;
    }
    answer.flush().map(drop)
}

/// Describes a project without opening it or asking its daemon.
pub(super) fn line_of(info: &ProjectInfo) -> Result<ProjectLine> {
    Ok(ProjectLine {
        name: info.name().to_owned(),
        id: info.paths.id.to_string(),
        backend: info.toml.backend.clone(),
        engine: info.toml.engine.clone(),
        mountpoint: context::mount_point(info)?.map(|path| path.display().to_string()),
        working: info.working().display().to_string(),
        dir: info.paths.dir.display().to_string(),
    })
}

fn table(context: &Context, lines: &[ProjectLine]) -> String {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let place = line.mountpoint.as_deref().map(|path| context.environment.shorten(path.as_ref()));
            let backend = match &line.engine {
                Some(engine) => format!("{} ({engine})", line.backend),
                None => line.backend.clone(),
            };
            vec![line.name.clone(), place.unwrap_or_else(|| "-".to_owned()), backend]
        })
        .collect();
    layout(&[("NAME", Align::Left), ("MOUNTED AT", Align::Left), ("BACKEND", Align::Left)], &rows)
}
