//! Isotonic regression of shares.

use ironstep_kernels::metrics;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The nondecreasing shares nearest to positives / totals, group by group.
#[pyfunction]
#[pyo3(signature = (positives, totals, /))]
pub fn isotonic_shares<'py>(
    py: Python<'py>,
    positives: PyReadonlyArray1<'py, u64>,
    totals: PyReadonlyArray1<'py, u64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (positives, totals) = (positives.as_slice()?, totals.as_slice()?);
    if positives.len() != totals.len() {
        return Err(PyValueError::new_err(format!(
            "positives, totals: got {} and {} groups; as many expected",
            positives.len(),
            totals.len()
        )));
    }
    let fitted = py.detach(|| metrics::isotonic_shares(positives, totals));
    Ok(PyArray1::from_vec(py, fitted))
}
