use super::conformance::CHECKS;
use super::memory::MemoryEngine;
use super::*;

#[test]
fn tables_in_memory_pass_the_checks() {
    for (_, check) in CHECKS {
        check(&MemoryEngine::default());
    }
}

mod sanakirja_file {
    crate::engine_conformance!(crate::Engine::Sanakirja);
}

#[cfg(feature = "redb")]
mod redb_file {
    crate::engine_conformance!(crate::Engine::Redb);
}

#[test]
fn a_damaged_first_page_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    drop(sanakirja::SanakirjaEngine::create(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    for damage in [vec![0; whole.len()], whole[..5000].to_vec(), vec![0xff; 100_000], Vec::new()] {
        std::fs::write(&path, damage).unwrap();
        assert!(matches!(sanakirja::SanakirjaEngine::open(&path), Err(ize_core::storage::StorageError::Corrupt(_))));
    }
}
