//! `record-trace STORE OUT`: takes the operations out of a project's store, for the benchmarks to commit them again.

use std::process::ExitCode;

use ize_benches::trace;
use ize_store::{Store, StoreOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, out] = arguments.as_slice() else {
        eprintln!("usage: record-trace STORE OUT");
        return ExitCode::FAILURE;
    };
    match run(store, out) {
        Ok(bytes) => {
            println!("{bytes} bytes in {out}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(store: &str, out: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let bytes = trace::record(&Store::open(store, &StoreOptions::default())?)?;
    std::fs::write(out, &bytes)?;
    Ok(bytes.len())
}
