//! What a classifier's answers are worth: counts, ranks and the curves over them.
//!
//! Counts are integers and ties are exact; every result has the same bits for any number of threads.

pub mod agreement;
mod auc;
mod bootstrap;
mod columns;
pub mod confusion;
mod curve;
pub mod exact_sum;
pub mod factorize;
mod frame;
mod index;
mod isotonic;
mod judged;
mod keys;
pub mod labels;
mod pieces;
mod points;
mod run;
mod score_index;
mod sort;
mod stream;
mod top_k;
mod truth;
pub mod weighted;

pub use auc::{HALVES, RankSum, count_halves, half_rank_sum, rank_sum, rank_sum_of_halves};
pub use bootstrap::{Draws, Plan, Resampling, Statistic};
pub use columns::{Classes, column_rank_sums, rows_sum_to_one};
pub use curve::{Curve, WeightedCurve, average_precision, curve, delong};
pub use isotonic::isotonic_shares;
pub use judged::{Judged, Rule};
pub use keys::{Half, Score, first_bad};
pub use points::{OperatingPoint, Points, ratio};
pub use score_index::ScoreIndex;
pub use stream::Stream;
pub use top_k::{Equal, ranks};
pub use truth::{Cases, Truth, are_binary, two_classes};

/// Why labels and scores cannot be ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInput {
    /// The first score that is not a number.
    Nan(usize),
    /// The first infinite score, where none is allowed.
    Infinite(usize),
    /// A label that is neither of the two classes.
    Label,
    /// More rows than row numbers.
    TooManyRows(usize),
    /// Nothing is wrong with them, but `go_on` said no.
    Stopped,
}
