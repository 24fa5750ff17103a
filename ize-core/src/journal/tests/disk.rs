//! A disk in memory that tests can damage, and that fails when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::journal::{Medium, MediumFile};

/// What a failing call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers EIO; a write has written its first half.
    Io,
    /// Answers ENOSPC, and did nothing.
    Full,
}

/// Calls that change the disk are counted; others never fail.
#[derive(Debug, Default)]
struct Faults {
    calls: u64,
    /// From this call on, so many calls fail.
    fail_at: u64,
    fail_count: u64,
    fault: Option<Fault>,
}

impl Faults {
    fn next(&mut self) -> Option<Fault> {
        self.calls += 1;
        let failing = (self.fail_at..self.fail_at.saturating_add(self.fail_count)).contains(&self.calls);
        self.fault.filter(|_| failing)
    }
}

/// Where syncs wait.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

type Content = Arc<Mutex<Vec<u8>>>;

/// A [`Medium`] in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemoryMedium {
    segments: Arc<Mutex<BTreeMap<u64, Content>>>,
    faults: Arc<Mutex<Faults>>,
    syncs: Arc<Mutex<u64>>,
    gate: Arc<Gate>,
    same_session: bool,
}

impl MemoryMedium {
    pub(crate) fn new() -> Self {
        Self {
            segments: Arc::default(),
            faults: Arc::default(),
            syncs: Arc::default(),
            gate: Arc::default(),
            same_session: true,
        }
    }

    /// Makes a medium of segments.
    pub(crate) fn of(segments: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Self {
        let medium = Self::new();
        let contents = segments.into_iter().map(|(number, bytes)| (number, Arc::new(Mutex::new(bytes))));
        medium.segments.lock().extend(contents);
        medium
    }

    /// The same disk, as the system finds it after it was restarted.
    pub(crate) fn after_power_cut(self) -> Self {
        Self { same_session: false, ..self }
    }

    pub(crate) fn contents(&self) -> BTreeMap<u64, Vec<u8>> {
        self.segments.lock().iter().map(|(number, content)| (*number, content.lock().clone())).collect()
    }

    /// Makes `count` changing calls fail, beginning with the `n`-th from now (1 is the next).
    pub(crate) fn fail(&self, n: u64, count: u64, fault: Fault) {
        let mut faults = self.faults.lock();
        *faults = Faults { calls: 0, fail_at: n, fail_count: count, fault: Some(fault) };
    }

    pub(crate) fn calls(&self) -> u64 {
        self.faults.lock().calls
    }

    pub(crate) fn syncs(&self) -> u64 {
        *self.syncs.lock()
    }

    /// Lets no sync end until [`MemoryMedium::let_syncs_end`]. They are counted when they begin.
    pub(crate) fn hold_syncs(&self) {
        *self.gate.shut.lock() = true;
    }

    pub(crate) fn let_syncs_end(&self) {
        *self.gate.shut.lock() = false;
        self.gate.opened.notify_all();
    }

    fn change(&self) -> io::Result<()> {
        match self.faults.lock().next() {
            None => Ok(()),
            Some(Fault::Io) => Err(io::Error::other("simulated failure")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn file(&self, content: Content) -> Arc<dyn MediumFile> {
        Arc::new(MemoryFile { medium: self.clone(), content })
    }
}

impl Medium for MemoryMedium {
    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.segments.lock().keys().copied().collect())
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn MediumFile>> {
        self.change()?;
        let content = Content::new(Mutex::new(vec![0; usize::try_from(bytes).unwrap()]));
        assert!(self.segments.lock().insert(number, content.clone()).is_none(), "segment {number} is there already");
        Ok(self.file(content))
    }

    fn open(&self, number: u64) -> io::Result<Arc<dyn MediumFile>> {
        let content = self.segments.lock().get(&number).cloned();
        Ok(self.file(content.ok_or(io::ErrorKind::NotFound)?))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.change()?;
        self.segments.lock().remove(&number).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.change()
    }

    fn same_session(&self) -> bool {
        self.same_session
    }
}

#[derive(Debug)]
struct MemoryFile {
    medium: MemoryMedium,
    content: Content,
}

impl MediumFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content.lock().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let content = self.content.lock();
        buf.copy_from_slice(content.get(start..start + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, head: &[u8], data: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = [head, data].concat();
        let outcome = self.medium.change();
        if outcome.is_err() {
            bytes.truncate(bytes.len() / 2);
        }
        let start = usize::try_from(offset).unwrap();
        let mut content = self.content.lock();
        let len = content.len().max(start + bytes.len());
        content.resize(len, 0);
        content[start..start + bytes.len()].copy_from_slice(&bytes);
        outcome
    }

    fn zero_from(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.medium.change()?;
        let mut content = self.content.lock();
        content.truncate(usize::try_from(offset).unwrap());
        content.resize(usize::try_from(bytes.max(offset)).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        *self.medium.syncs.lock() += 1;
        let mut shut = self.medium.gate.shut.lock();
        while *shut {
            self.medium.gate.opened.wait(&mut shut);
        }
        drop(shut);
        self.medium.change()
    }
}
