//! What `scripts/bench-mount` runs, once everything is mounted: `bench-mount [OPTIONS] NAME=FOLDER...`. The first folder is what the others are
//! compared with. Prints the table and writes table, JSON and plot.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ize_benches::mounted::{self, Material, Target};

#[derive(Parser)]
struct Arguments {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The folder that gets the report.
    #[arg(long)]
    output: PathBuf,
    /// A git repository to clone.
    #[arg(long)]
    repository: PathBuf,
    /// A folder with `archive.tar`, to be extracted, and `package`, a Rust package to be built.
    #[arg(long)]
    material: PathBuf,
    /// What to measure.
    #[arg(value_name = "NAME=FOLDER", required = true, value_parser = target)]
    targets: Vec<Target>,
}

fn target(text: &str) -> Result<Target, String> {
    let (name, folder) = text.split_once('=').ok_or("a target is NAME=FOLDER")?;
    Ok(Target { name: name.to_owned(), folder: folder.into() })
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::io::Result<String> {
    let material = Material {
        repository: arguments.repository.clone(),
        archive: arguments.material.join("archive.tar"),
        package: arguments.material.join("package"),
    };
    let report = mounted::run(&arguments.targets, &material, arguments.rounds, |next| eprintln!("{next}"))?;
    let table = report.markdown();
    fs::write(arguments.output.join("bench-mount.md"), &table)?;
    fs::write(arguments.output.join("bench-mount.json"), report.json()?)?;
    fs::write(arguments.output.join("bench-mount.svg"), report.chart().svg())?;
    Ok(table)
}
