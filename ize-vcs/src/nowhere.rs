//! A working copy that holds nothing and takes everything: for having the library bring its table of the working copy to
//! a channel without writing any file.

use std::io::{Error, ErrorKind, Sink};
use std::time::SystemTime;

use libpijul::pristine::{Inode, InodeMetadata};
use libpijul::working_copy::{WorkingCopy, WorkingCopyRead};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Nowhere;

fn missing<T>() -> Result<T, Error> {
    Err(ErrorKind::NotFound.into())
}

impl WorkingCopyRead for Nowhere {
    type Error = Error;

    fn file_metadata(&self, _path: &str) -> Result<InodeMetadata, Error> {
        missing()
    }

    fn read_file(&self, _path: &str, _buffer: &mut Vec<u8>) -> Result<(), Error> {
        missing()
    }

    fn modified_time(&self, _path: &str) -> Result<SystemTime, Error> {
        missing()
    }
}

impl WorkingCopy for Nowhere {
    type Writer = Sink;

    /// Without this, the library would put together every file's content first.
    fn is_writable(&self, _path: &str) -> Result<bool, Error> {
        Ok(false)
    }

    fn create_dir_all(&self, _path: &str) -> Result<(), Error> {
        Ok(())
    }

    fn remove_path(&self, _path: &str, _below: bool) -> Result<(), Error> {
        Ok(())
    }

    fn rename(&self, _from: &str, _to: &str) -> Result<(), Error> {
        Ok(())
    }

    fn set_permissions(&self, _path: &str, _permissions: u16) -> Result<(), Error> {
        Ok(())
    }

    fn write_file(&self, _path: &str, _inode: Inode) -> Result<Sink, Error> {
        Ok(std::io::sink())
    }
}
