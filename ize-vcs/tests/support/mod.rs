//! What the tests share: a repository with its index, and somebody else who works on the repository.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::Path;
use std::sync::Arc;

use ize_core::storage::{FileSystemStorage, Finding, Severity};
use ize_store::{Store, StoreOptions};
use ize_vcs::{PijulOptions, PijulStorage};
use libpijul::change::ChangeHeader;
use libpijul::changestore::ChangeStore;
use libpijul::changestore::filesystem::{Error as ChangeError, FileSystem};
use libpijul::output::output_repository_no_pending;
use libpijul::pristine::sanakirja::Pristine;
use libpijul::pristine::{MutTxnT, TxnT};
use libpijul::record::{Algorithm, Builder};
use libpijul::working_copy::{Memory, WorkingCopy, WorkingCopyRead};
use libpijul::{Base32, DEFAULT_SEPARATOR, MutTxnTExt};

/// Makes a repository in a folder, with its index in a store beside it.
pub(crate) fn create(dir: &Path, options: &PijulOptions) -> PijulStorage {
    let index = Store::create(dir.join("index"), &StoreOptions::default()).unwrap();
    PijulStorage::create(dir, Arc::new(index), options).unwrap()
}

/// Opens it.
pub(crate) fn open(dir: &Path, options: &PijulOptions) -> PijulStorage {
    let index = Store::open(dir.join("index"), &StoreOptions::default()).unwrap();
    PijulStorage::open(dir, Arc::new(index), options).unwrap()
}

/// Returns what a check finds, but notes.
pub(crate) fn findings(storage: &dyn FileSystemStorage) -> Vec<Finding> {
    let mut found = Vec::new();
    storage.verify(&mut |finding| found.push(finding)).unwrap();
    found.retain(|finding| finding.severity > Severity::Note);
    found
}

/// Somebody else's working copy of a repository, which nobody has open.
pub(crate) struct Foreign {
    pristine: Pristine,
    changes: FileSystem,
    pub(crate) files: Memory,
}

impl Foreign {
    /// Writes out the tree.
    pub(crate) fn checkout(dir: &Path) -> Self {
        let dot = dir.join(".pijul");
        let pristine = Pristine::new(dot.join("pristine/db")).unwrap();
        let changes = FileSystem::from_changes(dot.join("changes"), 16);
        let foreign = Self { pristine, changes, files: Memory::new() };
        foreign.output();
        foreign
    }

    fn output(&self) {
        let txn = self.pristine.arc_txn_begin().unwrap();
        let channel = txn.read().load_channel("main".parse().unwrap()).unwrap().unwrap();
        output_repository_no_pending(&self.files, &self.changes, &txn, &channel, "", true, None, 1, 0).unwrap();
        drop(channel);
        txn.commit().unwrap();
    }

    /// Returns a file's content; `None` if it is not there.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        self.files.read_file(path, &mut content).ok().map(|()| content)
    }

    /// Writes a file, a new one or one that is there.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let is_new = self.files.file_metadata(path).is_err();
        self.files.add_file(path, content.to_vec());
        if is_new {
            let txn = self.pristine.arc_txn_begin().unwrap();
            txn.write().add_file(path, 0).unwrap();
            txn.commit().unwrap();
        }
    }

    /// Renames a file.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        self.files.rename(from, to).unwrap();
        let txn = self.pristine.arc_txn_begin().unwrap();
        txn.write().move_file(from, to, 0).unwrap();
        txn.commit().unwrap();
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &str) {
        self.files.remove_path(path, false).unwrap();
    }

    /// Records everything as one change, and returns its hash.
    pub(crate) fn record(&self, message: &str) -> String {
        self.record_beside(message, None)
    }

    /// As [`Foreign::record`], as if it had been made before these changes were there, and then pushed.
    pub(crate) fn record_beside(&self, message: &str, without: Option<&str>) -> String {
        let txn = self.pristine.arc_txn_begin().unwrap();
        let main = txn.read().load_channel("main".parse().unwrap()).unwrap().unwrap();
        let channel = match without {
            None => main.clone(),
            Some(hash) => {
                let name: libpijul::small_string::SmallString = "elsewhere".parse().unwrap();
                let elsewhere = txn.write().fork(&main, &name).unwrap();
                let hash = libpijul::Hash::from_base32(hash.as_bytes()).unwrap();
                let mut touched = Default::default();
                txn.write().unrecord(&self.changes, &elsewhere, &hash, 0, &mut touched).unwrap();
                elsewhere
            }
        };
        let mut builder = Builder::new();
        builder.force_rediff = true;
        builder
            .record_single_thread(
                txn.clone(),
                Algorithm::Myers,
                false,
                &DEFAULT_SEPARATOR,
                channel.clone(),
                &self.files,
                &self.changes,
                "",
            )
            .unwrap();
        let mut recorded = builder.finish();
        let updates = recorded.take_updatables();
        let header = ChangeHeader { message: message.to_owned(), ..ChangeHeader::default() };
        let mut change = recorded.into_change(&*txn.read(), &channel, header).unwrap();
        assert!(!change.hashed.changes.is_empty(), "nothing to record");
        let hash = self.changes.save_change(&mut change, |_, _| Ok::<_, ChangeError>(())).unwrap();
        txn.write().apply_local_change(&channel, &change, &hash, &updates).unwrap();
        if without.is_some() {
            txn.write().apply_change(&self.changes, &mut *main.write(), &hash).unwrap();
            drop((channel, main));
            let name: libpijul::small_string::SmallString = "elsewhere".parse().unwrap();
            txn.write().drop_channel(&name).unwrap();
        } else {
            drop((channel, main));
        }
        txn.commit().unwrap();
        hash.to_base32()
    }

    /// Takes a change out of the repository.
    pub(crate) fn unrecord(&self, hash: &str) {
        let txn = self.pristine.arc_txn_begin().unwrap();
        let channel = txn.read().load_channel("main".parse().unwrap()).unwrap().unwrap();
        let hash = libpijul::Hash::from_base32(hash.as_bytes()).unwrap();
        let mut touched = Default::default();
        txn.write().unrecord(&self.changes, &channel, &hash, 0, &mut touched).unwrap();
        drop(channel);
        txn.commit().unwrap();
        self.output();
    }
}
