//! What developers run: git, cargo and SQLite.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ProgramOptions;
use crate::ize::{Failure, program};

fn git(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let identity = ["-c", "user.name=Ize", "-c", "user.email=ize@example.org", "-c", "init.defaultBranch=main"];
    // Maintenance in the background would go on after git returned.
    let quiet = ["-c", "gc.autoDetach=false", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false"];
    program(folder, "git", &[&identity[..], &quiet, arguments].concat())
}

fn edit(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn git_begin(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    git(folder, &["init", "--quiet"])?;
    git(folder, &["add", "--all"])?;
    git(folder, &["commit", "--quiet", "--message", "all"])?;
    clean(folder)
}

/// The repository is whole, and the tree is what was committed.
fn clean(folder: &Path) -> Result<(), Failure> {
    let status = git(folder, &["status", "--porcelain"])?;
    if !status.is_empty() {
        return Err(format!("git sees changes: {status}"));
    }
    git(folder, &["fsck", "--strict"]).map(drop)
}

pub(super) fn git_branch(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    git(folder, &["checkout", "--quiet", "-b", "work"])?;
    edit(&folder.join("on-branch.txt"), "a file of the branch\n")?;
    edit(&folder.join("part-1/changed.txt"), &"changed\n".repeat(5000))?;
    git(folder, &["rm", "--quiet", "-r", "part-2"])?;
    git(folder, &["add", "--all"])?;
    git(folder, &["commit", "--quiet", "--message", "work"])?;
    git(folder, &["checkout", "--quiet", "main"])?;
    if folder.join("on-branch.txt").exists() || !folder.join("part-2").exists() {
        return Err("checkout did not bring the other branch".into());
    }
    clean(folder)
}

pub(super) fn git_merge(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    edit(&folder.join("on-main.txt"), "a file of main\n")?;
    git(folder, &["add", "--all"])?;
    git(folder, &["commit", "--quiet", "--message", "main"])?;
    git(folder, &["merge", "--quiet", "--no-edit", "work"])?;
    clean(folder)
}

pub(super) fn git_gc(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    git(folder, &["gc", "--quiet", "--prune=now"])?;
    clean(folder)
}

pub(super) fn git_clone(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    git(folder, &["clone", "--quiet", ".", "clone"])?;
    clean(&folder.join("clone"))
}

fn cargo(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    // The environment of a surrounding cargo is not this build's business.
    let clean =
        ["-u", "CARGO_TARGET_DIR", "-u", "CARGO_MANIFEST_DIR", "-u", "RUSTFLAGS", "-u", "CARGO_ENCODED_RUSTFLAGS"];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    program(folder, "env", &[&clean[..], &[cargo.as_str()], arguments].concat())
}

pub(super) fn cargo_build(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    cargo(folder, &["new", "--quiet", "--vcs", "none", "greeter"])?;
    let package = folder.join("greeter");
    edit(&package.join("src/lib.rs"), "pub fn greeting() -> &'static str {\n    \"hello\"\n}\n")?;
    edit(&package.join("src/main.rs"), "fn main() {\n    println!(\"{}\", greeter::greeting());\n}\n")?;
    greets(&package, "hello\n")
}

fn greets(package: &Path, expected: &str) -> Result<(), Failure> {
    cargo(package, &["build", "--quiet", "--offline"])?;
    let printed = program(package, "./target/debug/greeter", &[])?;
    if printed == expected { Ok(()) } else { Err(format!("the program that was built prints {printed:?}")) }
}

pub(super) fn cargo_rebuild(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    let package = folder.join("greeter");
    edit(&package.join("src/lib.rs"), "pub fn greeting() -> &'static str {\n    \"hello again\"\n}\n")?;
    greets(&package, "hello again\n")?;
    cargo(&package, &["test", "--quiet", "--offline"]).map(drop)
}

fn sqlite(folder: &Path, database: &str, statements: &str) -> Result<String, Failure> {
    program(folder, "sqlite3", &["-bail", "-cmd", ".timeout 20000", database, statements])
}

pub(super) fn sqlite_rollback(folder: &Path, options: &ProgramOptions) -> Result<(), Failure> {
    sqlite_mode(folder, "rollback.db", "delete", options.rows)
}

pub(super) fn sqlite_wal(folder: &Path, options: &ProgramOptions) -> Result<(), Failure> {
    sqlite_mode(folder, "ahead.db", "wal", options.rows)
}

/// One writer, and two readers that must always see whole transactions.
fn sqlite_mode(folder: &Path, database: &str, mode: &str, rows: u32) -> Result<(), Failure> {
    let made = sqlite(folder, database, &format!("PRAGMA journal_mode={mode}; CREATE TABLE pair (side, value);"))?;
    if made.trim() != mode {
        return Err(format!("the journal mode is {made:?} instead of {mode}"));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| sqlite_read(folder, database, &done)));
        let written = sqlite_write(folder, database, rows);
        done.store(true, Ordering::Relaxed);
        let read = readers.into_iter().try_for_each(|reader| reader.join().unwrap_or(Err("a reader panicked".into())));
        written.and(read)
    })?;
    let checked = sqlite(folder, database, "PRAGMA integrity_check; SELECT count(*) FROM pair;")?;
    let expected = format!("ok\n{}\n", 2 * rows);
    if checked == expected { Ok(()) } else { Err(format!("{checked:?} instead of {expected:?}")) }
}

fn sqlite_write(folder: &Path, database: &str, rows: u32) -> Result<(), Failure> {
    // One process for all statements: each row of a pair is its own transaction's half.
    let pair = |row: u32| {
        format!("BEGIN IMMEDIATE; INSERT INTO pair VALUES (0, {row}); INSERT INTO pair VALUES (1, {row}); COMMIT;")
    };
    let statements: Vec<String> = (0..rows).map(pair).collect();
    for chunk in statements.chunks(50) {
        sqlite(folder, database, &chunk.join("\n"))?;
    }
    Ok(())
}

fn sqlite_read(folder: &Path, database: &str, done: &AtomicBool) -> Result<(), Failure> {
    while !done.load(Ordering::Relaxed) {
        let halves = sqlite(folder, database, "SELECT count(*) FROM pair GROUP BY side;")?;
        let counts: Vec<&str> = halves.lines().collect();
        if counts.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("a reader saw half a transaction: {counts:?}"));
        }
    }
    Ok(())
}

pub(super) fn sqlite_vacuum(folder: &Path, _: &ProgramOptions) -> Result<(), Failure> {
    for database in ["rollback.db", "ahead.db"] {
        sqlite(folder, database, "DELETE FROM pair WHERE value % 3 = 0; VACUUM;")?;
        let checked = sqlite(folder, database, "PRAGMA integrity_check;")?;
        if checked != "ok\n" {
            return Err(format!("{database}: {checked}"));
        }
    }
    Ok(())
}
