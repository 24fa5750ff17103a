//! `workload LEFT RIGHT [--seed N] [--calls N] [--threads N]`: makes the same random calls in two empty folders and
//! exits with 1 at the first difference.

use std::path::Path;
use std::process::ExitCode;

use ize_proof::workload::{WorkloadError, WorkloadOptions, run};

fn main() -> ExitCode {
    let mut options = WorkloadOptions::default();
    let mut folders = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|value| value.parse::<u32>().ok()).unwrap_or_default();
        match argument.as_str() {
            "--seed" => options.seed = number().into(),
            "--calls" => options.calls = number() as usize,
            "--threads" => options.threads = number() as usize,
            _ => folders.push(argument),
        }
    }
    let [left, right] = &folders[..] else {
        eprintln!("usage: workload LEFT RIGHT [--seed N] [--calls N] [--threads N]");
        return ExitCode::from(2);
    };
    match run(Path::new(left), Path::new(right), &options, &mut |_| Ok(())) {
        Ok(tally) => {
            println!("succeeded+failed: {tally}");
            println!("{} calls of seed {} by {} threads: no difference", options.calls, options.seed, options.threads);
            ExitCode::SUCCESS
        }
        Err(error @ (WorkloadError::Io(_) | WorkloadError::Moment(_))) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(difference) => {
            println!("{difference}");
            ExitCode::from(1)
        }
    }
}
