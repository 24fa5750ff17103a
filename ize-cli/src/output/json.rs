//! `--json`: one object per line. Its fields are an interface, described in docs/json.md.

use ize_core::model::{Actor, Landmark, OpId, RelPath, Timestamp};
use ize_core::project::HistoryRow;
use ize_core::record::{DurabilityMode, QueueStats};
use serde::Serialize;

/// One line of `ize history --json`.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryLine {
    /// The first operation.
    pub(crate) op: u64,
    /// The last operation.
    pub(crate) last_op: u64,
    /// The change id of the last operation.
    pub(crate) change: String,
    /// The id of the change that holds it in the backend's own format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<String>,
    /// When, RFC 3339 in UTC with nanoseconds.
    pub(crate) time: String,
    /// What happened.
    pub(crate) kind: String,
    /// Where.
    #[serde(flatten)]
    pub(crate) path: PathField,
    /// Before a rename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// See [`PathField`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from_hex: Option<String>,
    /// Size of the file afterwards, `null` where it has none.
    pub(crate) size: Option<u64>,
    /// The change message.
    pub(crate) message: String,
    /// Who did it.
    pub(crate) actor: ActorField,
    /// Why the moment is worth showing.
    pub(crate) landmark: Option<&'static str>,
    /// What a restore brought back.
    pub(crate) parent: Option<u64>,
}

impl From<&HistoryRow> for HistoryLine {
    fn from(row: &HistoryRow) -> Self {
        let from = row.from.as_ref().map(PathField::from);
        let (from, from_hex) = from.map_or((None, None), |field| (Some(field.path), field.path_hex));
        Self {
            op: row.op.get(),
            last_op: row.last_op.get(),
            change: row.change.to_string(),
            hash: row.native.clone(),
            time: time(row.time),
            kind: row.kind.to_string(),
            path: PathField::from(&row.path),
            from,
            from_hex,
            size: row.size,
            message: row.message.clone(),
            actor: ActorField::from(row.actor.as_ref()),
            landmark: row.landmark.map(landmark),
            parent: row.parent.map(OpId::get),
        }
    }
}

const fn landmark(landmark: Landmark) -> &'static str {
    match landmark {
        Landmark::Namespace => "namespace",
        Landmark::Replace => "replace",
        Landmark::Close => "close",
        Landmark::Sync => "sync",
        Landmark::Idle => "idle",
        Landmark::Barrier => "barrier",
    }
}

/// Who made a change.
#[derive(Debug, Serialize)]
pub(crate) struct ActorField {
    pid: u32,
    uid: u32,
    gid: u32,
    program: String,
}

impl From<&Actor> for ActorField {
    fn from(actor: &Actor) -> Self {
        Self { pid: actor.pid, uid: actor.uid, gid: actor.gid, program: actor.program.clone() }
    }
}

/// A path: text, and where it is not UTF-8 also its bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PathField {
    /// The path; bytes that are not UTF-8 are U+FFFD. The root is `.`.
    pub(crate) path: String,
    /// All bytes in hexadecimal, only where `path` lost some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_hex: Option<String>,
}

impl From<&RelPath> for PathField {
    fn from(path: &RelPath) -> Self {
        let bytes: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { path: text.to_owned(), path_hex: None },
            Err(_) => Self {
                path: String::from_utf8_lossy(bytes).into_owned(),
                path_hex: Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            },
        }
    }
}

/// One line of `ize list --json`.
#[derive(Debug, Serialize)]
pub(crate) struct ProjectLine {
    /// The project's name.
    pub(crate) name: String,
    /// Its id, which is also its folder's name.
    pub(crate) id: String,
    /// What keeps its history.
    pub(crate) backend: String,
    /// The engine below the backend, if it has a choice.
    pub(crate) engine: Option<String>,
    /// Where it is mounted now.
    pub(crate) mountpoint: Option<String>,
    /// Where its live files are.
    pub(crate) working: String,
    /// The folder with all that Ize keeps of it.
    pub(crate) dir: String,
}

/// What an acknowledged operation survives.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DurabilityField {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending_ops: Option<usize>,
}

impl From<DurabilityMode> for DurabilityField {
    fn from(mode: DurabilityMode) -> Self {
        let (max_delay_ms, max_pending_ops) = match mode {
            DurabilityMode::GroupCommit { max_delay_ms, max_pending_ops } => {
                (Some(max_delay_ms), Some(max_pending_ops))
            }
            DurabilityMode::Immediate | DurabilityMode::Relaxed => (None, None),
        };
        Self { mode: mode.name(), max_delay_ms, max_pending_ops }
    }
}

/// One line of `ize status --json`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusLine {
    /// As in `list`.
    #[serde(flatten)]
    pub(crate) project: ProjectLine,
    /// The daemon's process id.
    pub(crate) pid: Option<u32>,
    /// The last acknowledged operation.
    pub(crate) recorded: u64,
    /// The last operation in history.
    pub(crate) committed: u64,
    /// Operations on their way to history.
    pub(crate) pending_ops: u64,
    /// Their bytes.
    pub(crate) pending_bytes: u64,
    /// What an acknowledged operation survives.
    pub(crate) durability: DurabilityField,
    /// In what pieces changes of content are recorded, if it is mounted.
    pub(crate) granularity: Option<&'static str>,
    /// Why nothing can be recorded any more.
    pub(crate) poisoned: Option<String>,
    /// Bytes on disk by part: journal, packs, index...
    pub(crate) sizes: std::collections::BTreeMap<String, u64>,
    /// The most that the journal takes.
    pub(crate) journal_bytes_max: u64,
    /// The queue from the journal to history.
    pub(crate) queue: QueueLine,
    /// The daemon's log file.
    pub(crate) log: String,
}

/// The queue in `ize status --json`.
#[derive(Debug, Serialize)]
pub(crate) struct QueueLine {
    #[serde(flatten)]
    stats: QueueStats,
    /// How full its memory is, from 0 to 1.
    utilization: f64,
    /// Megabytes of content that are committed per second of committing.
    throughput_mbps: f64,
}

impl From<&QueueStats> for QueueLine {
    fn from(stats: &QueueStats) -> Self {
        let (utilization, throughput_mbps) = (stats.queue_utilization(), stats.throughput_mbps());
        Self { stats: stats.clone(), utilization, throughput_mbps }
    }
}

/// Writes a moment as RFC 3339 in UTC with nanoseconds.
pub(crate) fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(time.as_nanos()) {
        Ok(moment) => format!("{moment:.9}"),
        Err(_) => time.to_string(),
    }
}

/// Writes one object as one line, without the line feed.
pub(crate) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types have string keys and no failing parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_utf8_keeps_its_bytes() {
        let path = RelPath::new(b"a/\xff").unwrap();
        let field = PathField::from(&path);
        assert_eq!((field.path.as_str(), field.path_hex.as_deref()), ("a/\u{fffd}", Some("612fff")));
        assert_eq!(line(&PathField::from(&RelPath::root())), r#"{"path":"."}"#);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Timestamp::from_secs_nanos(1, 5)), "1970-01-01T00:00:01.000000005Z");
    }
}
