//! Sums of floats without rounding.

use ironstep_kernels::metrics::exact_sum::{self, LIMBS};
use numpy::{PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Adds each value to the sum in its cell; without cells all to the first one. `sums` has the limbs of
/// each in turn; their carries are moved.
#[pyfunction]
#[pyo3(signature = (sums, values, cells=None, /))]
pub fn exact_add(
    py: Python<'_>,
    mut sums: PyReadwriteArray1<'_, i64>,
    values: PyReadonlyArray1<'_, f64>,
    cells: Option<PyReadonlyArray1<'_, i64>>,
) -> PyResult<()> {
    let (sums, values) = (sums.as_slice_mut()?, values.as_slice()?);
    let cells = cells.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
    let n = sums.len() / LIMBS;
    if n * LIMBS != sums.len() || n == 0 {
        let len = sums.len();
        return Err(PyValueError::new_err(format!(
            "sums: got {len} limbs; a multiple of {LIMBS} expected"
        )));
    }
    if cells.is_some_and(|cells| cells.len() != values.len()) {
        return Err(PyValueError::new_err("cells: as many as values expected"));
    }
    py.detach(|| {
        sums.chunks_exact_mut(LIMBS).for_each(exact_sum::carry);
        let cell = |index: usize| {
            let cell = cells.and_then(|cells| cells.get(index)).copied();
            cell.map_or(0, |cell| (cell as usize).min(n))
        };
        exact_sum::add(sums, values, cell)
    })
    .map_err(|index| {
        PyValueError::new_err(format!(
            "a value times its weight is not finite, first at index {index}"
        ))
    })
}

/// The float nearest to each sum.
#[pyfunction]
#[pyo3(signature = (sums, /))]
pub fn exact_values<'py>(
    py: Python<'py>,
    sums: PyReadonlyArray1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let mut limbs = sums.as_slice()?.to_vec();
    limbs.chunks_exact_mut(LIMBS).for_each(exact_sum::carry);
    let values = limbs.chunks_exact(LIMBS).map(exact_sum::value);
    Ok(PyArray1::from_vec(py, values.collect()))
}
