//! The durability setting in layers: one may choose the mode, another what group mode means.

use crate::record::DurabilityMode;

/// A durability mode without its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurabilityKind {
    /// [`DurabilityMode::Immediate`].
    Immediate,
    /// [`DurabilityMode::GroupCommit`].
    Group,
    /// [`DurabilityMode::Relaxed`].
    Relaxed,
}

/// What one layer says of durability; `None` is "not said here".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurabilityLayer {
    /// The mode.
    pub mode: Option<DurabilityKind>,
    /// Of group mode: the longest that an operation waits for its sync to begin.
    pub max_delay_ms: Option<u64>,
    /// Of group mode: the most operations that wait for it.
    pub max_pending_ops: Option<usize>,
}

impl DurabilityLayer {
    /// Chooses a mode, and leaves what group mode means to weaker layers.
    pub const fn of(mode: DurabilityKind) -> Self {
        Self { mode: Some(mode), max_delay_ms: None, max_pending_ops: None }
    }

    pub(super) const fn has_limits(&self) -> bool {
        self.max_delay_ms.is_some() || self.max_pending_ops.is_some()
    }

    /// Returns the mode that holds once this layer lies over a weaker one's.
    pub(super) fn mode_over(&self, weaker: DurabilityMode, limits: GroupLimits) -> DurabilityMode {
        match (self.mode, weaker) {
            (Some(DurabilityKind::Immediate), _) => DurabilityMode::Immediate,
            (Some(DurabilityKind::Relaxed), _) => DurabilityMode::Relaxed,
            (Some(DurabilityKind::Group), _) | (None, DurabilityMode::GroupCommit { .. }) => limits.0,
            (None, mode) => mode,
        }
    }
}

/// What group mode means: always a [`DurabilityMode::GroupCommit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupLimits(DurabilityMode);

impl Default for GroupLimits {
    fn default() -> Self {
        Self(DurabilityMode::GROUP_DEFAULT)
    }
}

impl GroupLimits {
    pub(super) fn overlay(&mut self, layer: &DurabilityLayer) {
        if let DurabilityMode::GroupCommit { max_delay_ms, max_pending_ops } = &mut self.0 {
            *max_delay_ms = layer.max_delay_ms.unwrap_or(*max_delay_ms);
            *max_pending_ops = layer.max_pending_ops.unwrap_or(*max_pending_ops);
        }
    }
}
