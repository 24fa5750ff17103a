//! A storage at the other end of a byte stream: [`RemoteStorage`] asks, [`serve`] answers.
//!
//! One process at a time opens a project's store. Another one that wants to read history connects to the first over a
//! Unix socket and reads through a [`RemoteStorage`], which is a [`FileSystemStorage`] like any other. It only reads:
//! what changes something ([`FileSystemStorage::commit`], [`FileSystemStorage::set_ref`], [`FileSystemStorage::repair`],
//! and what goes on in a backend's own repository) answers [`StorageError::Unsupported`].
//!
//! # The protocol
//! Both ends first send a hello with their version; if they differ, the connection ends. Then the client sends one
//! request at a time and the server answers it. Each message is a frame: its length as four bytes, most significant
//! first, and so many bytes of [postcard](https://docs.rs/postcard). No frame is longer than 4 MiB; a longer one is
//! refused before anything is allocated for it. Long answers come in parts, for which the client asks by turns, and the
//! data of an operation comes as [`crate::model::OpData::Reference`] where it is not small. An error keeps its variant;
//! its causes become text.

mod client;
mod fault;
pub(crate) mod frame;
mod message;
mod server;

#[cfg(doc)]
use super::{FileSystemStorage, StorageError};

pub use client::RemoteStorage;
pub use server::serve;
