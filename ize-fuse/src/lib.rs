#![doc = include_str!("../README.md")]
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod adapter;
mod answer;
mod caches;
mod calls;
mod errno;
mod mount;
mod passthrough;
mod set_id;
mod wire;

pub use caches::KernelCaches;
pub use mount::{DetachMode, Mount, MountError, MountOptions, clear_dead_mount, is_dead_mount, mount};
pub use passthrough::NoPassthrough;
