//! `real-programs [--from DIR] [--files N] [--dd-mib N] [--rows N] [--plain DIR]`: adopts a tree, lets real programs work
//! in the mount, and compares 20 moments with what history gives back. With `--plain` the same programs work in an
//! ordinary folder: the control.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use ize_proof::ize::{Failure, Ize};
use ize_proof::moments::Moments;
use ize_proof::programs::{self, ProgramOptions};

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(1)
        }
    }
}

struct Arguments {
    from: Option<PathBuf>,
    plain: Option<PathBuf>,
    files: usize,
    options: ProgramOptions,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let options = ProgramOptions { dd_mib: 1024, rows: 2000 };
        let mut read = Self { from: None, plain: None, files: 5000, options };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u32>().map_err(|error| format!("{word} {value}: {error}"));
            match word.as_str() {
                "--from" => read.from = Some(value.into()),
                "--plain" => read.plain = Some(value.into()),
                "--files" => read.files = number()? as usize,
                "--dd-mib" => read.options.dd_mib = number()?,
                "--rows" => read.options.rows = number()?,
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(read)
    }

    /// Makes the tree that the programs find.
    fn tree(&self, at: &Path) -> Result<(), Failure> {
        fs::create_dir_all(at).and_then(|()| programs::grow(at, self.files)).map_err(|error| error.to_string())?;
        match &self.from {
            Some(from) => ize_proof::copy::copy_tree(from, &at.join("adopted")).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let tell = |what: &str| eprintln!("{:6.1} s  {what}", begun.elapsed().as_secs_f32());
    if let Some(plain) = &arguments.plain {
        arguments.tree(plain)?;
        return programs::run(plain, &arguments.options, &mut |step| {
            tell(step);
            Ok(())
        });
    }
    let ize = Ize::new()?;
    let source = ize.dir().join("source");
    arguments.tree(&source)?;
    tell("tree");
    ize.run(&["init".as_ref(), "real".as_ref(), OsStr::new("--from"), source.as_os_str()])?;
    tell("ize init --from");
    let mounted = ize.mount("real", &[])?;
    let mut moments = Moments::new(&ize, "real", mounted.path())?;
    programs::run(mounted.path(), &arguments.options, &mut |step| {
        tell(step);
        moments.take(step)
    })?;
    let count = moments.count();
    tell("all programs; comparing");
    moments.check()?;
    ize.verify("real")?;
    mounted.unmount()?;
    tell(&format!("{count} moments came back as they were"));
    Ok(())
}
