//! Counts of labels and of pairs of labels.

use ironstep_kernels::isa::Isa;
use ironstep_kernels::metrics::labels::Labels;
use ironstep_kernels::metrics::{agreement, confusion, weighted};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use super::labels::labels;
use super::run;

/// The labels in order, and a square table of counts.
type Counts<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<i64>>);

/// The labels in order, and a square table of sums.
type Weights<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<f64>>);

/// The labels that are in either column, and how often each pair of them is; `None` if these are not
/// two one-dimensional numpy arrays of integers or bools and of one length, if they are empty, or if
/// their labels are too far apart for a table.
#[pyfunction]
#[pyo3(signature = (y_true, y_pred, /))]
pub fn count_pairs<'py>(
    y_true: &Bound<'py, PyAny>,
    y_pred: &Bound<'py, PyAny>,
) -> PyResult<Option<Counts<'py>>> {
    let py = y_true.py();
    let Some((y_true, y_pred)) = columns(y_true, y_pred) else {
        return Ok(None);
    };
    let counts = run(py, y_true.len(), |threads, go_on| {
        confusion::count_pairs(Isa::current(), threads, &y_true, &y_pred, go_on)
    })?;
    let Ok(counts) = counts else {
        return Ok(None);
    };
    let width = counts.labels.len();
    let table = counts.counts.into_iter().map(|count| count as i64);
    let table = PyArray1::from_vec(py, table.collect()).reshape([width, width])?;
    Ok(Some((PyArray1::from_vec(py, counts.labels), table)))
}

/// The labels that are in either column, and the sum of weights of each pair of them; `None` as for
/// `count_pairs`, or if the weights are not as many.
#[pyfunction]
#[pyo3(signature = (y_true, y_pred, weights, /))]
pub fn weigh_pairs<'py>(
    y_true: &Bound<'py, PyAny>,
    y_pred: &Bound<'py, PyAny>,
    weights: PyReadonlyArray1<'py, f64>,
) -> PyResult<Option<Weights<'py>>> {
    let py = y_true.py();
    let weights = weights.as_slice()?;
    let Some((y_true, y_pred)) = columns(y_true, y_pred) else {
        return Ok(None);
    };
    if weights.len() != y_true.len() {
        return Ok(None);
    }
    let sums = run(py, y_true.len(), |threads, go_on| {
        weighted::weigh_pairs(Isa::current(), threads, &y_true, &y_pred, weights, go_on)
    })?;
    let Ok(sums) = sums else {
        return Ok(None);
    };
    let width = sums.labels.len();
    let table = PyArray1::from_vec(py, sums.weights).reshape([width, width])?;
    Ok(Some((PyArray1::from_vec(py, sums.labels), table)))
}

/// How often two columns have the same label; `None` as for `count_pairs`, or if their types differ.
#[pyfunction]
#[pyo3(signature = (y_true, y_pred, /))]
pub fn count_equal(y_true: &Bound<'_, PyAny>, y_pred: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let py = y_true.py();
    match columns(y_true, y_pred) {
        Some((y_true, y_pred)) if y_true.dtype() == y_pred.dtype() => {
            let count = run(py, y_true.len(), |threads, go_on| {
                agreement::count_equal(Isa::current(), threads, &y_true, &y_pred, go_on)
            })?;
            Ok(count.ok())
        }
        _ => Ok(None),
    }
}

fn columns(y_true: &Bound<'_, PyAny>, y_pred: &Bound<'_, PyAny>) -> Option<(Labels, Labels)> {
    let (y_true, y_pred) = (labels(y_true)?, labels(y_pred)?);
    (y_true.len() == y_pred.len() && !y_true.is_empty()).then_some((y_true, y_pred))
}
