//! What shows that Ize works: the comparison of whole trees, random workloads that a plain folder mirrors, and rounds in
//! which the daemon is killed. The tests in `tests/` and the scripts in `scripts/` are made of these.
//!
//! Nothing here knows Ize's insides: everything goes through folders and the `ize` command, as users do.

#![deny(unsafe_code)]

pub mod compare;
mod content;
pub mod copy;
pub mod disk;
mod folder;
pub mod ize;
pub mod kill;
pub mod moments;
pub mod power;
pub mod programs;
pub mod steps;
pub mod workload;
