//! Compares all engines of this build; see `scripts/compare-engines`.
//!
//! `compare-engines ROUNDS PAGE PICTURE` measures and writes. `compare-engines figures ENGINE FOLDER` and `compare-engines
//! read ENGINE PATH` are the processes of their own that it starts for each engine and round, and for each damage.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use ize_benches::engines::damage::{self, Damage};
use ize_benches::engines::figures::{Figures, figures};
use ize_benches::engines::report::{self, Measured};
use ize_benches::engines::{all, named};
use ize_store::engine::Constructor;

/// How often each kind of damage is done to each engine.
const TRIALS: usize = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&*error);
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["figures", engine, folder] => {
            let figures = figures(&known(engine)?, Path::new(folder))?;
            println!("{}", serde_json::to_string(&figures)?);
            Ok(())
        }
        ["read", engine, path] => {
            println!("{}", damage::digest(&*known(engine)?, Path::new(path))?);
            Ok(())
        }
        [rounds, page, picture] => compare(rounds.parse()?, Path::new(page), Path::new(picture)),
        _ => Err("usage: compare-engines ROUNDS PAGE PICTURE".into()),
    }
}

fn known(name: &str) -> Result<Arc<dyn Constructor>, String> {
    named(name).ok_or_else(|| format!("'{name}' is no engine of this build"))
}

fn compare(rounds: usize, page: &Path, picture: &Path) -> Result<(), Box<dyn Error>> {
    let mut taken: Vec<(Arc<dyn Constructor>, Vec<Figures>)> =
        all().into_iter().map(|engine| (engine, vec![])).collect();
    for round in 1..=rounds {
        for (engine, figures) in &mut taken {
            eprintln!("round {round} of {rounds}: {}", engine.name());
            figures.push(one_round(engine.name())?);
        }
    }
    let measured: Result<Vec<Measured>, Box<dyn Error>> =
        taken.iter().map(|(engine, rounds)| with_damage(&**engine, rounds)).collect();
    let measured = measured?;
    let figures = report::markdown(&measured);
    print!("{figures}");
    fs::write(page, report::place(&fs::read_to_string(page)?, &figures)?)?;
    fs::write(picture, report::chart(&measured).svg())?;
    Ok(())
}

/// Measures in a process of its own, whose memory is that of one engine.
fn one_round(engine: &str) -> Result<Figures, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let output = Command::new(std::env::current_exe()?).args(["figures", engine]).arg(dir.path()).output()?;
    if !output.status.success() {
        return Err(format!("{engine}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn with_damage(engine: &dyn Constructor, rounds: &[Figures]) -> Result<Measured, Box<dyn Error>> {
    eprintln!("damage: {}", engine.name());
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("tables");
    let expected = damage::fill(engine, &path)?;
    let program = std::env::current_exe()?;
    let reader = || {
        let mut command = Command::new(&program);
        command.args(["read", engine.name()]);
        command
    };
    Ok(Measured {
        engine: engine.name().to_owned(),
        figures: report::medians(rounds),
        bits: damage::trials(&path, expected, Damage::Bit, TRIALS, &reader)?,
        pages: damage::trials(&path, expected, Damage::Page, TRIALS, &reader)?,
    })
}
