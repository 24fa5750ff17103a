//! zstd with contexts that each thread keeps: making one takes longer than what it is mostly wanted for.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

const LEVEL: i32 = 3;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static COMPRESSOR_AFTER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR_AFTER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses bytes on their own.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| made(kept, || Compressor::new(LEVEL))?.compress(bytes))
}

/// Compresses bytes with others in front.
pub(crate) fn compress_after(before: &[u8], bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR_AFTER.with_borrow_mut(|kept| {
        let compressor = made(kept, || Compressor::new(LEVEL))?;
        compressor.set_dictionary(LEVEL, before)?;
        compressor.compress(bytes)
    })
}

/// Takes back [`compress`]; the result has `len` bytes at most.
pub(crate) fn decompress(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| made(kept, Decompressor::new)?.decompress(packed, len))
}

/// Takes back [`compress_after`]; the result has `len` bytes at most.
pub(crate) fn decompress_after(before: &[u8], packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR_AFTER.with_borrow_mut(|kept| {
        let decompressor = made(kept, Decompressor::new)?;
        decompressor.set_dictionary(before)?;
        decompressor.decompress(packed, len)
    })
}

/// Returns a context, which is made when it is first wanted.
fn made<T>(kept: &mut Option<T>, make: impl FnOnce() -> io::Result<T>) -> io::Result<&mut T> {
    match kept {
        Some(made) => Ok(made),
        None => Ok(kept.insert(make()?)),
    }
}
