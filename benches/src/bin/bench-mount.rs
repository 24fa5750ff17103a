//! What `scripts/bench-mount` runs, once everything is mounted: `bench-mount [OPTIONS] NAME=FOLDER...`. The first folder is what the others are
//! compared with. Prints the table and writes table, JSON and plot.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{fs, io};

use clap::Parser;
use ize_benches::mounted::{self, Material, Report, Target};

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
    /// A command of the shell that waits until what was done last is at rest; run after each group of workloads.
    #[arg(long)]
    settle: Option<String>,
    /// A target that is also compared with another one than the first: `NAME:NAME`.
    #[arg(long, value_parser = pair)]
    compare: Option<(String, String)>,
    /// What to measure.
    #[arg(value_name = "NAME=FOLDER", required = true, value_parser = target)]
    targets: Vec<Target>,
}

fn target(text: &str) -> Result<Target, String> {
    let (name, folder) = text.split_once('=').ok_or("a target is NAME=FOLDER")?;
    Ok(Target { name: name.to_owned(), folder: folder.into() })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (target, to) = text.split_once(':').ok_or("two targets are NAME:NAME")?;
    Ok((target.to_owned(), to.to_owned()))
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

fn run(arguments: &Arguments) -> io::Result<String> {
    let material = Material {
        repository: arguments.repository.clone(),
        archive: arguments.material.join("archive.tar"),
        package: arguments.material.join("package"),
    };
    let mut report = Report::new(&arguments.targets);
    if let Some((target, to)) = &arguments.compare {
        report.compare(target, to).map_err(|name| io::Error::other(format!("there is no target '{name}'")))?;
    }
    for round in 1..=arguments.rounds {
        mounted::run(&arguments.targets, round, &material, &mut report, |done, taken| {
            eprintln!("round {round} of {}: {done}: {:.1} s", arguments.rounds, taken.as_secs_f64());
            settle(arguments)
        })?;
        // Whatever interrupts the next round, this much is there.
        write(&arguments.output, &report)?;
    }
    Ok(report.markdown())
}

/// Waits until nobody works on what was measured last.
fn settle(arguments: &Arguments) -> io::Result<()> {
    let Some(command) = &arguments.settle else { return Ok(()) };
    let status = Command::new("sh").arg("-c").arg(command).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("'{command}' failed"))) }
}

fn write(folder: &Path, report: &Report) -> io::Result<()> {
    fs::write(folder.join("bench-mount.md"), report.markdown())?;
    fs::write(folder.join("bench-mount.json"), report.json()?)?;
    fs::write(folder.join("bench-mount.svg"), report.chart().svg())
}
