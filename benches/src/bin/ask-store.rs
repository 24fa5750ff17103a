//! `ask-store STORE FOLDER`: times what the command does not offer yet, in the store of a project that is not open: listing a
//! folder of the root, each entry with its metadata, as it was at a moment in the last quarter of history; making a snapshot;
//! making a branch. Prints the medians in milliseconds, made names included: they stay.

use std::error::Error;
use std::time::{Duration, Instant};

use ize_core::model::{BranchId, FileId, Name, OpId, Timestamp, View};
use ize_core::storage::{FileSystemStorage, RefName, RefTarget, Result, StorageError};
use ize_store::{Store, StoreOptions};

const ROUNDS: u32 = 21;
/// Branches get numbers from here on, which no program gives.
const BRANCHES_FROM: u32 = 1 << 20;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, folder] = &arguments[..] else { return Err("usage: ask-store STORE FOLDER".into()) };
    println!("{}", ask(store, folder)?);
    Ok(())
}

fn ask(store: &str, folder: &str) -> Result<String> {
    let store = Store::open(store, &StoreOptions::default())?;
    let head = store.head()?.op;
    let invalid = |what: &str| StorageError::Invalid(what.to_owned());
    let name = Name::try_from(folder).map_err(|_| invalid("that is no name"))?;
    let mut entries = 0;
    let list = median(|round| {
        // Another moment each time.
        let at = OpId::new(head.get() - head.get() / 4 + u64::from(round));
        let view = View { branch: BranchId::MAIN, at };
        let folder = store.entry(view, FileId::ROOT, &name)?.ok_or_else(|| invalid("there is no such folder"))?;
        let listed = store.entries(view, folder, None, usize::MAX)?;
        entries = listed.len();
        listed.iter().try_for_each(|entry| store.node(view, entry.file).map(drop))
    })?;
    let begun = Timestamp::now();
    let snapshot = median(|round| {
        let view = View { branch: BranchId::MAIN, at: head };
        let name = RefName::new(format!("asked-{begun}-{round}").replace(':', "-"));
        let name = name.ok_or_else(|| invalid("that is no name"))?;
        store.set_ref(&name, Some(&RefTarget::Snapshot { view, created: begun }))
    })?;
    // Ids are not used twice, also when this runs again.
    let number = fastrand::u32(BRANCHES_FROM..1 << 30);
    let branch = median(|round| {
        let name = RefName::new(format!("branch-{begun}-{round}").replace(':', "-"));
        let name = name.ok_or_else(|| invalid("that is no name"))?;
        let id = BranchId::new(number + round);
        store.set_ref(&name, Some(&RefTarget::Branch { id, parent: BranchId::MAIN, base: head }))
    })?;
    Ok(format!("{entries} {:.2} {:.2} {:.2}", ms(list), ms(snapshot), ms(branch)))
}

fn median(mut step: impl FnMut(u32) -> Result<()>) -> Result<Duration> {
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        step(round)?;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[taken.len() / 2])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
