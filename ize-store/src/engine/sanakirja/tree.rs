//! Making a B tree of rows that come in order: each page is written once, and nearly full.
#![allow(unsafe_code)]

use std::sync::Arc;

use ize_core::storage::{Result, StorageError};
use sanakirja::btree::page_unsized::Page;
use sanakirja::btree::put::Put;
use sanakirja::btree::{BTreeMutPage, BTreePage};
use sanakirja::{AllocPage, Env, MutPage, MutTxn};

use super::{Rows, failed};

type RowPage = Page<[u8], [u8]>;
type Row = (Vec<u8>, Vec<u8>);

/// A page is left when a row would fill it beyond this. What then is free takes one more row of the longest.
const FILL_BYTES: usize = 4096 - 16 - 416;

/// A tree in the making, from the leaves up.
#[derive(Default)]
pub(super) struct TreeBuilder {
    levels: Vec<Level>,
}

/// The last two pages of a level. Those before them are in the level above.
#[derive(Default)]
struct Level {
    before: Option<Open>,
    open: Open,
}

/// A page that rows are appended to.
#[derive(Default)]
struct Open {
    /// The row between the page before and this one: it belongs into the level above.
    above: Option<Row>,
    /// The page below the first row; 0 in a leaf.
    first_child: u64,
    /// None while there is no row.
    page: Option<MutPage>,
    used: usize,
}

impl TreeBuilder {
    /// Appends a row.
    pub(super) fn push(&mut self, txn: &mut MutTxn<Arc<Env>>, key: &[u8], value: &[u8]) -> Result<()> {
        self.append(txn, 0, key, value, 0)
    }

    /// Returns the finished tree; `None` if there was no row.
    pub(super) fn finish(mut self, txn: &mut MutTxn<Arc<Env>>) -> Result<Option<Rows>> {
        let mut at = 0;
        while at < self.levels.len() {
            let Level { before, mut open } = std::mem::take(&mut self.levels[at]);
            match before {
                Some(mut before) if open.page.is_none() => {
                    if let Some((key, value)) = &open.above {
                        before.put(txn, key, value, open.first_child)?;
                    }
                    open = before;
                }
                Some(before) => self.hand_up(txn, at + 1, before)?,
                None => {}
            }
            if open.above.is_none() {
                let root = open.page.map_or(open.first_child, |page| page.0.offset);
                // SAFETY: the page is the root of a tree of rows that was just made in this transaction.
                return Ok((root > 0).then(|| unsafe { Rows::from_page(root) }));
            }
            self.hand_up(txn, at + 1, open)?;
            at += 1;
        }
        Ok(None)
    }

    fn append(&mut self, txn: &mut MutTxn<Arc<Env>>, at: usize, key: &[u8], value: &[u8], child: u64) -> Result<()> {
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, Level::default);
        }
        let level = &mut self.levels[at];
        if level.open.used + row_bytes(key, value, child) <= FILL_BYTES {
            return level.open.put(txn, key, value, child);
        }
        let next = Open { above: Some((key.to_vec(), value.to_vec())), first_child: child, ..Open::default() };
        let full = std::mem::replace(&mut level.open, next);
        match level.before.replace(full) {
            Some(before) => self.hand_up(txn, at + 1, before),
            None => Ok(()),
        }
    }

    /// Enters a page that is complete into the level above.
    fn hand_up(&mut self, txn: &mut MutTxn<Arc<Env>>, at: usize, page: Open) -> Result<()> {
        let child = page.page.map_or(0, |page| page.0.offset);
        match page.above {
            Some((key, value)) => self.append(txn, at, &key, &value, child),
            None => {
                let open = Open { first_child: child, ..Open::default() };
                self.levels.insert(at, Level { before: None, open });
                Ok(())
            }
        }
    }
}

impl Open {
    /// Appends a row, and the page below that follows it.
    fn put(&mut self, txn: &mut MutTxn<Arc<Env>>, key: &[u8], value: &[u8], child: u64) -> Result<()> {
        let action = "making a new index";
        let page = match self.page.take() {
            Some(page) => page,
            None => {
                // SAFETY: the page is initialised before anybody reads it.
                let mut page = unsafe { txn.alloc_page() }.map_err(|error| failed(action, error))?;
                RowPage::init(&mut page);
                page
            }
        };
        let left = if self.used == 0 { self.first_child } else { 0 };
        let end = RowPage::cursor_after(&page.0);
        // SAFETY: the page is of this transaction, its rows come before this one, and both children are pages of this
        // transaction; they are 0 in a leaf.
        let put = unsafe { RowPage::put(txn, page.0, true, false, &end, key, value, None, left, child) };
        self.used += row_bytes(key, value, child);
        match put.map_err(|error| failed(action, error))? {
            Put::Ok(put) => self.page = Some(put.page),
            Put::Split { .. } => return Err(StorageError::backend(action, "a page was fuller than it should be")),
        }
        Ok(())
    }
}

/// Bytes of a row in a page: lengths, alignment, and the row's place.
fn row_bytes(key: &[u8], value: &[u8], child: u64) -> usize {
    let place = if child == 0 { 2 } else { 8 };
    [key, value].map(|part| (part.len() + 2).next_multiple_of(2)).iter().sum::<usize>() + place
}
