//! The engines that are compared: those of `ize-store`, and one adapter each for others, behind a feature of its name.
//!
//! Every adapter is atomic and durable per [`ize_store::engine::Engine::apply`], keeps each table in a tree (database,
//! keyspace, column family) of its own, and uses its engine as it comes: no tuning, no settings but those that these
//! promises need.

pub mod damage;
pub mod figures;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "heed")]
mod heed;
pub mod report;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;

use std::sync::Arc;

use ize_store::engine::Constructor;

#[cfg(feature = "fjall")]
pub use self::fjall::Fjall;
#[cfg(feature = "heed")]
pub use self::heed::Heed;
#[cfg(feature = "rocksdb")]
pub use self::rocksdb::RocksDb;
#[cfg(feature = "sled")]
pub use self::sled::Sled;

/// Returns every engine of this build.
pub fn all() -> Vec<Arc<dyn Constructor>> {
    vec![
        Arc::new(ize_store::Engine::Sanakirja),
        Arc::new(ize_store::Engine::Redb),
        #[cfg(feature = "heed")]
        Arc::new(Heed),
        #[cfg(feature = "fjall")]
        Arc::new(Fjall),
        #[cfg(feature = "sled")]
        Arc::new(Sled),
        #[cfg(feature = "rocksdb")]
        Arc::new(RocksDb),
    ]
}

/// Returns an engine of this build by its name.
pub fn named(name: &str) -> Option<Arc<dyn Constructor>> {
    all().into_iter().find(|engine| engine.name() == name)
}
