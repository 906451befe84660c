//! Codes for labels that are no small integers.

use ironstep_kernels::metrics::factorize::{Rows, factorize};
use numpy::{PyArray1, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::run;

/// The codes of the labels of two one-dimensional arrays, one after the other, and where each code
/// first occurs; `None` if the arrays' types differ or have labels that are not bytes of one width.
#[pyfunction]
#[pyo3(signature = (y_true, y_pred, /))]
#[allow(clippy::type_complexity)] // two arrays
pub fn number_labels<'py>(
    y_true: &Bound<'py, PyUntypedArray>,
    y_pred: &Bound<'py, PyUntypedArray>,
) -> PyResult<Option<(Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<usize>>)>> {
    let py = y_true.py();
    let (Some(first), Some(second)) = (rows(y_true), rows(y_pred)) else {
        return Ok(None);
    };
    if !y_true.dtype().is_equiv_to(&y_pred.dtype()) {
        return Ok(None);
    }
    let len = first.len() + second.len();
    let codes = run(py, len, |_, go_on| factorize(&[first, second], go_on))?;
    let codes = codes.ok_or_else(|| PyValueError::new_err("more than 2³² − 1 different labels"))?;
    Ok(Some((
        PyArray1::from_vec(py, codes.codes),
        PyArray1::from_vec(py, codes.first),
    )))
}

/// The labels of an array of integers, text or times, whose equal values have equal bytes.
fn rows(array: &Bound<'_, PyUntypedArray>) -> Option<Rows> {
    let descr = array.dtype();
    if !matches!(descr.kind(), b'i' | b'u' | b'U' | b'M' | b'm') {
        return None;
    }
    let (&[len], &[stride]) = (array.shape(), array.strides()) else {
        return None;
    };
    // SAFETY: the array is alive and the GIL is held.
    let data = unsafe { (*array.as_array_ptr()).fields.data };
    // SAFETY: numpy keeps all elements of an array readable while it is alive, and the caller holds it.
    Some(unsafe { Rows::new(data.cast(), len, stride, descr.itemsize()) })
}
