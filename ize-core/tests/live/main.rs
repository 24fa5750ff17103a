//! The live tree without a kernel: every change that it acknowledges is in history, exactly.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod compare;
mod durable;
mod gated;
mod handed_over;
mod ignored;
mod mend;
mod past;
mod race;
mod random;
mod reconcile;
mod restore;
mod world;
