//! `kill-daemon [ROUNDS] [SEED]`: kills the daemon of a mounted project at random moments, mounts again, and checks that
//! nothing acknowledged was lost.

use std::process::ExitCode;

use ize_proof::ize::{Failure, Ize};
use ize_proof::kill;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let mut number = |default: u32| numbers.next().unwrap_or(Ok(default)).unwrap_or(default);
    let (count, seed) = (number(200), number(1));
    match run(count as usize, seed.into()) {
        Ok(acknowledged) => {
            println!("{count} rounds of seed {seed}: {acknowledged} calls acknowledged, nothing lost");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(1)
        }
    }
}

fn run(count: usize, seed: u64) -> Result<usize, Failure> {
    let ize = Ize::new()?;
    kill::rounds(&ize, count, seed, &mut |round, acknowledged| {
        eprintln!("round {round}: {acknowledged} calls acknowledged so far");
    })
}
