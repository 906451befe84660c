//! Criteria for classifiers: what is counted and sorted; the formulas over it are Python's.

pub mod agreement;
pub mod confusion;
pub mod factorize;
pub mod labels;
pub mod weighted;
