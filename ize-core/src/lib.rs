//! # ize-core
//!
//! Everything of Ize that needs no storage engine and no kernel: see [`model`] for the vocabulary and [`storage`] for
//! the interface that storage backends implement.

#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(unix)]
pub mod disk;
pub mod failpoint;
#[cfg(unix)]
pub mod journal;
pub mod model;
#[cfg(unix)]
pub mod project;
#[cfg(unix)]
pub mod record;
#[cfg(unix)]
pub mod session;
pub mod storage;
#[cfg(unix)]
pub mod tree;
