//! Makes a project, changes a file, and reads it as it was: `cargo run -p ize-examples --example record_and_read`.
//!
//! History is kept in memory here, so that `ize-core` is all it takes. For history that lasts, add `ize-store` and use
//! its backend: `Backends::new().with(...)` and `NewProject::new(name, "store")`.

use std::error::Error;

use ize_core::model::RelPath;
use ize_core::project::{
    Backends, CentralDir, HistoryQuery, NewProject, Project, ProjectName, ProjectOptions, Revision, Settings,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("ize-example-{}", std::process::id()));
    let outcome = record_and_read(&CentralDir::new(&folder));
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn record_and_read(central: &CentralDir) -> Result<(), Box<dyn Error>> {
    let new = NewProject::new(ProjectName::new("notes")?, "memory");
    let project = Project::create(central, new, &Backends::new(), ProjectOptions::new(Settings::default()))?;

    project.write("todo.txt", b"buy milk")?;
    let before = project.sync()?;
    project.write("todo.txt", b"buy bread")?;
    project.rename("todo.txt", "done.txt")?;

    let then = project.read_at("todo.txt", &Revision::Op(before))?;
    println!("at {before}: {}", String::from_utf8_lossy(&then));
    println!("now: {}", String::from_utf8_lossy(&project.read("done.txt")?));

    // What happened, newest first; the file is followed across its renaming.
    for row in project.history(HistoryQuery::new(RelPath::new("done.txt")?))? {
        let row = row?;
        println!("{}  {:6}  {}", row.change, row.kind.to_string(), row.path);
    }
    project.close()?;
    Ok(())
}
