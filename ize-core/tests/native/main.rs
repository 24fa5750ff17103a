//! Backends with a repository of their own: revisions in its format, what others put there, and handing it out.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod incoming;
mod link;
mod revisions;
mod suspension;
mod world;
