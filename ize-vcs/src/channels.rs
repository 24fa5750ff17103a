//! Branches and their channels.

use std::collections::BTreeMap;

use ize_core::model::{BranchId, OpId};
use ize_core::storage::{Result, StorageError};
use libpijul::DEFAULT_CHANNEL;

use crate::disk;
use crate::error::failed;
use crate::layout::Layout;

const FILE: &str = "channels";

/// A branch's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelOf {
    /// Its name in the repository.
    pub(crate) name: String,
    /// Where the branch comes from.
    pub(crate) parent: BranchId,
    /// The last operation of the parent that the branch sees.
    pub(crate) base: OpId,
    /// The last operation of the parent that the channel began with; what lies between it and the base comes with the
    /// branch's first change.
    pub(crate) forked_at: OpId,
    /// How many changes the channel began with.
    pub(crate) forked_changes: u64,
}

/// The channels of all branches, kept in a file.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    known: BTreeMap<BranchId, ChannelOf>,
}

impl Channels {
    /// Begins with the main branch.
    pub(crate) fn new() -> Self {
        let name = DEFAULT_CHANNEL.to_owned();
        // Its first change is the root that every tree hangs on.
        let (parent, base, forked_at, forked_changes) = (BranchId::MAIN, OpId::ZERO, OpId::ZERO, 1);
        let main = ChannelOf { name, parent, base, forked_at, forked_changes };
        Self { known: BTreeMap::from([(BranchId::MAIN, main)]) }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it makes no sense.
    pub(crate) fn load(layout: &Layout) -> Result<Self> {
        let text = match std::fs::read_to_string(layout.ours().join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::new()),
            Err(error) => return Err(failed("reading the list of channels", error)),
        };
        let mut channels = Self::new();
        for line in text.lines() {
            let (branch, channel) =
                parse(line).ok_or_else(|| StorageError::Corrupt("the list of channels makes no sense".to_owned()))?;
            channels.known.insert(branch, channel);
        }
        Ok(channels)
    }

    /// Writes the file.
    pub(crate) fn save(&self, layout: &Layout) -> Result<()> {
        let mut text = String::new();
        for (branch, channel) in &self.known {
            let ChannelOf { name, parent, base, forked_at, forked_changes } = channel;
            let (branch, parent, base, forked_at) = (branch.get(), parent.get(), base.get(), forked_at.get());
            text.push_str(&format!("{branch} {parent} {base} {forked_at} {forked_changes} {name}\n"));
        }
        disk::write_whole(&layout.ours(), FILE, text.as_bytes())
    }

    /// Finds a branch's channel.
    pub(crate) fn get(&self, branch: BranchId) -> Option<&ChannelOf> {
        self.known.get(&branch)
    }

    /// Finds the branch of a channel.
    pub(crate) fn branch_of(&self, name: &str) -> Option<BranchId> {
        self.known.iter().find(|(_, channel)| channel.name == name).map(|(branch, _)| *branch)
    }

    /// Adds a branch's channel.
    pub(crate) fn insert(&mut self, branch: BranchId, channel: ChannelOf) {
        self.known.insert(branch, channel);
    }

    /// All branches.
    pub(crate) fn branches(&self) -> impl Iterator<Item = (BranchId, &ChannelOf)> {
        self.known.iter().map(|(branch, channel)| (*branch, channel))
    }
}

fn parse(line: &str) -> Option<(BranchId, ChannelOf)> {
    let mut fields = line.splitn(6, ' ');
    let branch = BranchId::new(fields.next()?.parse().ok()?);
    let parent = BranchId::new(fields.next()?.parse().ok()?);
    let base = OpId::new(fields.next()?.parse().ok()?);
    let forked_at = OpId::new(fields.next()?.parse().ok()?);
    let forked_changes = fields.next()?.parse().ok()?;
    let name = fields.next()?.to_owned();
    Some((branch, ChannelOf { name, parent, base, forked_at, forked_changes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.ours()).unwrap();
        assert_eq!(Channels::load(&layout).unwrap().known, Channels::new().known);
        let mut channels = Channels::new();
        let (parent, base, forked_at) = (BranchId::MAIN, OpId::new(9), OpId::new(7));
        let channel = ChannelOf { name: "a/b".to_owned(), parent, base, forked_at, forked_changes: 3 };
        channels.insert(BranchId::new(4), channel);
        channels.save(&layout).unwrap();
        let loaded = Channels::load(&layout).unwrap();
        assert_eq!(loaded.known, channels.known);
        assert_eq!(loaded.branch_of("a/b"), Some(BranchId::new(4)));
        std::fs::write(layout.ours().join(FILE), "4 x").unwrap();
        assert!(matches!(Channels::load(&layout), Err(StorageError::Corrupt(_))));
    }
}
