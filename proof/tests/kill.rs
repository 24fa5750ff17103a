//! The daemon is killed, at random moments and at each step of its work; what was acknowledged is in the folder and in
//! history afterwards, in every durability mode.

use std::collections::BTreeSet;

use ize_proof::ize::{Ize, can_mount};
use ize_proof::kill::{self, MODES};
use ize_proof::steps::{Kill, When, in_source, kill_once};

#[test]
fn killing_the_daemon_loses_nothing_acknowledged() {
    if !can_mount() {
        return;
    }
    let rounds = std::env::var("IZE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    for (index, mode) in MODES.into_iter().enumerate() {
        let ize = Ize::new().unwrap().with_variable("IZE_DURABILITY", mode);
        // 7, 7 and 6 of 20.
        let count = (rounds + 2 - index) / 3;
        let acknowledged = kill::rounds(&ize, count, 7, &mut |_, _| {}).unwrap_or_else(|why| panic!("{mode}: {why}"));
        assert!(acknowledged > count, "{mode}: the writers hardly worked: {acknowledged} calls");
    }
}

#[test]
fn killing_the_daemon_where_files_are_handed_over_loses_nothing_acknowledged() {
    if !can_mount() {
        return;
    }
    for (seed, mode) in (9..).zip(MODES) {
        let ize = Ize::new().unwrap().with_variable("IZE_DURABILITY", mode).with_variable("IZE_GRANULARITY", "close");
        kill::rounds(&ize, 3, seed, &mut |_, _| {}).unwrap_or_else(|why| panic!("{mode}: {why}"));
    }
}

#[test]
fn killing_the_daemon_of_a_project_with_a_pijul_repository_loses_nothing_acknowledged() {
    if !can_mount() {
        return;
    }
    let (mut acknowledged, rounds) = (0, [2, 2, 1]);
    for (mode, count) in MODES.into_iter().zip(rounds) {
        let ize = Ize::new().unwrap().with_variable("IZE_DURABILITY", mode).with_variable("IZE_BACKEND", "pijul");
        // Verifying makes every change of the repository anew.
        let told = kill::rounds_of(&ize, count, 5..60, 8, &mut |_, _| {});
        acknowledged += told.unwrap_or_else(|why| panic!("{mode}: {why}"));
    }
    // In immediate mode each call is a commit: there may be none between a mount and an early kill.
    assert!(acknowledged > rounds.iter().sum(), "the writers hardly worked: {acknowledged} calls");
}

/// Each step, when it comes, and the passes at which to kill.
#[rustfmt::skip]
const STEPS: &[(&str, When, &[u64])] = &[
    ("reserved", When::Serving, &[1, 9, 30]),
    ("made", When::Serving, &[1, 6]),
    ("applied", When::Serving, &[1, 9, 30]),
    ("segment-made", When::Serving, &[1]),
    ("segment-begun", When::Serving, &[1]),
    ("journal-append", When::Serving, &[1, 9, 30]),
    ("journal-appended", When::Serving, &[1, 9, 30]),
    ("recorded", When::Serving, &[1, 9, 30]),
    ("reply", When::Serving, &[5, 60]),
    ("piece", When::HandedOver, &[1, 3, 5]),
    ("journal-sync", When::Serving, &[1, 3]),
    ("journal-folder-synced", When::Serving, &[1]),
    ("journal-synced", When::Serving, &[1, 3]),
    ("batch-taken", When::Serving, &[1, 2]),
    ("pack-write", When::Serving, &[1, 2]),
    ("pack-written", When::Serving, &[1, 2]),
    ("pack-sync", When::Serving, &[1, 2]),
    ("pack-synced", When::Serving, &[1, 2]),
    ("index-committed", When::Serving, &[1, 2]),
    ("committed", When::Serving, &[1, 2]),
    ("settled", When::Serving, &[1, 2]),
    ("batch-done", When::Serving, &[1, 2]),
    ("segment-begun", When::Bulk, &[2]),
    ("trim", When::Bulk, &[1]),
    ("trimmed", When::Bulk, &[1]),
    ("index-opened", When::Recovering, &[1]),
    ("packs-cut", When::Recovering, &[1]),
    ("index-caught-up", When::Recovering, &[1]),
    ("session-begun", When::Recovering, &[1]),
    ("journal-read", When::Recovering, &[1]),
    ("journal-adopted", When::Recovering, &[1]),
    ("replay-commit", When::Recovering, &[1]),
    ("pack-written", When::Recovering, &[1]),
    ("pack-synced", When::Recovering, &[1]),
    ("index-committed", When::Recovering, &[1]),
    ("replay-committed", When::Recovering, &[1]),
    ("replayed", When::Recovering, &[1]),
    ("mend", When::Mending, &[1]),
    ("mended", When::Mending, &[1]),
    ("reconcile", When::Mending, &[1]),
    ("reconciled", When::Mending, &[1]),
    ("reconcile", When::Recovering, &[1]),
    ("reconciled", When::Recovering, &[1]),
    ("close", When::Closing, &[1]),
    ("drained", When::Closing, &[1]),
    ("trim", When::Closing, &[1]),
    ("trimmed", When::Closing, &[1]),
    ("closed", When::Closing, &[1]),
    ("session-end", When::Closing, &[1]),
];

#[test]
fn every_step_of_the_source_is_killed_at() {
    let known: BTreeSet<String> = STEPS.iter().map(|(step, ..)| (*step).to_owned()).collect();
    assert_eq!(in_source().unwrap(), known);
}

#[test]
fn a_kill_at_each_step_loses_nothing_acknowledged() {
    if !can_mount() {
        return;
    }
    let kills = STEPS.iter().flat_map(|(step, when, passes)| passes.iter().map(|pass| (*step, *when, *pass)));
    let kills: Vec<Kill> = kills.map(|(step, when, pass)| Kill { step, when, pass }).collect();
    let losses: Vec<String> = (1..).zip(&kills).filter_map(|(seed, kill)| kill_once(*kill, seed).err()).collect();
    assert!(losses.is_empty(), "{} of {} kills:\n{}", losses.len(), kills.len(), losses.join("\n"));
}
