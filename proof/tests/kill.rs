//! The daemon is killed at random moments; what was acknowledged is in the folder and in history afterwards.

use ize_proof::ize::{Ize, can_mount};
use ize_proof::kill;

#[test]
fn killing_the_daemon_loses_nothing_acknowledged() {
    if !can_mount() {
        return;
    }
    let rounds = std::env::var("IZE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let ize = Ize::new().unwrap();
    let acknowledged = kill::rounds(&ize, rounds, 7, &mut |_, _| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(acknowledged > rounds, "the writers hardly worked: {acknowledged} calls");
}
