//! Numbers as people read them.

use indicatif::{BinaryBytes, HumanCount};

/// Writes a size in bytes: `17 B`, `1.50 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Writes a count with thousands separated.
pub(crate) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// Writes a count and the thing that is counted: `1 file`, `2,000 files`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_short() {
        assert_eq!((size(0), size(17), size(1536)), ("0 B".into(), "17 B".into(), "1.50 KiB".into()));
        assert_eq!((counted(1, "file"), counted(2000, "file")), ("1 file".into(), "2,000 files".into()));
    }
}
