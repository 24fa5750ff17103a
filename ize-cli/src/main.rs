//! The `ize` command. All of it is in the library, so that tests can call it.

fn main() -> std::process::ExitCode {
    ize_cli::main()
}
