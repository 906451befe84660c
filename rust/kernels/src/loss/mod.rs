//! Losses and their gradients, in one pass over the logits: cross-entropy.
//!
//! ```text
//! tⱼ = hit·yⱼ + spread                    y: one class, two classes in shares, or given probabilities
//! L  = −Σⱼ wⱼ·tⱼ·ln pⱼ = T·ln s + Σⱼ wⱼ·tⱼ·(m − xⱼ)        m = maxⱼ xⱼ,  s = Σⱼ exp(xⱼ − m),  T = Σⱼ wⱼ·tⱼ
//! ∂L/∂xⱼ = T·pⱼ − wⱼ·tⱼ                   pⱼ = exp(xⱼ − m) / s
//! ```
//!
//! Every form of label smoothing is a `hit` and a `spread`, so that no matrix of targets is made.
//!
//! Many classes that lie side by side are walked along, row by row. Few classes would leave most of a
//! vector empty: there, as many rows as a strip has lanes are turned, so that a vector holds one class of
//! many rows. Sums over classes are in `F` for fewer than 300 of them, and from there in `f64`.

// Several arrays are walked lane by lane: the number of the lane says so.
#![allow(clippy::needless_range_loop)]

mod across;
mod along;
mod cross_entropy;
mod exp;
mod matrix;
mod rows;
mod sums;
mod targets;
mod weights;

pub use cross_entropy::{CrossEntropy, Losses, Reduction, cross_entropy};
pub use exp::Exponential;
pub use matrix::{Layout, Matrix};
pub use targets::{BadTarget, Share, Targets};

/// Chunks of classes that are summed in `F`.
const CHUNKS: usize = 8;
