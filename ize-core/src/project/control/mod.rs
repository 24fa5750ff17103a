//! The socket on which the process that has a project open answers others: [`Server`] and [`Client`].
//!
//! The socket has mode 0600, and only the process's own user and root are answered. A connection begins with a hello that
//! names the service: **control**, a request and its answer at a time (of a history, a page of rows), or **storage**, reads of history
//! ([`crate::storage::remote`]). A storage connection begins once everything that was recorded when it arrived is
//! committed. No service takes raw commits.
//!
//! Messages are frames as those of [`crate::storage::remote`]: a length in four bytes and so many bytes of postcard. An
//! answer is any number of items, then its end.

mod client;
mod message;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{Client, RemoteHistory};
pub use message::UnmountOptions;
pub use server::Server;
