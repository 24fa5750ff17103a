//! The one place where errors become the numbers that the kernel hands to programs.

use fuser::Errno;
use ize_core::tree::TreeError;

/// Returns the error number for a refused call.
///
/// `ENOSYS` never reaches the kernel from a tree: the kernel takes it as "this operation does not exist" and would not
/// ask again for as long as the mount lives.
pub(crate) fn of(error: &TreeError) -> Errno {
    match Errno::from_i32(error.errno().raw_os_error()) {
        Errno::ENOSYS => Errno::EOPNOTSUPP,
        errno => errno,
    }
}
