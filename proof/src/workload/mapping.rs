//! Loads and stores through a shared memory mapping.
#![allow(unsafe_code, reason = "mmap(2) has no safe form; this is its only use here")]

use std::os::fd::AsFd;
use std::ptr;

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

/// Maps a range of a file, returns what it holds, and stores bytes at its beginning. The caller makes sure that the
/// range lies within the file and that nobody shortens the file meanwhile.
pub(super) fn load_and_store(file: impl AsFd, offset: u64, len: usize, store: Option<&[u8]>) -> Result<Vec<u8>> {
    if len == 0 {
        return Err(Errno::INVAL);
    }
    let protection = if store.is_some() { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    // SAFETY: a fresh mapping at an address of the kernel's choosing aliases nothing of ours.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &file, offset)? };
    let mut loaded = vec![0_u8; len];
    // SAFETY: `base` is a mapping of `len` readable bytes, and `loaded` is as long and elsewhere.
    unsafe { ptr::copy_nonoverlapping(base.cast::<u8>(), loaded.as_mut_ptr(), len) };
    let mut synced = Ok(());
    if let Some(bytes) = store {
        let count = bytes.len().min(len);
        // SAFETY: the mapping is writable where there is something to store, and `count` is within it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), base.cast::<u8>(), count) };
        // SAFETY: `base` and `len` are the mapping made above.
        synced = unsafe { rustix::mm::msync(base, len, MsyncFlags::SYNC) };
    }
    // SAFETY: `base` and `len` are the mapping made above; nothing refers to it any more.
    unsafe { rustix::mm::munmap(base, len)? };
    synced.map(|()| loaded)
}
