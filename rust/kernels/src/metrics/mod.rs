//! Criteria for classifiers: what is counted and sorted; the formulas over it are Python's.

pub mod agreement;
pub mod confusion;
pub mod factorize;
mod frame;
mod index;
pub mod labels;
mod pieces;
pub mod weighted;
