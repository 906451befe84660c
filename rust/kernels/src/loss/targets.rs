//! What the rows should be.

use super::matrix::Matrix;

/// What the rows should be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A class each.
    Classes(&'a [i64]),
    /// Two classes each, in shares that sum to 1 (mixup).
    Mixed(&'a [i64], &'a [i64], Share<'a>),
    /// A probability for each class, laid out and typed in any way that the logits could be.
    Probabilities(Matrix),
}

/// The share of the first of two labels.
#[derive(Clone, Copy, Debug)]
pub enum Share<'a> {
    /// One for all rows.
    All(f64),
    /// One a row.
    Each(&'a [f64]),
}

impl Share<'_> {
    #[inline(always)]
    pub(super) fn of(&self, row: usize) -> f64 {
        match self {
            Share::All(share) => *share,
            Share::Each(shares) => shares[row],
        }
    }
}

/// A label that is no class, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget {
    /// Which of two lists of labels.
    pub list: usize,
    /// The label.
    pub label: i64,
    /// The row.
    pub row: usize,
}
