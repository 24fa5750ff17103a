#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod channels;
mod compare;
mod disk;
mod error;
mod export;
mod follower;
mod held;
mod incoming;
mod integrity;
mod layout;
mod ledger;
mod name;
mod nowhere;
mod options;
mod output;
mod piece;
mod rebuild;
mod record;
mod repository;
mod stamp;
mod storage;
mod verify;

pub use export::export;
pub use options::{Author, PijulOptions};
pub use storage::PijulStorage;

/// The version of what this crate keeps beside a repository, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
