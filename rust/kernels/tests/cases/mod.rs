//! How many cases a property is tried with.

use proptest::prelude::ProptestConfig;

/// A failure prints its smallest case; no file beside the source is wanted.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { cases / 50 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
