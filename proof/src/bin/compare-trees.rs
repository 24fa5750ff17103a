//! `compare-trees LEFT RIGHT [--no-mtimes] [--no-holes] [--no-root] [--skip NAME]...`: prints what differs between two
//! folders; exits with 1 if anything does.

use std::path::Path;
use std::process::ExitCode;

use ize_proof::compare::{CompareOptions, compare};

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> std::io::Result<bool> {
    let mut options = CompareOptions::default();
    let mut folders = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--no-mtimes" => options.mtimes = false,
            "--no-holes" => options.hole_block_bytes = None,
            "--no-root" => options.root = false,
            "--skip" => options = options.skip(arguments.next().unwrap_or_default()),
            _ => folders.push(argument),
        }
    }
    let [left, right] = &folders[..] else {
        return Err(std::io::Error::other(
            "usage: compare-trees LEFT RIGHT [--no-mtimes] [--no-holes] [--no-root] [--skip NAME]...",
        ));
    };
    let differences = compare(Path::new(left), Path::new(right), &options)?;
    for difference in &differences {
        println!("{difference}");
    }
    Ok(differences.is_empty())
}
