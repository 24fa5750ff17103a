//! A working copy for the Pijul library that holds just what a change is about: so recording never walks or stats a tree.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use ize_core::model::View;
use ize_core::storage::{FileSystemStorage, StorageError};
use libpijul::Encoding;
use libpijul::pristine::InodeMetadata;
use libpijul::working_copy::WorkingCopyRead;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::held::{Held, read_all};

/// Paths and what is there in a view of the index. Everything else is missing.
#[derive(Clone)]
pub(crate) struct Staged<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    index: &'a dyn FileSystemStorage,
    view: View,
    files: HashMap<String, Held>,
}

/// Why a path could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagedError {
    /// Nothing is there.
    #[error("nothing is there")]
    Missing,
    /// The index could not be read.
    #[error("the index cannot be read")]
    Index(#[from] StorageError),
}

impl<'a> Staged<'a> {
    /// Holds these paths.
    pub(crate) fn new(index: &'a dyn FileSystemStorage, view: View, files: HashMap<String, Held>) -> Self {
        Self(Arc::new(Inner { index, view, files }))
    }

    fn find(&self, path: &str) -> Result<&Held, StagedError> {
        self.0.files.get(path).ok_or(StagedError::Missing)
    }
}

impl WorkingCopyRead for Staged<'_> {
    type Error = StagedError;

    fn file_metadata(&self, path: &str) -> Result<InodeMetadata, StagedError> {
        Ok(self.find(path)?.metadata())
    }

    fn read_file(&self, path: &str, buffer: &mut Vec<u8>) -> Result<(), StagedError> {
        let held = self.find(path)?;
        Ok(read_all(self.0.index, self.0.view, held.file, held.size, buffer)?)
    }

    /// Is not known: what is asked about may always have changed.
    fn modified_time(&self, _path: &str) -> Result<SystemTime, StagedError> {
        Err(StagedError::Missing)
    }

    fn file_size(&self, path: &str) -> Result<u64, StagedError> {
        Ok(self.find(path)?.size)
    }

    fn decode_file(&self, path: &str, buffer: &mut Vec<u8>) -> Result<Option<Encoding>, StagedError> {
        let begin = buffer.len();
        self.read_file(path, buffer)?;
        Ok(encoding_of(&buffer[begin..]))
    }
}

/// Tells text from binary. The library's own guess at encodings takes longer than everything else for a large file.
pub(super) fn encoding_of(content: &[u8]) -> Option<Encoding> {
    let is_text = !content.contains(&0) && std::str::from_utf8(content).is_ok();
    let name: StrDeserializer<'_, ValueError> = "UTF-8".into_deserializer();
    if is_text { Encoding::deserialize(name).ok() } else { None }
}
