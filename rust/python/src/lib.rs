//! The extension module `ironstep._native`: converts, checks, lets go of the GIL, maps errors.
//! Arithmetic is in the crate `ironstep-kernels`; a file here has the name of what it exposes.

mod config;
mod error;
mod loss;
mod metrics;
mod norm;
mod optim;
mod team;
mod tensor;

use pyo3::prelude::*;

/// Native part of ironstep.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::config::{get_num_threads, instruction_set, memory_path, set_num_threads};
    #[pymodule_export]
    use super::loss::cross_entropy;
    #[pymodule_export]
    use super::metrics::{
        ScoreIndex, Stream, auc_of_halves, average_precision, class_ranks, column_aucs,
        count_equal, count_halves, count_pairs, delong, delong_covariance, exact_add, exact_values,
        isotonic_shares, number_labels, precision_recall_curve, roc_auc, roc_curve,
        rows_sum_to_one, threshold_counts, two_classes, weigh_pairs,
    };
    #[pymodule_export]
    use super::norm::{batch_norm_backward, batch_norm_forward};
    #[pymodule_export]
    use super::optim::{Stepper, clip_coefficient, total_norm, update};
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
