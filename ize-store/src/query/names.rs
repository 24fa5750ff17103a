//! Names: entries of folders, names of files, and how entries changed.

use ize_core::model::{BranchId, Entry, FileId, Name, OpId};
use ize_core::storage::{Binding, DirEntry, Result};

use super::Query;
use crate::apply::{DirentRow, dirent};
use crate::engine::{Step, Table};
use crate::index::key::{self, NAME_HASH_BYTES, NameHash};
use crate::index::{Rows, bad_row};

/// A scan goes on for so many rows that do not count before it seeks.
const SKIPPED_MAX: usize = 16;

impl Query<'_> {
    /// Returns what an entry names.
    pub(crate) fn entry(&self, dir: FileId, name: &Name) -> Result<Option<FileId>> {
        dirent(&self.rows, &self.lineage, &Entry::new(dir, name.clone()))
    }

    /// Returns a page of a folder, in the order of the names' hashes.
    pub(crate) fn entries(&self, dir: FileId, after: Option<&Name>, max: usize) -> Result<Vec<DirEntry>> {
        let mut page = Vec::new();
        let mut from = match after {
            None => Some(key::entry(dir, &[0; NAME_HASH_BYTES]).to_vec()),
            Some(name) => key::after(&key::entry(dir, &key::name_hash(name))),
        };
        while let Some(start) = from.take().filter(|_| page.len() < max) {
            from = self.entries_from(dir, &start, max, &mut page)?;
        }
        Ok(page)
    }

    /// Adds entries to a page until a seek is due; returns where to seek.
    fn entries_from(&self, dir: FileId, start: &[u8], max: usize, page: &mut Vec<DirEntry>) -> Result<Option<Vec<u8>>> {
        let mut walk = Walk { query: self, dir, last: None, skipped: 0, ambiguous: None };
        let mut seek = None;
        self.rows.scan(Table::Dirents, start, &mut |key, value| {
            if !key.starts_with(&key::file(dir)) {
                return Ok(Step::Stop);
            }
            let step = walk.row(key, value, page)?;
            if page.len() >= max {
                return Ok(Step::Stop);
            }
            if step == Step::Stop {
                seek = walk.last.map(|hash| key::entry(dir, &hash));
            }
            Ok(step)
        })?;
        let Some(hash) = seek else { return Ok(None) };
        if let Some(ambiguous) = walk.ambiguous {
            self.resolve(dir, &ambiguous, page)?;
        }
        Ok(key::after(&hash))
    }

    /// Adds the entry with this hash, if the view sees one.
    fn resolve(&self, dir: FileId, hash: &NameHash, page: &mut Vec<DirEntry>) -> Result<()> {
        let prefix = key::entry(dir, hash);
        if let Some((_, value)) = self.rows.newest(Table::Dirents, &prefix, &self.lineage)? {
            page.extend(decode(&prefix, &value)?);
        }
        Ok(())
    }

    /// Returns all names of a file.
    pub(crate) fn names(&self, file: FileId) -> Result<Vec<Entry>> {
        let mut names = Vec::new();
        let mut from = key::file(file).to_vec();
        loop {
            let found = self.rows.first_from(Table::Links, &from)?;
            let Some((found, _)) = found.filter(|(found, _)| found.starts_with(&key::file(file))) else { break };
            let prefix = found.get(..32).ok_or_else(|| bad_row(Table::Links, &found))?.to_vec();
            names.extend(self.name(&prefix)?);
            match key::after(&prefix) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(names)
    }

    /// Returns the name that a key of `links` without its version stands for, if the view sees it.
    fn name(&self, prefix: &[u8]) -> Result<Option<Entry>> {
        let bad = || bad_row(Table::Links, prefix);
        match self.rows.newest(Table::Links, prefix, &self.lineage)? {
            Some((_, value)) if value == [1] => {}
            Some((_, value)) if value != [0] => return Err(bad()),
            _ => return Ok(None),
        }
        // The entry's newest version binds this file, so it has the name.
        let dir = FileId::new(key::number(prefix, 8).ok_or_else(bad)?);
        let entry = &prefix[8..];
        let (_, value) = self.rows.newest(Table::Dirents, entry, &self.lineage)?.ok_or_else(bad)?;
        let row = DirentRow::decode(&value).ok_or_else(|| bad_row(Table::Dirents, entry))?;
        Ok(Some(Entry::new(dir, row.name)))
    }

    /// Returns changes of an entry, newest first.
    pub(crate) fn bindings(&self, entry: &Entry, max: usize) -> Result<Vec<Binding>> {
        let prefix = key::entry(entry.dir, &key::name_hash(&entry.name));
        let mut bindings = Vec::new();
        for (branch, until) in self.lineage.parts() {
            let from = key::version(&prefix, branch, until);
            self.rows.scan(Table::Dirents, &from, &mut |key, value| {
                let version = key::split_version(key, &prefix).filter(|(found, _)| *found == branch);
                let Some((_, at)) = version.filter(|_| bindings.len() < max) else { return Ok(Step::Stop) };
                let row = DirentRow::decode(value).ok_or_else(|| bad_row(Table::Dirents, key))?;
                if row.name == entry.name {
                    bindings.push(Binding { at, file: row.target.map(|(file, _)| file) });
                }
                Ok(Step::Next)
            })?;
        }
        Ok(bindings)
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<Option<DirEntry>> {
    let row = DirentRow::decode(value).ok_or_else(|| bad_row(Table::Dirents, key))?;
    Ok(row.target.map(|(file, kind)| DirEntry { name: row.name, file, kind }))
}

/// A walk over a folder's rows.
struct Walk<'q, 'a> {
    query: &'q Query<'a>,
    dir: FileId,
    /// The name that the last row was about.
    last: Option<NameHash>,
    /// How many older versions followed the one that counted.
    skipped: usize,
    /// The name whose newest version cannot be told from its first row.
    ambiguous: Option<NameHash>,
}

impl Walk<'_, '_> {
    /// Takes a row. [`Step::Stop`] means that a seek behind the last name is due.
    fn row(&mut self, key: &[u8], value: &[u8], page: &mut Vec<DirEntry>) -> Result<Step> {
        let bad = || bad_row(Table::Dirents, key);
        let hash: NameHash = key.get(8..8 + NAME_HASH_BYTES).and_then(|hash| hash.try_into().ok()).ok_or_else(bad)?;
        if self.last == Some(hash) {
            self.skipped += 1;
            return Ok(if self.skipped > SKIPPED_MAX { Step::Stop } else { Step::Next });
        }
        (self.last, self.skipped) = (Some(hash), 0);
        let (branch, at) = key::split_version(key, &key::entry(self.dir, &hash)).ok_or_else(bad)?;
        if self.is_newest(branch, at) {
            page.extend(decode(key, value)?);
            return Ok(Step::Next);
        }
        self.ambiguous = Some(hash);
        Ok(Step::Stop)
    }

    /// Tells whether the first version of a name must be the newest that the view sees: it is on the view's own branch
    /// and old enough.
    fn is_newest(&self, branch: BranchId, at: OpId) -> bool {
        let own = self.query.lineage.parts().next();
        own.is_some_and(|(own, until)| own == branch && at <= until)
    }
}
