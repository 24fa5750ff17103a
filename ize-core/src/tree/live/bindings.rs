//! What entries name right now: a bounded cache over the storage, and the only place that knows about names whose
//! operations the storage has not committed yet.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Entry, FileId, OpId, View};
use crate::record::Recorder;
use crate::storage::StorageError;

/// The most entries that are kept once the storage has committed them.
const COMMITTED_MAX: usize = 64 * 1024;

pub(super) struct Bindings {
    recorder: Arc<Recorder>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<Entry, Bound>,
    /// The entries in the order in which they were learnt; an entry that was learnt again is there again.
    order: VecDeque<(Entry, OpId)>,
    /// Folders all of whose entries are here: nobody else knew them when they were made, and none was dropped since.
    complete: HashSet<FileId>,
}

#[derive(Clone, Copy)]
struct Bound {
    file: Option<FileId>,
    /// The operation that made it so; [`OpId::ZERO`] if it was read from the storage.
    since: OpId,
}

impl Bindings {
    pub(super) fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder, known: Mutex::default() }
    }

    /// Returns what an entry names in history, now. The caller holds at least a look-lock on the folder.
    pub(super) fn get(&self, entry: &Entry) -> Result<Option<FileId>, StorageError> {
        {
            let known = self.known.lock();
            if let Some(bound) = known.entries.get(entry) {
                return Ok(bound.file);
            }
            if known.complete.contains(&entry.dir) {
                return Ok(None);
            }
        }
        let latest = View::latest(self.recorder.branch());
        let file = self.recorder.storage().entry(latest, entry.dir, &entry.name)?;
        let committed = self.recorder.committed();
        let mut known = self.known.lock();
        if let Some(bound) = known.entries.get(entry) {
            // Noted meanwhile, and newer than what the storage had.
            return Ok(bound.file);
        }
        known.learn(entry, Bound { file, since: OpId::ZERO }, committed);
        Ok(file)
    }

    /// Returns what an entry names in history, if that is known without asking the storage. Without a lock on the folder it is
    /// only a guess.
    pub(super) fn guess(&self, entry: &Entry) -> Option<FileId> {
        self.known.lock().entries.get(entry)?.file
    }

    /// Notes that a folder was made, so that history has nothing in it.
    pub(super) fn made_folder(&self, dir: FileId) {
        let mut known = self.known.lock();
        if known.complete.len() >= COMMITTED_MAX {
            known.complete.clear();
        }
        known.complete.insert(dir);
    }

    /// Notes what an operation made of an entry. The caller holds the change-lock on the folder.
    pub(super) fn set(&self, entry: &Entry, file: Option<FileId>, since: OpId) {
        let committed = self.recorder.committed();
        self.known.lock().learn(entry, Bound { file, since }, committed);
    }
}

impl Known {
    fn learn(&mut self, entry: &Entry, bound: Bound, committed: OpId) {
        self.entries.insert(entry.clone(), bound);
        self.order.push_back((entry.clone(), bound.since));
        while self.order.len() > COMMITTED_MAX {
            let Some((oldest, since)) = self.order.front() else { break };
            if *since > committed {
                // Not in the storage yet: this is the only place that knows it.
                break;
            }
            if self.entries.get(oldest).is_some_and(|bound| bound.since == *since) {
                let oldest = oldest.clone();
                self.complete.remove(&oldest.dir);
                self.entries.remove(&oldest);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    #[test]
    fn a_folder_is_complete_until_one_of_its_entries_is_dropped() {
        let (first, second) = (FileId::new(10), FileId::new(11));
        let mut known = Known { complete: HashSet::from([first, second]), ..Known::default() };
        let committed = OpId::new(2);
        let bound = |since| Bound { file: None, since: OpId::new(since) };
        let entry = |dir, n: usize| Entry::new(dir, Name::try_from(n.to_string().as_str()).unwrap());
        known.learn(&entry(first, 0), bound(1), committed);
        (1..=COMMITTED_MAX).for_each(|n| known.learn(&entry(second, n), bound(3), committed));
        assert_eq!(known.entries.get(&entry(first, 0)).map(|bound| bound.since), None, "it was dropped");
        assert_eq!(known.complete, HashSet::from([second]));
        // Not in the storage yet, so it stays.
        known.learn(&entry(second, 0), bound(3), committed);
        assert!(known.entries.contains_key(&entry(second, 1)) && known.complete.contains(&second));
    }
}
