//! Making a repository's database anew from the change files that are whole, and from the index.

use ize_core::model::View;
use ize_core::storage::{Finding, Result, Severity};
use libpijul::pristine::MutTxnT;
use libpijul::{DEFAULT_CHANNEL, MutTxnTExt};

use crate::error::{OrPijul, failed};
use crate::follower::Follower;
use crate::layout::Layout;
use crate::ledger::{Kind, Ledger, Record};
use crate::repository::{self, Repository};
use crate::verify::check_file;

/// What a repository's database was before it was made anew.
const ASIDE: &str = "db.damaged";

/// Puts a database aside and makes an empty one. Returns what the ledger, which begins anew, knew.
///
/// # Errors
/// If the disk fails.
pub(crate) fn put_aside(layout: &Layout, ledger: &mut Ledger) -> Result<(Repository, Vec<Record>)> {
    let mut records = Vec::new();
    ledger.each_from(0, |record| {
        records.push(record);
        true
    })?;
    match std::fs::rename(layout.database(), layout.database_folder().join(ASIDE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("putting the damaged database aside", error));
        }
        _ => {}
    }
    let repository = Repository::open(layout)?;
    let txn = repository.begin()?;
    repository::channel_or_new(&txn, DEFAULT_CHANNEL)?;
    txn.write().set_current_channel(DEFAULT_CHANNEL).or_pijul("making a repository")?;
    repository.commit(txn, &[])?;
    ledger.clear()?;
    Ok((repository, records))
}

impl Follower<'_> {
    /// Brings an empty repository to where the one before was: by its changes where their files are whole and fit, by
    /// recording the same operations again where they do not.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub(crate) fn restore(&mut self, records: Vec<Record>, report: &mut dyn FnMut(Finding)) -> Result<()> {
        let (mut again, mut lost) = (0, 0);
        let mut is_tree_stale = true;
        for record in records.into_iter().filter(|record| record.kind != Kind::None) {
            if self.apply_former(&record)? {
                is_tree_stale = true;
                continue;
            }
            if record.kind == Kind::Foreign {
                lost += 1;
                continue;
            }
            if std::mem::take(&mut is_tree_stale) {
                self.refresh_tree()?;
            }
            let ops = self.ops_between(View::new(record.branch, record.first.prev()), record.last.next())?;
            self.record_pieces(&[&ops])?;
            again += 1;
        }
        self.refresh_tree()?;
        self.open_branches()?;
        self.follow(None)?;
        let mut tell = |severity, what: String| report(Finding { severity, what });
        tell(Severity::Note, "the repository's database was made anew from its changes".to_owned());
        if again > 0 {
            tell(Severity::Note, format!("{again} damaged changes were recorded anew"));
        }
        if lost > 0 {
            tell(Severity::Lost, format!("{lost} changes of others are damaged; what they brought is kept in ours"));
        }
        Ok(())
    }

    /// Applies a change as it is; answers `false` if it is damaged, or builds on one that is not there.
    fn apply_former(&mut self, record: &Record) -> Result<bool> {
        let Some(hash) = repository::hash_of(&record.hash) else { return Ok(false) };
        if check_file(self.repository, &hash).is_err() {
            return Ok(false);
        }
        let txn = self.repository.begin()?;
        let channel = self.channel(&txn, record.branch)?;
        let applied = txn.write().apply_change_rec(&self.repository.changes, &mut *channel.write(), &hash);
        if applied.is_err() {
            return Ok(false);
        }
        let state = repository::state(&txn, &channel)?;
        drop(channel);
        self.repository.commit(txn, &[])?;
        self.ledger.write().append(Record { state, ..record.clone() })?;
        Ok(true)
    }

    /// Brings the table of the working copy to the main channel, and makes the root that trees hang on where it is missing.
    fn refresh_tree(&mut self) -> Result<()> {
        let txn = self.repository.begin()?;
        let channel = self.channel(&txn, ize_core::model::BranchId::MAIN)?;
        self.output_tree(&txn, &channel)?;
        let root = txn
            .write()
            .apply_root_change_if_needed(&self.repository.changes, &channel, rand::rng())
            .or_pijul("making a repository")?;
        drop(channel);
        let saved: Vec<_> = root.into_iter().map(|(hash, ..)| hash).collect();
        self.repository.commit(txn, &saved)
    }
}
