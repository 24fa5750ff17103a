//! tbd
#![deny(unsafe_code)]
mod disk;
mod engine;
