//! The `ize` command. All of it is in the library, so that tests can call it.

/// Committing and rebuilding an index allocate a row at a time, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ize_cli::main()
}
