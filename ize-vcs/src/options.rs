//! What a caller chooses.

use std::fmt;

/// Who is named as the author of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The mail address, if there is one.
    pub email: Option<String>,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.email.iter().try_for_each(|email| write!(f, " <{email}>"))
    }
}

/// How a repository is made, opened and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PijulOptions {
    /// The author of changes.
    pub author: Author,
    /// Makes a change of every operation. Else one change holds everything up to a landmark, or to the end of a batch.
    pub change_per_op: bool,
}

impl PijulOptions {
    /// Sets the author.
    #[must_use]
    pub fn author(mut self, name: impl Into<String>, email: Option<String>) -> Self {
        self.author = Author { name: name.into(), email };
        self
    }

    /// Chooses whether every operation is a change of its own.
    #[must_use]
    pub fn change_per_op(mut self, yes: bool) -> Self {
        self.change_per_op = yes;
        self
    }
}
