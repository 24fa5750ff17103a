//! The `ize` command: each command parses, calls the library, and prints.
//!
//! [`main`] is the whole of it. The modules: `arguments` (what can be asked), `environment` (what the process was given),
//! `context` (central folder, settings, the project that is meant), `command` (one file each), `daemon` (the process
//! behind a mount), `output` (tables, JSON, pager), `failure` (errors, hints, exit codes),
//! `bus_error` (a disk that cannot read the index).

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod arguments;
mod backends;
mod bus_error;
mod command;
mod context;
mod daemon;
mod environment;
mod failure;
mod holders;
mod mounts;
mod output;
mod suggest;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use context::Context;
use environment::Environment;

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    bus_error::watch(arguments.command.project());
    let context = Context::new(Environment::read(), arguments.central_dir.as_deref());
    match context.and_then(|context| command::run(&context, &arguments.command)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let failure = failure.with_some_hint().about(arguments.command.project());
            output::note(&failure);
            ExitCode::from(failure::code(failure.kind))
        }
    }
}
