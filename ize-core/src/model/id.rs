//! Numbers and hashes with a meaning: each is a type of its own, so that none can stand for another.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A position in a project's operation log: dense, counted from 1, never reused.
///
/// This is the only order in Ize. Times, snapshot names and change ids are resolved to an `OpId` once, at the edge.
/// It is written `@17`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(u64);

impl OpId {
    /// The moment before the first operation: the tree is an empty root folder.
    pub const ZERO: Self = Self(0);
    /// Later than any operation: as a view's moment it means "everything".
    pub const MAX: Self = Self(u64::MAX);

    /// Makes an id from its number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the id after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the id before this one; the id before [`OpId::ZERO`] is [`OpId::ZERO`].
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A file's identity: the same across renames, hard links and restarts; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(u64);

impl FileId {
    /// The root folder of every project.
    pub const ROOT: Self = Self(1);
    /// The first id of the range that stands for files which are *not* recorded (ignored ones). Such ids live as long
    /// as the process and never reach a journal or a storage.
    pub const UNRECORDED_BASE: Self = Self(1 << 63);

    /// Makes an id from its number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the id after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Tells whether history knows this file.
    pub const fn is_recorded(self) -> bool {
        self.0 < Self::UNRECORDED_BASE.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A branch of a project. All branches share one operation log; every operation carries its branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BranchId(u32);

impl BranchId {
    /// The branch that every project starts with.
    pub const MAIN: Self = Self(0);

    /// Makes an id from its number.
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "branch {}", self.0)
    }
}

/// Nanoseconds since 1970-01-01 00:00 UTC, negative before. An annotation, never an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i128);

impl Timestamp {
    /// Makes a timestamp from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// Makes a timestamp from a `timespec`: whole seconds, which may be negative, and nanoseconds to be added to them.
    pub const fn from_secs_nanos(secs: i64, nanos: u32) -> Self {
        Self(secs as i128 * 1_000_000_000 + nanos as i128)
    }

    /// Reads the wall clock.
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => {
                Self::from_secs_nanos(i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos())
            }
            Err(before) => Self(-i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX)),
        }
    }

    /// Returns nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i128 {
        self.0
    }

    /// Returns the `timespec` form: seconds rounded down, and nanoseconds below 1,000,000,000.
    pub fn as_secs_nanos(self) -> (i64, u32) {
        let secs = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let secs = i64::try_from(secs).unwrap_or(if secs < 0 { i64::MIN } else { i64::MAX });
        (secs, u32::try_from(nanos).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with millisecond precision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// The blake3 hash of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Hashes `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// Makes a hash from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// A project's identity: the name of its folder below the central folder, and the key of its change ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(Uuid);

impl ProjectId {
    /// Makes a new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Makes an id from a UUID's bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the UUID's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for ProjectId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What people type to name a change: 12 letters from k to z, for example `kzmwqtpslruv`.
///
/// The letters spell the first 48 bits of blake3(project, OpId), four bits a letter. No digit and no letter before k
/// occurs, so a change id is never mistaken for a number, a hash or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeId(u64);

impl ChangeId {
    /// How many letters a change id has.
    pub const LETTERS: usize = 12;

    /// Derives the change id of one operation.
    pub fn of(project: ProjectId, op: OpId) -> Self {
        let mut input = [0u8; 24];
        input[..16].copy_from_slice(project.as_bytes());
        input[16..].copy_from_slice(&op.get().to_be_bytes());
        let mut word = [0u8; 8];
        word[2..].copy_from_slice(&blake3::hash(&input).as_bytes()[..6]);
        Self(u64::from_be_bytes(word))
    }

    /// Tells whether the id begins with the given letters.
    pub fn starts_with(self, prefix: ChangeIdPrefix) -> bool {
        self.0 >> (48 - 4 * prefix.letters) == prefix.bits
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in 0..Self::LETTERS {
            let nibble = (self.0 >> (44 - 4 * letter)) & 0xf;
            fmt::Write::write_char(f, char::from(b"klmnopqrstuvwxyz"[usize::try_from(nibble).unwrap_or(0)]))?;
        }
        Ok(())
    }
}

/// One to twelve letters with which a [`ChangeId`] begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeIdPrefix {
    bits: u64,
    letters: usize,
}

impl ChangeIdPrefix {
    /// Reads a prefix; answers `None` for anything but one to twelve letters from k to z (capitals are accepted).
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > ChangeId::LETTERS {
            return None;
        }
        let mut bits = 0;
        for byte in text.bytes() {
            let letter = byte.to_ascii_lowercase();
            if !(b'k'..=b'z').contains(&letter) {
                return None;
            }
            bits = bits << 4 | u64::from(letter - b'k');
        }
        Some(Self { bits, letters: text.len() })
    }

    /// Returns the least change id that begins with these letters.
    pub const fn first(self) -> ChangeId {
        ChangeId(self.bits << (48 - 4 * self.letters))
    }

    /// Tells whether all twelve letters are given.
    pub const fn is_whole(self) -> bool {
        self.letters == ChangeId::LETTERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_ids_are_letters_and_match_their_own_prefixes() {
        let project = ProjectId::from_bytes([7; 16]);
        for op in 1..200 {
            let id = ChangeId::of(project, OpId::new(op));
            let text = id.to_string();
            assert_eq!(text.len(), ChangeId::LETTERS);
            assert!(text.bytes().all(|b| (b'k'..=b'z').contains(&b)));
            for letters in 1..=ChangeId::LETTERS {
                assert!(id.starts_with(ChangeIdPrefix::parse(&text[..letters]).unwrap()));
            }
            assert!(!ChangeId::of(project, OpId::new(op + 1)).starts_with(ChangeIdPrefix::parse(&text).unwrap()));
        }
    }

    #[test]
    fn prefixes_refuse_what_is_no_change_id() {
        for text in ["", "17", "abc", "kk1", "kkkkkkkkkkkkk", "k k"] {
            assert_eq!(ChangeIdPrefix::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn timestamps_before_the_epoch_split_into_whole_seconds_and_positive_nanoseconds() {
        let time = Timestamp::from_nanos(-1);
        assert_eq!(time.as_secs_nanos(), (-1, 999_999_999));
        assert_eq!(Timestamp::from_secs_nanos(-1, 999_999_999), time);
    }
}
