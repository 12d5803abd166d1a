//! Placeholder.

/// What the platform team decided.
#[derive(Clone, Debug, Default)]
pub struct Policies;
