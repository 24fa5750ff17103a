//! The bounds of this backend.

use ize_core::model::Name;
use ize_core::storage::Limits;

use crate::cell::CELL_BYTES;

/// The largest file.
pub(crate) const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// The largest data of one operation.
pub(crate) const OP_DATA_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest value of an extended attribute: one chunk.
#[expect(clippy::cast_possible_truncation, reason = "64 KiB fit everywhere")]
pub(crate) const XATTR_BYTES_MAX: usize = CELL_BYTES as usize;

/// All bounds.
pub(crate) const LIMITS: Limits = Limits {
    file_bytes_max: FILE_BYTES_MAX,
    name_bytes_max: Name::BYTES_MAX,
    xattr_bytes_max: XATTR_BYTES_MAX,
    op_data_bytes_max: OP_DATA_BYTES_MAX,
};
