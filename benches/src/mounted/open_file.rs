//! One file that stays open: what a call on it costs.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastrand::Rng;

use super::{Material, Sample, Unit, Workload};

const FILE_BYTES: usize = 64 << 20;
const CALLS: u32 = 20_000;
const LARGE: usize = 64 << 10;
const LARGE_CALLS: u32 = 4_000;

static WRITE: Workload =
    Workload { key: "open-write-4k", title: "write 4 KiB, open file, random places", unit: Unit::Micros };
static READ: Workload = Workload { key: "open-read-4k", title: "read 4 KiB, open file, cached", unit: Unit::Micros };
static WRITE_LARGE: Workload =
    Workload { key: "open-write-64k", title: "write 64 KiB, open file, random places", unit: Unit::Micros };
static READ_LARGE: Workload =
    Workload { key: "open-read-64k", title: "read 64 KiB, open file, cached", unit: Unit::Micros };

pub(super) fn run(folder: &Path, _: &Material, samples: &mut Vec<Sample>) -> io::Result<()> {
    let path = folder.join("open-file");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    let mut block = vec![0; LARGE];
    let mut rng = Rng::new();
    rng.fill(&mut block);
    for at in (0..FILE_BYTES).step_by(LARGE) {
        file.write_all_at(&block, at as u64)?;
    }
    let mut place = |bytes: usize| (rng.usize(..FILE_BYTES / bytes) * bytes) as u64;
    samples.push(Sample::of(&READ, CALLS, || {
        (0..CALLS).try_for_each(|_| file.read_exact_at(&mut block[..4096], place(4096)))
    })?);
    samples.push(Sample::of(&READ_LARGE, LARGE_CALLS, || {
        (0..LARGE_CALLS).try_for_each(|_| file.read_exact_at(&mut block, place(LARGE)))
    })?);
    samples.push(Sample::of(&WRITE, CALLS, || {
        (0..CALLS).try_for_each(|call| {
            block[..4].copy_from_slice(&call.to_le_bytes());
            file.write_all_at(&block[..4096], place(4096))
        })
    })?);
    samples.push(Sample::of(&WRITE_LARGE, LARGE_CALLS, || {
        (0..LARGE_CALLS).try_for_each(|call| {
            block[..4].copy_from_slice(&call.to_le_bytes());
            file.write_all_at(&block, place(LARGE))
        })
    })?);
    drop(file);
    fs::remove_file(path)
}
