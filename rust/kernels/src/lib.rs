//! The arithmetic of ironstep, without Python: a job over many buffers ([`work`]) is cut into tiles,
//! shared among threads ([`pool`]), decoded to the type of computation ([`dtype`]) and updated by
//! one rule ([`optim`]) in the widest vectors that the processor has ([`isa`]). [`metrics`] counts and
//! sorts what criteria of classifiers are computed from.

pub mod dtype;
mod fork;
pub mod isa;
mod lanes;
pub mod loss;
mod memory;
pub mod metrics;
pub mod norm;
pub mod optim;
pub mod overlap;
pub mod pool;
pub mod rng;
mod slots;
mod stream;
pub mod team;
pub mod work;
