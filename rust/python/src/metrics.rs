//! What the metrics count and sort; the formulas are in Python.

mod confusion;
mod exact_sum;
mod factorize;
mod isotonic;
mod labels;
mod ranking;
mod score_index;
mod stream;
mod truth;

pub use confusion::{count_equal, count_pairs, weigh_pairs};
pub use exact_sum::{exact_add, exact_values};
pub use factorize::number_labels;
pub use isotonic::isotonic_shares;
pub use ranking::{
    average_precision, class_ranks, column_aucs, delong, precision_recall_curve, roc_auc,
    roc_curve, rows_sum_to_one, threshold_counts, two_classes,
};
pub use score_index::{ScoreIndex, delong_covariance};
pub use stream::{Stream, auc_of_halves, count_halves};

use pyo3::prelude::*;

use crate::optim::num_threads;

/// Elements below which a job is not worth another thread, nor letting go of the GIL.
// measured: waking a helper costs 5 µs and more, counting 32 Ki pairs takes 20
const SMALL: usize = 32 * 1024;

/// Runs a job over `len` elements, without the GIL if it is worth it. The job gets the number of
/// threads and a question whether to go on, which says no once a signal has come (Ctrl-C, say).
fn run<T: Send>(
    py: Python<'_>,
    len: usize,
    job: impl FnOnce(usize, &mut dyn FnMut() -> bool) -> T + Send,
) -> PyResult<T> {
    if len < SMALL {
        return Ok(job(1, &mut || true));
    }
    let threads = num_threads(py)?;
    let (result, signal) = py.detach(|| {
        let mut signal = Ok(());
        let result = job(threads, &mut || {
            signal = Python::attach(|py| py.check_signals());
            signal.is_ok()
        });
        (result, signal)
    });
    signal.map(|()| result)
}
