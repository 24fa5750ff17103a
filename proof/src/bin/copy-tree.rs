//! `copy-tree FROM TO`: copies a folder to a new one exactly: holes, hard links, owners, times and extended attributes
//! included.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else {
        eprintln!("usage: copy-tree FROM TO");
        return ExitCode::from(2);
    };
    match ize_proof::copy::copy_tree(Path::new(from), Path::new(to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
