//! The reference model passes the suite that it is the reference of.

use ize_core::conformance::Fixture;
use ize_core::storage::{FileSystemStorage, MemoryStorage};

struct Memory(MemoryStorage);

impl Fixture for Memory {
    fn store(&self) -> &dyn FileSystemStorage {
        &self.0
    }

    fn reopen(&mut self) {}
}

ize_core::conformance!(|| Memory(MemoryStorage::new()));
