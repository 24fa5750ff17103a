//! Real programs at work.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Material, Sample, Unit, Workload};

const ROWS: u32 = 20_000;
const TRANSACTIONS: u32 = 500;
const SELECTS: u32 = 50_000;

static TAR: Workload = Workload { key: "tar", title: "tar extraction", unit: Unit::Millis };
static CLONE: Workload = Workload { key: "git-clone", title: "git clone", unit: Unit::Millis };
static STATUS: Workload = Workload { key: "git-status", title: "git status", unit: Unit::Millis };
static BUILD: Workload = Workload { key: "cargo-build", title: "cargo build", unit: Unit::Millis };
static INSERT: Workload = Workload { key: "sqlite-insert", title: "SQLite, one transaction", unit: Unit::Micros };
static SELECT: Workload = Workload { key: "sqlite-select", title: "SQLite, one select", unit: Unit::Micros };

pub(super) fn run(folder: &Path, material: &Material, samples: &mut Vec<Sample>) -> io::Result<()> {
    let folder = folder.join("programs");
    fs::create_dir(&folder)?;
    let tree = folder.join("tree");
    fs::create_dir(&tree)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(&material.archive).arg("--directory").arg(&tree);
    samples.push(Sample::of(&TAR, 1, || check(&mut tar))?);
    let clone = folder.join("clone");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-hardlinks"]).arg(&material.repository).arg(&clone);
    samples.push(Sample::of(&CLONE, 1, || check(&mut git))?);
    let mut git = Command::new("git");
    git.arg("-C").arg(&clone).args(["status", "--porcelain"]);
    samples.push(Sample::of(&STATUS, 1, || check(&mut git))?);
    samples.push(build(&folder, material)?);
    sqlite(&folder.join("database"), samples)?;
    fs::remove_dir_all(folder)
}

fn build(folder: &Path, material: &Material) -> io::Result<Sample> {
    let package = folder.join("package");
    check(Command::new("cp").args(["--recursive"]).arg(&material.package).arg(&package))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--offline"]).current_dir(&package);
    cargo.env("CARGO_TARGET_DIR", package.join("target")).env_remove("RUSTFLAGS");
    Sample::of(&BUILD, 1, || check(&mut cargo))
}

fn sqlite(database: &Path, samples: &mut Vec<Sample>) -> io::Result<()> {
    let mut rows = String::from("create table t (id integer primary key, text text);\nbegin;\n");
    for row in 0..ROWS {
        let _ = writeln!(rows, "insert into t values ({row}, 'a row of the table with the number {row}');");
    }
    rows.push_str("commit;\n");
    ask(database, &rows)?;
    let updates = (0..TRANSACTIONS).fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "update t set text = 'changed' where id = {};", row * 31 % ROWS);
        text
    });
    samples.push(Sample::of(&INSERT, TRANSACTIONS, || ask(database, &updates))?);
    let selects = (0..SELECTS).fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "select text from t where id = {};", row * 7919 % ROWS);
        text
    });
    samples.push(Sample::of(&SELECT, SELECTS, || ask(database, &selects))?);
    Ok(())
}

/// Has SQLite run statements.
fn ask(database: &Path, statements: &str) -> io::Result<()> {
    let mut child = Command::new("sqlite3").arg(database).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("sqlite3 has no input"))?;
    input.write_all(statements.as_bytes())?;
    drop(input);
    succeeded(OsStr::new("sqlite3"), child.wait()?.success())
}

fn check(command: &mut Command) -> io::Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    succeeded(command.get_program(), status.success())
}

fn succeeded(program: &OsStr, success: bool) -> io::Result<()> {
    if success { Ok(()) } else { Err(io::Error::other(format!("{} failed", program.display()))) }
}
