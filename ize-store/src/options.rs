//! What a store is made with.

use std::fmt;
use std::str::FromStr;

/// The engine that holds a store's index. The packs are the same with every engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// Sanakirja: copy-on-write B trees in a memory-mapped file.
    #[default]
    Sanakirja,
    /// redb: copy-on-write B trees with checksummed pages.
    #[cfg(feature = "redb")]
    Redb,
}

impl Engine {
    /// Every engine that this build knows.
    pub const ALL: &'static [Self] = &[
        Self::Sanakirja,
        #[cfg(feature = "redb")]
        Self::Redb,
    ];

    /// Returns the engine's name, as users choose it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sanakirja => "sanakirja",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no engine's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no engine of this build; there are {}", Engine::ALL.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(" and "))]
pub struct UnknownEngine {
    /// The name.
    pub name: String,
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|engine| engine.name() == name);
        found.copied().ok_or_else(|| UnknownEngine { name: name.to_owned() })
    }
}

/// How a store works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The engine of a new store. An existing one keeps its own.
    pub engine: Engine,
    /// Whether new content is compressed where that helps.
    pub compression: bool,
    /// A pack that would grow beyond this is finished, and the next one begun.
    pub pack_bytes_max: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { engine: Engine::default(), compression: true, pack_bytes_max: 256 << 20 }
    }
}

impl StoreOptions {
    /// Sets the engine.
    #[must_use]
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Turns compression on or off.
    #[must_use]
    pub fn compression(self, compression: bool) -> Self {
        Self { compression, ..self }
    }

    /// Sets the size of packs.
    #[must_use]
    pub fn pack_bytes_max(self, pack_bytes_max: u64) -> Self {
        Self { pack_bytes_max, ..self }
    }
}
