//! Losses and their gradients, in one pass over the logits.

mod cross_entropy;
mod exp;

pub use cross_entropy::{
    BadTarget, CrossEntropy, Layout, Losses, Matrix, Reduction, Share, Targets, cross_entropy,
};
pub use exp::Exponential;
