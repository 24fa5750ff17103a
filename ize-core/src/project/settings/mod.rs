//! Settings: layers of `key = value` in TOML, and what they come down to.
//!
//! A [`SettingsLayer`] is one source (a file, the environment, the command line) in which each value is optional.
//! [`Settings::resolve`] merges layers, the weakest first. A key that does not exist is an error that names the nearest
//! one; keys may be written with `-` or `_`.
//!
//! | key | value | built in |
//! |---|---|---|
//! | `central-dir` | where projects live; only in the user's file | |
//! | `backend` | which storage new projects get | `"store"` |
//! | `engine` | which engine of the backend new projects get | the backend's own |
//! | `author` | who makes changes, for a backend whose format names an author, as `"Ada <ada@example.org>"` | the caller's |
//! | `durability` | `"immediate"`, `"group"`, `"relaxed"`, or `{ mode = "group", max-delay-ms = 5, max-pending-ops = 100 }`; the limits alone leave the mode to other layers, and hold whichever layer chooses group mode | `"group"` |
//! | `granularity` | `"write"`, or `"close"`: what a file holds when it is closed is recorded, not each write | `"write"` |
//! | `ignore` | a list of patterns as in `.gitignore`; layers add up, later patterns win | `[]` |
//! | `floor-bytes` | free space below which a mount refuses to grow, as `268435456` or `"256 MiB"` | 256 MiB, at most 1 % of the disk |
//! | `journal-bytes-max` | how much may wait to be stored before writers have to wait | 4 GiB, at most 10 % of the free space |
//! | `compress` | whether content is stored compressed where that makes it smaller | `true` |
//! | `processor.poll-interval` | how often the worker looks for work, as `10` (ms) or `"10ms"` | the recorder's |
//! | `processor.max-batch-size` | operations in one commit | the recorder's |
//! | `processor.worker-threads` | one thread that commits, and so many less one that prepare | the recorder's |
//! | `processor.enable-compression` | whether neighbouring operations are merged into one (see `compress` for content) | `true` |

mod durability;
mod field;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use self::durability::GroupLimits;
pub use self::durability::{DurabilityKind, DurabilityLayer};
use self::field::{Field, durability_value, granularity_value, integer, normalise};
use crate::record::DurabilityMode;
use crate::tree::Granularity;

const FLOOR_BYTES_DEFAULT: u64 = 256 << 20;

const KEYS: [&str; 11] = [
    "central-dir",
    "backend",
    "engine",
    "author",
    "durability",
    "granularity",
    "ignore",
    "floor-bytes",
    "journal-bytes-max",
    "compress",
    "processor",
];
const PROCESSOR_KEYS: [&str; 4] = ["poll-interval", "max-batch-size", "worker-threads", "enable-compression"];

/// Why a settings file or value was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file is no TOML.
    #[error("{origin} is not valid TOML")]
    Syntax {
        /// Where it came from.
        origin: String,
        /// What is wrong with it, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// There is no such key.
    #[error("{origin}: there is no setting '{key}'")]
    UnknownKey {
        /// Where it came from.
        origin: String,
        /// The key.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// All keys there are.
        known: Vec<&'static str>,
    },
    /// A key has a value that makes no sense.
    #[error("{origin}: '{key}' must be {expected}")]
    InvalidValue {
        /// Where it came from.
        origin: String,
        /// The key.
        key: String,
        /// What was expected.
        expected: String,
    },
}

impl SettingsError {
    /// Returns what a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean '{nearest}'?")),
            Self::UnknownKey { known, .. } => Some(format!("the settings are: {}", known.join(", "))),
            Self::Syntax { .. } | Self::InvalidValue { .. } => None,
        }
    }
}

/// The `[processor]` table of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessorLayer {
    /// How often the worker looks for work.
    pub poll_interval: Option<Duration>,
    /// Operations in one commit.
    pub max_batch_size: Option<usize>,
    /// Threads that prepare commits.
    pub worker_threads: Option<usize>,
    /// Whether neighbouring operations are merged.
    pub enable_compression: Option<bool>,
}

/// The settings of one source; `None` is "not set here".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsLayer {
    /// Where projects live. A leading `~` is left to the caller.
    pub central_dir: Option<PathBuf>,
    /// Which storage new projects get.
    pub backend: Option<String>,
    /// Which engine of the backend new projects get.
    pub engine: Option<String>,
    /// Who makes changes, where the backend's format names an author.
    pub author: Option<String>,
    /// What survives a power cut.
    pub durability: Option<DurabilityLayer>,
    /// In what pieces changes of content are recorded.
    pub granularity: Option<Granularity>,
    /// Patterns of files that are not recorded.
    pub ignore: Vec<String>,
    /// Free space below which a mount refuses to grow, in bytes.
    pub floor_bytes: Option<u64>,
    /// The most that the journal takes, in bytes.
    pub journal_bytes_max: Option<u64>,
    /// Whether content is stored compressed.
    pub compress: Option<bool>,
    /// The worker.
    pub processor: ProcessorLayer,
}

impl SettingsLayer {
    /// The names of all settings, tables as `table.key`: what [`SettingsLayer::set`] takes.
    pub fn keys() -> impl Iterator<Item = String> {
        let plain = KEYS.iter().filter(|key| **key != "processor").map(ToString::to_string);
        plain.chain(PROCESSOR_KEYS.iter().map(|key| format!("processor.{key}")))
    }

    /// Reads a settings file's text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SettingsError> {
        let table: Table = text
            .parse()
            .map_err(|source| SettingsError::Syntax { origin: origin.to_owned(), source: Box::new(source) })?;
        let mut layer = Self::default();
        for (key, value) in &table {
            layer.set_value(key, value, origin)?;
        }
        Ok(layer)
    }

    /// Sets one value from text that is the value itself: `set("floor-bytes", "1 GiB", ..)`.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn set(&mut self, key: &str, text: &str, origin: &str) -> Result<(), SettingsError> {
        self.set_value(key, &Value::String(text.to_owned()), origin)
    }

    /// Sets one value as it comes from the environment or the command line: text as for [`SettingsLayer::set`], or what a
    /// settings file has behind `=`, so that lists and tables can be given: `["target/", "*.o"]`.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn set_toml(&mut self, key: &str, value: &str, origin: &str) -> Result<(), SettingsError> {
        match value.parse::<Value>() {
            Ok(value @ (Value::Array(_) | Value::Table(_) | Value::String(_))) => self.set_value(key, &value, origin),
            // Numbers and switches are read from text, too, and a name may look like one.
            _ => self.set(key, value, origin),
        }
    }

    pub(super) fn set_value(&mut self, key: &str, value: &Value, origin: &str) -> Result<(), SettingsError> {
        let field = Field { origin, key, value };
        match normalise(key).as_str() {
            "central-dir" => self.central_dir = Some(PathBuf::from(field.text()?)),
            "backend" => self.backend = Some(field.text()?),
            "engine" => self.engine = Some(field.text()?),
            "author" => self.author = Some(field.author()?),
            "durability" => self.durability = Some(field.durability()?),
            "granularity" => self.granularity = Some(field.granularity()?),
            "ignore" => self.ignore.extend(field.patterns()?),
            "floor-bytes" => self.floor_bytes = Some(field.bytes()?),
            "journal-bytes-max" => self.journal_bytes_max = Some(field.bytes()?),
            "compress" => self.compress = Some(field.switch()?),
            "processor" => self.processor.set_table(&field)?,
            dotted => match dotted.strip_prefix("processor.") {
                Some(inner) => self.processor.set_field(inner, &field)?,
                None => return Err(field.unknown(&KEYS)),
            },
        }
        Ok(())
    }

    /// Writes the layer as TOML: the form that [`SettingsLayer::from_toml`] reads.
    pub(super) fn write_to(&self, table: &mut Table) {
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        put("backend", self.backend.clone().map(Value::String));
        put("engine", self.engine.clone().map(Value::String));
        put("author", self.author.clone().map(Value::String));
        put("durability", self.durability.map(durability_value));
        put("granularity", self.granularity.map(granularity_value));
        put("ignore", (!self.ignore.is_empty()).then(|| Value::from(self.ignore.clone())));
        put("floor-bytes", self.floor_bytes.map(integer));
        put("journal-bytes-max", self.journal_bytes_max.map(integer));
        put("compress", self.compress.map(Value::Boolean));
        let processor = self.processor.to_table();
        put("processor", (!processor.is_empty()).then_some(Value::Table(processor)));
    }
}

impl ProcessorLayer {
    fn set_table(&mut self, field: &Field<'_>) -> Result<(), SettingsError> {
        let Value::Table(table) = field.value else { return Err(field.invalid("a table")) };
        for (key, value) in table {
            let dotted = format!("processor.{key}");
            self.set_field(&normalise(key), &Field { origin: field.origin, key: &dotted, value })?;
        }
        Ok(())
    }

    fn set_field(&mut self, key: &str, field: &Field<'_>) -> Result<(), SettingsError> {
        match key {
            "poll-interval" => self.poll_interval = Some(field.duration()?),
            "max-batch-size" => self.max_batch_size = Some(field.count()?),
            "worker-threads" => self.worker_threads = Some(field.count()?),
            "enable-compression" => self.enable_compression = Some(field.switch()?),
            _ => return Err(field.unknown(&PROCESSOR_KEYS)),
        }
        Ok(())
    }

    fn to_table(&self) -> Table {
        let mut table = Table::new();
        if let Some(interval) = self.poll_interval {
            table.insert("poll-interval".into(), integer(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)));
        }
        if let Some(size) = self.max_batch_size {
            table.insert("max-batch-size".into(), integer(size as u64));
        }
        if let Some(threads) = self.worker_threads {
            table.insert("worker-threads".into(), integer(threads as u64));
        }
        if let Some(switch) = self.enable_compression {
            table.insert("enable-compression".into(), Value::Boolean(switch));
        }
        table
    }
}

/// All values, after the layers were merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Where projects live, if a layer said so.
    pub central_dir: Option<PathBuf>,
    /// Which storage new projects get; `None` where no layer said so.
    pub backend: Option<String>,
    /// Which engine of the backend new projects get.
    pub engine: Option<String>,
    /// Who makes changes, where the backend's format names an author.
    pub author: Option<String>,
    /// What survives a power cut.
    pub durability: DurabilityMode,
    /// In what pieces changes of content are recorded.
    pub granularity: Granularity,
    /// What group mode means, whether or not it is on.
    group: GroupLimits,
    /// Patterns of files that are not recorded, the weakest first.
    pub ignore: Vec<String>,
    /// Free space below which a mount refuses to grow; see [`Settings::floor_bytes`].
    pub floor_bytes: Option<u64>,
    /// The most that the journal takes, in bytes.
    pub journal_bytes_max: Option<u64>,
    /// Whether content is stored compressed.
    pub compress: Option<bool>,
    /// The worker.
    pub processor: ProcessorLayer,
}

impl Settings {
    /// Which storage new projects get where no layer says so.
    pub const BACKEND_DEFAULT: &'static str = "store";

    /// Merges layers, the weakest first: user file, central file, project file, environment, command line.
    pub fn resolve<'a>(layers: impl IntoIterator<Item = &'a SettingsLayer>) -> Self {
        layers.into_iter().fold(Self::default(), Self::overlaid)
    }

    /// Returns these settings overridden by one more layer.
    #[must_use]
    pub fn overlaid(mut self, layer: &SettingsLayer) -> Self {
        fn over<T: Clone>(value: &mut Option<T>, layer: &Option<T>) {
            if layer.is_some() {
                value.clone_from(layer);
            }
        }
        over(&mut self.central_dir, &layer.central_dir);
        over(&mut self.backend, &layer.backend);
        over(&mut self.engine, &layer.engine);
        over(&mut self.author, &layer.author);
        over(&mut self.floor_bytes, &layer.floor_bytes);
        over(&mut self.journal_bytes_max, &layer.journal_bytes_max);
        over(&mut self.compress, &layer.compress);
        over(&mut self.processor.poll_interval, &layer.processor.poll_interval);
        over(&mut self.processor.max_batch_size, &layer.processor.max_batch_size);
        over(&mut self.processor.worker_threads, &layer.processor.worker_threads);
        over(&mut self.processor.enable_compression, &layer.processor.enable_compression);
        if let Some(durability) = &layer.durability {
            self.group.overlay(durability);
            self.durability = durability.mode_over(self.durability, self.group);
        }
        self.granularity = layer.granularity.unwrap_or(self.granularity);
        self.ignore.extend(layer.ignore.iter().cloned());
        self
    }

    /// Returns the floor for a disk of the given size: what was set, else 256 MiB but at most 1 % of the disk.
    pub fn floor_bytes(&self, disk_bytes: u64) -> u64 {
        self.floor_bytes.unwrap_or(FLOOR_BYTES_DEFAULT.min(disk_bytes / 100))
    }
}

/// Reads a settings file; a file that does not exist is an empty layer.
pub(super) fn read_file(path: &Path) -> super::Result<SettingsLayer> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(SettingsLayer::from_toml(&text, &path.display().to_string())?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SettingsLayer::default()),
        Err(source) => Err(super::ProjectError::io("read", path)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn parse(text: &str) -> Result<SettingsLayer, SettingsError> {
        SettingsLayer::from_toml(text, "config.toml")
    }

    #[test]
    fn a_whole_file_is_read() {
        let layer = parse(
            r#"
            central-dir = "~/.local/share/ize"
            backend = "store"
            engine = "redb"
            durability = { mode = "group", max_delay_ms = 20 }
            ignore = ["target/", "*.o"]
            floor-bytes = "1 GiB"
            compress = false
            author = "Ada <ada@example.org>"
            granularity = "close"
            journal-bytes-max = "64 MiB"
            [processor]
            poll_interval = "5ms"
            max_batch_size = 500
            worker-threads = 2
            enable_compression = false
            "#,
        )
        .unwrap();
        assert_eq!(layer.central_dir.as_deref(), Some(Path::new("~/.local/share/ize")));
        assert_eq!(
            layer.durability,
            Some(DurabilityLayer { mode: Some(DurabilityKind::Group), max_delay_ms: Some(20), max_pending_ops: None })
        );
        assert_eq!(layer.floor_bytes, Some(1 << 30));
        assert_eq!(layer.processor.poll_interval, Some(Duration::from_millis(5)));
        assert_eq!(layer.journal_bytes_max, Some(64 << 20));
        assert_eq!(layer.author.as_deref(), Some("Ada <ada@example.org>"));
        assert_eq!(layer.granularity, Some(Granularity::Close));
        assert_eq!((layer.compress, layer.processor.enable_compression), (Some(false), Some(false)));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut layer =
            parse("backend = 'store'\nauthor = 'Ada'\nignore = ['a']\nfloor-bytes = 7\ncompress = true\njournal-bytes-max = 9\ndurability = 'group'\ngranularity = 'write'").unwrap();
        layer.processor.max_batch_size = Some(9);
        layer.processor.poll_interval = Some(Duration::from_millis(3));
        let mut table = Table::new();
        layer.write_to(&mut table);
        assert_eq!(parse(&table.to_string()).unwrap(), layer);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        for (text, meant) in [
            ("bakend = 'store'", "backend"),
            ("central_dri = '/x'", "central-dir"),
            ("[processor]\nmax_batchsize = 3", "max-batch-size"),
            ("durability = { mod = 'group' }", "mode"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.hint().unwrap(), format!("did you mean '{meant}'?"), "{text}");
        }
        let error = parse("colour = 1").unwrap_err();
        assert!(error.hint().unwrap().contains("durability"));
        assert_eq!(error.to_string(), "config.toml: there is no setting 'colour'");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for text in [
            "backend = 3",
            "durability = 'sometimes'",
            "granularity = 'fine'",
            "durability = { mode = 'relaxed', max-delay-ms = 3 }",
            "ignore = [1]",
            "ignore = ['[z-a]']",
            "author = \"two\\nlines\"",
            "author = 'Ada <'",
            "author = '<ada@example.org>'",
            "floor-bytes = -1",
            "floor-bytes = '3 apples'",
            "[processor]\nmax-batch-size = 0",
        ] {
            assert!(matches!(parse(text), Err(SettingsError::InvalidValue { .. })), "{text}");
        }
        assert!(matches!(parse("a = = 1"), Err(SettingsError::Syntax { .. })));
    }

    #[test]
    fn later_layers_override_and_ignore_patterns_add_up() {
        let user = parse("backend = 'store'\ndurability = 'relaxed'\nignore = ['*.o']").unwrap();
        let project = parse("durability = 'immediate'\nignore = ['!keep.o']").unwrap();
        let mut flags = SettingsLayer::default();
        flags.set("engine", "redb", "--engine").unwrap();
        flags.set_toml("processor.worker_threads", "3", "IZE_WORKERS").unwrap();
        flags.set("ignore", r#"["a"]"#, "--ignore").unwrap();
        flags.set_toml("ignore", "[ab].c", "--set").unwrap();
        flags.set_toml("ignore", r#"["*.a", "*.b"]"#, "--set").unwrap();
        let settings = Settings::resolve([&user, &project, &flags]);
        assert_eq!(settings.backend.as_deref(), Some("store"));
        assert_eq!(settings.engine.as_deref(), Some("redb"));
        assert_eq!(settings.durability, DurabilityMode::Immediate);
        assert_eq!(settings.ignore, ["*.o", "!keep.o", r#"["a"]"#, "[ab].c", "*.a", "*.b"]);
        assert_eq!(settings.processor.worker_threads, Some(3));
    }

    #[test]
    fn durability_is_group_unless_told_otherwise_and_limits_hold_whichever_layer_chooses_it() {
        let resolved = |texts: &[&str]| {
            let layers: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
            Settings::resolve(&layers).durability
        };
        let group = |max_delay_ms, max_pending_ops| DurabilityMode::GroupCommit { max_delay_ms, max_pending_ops };
        assert_eq!(resolved(&[]), group(5, 100));
        assert_eq!(resolved(&["durability = { max-delay-ms = 20 }"]), group(20, 100));
        assert_eq!(
            resolved(&["durability = { max-delay-ms = 20 }", "durability = 'relaxed'"]),
            DurabilityMode::Relaxed
        );
        let back =
            ["durability = { mode = 'group', max-delay-ms = 20 }", "durability = 'immediate'", "durability = 'group'"];
        assert_eq!(resolved(&back), group(20, 100));
        let two = ["durability = 'immediate'", "durability = { max-pending-ops = 7 }"];
        assert_eq!(resolved(&two), DurabilityMode::Immediate, "limits alone choose no mode");
        assert_eq!(
            resolved(&["durability = { max-delay-ms = 20 }", "durability = { max-pending-ops = 7 }"]),
            group(20, 7)
        );
    }

    #[test]
    fn the_floor_is_small_on_small_disks() {
        let settings = Settings::default();
        assert_eq!(settings.floor_bytes(100 << 40), 256 * MIB);
        assert_eq!(settings.floor_bytes(100 * MIB), MIB);
        assert_eq!(Settings { floor_bytes: Some(5), ..settings }.floor_bytes(1 << 40), 5);
    }

    #[test]
    fn every_key_can_be_set_from_text() {
        for key in SettingsLayer::keys() {
            let value = match key.as_str() {
                "durability" => "relaxed",
                "granularity" => "close",
                "compress" | "processor.enable-compression" => "true",
                _ => "7",
            };
            SettingsLayer::default().set(&key, value, "test").unwrap();
        }
    }
}
