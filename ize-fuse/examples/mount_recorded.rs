//! Mounts a folder whose changes are recorded in memory: `mount_recorded WORKING JOURNAL MOUNTPOINT [--allow-other]`,
//! until `umount`.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ize_core::model::BranchId;
use ize_core::record::{Recorder, RecorderOptions};
use ize_core::storage::MemoryStorage;
use ize_core::tree::{Live, LiveOptions, ReconcileOptions};
use ize_fuse::{MountOptions, mount};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(working), Some(journal), Some(point)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: mount_recorded WORKING JOURNAL MOUNTPOINT [--allow-other]".into());
    };
    let allow_other = arguments.next().is_some_and(|argument| argument.as_os_str() == "--allow-other");
    let storage = Arc::new(MemoryStorage::new());
    let recorder = Arc::new(Recorder::open(storage, &journal, BranchId::MAIN, RecorderOptions::default())?);
    let mut options = LiveOptions::default();
    options.own_new_files = allow_other;
    // The descriptor is opened before the mount, which may cover this very folder.
    let live = Arc::new(Live::open(File::open(working)?.into(), Arc::clone(&recorder), options)?);
    live.reconcile(ReconcileOptions::default())?;

    let mut options = MountOptions::new(point, "recorded");
    options.allow_other = allow_other;
    options.cover = true;
    let mount = mount(Arc::clone(&live) as Arc<dyn ize_core::tree::Tree>, &options)?;
    live.set_invalidator(Some(Box::new(mount.caches())));
    eprintln!("mounted on {}", mount.mount_point().display());
    mount.wait()?;

    let recorded = recorder.recorded();
    recorder.wait_committed(recorded)?;
    println!("recorded {recorded}");
    Ok(())
}
