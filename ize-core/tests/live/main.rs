//! The live tree without a kernel: every change that it acknowledges is in history, exactly.

mod compare;
mod ignored;
mod random;
mod reconcile;
mod world;
