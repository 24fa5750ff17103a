//! Random logs: the store answers as [`MemoryStorage`], the reference model, does.

use super::probe::ok;
use super::{Fixture, Workload, assert_same};
use crate::model::{BranchId, Landmark, OpId};
use crate::storage::{Batch, FileSystemStorage, MemoryStorage, RefName, RefTarget};

/// One long random log in batches of random size, then every read at many moments.
pub fn a_random_log_reads_like_the_model(fixture: &mut dyn Fixture) {
    let model = run(fixture, 1, 350, 0);
    assert_same(&model, fixture.store());
}

/// The same with another seed, one operation per batch.
pub fn a_random_log_in_single_operations_reads_like_the_model(fixture: &mut dyn Fixture) {
    let mut workload = Workload::new(2);
    let model = MemoryStorage::new();
    for _ in 0..120 {
        workload.step();
        commit(&[&model, fixture.store()], &Batch { ops: workload.log().take(), landmarks: Vec::new() });
    }
    assert_same(&model, fixture.store());
}

/// The same with branches that begin at random moments and go on by turns.
pub fn a_random_log_with_branches_reads_like_the_model(fixture: &mut dyn Fixture) {
    if !ok(fixture.store().info()).capabilities.branches {
        return;
    }
    let model = run(fixture, 3, 200, 3);
    assert_same(&model, fixture.store());
}

/// The same, reopened halfway and at the end.
pub fn a_random_log_survives_reopening(fixture: &mut dyn Fixture) {
    let mut workload = Workload::new(4);
    let model = MemoryStorage::new();
    for _ in 0..2 {
        for _ in 0..60 {
            workload.step();
        }
        commit(&[&model, fixture.store()], &Batch { ops: workload.log().take(), landmarks: Vec::new() });
        fixture.reopen();
    }
    assert_same(&model, fixture.store());
}

/// Commits random operations and landmarks to a model and to the store, beginning up to `forks` branches.
fn run(fixture: &mut dyn Fixture, seed: u64, steps: u64, forks: u32) -> MemoryStorage {
    let mut workload = Workload::new(seed);
    let model = MemoryStorage::new();
    let stores: [&dyn FileSystemStorage; 2] = [&model, fixture.store()];
    let mut branches = 0;
    let mut ends: Vec<OpId> = Vec::new();
    for step in 0..steps {
        workload.step();
        ends.push(workload.log().head());
        if workload.below(12) > 0 && step + 1 < steps {
            continue;
        }
        let mut landmarks = Vec::new();
        for _ in 0..workload.below(3) {
            let at = usize::try_from(workload.below(ends.len() as u64)).expect("an index into a list");
            landmarks.push((ends[at], Landmark::Idle));
        }
        commit(&stores, &Batch { ops: workload.log().take(), landmarks });
        if branches < forks && workload.below(3) == 0 {
            branches += 1;
            fork(&stores, &mut workload, BranchId::new(branches * 5));
        } else if forks > 0 {
            let turn = workload.below(u64::from(branches) + 1);
            workload.log().switch(BranchId::new(u32::try_from(turn).unwrap_or(0) * 5));
        }
    }
    model
}

fn fork(stores: &[&dyn FileSystemStorage], workload: &mut Workload, id: BranchId) {
    let target = RefTarget::Branch { id, parent: workload.log().branch(), base: workload.log().head() };
    let name = RefName::new(format!("branch-{}", id.get())).expect("a valid name");
    for store in stores {
        ok(store.set_ref(&name, Some(&target)));
    }
    workload.log().fork(id);
}

fn commit(stores: &[&dyn FileSystemStorage], batch: &Batch) {
    for store in stores {
        ok(store.commit(batch));
    }
}
