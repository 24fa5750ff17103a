#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod apply;
mod batch;
mod cell;
mod commit;
mod content;
mod disk;
#[cfg(feature = "engine-api")]
pub mod engine;
#[cfg(not(feature = "engine-api"))]
#[allow(unreachable_pub, reason = "what an engine of one's own needs is public with the feature `engine-api`")]
mod engine;
mod index;
mod layout;
mod limit;
mod migrate;
mod options;
mod pack;
mod query;
mod replay;
mod store;
mod varint;
mod verify;
mod zstd_context;

pub use migrate::MigrationStep;
pub use options::{Engine, StoreOptions, UnknownEngine};
pub use store::Store;

/// The version of the format on disk that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;
