//! zstd with contexts that each thread keeps: making one takes longer than what it is mostly wanted for.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

const LEVEL: i32 = 3;

/// Contexts are made when they are first wanted.
struct Kept<T>(Option<T>);

impl<T> Kept<T> {
    const NONE: Self = Self(None);

    fn get(&mut self, make: impl FnOnce() -> io::Result<T>) -> io::Result<&mut T> {
        if self.0.is_none() {
            self.0 = Some(make()?);
        }
        self.0.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Kept<Compressor<'static>>> = const { RefCell::new(Kept::NONE) };
    static COMPRESSOR_AFTER: RefCell<Kept<Compressor<'static>>> = const { RefCell::new(Kept::NONE) };
    static DECOMPRESSOR: RefCell<Kept<Decompressor<'static>>> = const { RefCell::new(Kept::NONE) };
    static DECOMPRESSOR_AFTER: RefCell<Kept<Decompressor<'static>>> = const { RefCell::new(Kept::NONE) };
}

/// Compresses bytes on their own.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| kept.get(|| Compressor::new(LEVEL))?.compress(bytes))
}

/// Compresses bytes with others in front.
pub(crate) fn compress_after(before: &[u8], bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR_AFTER.with_borrow_mut(|kept| {
        let compressor = kept.get(|| Compressor::new(LEVEL))?;
        compressor.set_dictionary(LEVEL, before)?;
        compressor.compress(bytes)
    })
}

/// Takes back [`compress`]; the result has `len` bytes at most.
pub(crate) fn decompress(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| kept.get(Decompressor::new)?.decompress(packed, len))
}

/// Takes back [`compress_after`]; the result has `len` bytes at most.
pub(crate) fn decompress_after(before: &[u8], packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR_AFTER.with_borrow_mut(|kept| {
        let decompressor = kept.get(Decompressor::new)?;
        decompressor.set_dictionary(before)?;
        decompressor.decompress(packed, len)
    })
}
