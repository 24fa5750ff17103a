//! A shared, writable mapping of a file.

use std::fs::File;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

pub(crate) struct Mapping {
    start: *mut std::ffi::c_void,
    len: usize,
}

impl Mapping {
    pub(crate) fn new(file: &File, len: usize) -> Self {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, and nobody else uses it.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }.unwrap();
        Self { start, len }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping lives as long as `self`, and the file is not made shorter meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.len) }
    }

    pub(crate) fn flush(&self) {
        // SAFETY: the range is the mapping.
        unsafe { msync(self.start, self.len, MsyncFlags::SYNC) }.unwrap();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping, and no slice of it is left.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}
