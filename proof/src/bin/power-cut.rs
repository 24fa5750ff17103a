//! `power-cut [ROUNDS] [FILESYSTEM] [MODE] [SEED] [GRANULARITY]`: cuts the power of the disk that holds a mounted project, mounts again,
//! and checks what is there against what was promised.

use std::process::ExitCode;

use ize_proof::ize::Failure;
use ize_proof::ize::GRANULARITIES;
use ize_proof::kill::MODES;
use ize_proof::power::{PowerCut, rounds};

fn main() -> ExitCode {
    match run() {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(1)
        }
    }
}

fn run() -> Result<String, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize, default: &str| arguments.get(index).cloned().unwrap_or_else(|| default.to_owned());
    let number = |index: usize, default: &str| {
        word(index, default).parse::<u32>().map_err(|error| format!("'{}': {error}", word(index, default)))
    };
    let (count, seed, filesystem) = (number(0, "100")?, number(3, "1")?, word(1, "ext4").parse()?);
    let wanted = word(2, "group");
    let mode = MODES.into_iter().find(|mode| *mode == wanted).ok_or(format!("'{wanted}' is no durability mode"))?;
    let wanted = word(4, "write");
    let granularity = GRANULARITIES
        .into_iter()
        .find(|granularity| *granularity == wanted)
        .ok_or(format!("'{wanted}' is no granularity"))?;
    let cut = PowerCut { filesystem, mode, granularity, seed: seed.into() };
    let acknowledged = rounds(cut, count as usize, &mut |round, acknowledged| {
        eprintln!("round {round}: {acknowledged} calls acknowledged so far");
    })?;
    let acknowledged = acknowledged.ok_or(format!("no {filesystem} on a loop device can be mounted here"))?;
    Ok(format!(
        "{filesystem}, {mode}, {granularity}: {count} rounds of seed {seed}, {acknowledged} calls acknowledged, no promise broken"
    ))
}
