//! Whether the repository holds what history says, and can give it back without us.

use ize_core::model::{BranchId, View};
use ize_core::storage::{Finding, Result, Severity};
use libpijul::MutTxnTExt;
use libpijul::change::Change;
use libpijul::pristine::Hash;

use crate::compare::{self, Difference, compare};
use crate::error::OrPijul;
use crate::follower::Follower;
use crate::held::held;
use crate::ledger::{Kind, Record};
use crate::output::Output;
use crate::record::Affected;
use crate::repository::{self, Channel, ChannelState, Repository, Txn};

/// How many differing paths are named one by one.
const NAMED_MAX: usize = 20;
/// How many entries of one change are looked at one by one when it is reproduced; more means the whole tree.
const ENTRIES_MAX: usize = 16;

/// A change file begins with so many bytes of lengths and offsets, each of eight bytes.
const OFFSETS_BYTES: usize = 56;
/// Longer parts than this no change has, in bytes.
const LENGTH_MAX: u64 = 1 << 32;

type Report<'a> = &'a mut dyn FnMut(Finding);

fn finding(severity: Severity, what: String) -> Finding {
    Finding { severity, what }
}

impl Follower<'_> {
    /// Checks everything that the repository should hold.
    ///
    /// # Errors
    /// Only if the check itself could not be carried out.
    pub(crate) fn verify(&mut self, is_pending: bool, report: Report<'_>) -> Result<()> {
        let (head, position) = (self.index.head()?.op, self.ledger.read().position());
        if position < head {
            let what = format!("the repository lacks the operations from {} to {head}", position.next());
            report(finding(Severity::Repairable, what));
            return Ok(());
        }
        let branches: Vec<(BranchId, String)> =
            self.channels.branches().map(|(branch, channel)| (branch, channel.name.clone())).collect();
        for (branch, name) in branches {
            let txn = self.repository.begin()?;
            let Some(channel) = repository::channel(&txn, &name)? else {
                report(finding(Severity::Repairable, format!("the repository has no channel '{name}'")));
                continue;
            };
            let log = repository::log(&txn, &channel, 0)?;
            if self.check_files(&log, report) && !is_pending {
                self.check_ledger(branch, &log, report)?;
                self.check_head(branch, (&txn, &channel), report)?;
                self.reproduce(branch, &log, report)?;
            }
        }
        Ok(())
    }

    /// Checks the change files of a channel; answers whether all are whole.
    fn check_files(&self, log: &[(Hash, ChannelState)], report: Report<'_>) -> bool {
        let mut is_whole = true;
        for (hash, _) in log {
            if let Err(why) = check_file(self.repository, hash) {
                is_whole = false;
                let what = format!("the change {} is damaged: {why}", repository::text_of(hash));
                report(finding(Severity::Repairable, what));
            }
        }
        is_whole
    }

    /// Checks that the changes of a channel are those that the ledger tells of.
    fn check_ledger(&self, branch: BranchId, log: &[(Hash, ChannelState)], report: Report<'_>) -> Result<()> {
        let ledger = self.ledger.read();
        let mut lost = Vec::new();
        ledger.each_from(0, |record| {
            let is_there = record.kind == Kind::None || is_at(log, &record);
            if record.branch == branch && !is_there {
                lost.push(record.hash);
            }
            true
        })?;
        for hash in lost {
            report(finding(Severity::Repairable, format!("the change {hash} is not where it was in the repository")));
        }
        Ok(())
    }

    /// Checks that the newest trees agree.
    fn check_head(&self, branch: BranchId, target: (&Txn, &Channel), report: Report<'_>) -> Result<()> {
        let output = Output::of(self.repository, self.layout, target, "")?;
        let differences = compare(&**self.index, View::latest(branch), &output)?;
        for difference in differences.iter().take(NAMED_MAX) {
            report(finding(Severity::Repairable, describe(difference)));
        }
        if let Some(more) = differences.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            let what = format!("{more} more paths of the repository are not as history has them");
            report(finding(Severity::Repairable, what));
        }
        Ok(())
    }

    /// Applies all changes of a channel to an empty repository, and looks after each of ours whether it brought what
    /// history says.
    fn reproduce(&self, branch: BranchId, log: &[(Hash, ChannelState)], report: Report<'_>) -> Result<()> {
        let replay = Repository::in_memory(self.layout)?;
        let txn = replay.begin()?;
        let channel = repository::channel_or_new(&txn, "replay")?;
        for (hash, expected) in log {
            txn.write()
                .apply_change(&replay.changes, &mut *channel.write(), hash)
                .or_pijul("applying a change to an empty repository")?;
            let reached = repository::state(&txn, &channel)?;
            if reached != *expected {
                let what = format!("the change {} leads to another state", repository::text_of(hash));
                report(finding(Severity::Lost, what));
                return Ok(());
            }
            let Some(record) = self.record_of(hash, branch)? else { continue };
            if !self.is_reproduced(&replay, (&txn, &channel), &record)? {
                let text = repository::text_of(hash);
                let what = format!("the change {text} does not bring what {} to {} did", record.first, record.last);
                report(finding(Severity::Lost, what));
            }
        }
        Ok(())
    }

    /// Finds the operations of a change of ours, made on a branch.
    fn record_of(&self, hash: &Hash, branch: BranchId) -> Result<Option<Record>> {
        let Some(stamp) = self.stamp_of(hash)?.filter(|stamp| stamp.branch == branch) else { return Ok(None) };
        let found = self.ledger.read().find(stamp.last)?;
        Ok(found.filter(|record| record.kind == Kind::Own && record.hash == repository::text_of(hash)))
    }

    fn is_reproduced(&self, replay: &Repository, target: (&Txn, &Channel), record: &Record) -> Result<bool> {
        let after = View::new(record.branch, record.last);
        let ops = self.ops_between(View::new(record.branch, record.first.prev()), record.last.next())?;
        let entries = Affected::by(&ops).into_entries(&**self.index, after)?;
        if entries.len() > ENTRIES_MAX {
            let output = Output::of(replay, self.layout, target, "")?;
            return Ok(compare(&**self.index, after, &output)?.is_empty());
        }
        for entry in &entries {
            let Some(path) = compare::path_of_entry(&**self.index, after, entry)? else { continue };
            let output = Output::of(replay, self.layout, target, &path)?;
            let file = self.index.entry(after, entry.dir, &entry.name)?;
            let held = file.map(|file| held(&**self.index, after, file)).transpose()?.flatten();
            if !compare::is_same(&**self.index, after, held.as_ref(), output.items.get(&path))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_at(log: &[(Hash, ChannelState)], record: &Record) -> bool {
    let at = usize::try_from(record.state.changes).ok().and_then(|changes| changes.checked_sub(1));
    at.and_then(|at| log.get(at)).is_some_and(|(_, state)| *state == record.state)
}

/// Reads a change's file as a whole, with its hashes.
pub(crate) fn check_file(repository: &Repository, hash: &Hash) -> std::result::Result<(), String> {
    let bytes = std::fs::read(repository.file_of(hash)).map_err(|error| error.to_string())?;
    // The library takes the lengths at the beginning at their word.
    let lengths = bytes.get(..OFFSETS_BYTES).ok_or("it is too short")?.as_chunks::<8>().0;
    if lengths.iter().any(|length| u64::from_le_bytes(*length) > LENGTH_MAX) {
        return Err("its lengths make no sense".to_owned());
    }
    match std::panic::catch_unwind(|| Change::check_from_buffer(&bytes, hash)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it cannot be read".to_owned()),
    }
}

fn describe(difference: &Difference) -> String {
    let Difference { path, index, repository, .. } = difference;
    match (index, repository) {
        (Some(_), None) => format!("the repository lacks {path}"),
        (None, _) => format!("the repository holds {path}, history does not"),
        (Some(_), Some(_)) => format!("the repository's {path} is not as history has it"),
    }
}
