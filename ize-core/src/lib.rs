//! # ize-core
//!
//! Everything of Ize that needs no storage engine and no kernel: see [`model`] for the vocabulary and [`storage`] for
//! the interface that storage backends implement.

#![forbid(unsafe_code)]

pub mod model;
#[cfg(unix)]
pub mod project;
pub mod storage;
#[cfg(unix)]
pub mod tree;
