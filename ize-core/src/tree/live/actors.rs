//! Who asks: process ids turned into [`Actor`]s, which a storm of calls by one program shares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::Actor;
use crate::tree::Caller;

/// How long a process id is taken to mean the same program.
const TRUST: Duration = Duration::from_secs(1);
/// The most callers to remember.
const KNOWN_MAX: usize = 1024;

struct Known {
    since: Instant,
    actor: Arc<Actor>,
}

#[derive(Default)]
pub(super) struct Actors {
    known: Mutex<HashMap<Caller, Known>>,
}

impl Actors {
    pub(super) fn of(&self, caller: Caller) -> Arc<Actor> {
        if caller.is_incoming() {
            let program = Actor::INCOMING.to_owned();
            return Arc::new(Actor { pid: 0, uid: caller.uid, gid: caller.gid, program, run: None });
        }
        let mut known = self.known.lock();
        if let Some(found) = known.get(&caller)
            && found.since.elapsed() < TRUST
        {
            return Arc::clone(&found.actor);
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let program = program_of(caller.pid);
        let actor = Arc::new(Actor { pid: caller.pid, uid: caller.uid, gid: caller.gid, program, run: None });
        known.insert(caller, Known { since: Instant::now(), actor: Arc::clone(&actor) });
        actor
    }
}

fn program_of(pid: u32) -> String {
    if pid == 0 {
        return String::new();
    }
    // proc(5): the short name of a thread group's leader or of a thread, at most 15 bytes and a newline.
    std::fs::read(format!("/proc/{pid}/comm"))
        .map(|comm| String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
        .unwrap_or_default()
}
