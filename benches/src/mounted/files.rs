//! Many small files: made, read, looked at, renamed and removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::{Material, Sample, Unit, Workload};

const FILES: u32 = 10_000;
const FILES_PER_FOLDER: u32 = 500;
const STATS: u32 = 100_000;

static CREATE: Workload =
    Workload { key: "create", title: "create, write 4 KiB, close (10,000 files)", unit: Unit::Micros };
static READ: Workload = Workload { key: "read-files", title: "open, read 4 KiB, close", unit: Unit::Micros };
static STAT: Workload = Workload { key: "stat", title: "stat", unit: Unit::Micros };
static RENAME: Workload = Workload { key: "rename", title: "rename", unit: Unit::Micros };
static UNLINK: Workload = Workload { key: "unlink", title: "unlink", unit: Unit::Micros };

pub(super) fn run(folder: &Path, _: &Material, samples: &mut Vec<Sample>) -> io::Result<()> {
    let folder = folder.join("files");
    for at in 0..FILES.div_ceil(FILES_PER_FOLDER) {
        fs::create_dir_all(folder.join(at.to_string()))?;
    }
    let (old, new) = (|file| path(&folder, "old", file), |file| path(&folder, "new", file));
    let mut block = vec![0; 4096];
    Rng::new().fill(&mut block);
    samples.push(Sample::of(&CREATE, FILES, || {
        (0..FILES).try_for_each(|file| {
            block[..4].copy_from_slice(&file.to_le_bytes());
            fs::write(old(file), &block)
        })
    })?);
    samples.push(Sample::of(&READ, FILES, || (0..FILES).try_for_each(|file| fs::read(old(file)).map(drop)))?);
    let mut rng = Rng::with_seed(1);
    samples
        .push(Sample::of(&STAT, STATS, || (0..STATS).try_for_each(|_| fs::metadata(old(rng.u32(..FILES))).map(drop)))?);
    samples.push(Sample::of(&RENAME, FILES, || (0..FILES).try_for_each(|file| fs::rename(old(file), new(file))))?);
    samples.push(Sample::of(&UNLINK, FILES, || (0..FILES).try_for_each(|file| fs::remove_file(new(file))))?);
    fs::remove_dir_all(folder)
}

fn path(folder: &Path, prefix: &str, file: u32) -> PathBuf {
    folder.join(format!("{}/{prefix}-{file}", file / FILES_PER_FOLDER))
}
