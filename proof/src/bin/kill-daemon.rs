//! `kill-daemon [ROUNDS] [MODE] [SEED] [GRANULARITY]`: kills the daemon of a mounted project at random moments, mounts again, and checks that
//! nothing acknowledged was lost.

use std::process::ExitCode;

use ize_proof::ize::{Failure, GRANULARITIES, Ize};
use ize_proof::kill;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: u32| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (count, seed) = (number(0, 200), number(2, 1));
    let mode = arguments.get(1).map_or("group", String::as_str);
    let granularity = arguments.get(3).map_or("write", String::as_str);
    match run(count as usize, mode, seed.into(), granularity) {
        Ok(acknowledged) => {
            println!(
                "{mode}, {granularity}: {count} rounds of seed {seed}: {acknowledged} calls acknowledged, nothing lost"
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(1)
        }
    }
}

fn run(count: usize, mode: &str, seed: u64, granularity: &str) -> Result<usize, Failure> {
    for (word, known) in [(mode, &kill::MODES[..]), (granularity, &GRANULARITIES)] {
        if !known.contains(&word) {
            return Err(format!("'{word}' is none of {}", known.join(", ")));
        }
    }
    let ize = Ize::new()?.with_variable("IZE_DURABILITY", mode).with_variable("IZE_GRANULARITY", granularity);
    kill::rounds(&ize, count, seed, &mut |round, acknowledged| {
        eprintln!("round {round}: {acknowledged} calls acknowledged so far");
    })
}
