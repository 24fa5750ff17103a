//! Keeping the ignore rules up to date while `.izeignore` is edited through the tree.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{IgnoreRules, Live, Node, Place};
use crate::model::FileId;
use crate::tree::host;

/// A longer rule file is not read: it is none.
const FILE_BYTES_MAX: usize = 1 << 20;

impl Live {
    /// Notes that something was written to a file: perhaps these are the rules.
    pub(super) fn rules_may_have_changed(&self, node: &Node) {
        if node.path().is_some_and(|path| path.as_bytes() == IgnoreRules::FILE_NAME.as_bytes()) {
            self.reload_rules();
        }
    }

    /// Notes that an entry names something else now: perhaps these are the rules.
    pub(super) fn place_changed(&self, place: &Place) {
        if place.parent.id == FileId::ROOT && place.name.as_bytes() == IgnoreRules::FILE_NAME.as_bytes() {
            self.reload_rules();
        }
    }

    fn reload_rules(&self) {
        let file =
            self.nodes.get(FileId::ROOT).and_then(|root| self.nodes.fd(&root)).and_then(|root| read_rules(&root));
        match file {
            Ok(file) => {
                let rules = self.ignore().with_root_file(file.as_deref());
                for problem in rules.problems() {
                    tracing::warn!(problem, "a line of the ignore rules was left out");
                }
                self.set_ignore(rules);
            }
            Err(error) => tracing::warn!(%error, "the ignore rules could not be read; the old ones go on"),
        }
    }
}

fn read_rules(root: &Arc<OwnedFd>) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(&**root, IgnoreRules::FILE_NAME, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        other => other?,
    };
    let mut content = vec![0; FILE_BYTES_MAX];
    let read = host::read_full(&file, 0, &mut content)?;
    content.truncate(read);
    Ok(Some(content))
}
