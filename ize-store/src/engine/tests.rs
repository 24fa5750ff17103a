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

/// redb panics where a page makes no sense; to its users that is damage like any other.
#[cfg(feature = "redb")]
#[test]
fn a_page_of_zeros_in_a_redb_file_is_damage_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (path, engine) = (dir.path().join("index"), crate::Engine::Redb);
    let rows = (0..2000u32).map(|n| (Table::Files, n.to_be_bytes().to_vec(), Some(vec![7; 100])));
    conformance::apply(&*Constructor::create(&engine, &path).unwrap(), rows);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    for page in (0..whole.len()).step_by(4096).filter(|at| whole[*at..*at + 4096] != [0; 4096]) {
        let mut bytes = whole.clone();
        bytes[page..page + 4096].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let read = Constructor::open(&engine, &path)
            .and_then(|engine| engine.snapshot()?.scan(Table::Files, &[0], &mut |_, _| Ok(Step::Next)));
        damaged += usize::from(matches!(read, Err(ize_core::storage::StorageError::Corrupt(_))));
    }
    assert!(damaged > 10, "{damaged}");
}
