//! The power of the disk that holds a whole project is cut while programs work in the mount. Afterwards the tree and its
//! history are a state that existed, with everything that the durability mode had promised.

use ize_proof::disk::Filesystem;
use ize_proof::ize::can_mount;
use ize_proof::power::{PowerCut, rounds};

/// Runs rounds; where disks cannot be made although real mounts are required, that is a failure.
fn cut(filesystem: Filesystem, mode: &'static str, granularity: &'static str, count: usize) {
    if !can_mount() {
        return;
    }
    let seed = std::env::var("IZE_POWER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    let told = rounds(PowerCut { filesystem, mode, granularity, seed }, count, &mut |_, _| {});
    let acknowledged = told.unwrap_or_else(|why| panic!("{why}"));
    let required = std::env::var_os("IZE_REQUIRE_FUSE").is_some_and(|value| value != "0" && !value.is_empty());
    assert!(acknowledged.is_some() || !required, "IZE_REQUIRE_FUSE is set, but no disk could be made");
    assert!(acknowledged.is_none_or(|calls| calls > count), "the workers hardly worked: {acknowledged:?} calls");
}

#[test]
fn a_power_cut_on_ext4_in_group_mode_leaves_a_state_that_existed() {
    cut(Filesystem::Ext4, "group", "write", 2);
}

#[test]
fn a_power_cut_on_ext4_in_immediate_mode_keeps_every_acknowledged_call() {
    cut(Filesystem::Ext4, "immediate", "write", 1);
}

#[test]
fn a_power_cut_on_ext4_in_relaxed_mode_keeps_what_was_synced() {
    cut(Filesystem::Ext4, "relaxed", "write", 1);
}

#[test]
fn a_power_cut_on_xfs_leaves_a_state_that_existed() {
    cut(Filesystem::Xfs, "group", "write", 1);
}

#[test]
fn a_power_cut_where_files_are_handed_over_leaves_a_state_that_existed() {
    cut(Filesystem::Ext4, "group", "close", 1);
    cut(Filesystem::Xfs, "immediate", "close", 1);
}
