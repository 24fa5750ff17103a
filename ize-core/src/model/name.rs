//! Names and paths: bytes that were checked once.

use std::ffi::OsStr;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Why some bytes are not a name or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Nothing between two slashes, or nothing at all.
    #[error("a name is empty")]
    Empty,
    /// A name has more than [`Name::BYTES_MAX`] bytes.
    #[error("a name is longer than {} bytes", Name::BYTES_MAX)]
    TooLong,
    /// A name holds a slash or a NUL byte.
    #[error("a name holds a slash or a NUL byte")]
    Forbidden,
    /// A name is `.` or `..`.
    #[error("'.' and '..' are not names")]
    Dots,
}

/// The name of a directory entry: 1 to 255 bytes, not necessarily UTF-8, without `/` and NUL, neither `.` nor `..`.
///
/// Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Name(Bytes);

impl Name {
    /// The longest name, in bytes (`NAME_MAX`).
    pub const BYTES_MAX: usize = 255;

    /// Checks bytes and makes a name of them.
    ///
    /// # Errors
    /// [`InvalidName`] if they break one of the rules above.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidName> {
        let bytes = bytes.into();
        check_name(&bytes)?;
        Ok(Self(bytes))
    }

    /// Like [`Name::new`], for names that arrive as an `OsStr`.
    ///
    /// # Errors
    /// As [`Name::new`].
    pub fn from_os(name: &OsStr) -> Result<Self, InvalidName> {
        check_name(name.as_encoded_bytes())?;
        Ok(Self(Bytes::copy_from_slice(name.as_encoded_bytes())))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name as the platform's string.
    #[cfg(unix)]
    pub fn as_os_str(&self) -> &OsStr {
        std::os::unix::ffi::OsStrExt::from_bytes(&self.0)
    }
}

fn check_name(bytes: &[u8]) -> Result<(), InvalidName> {
    match bytes {
        [] => Err(InvalidName::Empty),
        b"." | b".." => Err(InvalidName::Dots),
        _ if bytes.len() > Name::BYTES_MAX => Err(InvalidName::TooLong),
        _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(InvalidName::Forbidden),
        _ => Ok(()),
    }
}

impl TryFrom<Bytes> for Name {
    type Error = InvalidName;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl TryFrom<&str> for Name {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Name> for Bytes {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    /// Writes the name for people: bytes that are not UTF-8 become U+FFFD, control characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lossy(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A path inside a project, from its root: names joined by `/`, without a leading one. The root itself is empty.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct RelPath(Bytes);

impl RelPath {
    /// The project's root folder.
    pub const fn root() -> Self {
        Self(Bytes::new())
    }

    /// Checks bytes and makes a path of them. `.` names, doubled slashes and a trailing slash are dropped, so that
    /// `.`, `./` and the empty string are the root.
    ///
    /// # Errors
    /// [`InvalidName`] if a part is no name; `..` is refused, and so is a leading slash: both lead out of the project.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        let bytes = bytes.as_ref();
        if bytes.first() == Some(&b'/') {
            return Err(InvalidName::Empty);
        }
        let mut path = Vec::with_capacity(bytes.len());
        for part in bytes.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            check_name(part)?;
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Ok(Self(path.into()))
    }

    /// Tells whether this is the root folder.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the names from the root downwards.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = Name> + '_ {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty()).map(|part| Name(self.0.slice_ref(part)))
    }

    /// Returns the folder that holds this path's last name, and that name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, Name)> {
        let name = self.names().next_back()?;
        let folder_len = (self.0.len() - name.0.len()).saturating_sub(1);
        Some((Self(self.0.slice(..folder_len)), name))
    }

    /// Returns the path of an entry of this folder.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        if self.is_root() {
            return Self(name.0.clone());
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        path.extend_from_slice(&self.0);
        path.push(b'/');
        path.extend_from_slice(&name.0);
        Self(path.into())
    }

    /// Tells whether this path is `folder` or lies below it.
    pub fn starts_with(&self, folder: &Self) -> bool {
        match self.0.strip_prefix(folder.as_bytes()) {
            Some(rest) => folder.is_root() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }

    /// Returns the path as the platform's.
    #[cfg(unix)]
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&self.0))
    }
}

impl TryFrom<Bytes> for RelPath {
    type Error = InvalidName;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        Self::new(&bytes)
    }
}

impl TryFrom<&str> for RelPath {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<RelPath> for Bytes {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl From<Name> for RelPath {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}

impl fmt::Display for RelPath {
    /// Writes the path for people, the root as `.`; see [`Name`]'s `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { write_lossy(&self.0, f) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The name of an extended attribute: 1 to 255 bytes without NUL, with its namespace (`user.note`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct XattrName(Bytes);

impl XattrName {
    /// Checks bytes and makes an attribute name of them.
    ///
    /// # Errors
    /// [`InvalidName`] if they are empty, longer than 255 bytes, or hold a NUL byte.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidName> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(InvalidName::Empty),
            len if len > Name::BYTES_MAX => Err(InvalidName::TooLong),
            _ if bytes.contains(&0) => Err(InvalidName::Forbidden),
            _ => Ok(Self(bytes)),
        }
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for XattrName {
    type Error = InvalidName;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl From<XattrName> for Bytes {
    fn from(name: XattrName) -> Self {
        name.0
    }
}

impl fmt::Display for XattrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lossy(&self.0, f)
    }
}

impl fmt::Debug for XattrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

fn write_lossy(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            fmt::Write::write_char(f, c)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_a_folder_cannot_hold() {
        assert_eq!(Name::try_from(""), Err(InvalidName::Empty));
        assert_eq!(Name::try_from(".."), Err(InvalidName::Dots));
        assert_eq!(Name::try_from("a/b"), Err(InvalidName::Forbidden));
        assert_eq!(Name::new(vec![b'x'; 256]), Err(InvalidName::TooLong));
        assert!(Name::new(vec![0xff; 255]).is_ok());
    }

    #[test]
    fn paths_are_normalised_and_stay_inside() {
        assert_eq!(RelPath::try_from("./a//b/.").unwrap().as_bytes(), b"a/b");
        assert!(RelPath::try_from("./").unwrap().is_root());
        assert_eq!(RelPath::try_from("../a"), Err(InvalidName::Dots));
        assert!(RelPath::try_from("/a").is_err());
    }

    #[test]
    fn paths_split_join_and_nest() {
        let path = RelPath::try_from("a/b/c").unwrap();
        let (folder, name) = path.split_last().unwrap();
        assert_eq!(folder.as_bytes(), b"a/b");
        assert_eq!(folder.join(&name), path);
        assert!(path.starts_with(&folder) && path.starts_with(&RelPath::root()) && path.starts_with(&path));
        assert!(!RelPath::try_from("ab").unwrap().starts_with(&RelPath::try_from("a").unwrap()));
        assert_eq!(RelPath::root().split_last(), None);
        assert_eq!(RelPath::try_from("a").unwrap().split_last().unwrap().0, RelPath::root());
    }
}
