//! The values of settings: what each may be, as TOML or as text.

use std::time::Duration;

use toml::{Table, Value};

use super::{DurabilityKind, DurabilityLayer, SettingsError};
use crate::project::nearest::nearest;
use crate::tree::{Granularity, IgnoreRules};

const MIB: u64 = 1 << 20;
const DURABILITY_KEYS: [&str; 3] = ["mode", "max-delay-ms", "max-pending-ops"];
const DURABILITY_MODES: [&str; 3] = ["immediate", "group", "relaxed"];
const GRANULARITIES: [&str; 2] = ["write", "close"];

/// One value, and what errors call it.
pub(super) struct Field<'a> {
    pub(super) origin: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
}

impl Field<'_> {
    pub(super) fn invalid(&self, expected: impl Into<String>) -> SettingsError {
        SettingsError::InvalidValue {
            origin: self.origin.to_owned(),
            key: self.key.to_owned(),
            expected: expected.into(),
        }
    }

    pub(super) fn unknown(&self, known: &[&'static str]) -> SettingsError {
        let last = self.key.rsplit('.').next().unwrap_or(self.key);
        SettingsError::UnknownKey {
            origin: self.origin.to_owned(),
            key: self.key.to_owned(),
            nearest: nearest(&normalise(last), known.iter().copied()).map(ToOwned::to_owned),
            known: known.to_vec(),
        }
    }

    pub(super) fn text(&self) -> Result<String, SettingsError> {
        match self.value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            _ => Err(self.invalid("a text")),
        }
    }

    /// A name, and maybe an address: `Ada <ada@example.org>`.
    pub(super) fn author(&self) -> Result<String, SettingsError> {
        let text = self.text()?;
        let (name, rest) = text.split_once('<').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        let is_plain =
            |text: &str| !text.trim().is_empty() && !text.contains(|c: char| c.is_control() || "<>".contains(c));
        let address_ok = rest.is_none_or(|rest| rest.trim_end().strip_suffix('>').is_some_and(is_plain));
        if is_plain(name) && address_ok { Ok(text) } else { Err(self.invalid("as \"Ada <ada@example.org>\"")) }
    }

    pub(super) fn count(&self) -> Result<usize, SettingsError> {
        let number = match self.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| *number > 0).ok_or_else(|| self.invalid("a number above 0"))
    }

    pub(super) fn bytes(&self) -> Result<u64, SettingsError> {
        let bytes = match self.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => parse_bytes(text),
            _ => None,
        };
        bytes.ok_or_else(|| self.invalid("a size, for example 1048576 or \"256 MiB\""))
    }

    pub(super) fn duration(&self) -> Result<Duration, SettingsError> {
        let duration = match self.value {
            Value::Integer(millis) => u64::try_from(*millis).ok().map(Duration::from_millis),
            Value::String(text) => parse_duration(text),
            _ => None,
        };
        duration.ok_or_else(|| self.invalid("a duration, for example 10 (milliseconds) or \"10ms\""))
    }

    pub(super) fn switch(&self) -> Result<bool, SettingsError> {
        match self.value {
            Value::Boolean(switch) => Ok(*switch),
            Value::String(text) if matches!(text.as_str(), "true" | "1" | "yes" | "on") => Ok(true),
            Value::String(text) if matches!(text.as_str(), "false" | "0" | "no" | "off") => Ok(false),
            _ => Err(self.invalid("true or false")),
        }
    }

    pub(super) fn patterns(&self) -> Result<Vec<String>, SettingsError> {
        let patterns: Option<Vec<String>> = match self.value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => items.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect(),
            _ => None,
        };
        let patterns = patterns.ok_or_else(|| self.invalid("a list of patterns"))?;
        match IgnoreRules::new(&patterns, None).problems().first() {
            Some(problem) => Err(self.invalid(format!("a list of patterns as in .gitignore ({problem})"))),
            None => Ok(patterns),
        }
    }

    pub(super) fn durability(&self) -> Result<DurabilityLayer, SettingsError> {
        let Value::Table(table) = self.value else {
            return Ok(DurabilityLayer { mode: Some(self.durability_kind()?), ..DurabilityLayer::default() });
        };
        let mut layer = DurabilityLayer::default();
        for (key, value) in table {
            let dotted = format!("{}.{key}", self.key);
            let field = Field { origin: self.origin, key: &dotted, value };
            match normalise(key).as_str() {
                "mode" => layer.mode = Some(field.durability_kind()?),
                "max-delay-ms" => layer.max_delay_ms = Some(field.count()? as u64),
                "max-pending-ops" => layer.max_pending_ops = Some(field.count()?),
                _ => return Err(field.unknown(&DURABILITY_KEYS)),
            }
        }
        let is_group = layer.mode.is_none_or(|mode| mode == DurabilityKind::Group);
        if is_group || !layer.has_limits() { Ok(layer) } else { Err(self.invalid("of mode \"group\" to have limits")) }
    }

    pub(super) fn granularity(&self) -> Result<Granularity, SettingsError> {
        match self.text()?.to_lowercase().as_str() {
            "write" => Ok(Granularity::Write),
            "close" => Ok(Granularity::Close),
            _ => Err(self.invalid(one_of(&GRANULARITIES))),
        }
    }

    fn durability_kind(&self) -> Result<DurabilityKind, SettingsError> {
        match self.text()?.to_lowercase().as_str() {
            "immediate" => Ok(DurabilityKind::Immediate),
            "group" | "group-commit" => Ok(DurabilityKind::Group),
            "relaxed" => Ok(DurabilityKind::Relaxed),
            _ => Err(self.invalid(one_of(&DURABILITY_MODES))),
        }
    }
}

pub(super) fn durability_value(layer: DurabilityLayer) -> Value {
    let name = layer.mode.map(|mode| match mode {
        DurabilityKind::Immediate => "immediate",
        DurabilityKind::Group => "group",
        DurabilityKind::Relaxed => "relaxed",
    });
    if let (Some(name), false) = (name, layer.has_limits()) {
        return Value::from(name);
    }
    let mut table = Table::new();
    table.extend(name.map(|name| ("mode".to_owned(), Value::from(name))));
    table.extend(layer.max_delay_ms.map(|delay| ("max-delay-ms".to_owned(), integer(delay))));
    table.extend(layer.max_pending_ops.map(|ops| ("max-pending-ops".to_owned(), integer(ops as u64))));
    Value::Table(table)
}

pub(super) fn granularity_value(granularity: Granularity) -> Value {
    Value::from(granularity.name())
}

pub(super) fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

pub(super) fn normalise(key: &str) -> String {
    key.trim().to_lowercase().replace('_', "-")
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => MIB,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim() {
        "" | "ms" => Some(Duration::from_millis(number)),
        "us" => Some(Duration::from_micros(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}
