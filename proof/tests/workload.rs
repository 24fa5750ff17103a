//! Random calls: two plain folders agree (so the tool is right), a change behind its back is noticed, and a mounted
//! project answers and looks like a plain folder, while history gives back what the tree was.

#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use fastrand::Rng;
use ize_proof::ize::{Ize, can_mount};
use ize_proof::moments::Moments;
use ize_proof::workload::{WorkloadError, WorkloadOptions, run};
use tempfile::TempDir;

/// How many calls; `IZE_WORKLOAD_CALLS` sets another number.
fn calls(default: usize) -> usize {
    std::env::var("IZE_WORKLOAD_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(default)
}

fn seed() -> u64 {
    std::env::var("IZE_WORKLOAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11)
}

#[test]
fn two_plain_folders_answer_alike() {
    let (left, right) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = WorkloadOptions { seed: seed(), calls: 4000, ..Default::default() };
    run(left.path(), right.path(), &options, &mut |_| Ok(())).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_change_behind_the_back_of_the_workload_is_found() {
    let (left, right) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = WorkloadOptions { seed: 3, calls: 20_000, shrink_seconds: 1, ..Default::default() };
    let mut bytes_changed = 0;
    let ended = run(left.path(), right.path(), &options, &mut |_| {
        let file = fs::read_dir(left.path().join("thread-0")).unwrap().flatten().find(|entry| {
            let metadata = entry.metadata().unwrap();
            metadata.is_file() && metadata.len() > 0 && entry.path().to_str().is_some_and(|path| !path.ends_with('x'))
        });
        if let Some(file) = file {
            let file = File::options().write(true).open(file.path()).map_err(|error| error.to_string())?;
            bytes_changed += file.write_at(b"\x42", 0).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    assert!(bytes_changed > 0);
    assert!(matches!(ended, Err(WorkloadError::Trees { .. } | WorkloadError::Answers(_))), "{ended:?}");
}

#[test]
fn a_mount_answers_like_a_plain_folder_and_history_has_every_moment() {
    if can_mount() {
        check(&Ize::new().unwrap(), calls(12_000));
    }
}

#[test]
fn a_mount_with_a_pijul_repository_answers_like_a_plain_folder_and_history_has_every_moment() {
    if can_mount() {
        check(&Ize::new().unwrap().with_variable("IZE_BACKEND", "pijul"), calls(1_500));
    }
}

#[test]
fn a_mount_whose_files_are_handed_over_answers_like_a_plain_folder_and_history_has_every_moment() {
    if can_mount() && rustix::process::geteuid().is_root() {
        check(&Ize::new().unwrap().with_variable("IZE_GRANULARITY", "close"), calls(12_000));
    }
}

fn check(ize: &Ize, calls: usize) {
    let mounted = ize.mount("random", &[]).unwrap();
    let control = ize.dir().join("control");
    fs::create_dir(&control).unwrap();
    let options = WorkloadOptions { seed: seed(), calls, ..Default::default() };
    let mut moments = Moments::new(ize, "random", mounted.path()).unwrap();
    let mut rng = Rng::with_seed(options.seed);
    let taken_every = u32::try_from(options.calls / options.phase_calls / 6).unwrap_or(u32::MAX).max(1);
    let ended = run(mounted.path(), &control, &options, &mut |moment| match rng.u32(0..taken_every) {
        0 => moments.take(format!("{} calls", moment.calls)),
        _ => Ok(()),
    });
    let tally = ended.unwrap_or_else(|error| panic!("{error}"));
    println!("succeeded+failed: {tally}");
    moments.take("all calls").unwrap();
    moments.check().unwrap_or_else(|why| panic!("seed {}: {why}", options.seed));
    ize.verify("random").unwrap();
    mounted.unmount().unwrap();
}
