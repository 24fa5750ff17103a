//! Revisions: how people name a moment. Everywhere the same.
//!
//! | written | means |
//! |---|---|
//! | `@`, `now`, `head` | the newest state |
//! | `@1234` | after operation 1234; `@0` is the empty tree |
//! | `kzmwqtps` | after the change whose id begins with these letters |
//! | `4XQ3VPN2` | after the change whose id in the backend's own format (a Pijul hash) begins so, where there are such ids |
//! | `release-1` | the snapshot of that name; a snapshot's name goes before a change id |
//! | `2026-03-01T14:00:00Z`, `2026-03-01T14:00:00+01:00` | a time with its zone (RFC 3339) |
//! | `2026-03-01 14:00`, `2026-03-01 14:00:05`, `2026-03-01` | a local time; a date alone is its first moment |
//! | `14:00`, `today 14:00`, `yesterday 14:00`, `today`, `yesterday` | a local time of these days |
//! | `2h ago`, `3 days ago`, `1h 30m ago`, `an hour ago`, `2h-ago` | a time before now: s, m, h, d, w, months, years |
//!
//! A time means the last change up to it. One that is given in seconds (or milliseconds, ...) lasts until the end of that
//! second, so that a time that was printed finds the change that it was printed for.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::ErrorKind;
use crate::model::{OpId, Timestamp};
use crate::storage::{RefName, StorageError};

/// A moment as people name it; see the module's table. It is resolved by `Reader::resolve`.
#[derive(Clone, Debug, PartialEq)]
pub enum Revision {
    /// The newest state.
    Newest,
    /// After this operation.
    Op(OpId),
    /// The last change up to this time.
    Time(Moment),
    /// A snapshot's name, or the first letters of a change id, or of one in the backend's own format.
    Named(RefName),
    /// The beginning of a change id in the backend's own format that no snapshot could be called: it begins with a digit.
    Native(String),
}

/// Text that is no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a revision")]
pub struct InvalidRevision {
    /// The text.
    pub text: String,
}

impl InvalidRevision {
    /// Returns what a person can do about it.
    pub fn hint(&self) -> String {
        if !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit()) {
            return format!("an operation is written '@{}'", self.text);
        }
        "a revision is '@17', a change id as 'kzmwqtps', a time as '2h ago', '14:00' or '2026-03-01 14:00', \
         or a snapshot's name"
            .into()
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRevision { text: text.to_owned() };
        let trimmed = text.trim();
        if let Some(op) = trimmed.strip_prefix('@') {
            return match op {
                "" => Ok(Self::Newest),
                _ if op.bytes().all(|byte| byte.is_ascii_digit()) => {
                    op.parse().map(|id| Self::Op(OpId::new(id))).map_err(|_| invalid())
                }
                _ => Err(invalid()),
            };
        }
        if matches!(trimmed.to_ascii_lowercase().as_str(), "now" | "head") {
            return Ok(Self::Newest);
        }
        if let Some(moment) = Moment::parse(trimmed) {
            return Ok(Self::Time(moment));
        }
        if let Some(name) = RefName::new(trimmed) {
            return Ok(Self::Named(name));
        }
        if is_native(trimmed) { Ok(Self::Native(trimmed.to_owned())) } else { Err(invalid()) }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("@"),
            Self::Op(op) => op.fmt(f),
            Self::Time(moment) => f.write_str(&moment.text),
            Self::Named(name) => name.fmt(f),
            Self::Native(id) => f.write_str(id),
        }
    }
}

/// Tells whether a text that begins with a digit can begin an id in a backend's own format: letters and digits, and not
/// digits alone, as a position in the log has. What is shorter than four characters is rather half a time.
fn is_native(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    !digits && (4..=RefName::BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The present and the time zone by which local and relative times are understood.
#[derive(Clone, Debug)]
pub struct Clock {
    now: Timestamp,
    zone: TimeZone,
}

impl Clock {
    /// Makes a clock that stands still.
    pub const fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self { now, zone }
    }

    /// Makes a clock of the present in UTC.
    pub fn utc() -> Self {
        Self::new(Timestamp::now(), TimeZone::UTC)
    }

    /// Makes a clock of the present in the zone that the operating system is set to. This reads the environment (`TZ`):
    /// it is for programs, not for libraries.
    pub fn system() -> Self {
        Self::new(Timestamp::now(), TimeZone::system())
    }

    /// Returns the present.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Writes a time for people, as `2026-03-01 14:00:05` in the clock's zone.
    pub fn format(&self, time: Timestamp) -> String {
        match jiff::Timestamp::from_nanosecond(time.as_nanos()) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => time.to_string(),
        }
    }

    fn zoned(&self) -> Option<Zoned> {
        Some(jiff::Timestamp::from_nanosecond(self.now.as_nanos()).ok()?.to_zoned(self.zone.clone()))
    }

    fn local(&self, time: DateTime) -> Option<jiff::Timestamp> {
        self.zone.to_ambiguous_zoned(time).compatible().ok().map(|zoned| zoned.timestamp())
    }
}

/// A time as people write it.
#[derive(Clone, Debug)]
pub struct Moment {
    text: String,
    form: Form,
    /// How many nanoseconds the given second (or fraction of one) lasts beyond its beginning.
    slack_ns: i128,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Clone, Debug)]
enum Form {
    Instant(jiff::Timestamp),
    Local(DateTime),
    DaysBack { days: i64, time: Time },
    Ago(Span),
}

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let form = parse_ago(text).or_else(|| parse_day(text)).or_else(|| parse_date(text))?;
        Some(Self { text: text.to_owned(), form, slack_ns: slack_ns(text) })
    }

    /// Returns the time that is meant, or `None` if it lies outside of what a calendar holds.
    pub fn resolve(&self, clock: &Clock) -> Option<Timestamp> {
        let begin = match &self.form {
            Form::Instant(time) => *time,
            Form::Local(time) => clock.local(*time)?,
            Form::DaysBack { days, time } => {
                let day = clock.zoned()?.date().checked_sub(Span::new().days(*days)).ok()?;
                clock.local(day.to_datetime(*time))?
            }
            Form::Ago(span) => clock.zoned()?.checked_sub(*span).ok()?.timestamp(),
        };
        Some(Timestamp::from_nanos(begin.as_nanosecond() + self.slack_ns))
    }
}

fn parse_date(text: &str) -> Option<Form> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(Form::Instant(time));
    }
    text.parse::<DateTime>().ok().map(Form::Local)
}

fn parse_day(text: &str) -> Option<Form> {
    let lower = text.to_ascii_lowercase();
    let (days, rest) = if let Some(rest) = lower.strip_prefix("yesterday") {
        (1, rest)
    } else if let Some(rest) = lower.strip_prefix("today") {
        (0, rest)
    } else {
        return clock_time(&lower).map(|time| Form::DaysBack { days: 0, time });
    };
    let time = match rest.strip_prefix([' ', '-', 'T', 't']) {
        Some(time) => clock_time(time.trim())?,
        None if rest.is_empty() => Time::midnight(),
        None => return None,
    };
    Some(Form::DaysBack { days, time })
}

/// Reads `14:00`, `14:00:05` or `14:00:05.123`.
fn clock_time(text: &str) -> Option<Time> {
    let plausible = text.contains(':') && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
    if !plausible {
        return None;
    }
    let padded = if text.find(':') == Some(1) { format!("0{text}") } else { text.to_owned() };
    padded.parse().ok()
}

fn parse_ago(text: &str) -> Option<Form> {
    let lower = text.to_ascii_lowercase().replace('-', " ");
    let mut rest = lower.strip_suffix("ago")?.trim_end_matches([' ']);
    let mut span = Span::new();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (count, after) = split_count(rest)?;
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        span = add_unit(span, count, &after[..unit_end])?;
        rest = after[unit_end..].trim_start_matches([' ', ',']);
    }
    Some(Form::Ago(span))
}

fn split_count(text: &str) -> Option<(i64, &str)> {
    for article in ["an ", "a "] {
        if let Some(rest) = text.strip_prefix(article) {
            return Some((1, rest));
        }
    }
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn add_unit(span: Span, count: i64, unit: &str) -> Option<Span> {
    match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => span.try_seconds(span.get_seconds().checked_add(count)?),
        "m" | "min" | "mins" | "minute" | "minutes" => span.try_minutes(span.get_minutes().checked_add(count)?),
        "h" | "hr" | "hrs" | "hour" | "hours" => span.try_hours(i64::from(span.get_hours()).checked_add(count)?),
        "d" | "day" | "days" => span.try_days(i64::from(span.get_days()).checked_add(count)?),
        "w" | "wk" | "week" | "weeks" => span.try_weeks(i64::from(span.get_weeks()).checked_add(count)?),
        "mo" | "month" | "months" => span.try_months(i64::from(span.get_months()).checked_add(count)?),
        "y" | "yr" | "year" | "years" => span.try_years(i64::from(span.get_years()).checked_add(count)?),
        _ => return None,
    }
    .ok()
}

/// Returns how long the last unit that a time states lasts, less one nanosecond: 0 where no seconds are stated.
fn slack_ns(text: &str) -> i128 {
    let Some(colon) = text.find(':') else { return 0 };
    let time = &text[colon + 1..];
    let time = &time[..time.find(['Z', 'z', '+', '-', '[']).unwrap_or(time.len())];
    let Some((_, seconds)) = time.split_once(':') else { return 0 };
    let digits = seconds.split_once(['.', ',']).map_or(0, |(_, fraction)| fraction.trim().len());
    10i128.pow(9 - u32::try_from(digits.min(9)).unwrap_or(9)) - 1
}

/// Why a revision names no moment of a project.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionError {
    /// The text is no revision.
    #[error(transparent)]
    Invalid(#[from] InvalidRevision),
    /// The operation has not happened (yet).
    #[error("there is no operation {op}; the newest is {newest}")]
    UnknownOp {
        /// What was asked for.
        op: OpId,
        /// The newest there is.
        newest: OpId,
    },
    /// The operation was merged with later ones: there is no state of its own.
    #[error("{op} was merged into {last}")]
    Merged {
        /// What was asked for.
        op: OpId,
        /// The operation that it is part of.
        last: OpId,
    },
    /// The operation happened on another branch.
    #[error("{op} happened on another branch")]
    OtherBranch {
        /// What was asked for.
        op: OpId,
    },
    /// Several changes begin with these letters.
    #[error("'{prefix}' begins more than one change id: {}", list_changes(.some))]
    Ambiguous {
        /// The letters.
        prefix: String,
        /// Some of the changes, newest first.
        some: Vec<(String, OpId)>,
    },
    /// Nothing has that name or id.
    #[error("there is no snapshot and no change '{text}'")]
    Unknown {
        /// What was asked for.
        text: String,
        /// A snapshot that was probably meant.
        nearest: Option<String>,
    },
    /// The time lies before the first change.
    #[error("nothing was recorded before {asked}{}", first_words(.first.as_deref()))]
    BeforeFirst {
        /// The time that was asked for, in the clock's zone.
        asked: String,
        /// The time of the first change; `None` if there is none.
        first: Option<String>,
    },
    /// History could not be read.
    #[error("history could not be read")]
    Storage(#[from] StorageError),
}

fn list_changes(some: &[(String, OpId)]) -> String {
    some.iter().map(|(change, op)| format!("{change} ({op})")).collect::<Vec<_>>().join(", ")
}

fn first_words(first: Option<&str>) -> String {
    first.map_or_else(|| "; nothing is recorded at all".into(), |first| format!("; the first change is of {first}"))
}

impl RevisionError {
    /// Returns what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::Storage(StorageError::Corrupt(_)) => ErrorKind::Damaged,
            Self::Storage(_) => ErrorKind::Failed,
            _ => ErrorKind::NotFound,
        }
    }

    /// Returns what a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid(error) => Some(error.hint()),
            Self::Merged { last, .. } => Some(format!("use {last}")),
            Self::Ambiguous { .. } => Some("give more letters".into()),
            Self::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean '{nearest}'?")),
            Self::Storage(_) => None,
            _ => Some("'ize history <name>' shows what there is".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        // 2026-11-20 12:00:00 UTC is 13:00 in Zurich.
        let now: jiff::Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        Clock::new(Timestamp::from_nanos(now.as_nanosecond()), TimeZone::fixed(jiff::tz::offset(1)))
    }

    fn time(text: &str) -> String {
        match text.parse::<Revision>() {
            Ok(Revision::Time(moment)) => {
                let resolved = moment.resolve(&clock()).unwrap().as_nanos() - moment.slack_ns;
                jiff::Timestamp::from_nanosecond(resolved).unwrap().to_string()
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn operations_and_the_newest_state_are_understood() {
        for text in ["@", "now", "HEAD", " @ "] {
            assert_eq!(text.parse(), Ok(Revision::Newest), "{text}");
        }
        assert_eq!("@1234".parse(), Ok(Revision::Op(OpId::new(1234))));
        assert_eq!("@0".parse(), Ok(Revision::Op(OpId::ZERO)));
    }

    #[test]
    fn times_are_understood_in_every_documented_form() {
        for (text, meant) in [
            ("2026-03-01T14:00:00Z", "2026-03-01T14:00:00Z"),
            ("2026-03-01T14:00:00+01:00", "2026-03-01T13:00:00Z"),
            ("2026-03-01T14:00:00.5Z", "2026-03-01T14:00:00.5Z"),
            ("2026-03-01 14:00", "2026-03-01T13:00:00Z"),
            ("2026-03-01 14:00:05", "2026-03-01T13:00:05Z"),
            ("2026-03-01", "2026-02-28T23:00:00Z"),
            ("14:00", "2026-11-20T13:00:00Z"),
            ("9:05", "2026-11-20T08:05:00Z"),
            ("today 14:00", "2026-11-20T13:00:00Z"),
            ("Yesterday 14:00:01", "2026-11-19T13:00:01Z"),
            ("yesterday", "2026-11-18T23:00:00Z"),
            ("today", "2026-11-19T23:00:00Z"),
            ("2h ago", "2026-11-20T10:00:00Z"),
            ("2h-ago", "2026-11-20T10:00:00Z"),
            ("10m ago", "2026-11-20T11:50:00Z"),
            ("30 seconds ago", "2026-11-20T11:59:30Z"),
            ("3 days ago", "2026-11-17T12:00:00Z"),
            ("1w ago", "2026-11-13T12:00:00Z"),
            ("1h 30m ago", "2026-11-20T10:30:00Z"),
            ("1h30m ago", "2026-11-20T10:30:00Z"),
            ("an hour ago", "2026-11-20T11:00:00Z"),
            ("2 months ago", "2026-09-20T12:00:00Z"),
            ("1y ago", "2025-11-20T12:00:00Z"),
        ] {
            assert_eq!(time(text), meant, "{text}");
        }
    }

    #[test]
    fn a_time_lasts_as_long_as_its_last_stated_unit() {
        for (text, slack) in [
            ("2026-03-01T14:00:00Z", 999_999_999),
            ("2026-03-01T14:00:00.123Z", 999_999),
            ("2026-03-01T14:00:00.123456789+01:00", 0),
            ("2026-03-01 14:00", 0),
            ("2026-03-01 14:00+01:00", 0),
            ("2026-03-01", 0),
            ("14:00:05", 999_999_999),
            ("2h ago", 0),
        ] {
            assert_eq!(slack_ns(text), slack, "{text}");
        }
    }

    #[test]
    fn other_words_are_names() {
        for text in ["release-1", "kzmwqtps", "before/cleanup", "todayish", "agony", "ago"] {
            assert!(matches!(text.parse(), Ok(Revision::Named(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_revision_is_refused_with_a_hint() {
        assert_eq!("4XQ3VPN2".parse(), Ok(Revision::Native("4XQ3VPN2".into())));
        for text in ["", "17", "2222", "@x", "@1x", "2h", "25:00", "a b", "-1", "5 parsecs ago", "4XQ-VPN"] {
            let error = text.parse::<Revision>().unwrap_err();
            assert!(!error.hint().is_empty(), "{text}");
        }
        assert_eq!("17".parse::<Revision>().unwrap_err().hint(), "an operation is written '@17'");
    }

    #[test]
    fn revisions_are_written_as_they_were_given() {
        for text in ["@", "@17", "2h ago", "release-1"] {
            assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn times_are_written_in_the_clocks_zone() {
        assert_eq!(clock().format(clock().now()), "2026-11-20 13:00:00");
    }
}
