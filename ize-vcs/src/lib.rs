#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod channels;
mod disk;
mod error;
mod follower;
mod held;
mod layout;
mod ledger;
mod name;
mod nowhere;
mod options;
mod piece;
mod record;
mod repository;
mod stamp;
mod storage;

pub use options::{Author, PijulOptions};
pub use storage::PijulStorage;

/// The version of what this crate keeps beside a repository, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
