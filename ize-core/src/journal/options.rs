//! How a journal is laid out.

use super::Medium;
use super::segment::SEGMENT_BYTES_MAX;

/// How a journal is laid out.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Size of a segment, set aside at once. The largest record is half of it. Kept between 64 KiB and 256 MiB.
    pub segment_bytes: u64,
    /// Space that only records without data may use when the disk is full, so that files can still be removed and cut.
    pub emergency_bytes: u64,
    /// The most that the segments take on disk, at least three of them. Records without data may use one segment more,
    /// so that what makes space does not wait behind what needs it. `None` for 4 GiB, but not more than a tenth of what
    /// the medium has free when it is opened.
    pub bytes_max: Option<u64>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, emergency_bytes: 256 << 10, bytes_max: None }
    }
}

impl JournalOptions {
    /// Without a limit of its own.
    pub(super) const BYTES_MAX: u64 = 4 << 30;
    const SEGMENTS_MIN: u64 = 3;

    /// Returns what is meant on a medium.
    pub(super) fn bounded(self, medium: &dyn Medium) -> Self {
        let segment_bytes = self.segment_bytes.clamp(64 << 10, SEGMENT_BYTES_MAX);
        let bytes_max = self.bytes_max.unwrap_or_else(|| {
            let free = medium.free_bytes().ok().flatten().unwrap_or(u64::MAX);
            Self::BYTES_MAX.min(free / 10)
        });
        Self {
            segment_bytes,
            emergency_bytes: self.emergency_bytes.min(segment_bytes / 8),
            bytes_max: Some(bytes_max.max(Self::SEGMENTS_MIN * segment_bytes)),
        }
    }
}
