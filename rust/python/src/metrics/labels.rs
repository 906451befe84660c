//! Columns of labels as the kernels read them.

use ironstep_kernels::metrics::labels::{LabelType, Labels};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// The labels of a one-dimensional numpy array of integers or bools; `None` of anything else.
pub fn labels(object: &Bound<'_, PyAny>) -> Option<Labels> {
    let array = object.cast::<PyUntypedArray>().ok()?;
    let descr = array.dtype();
    if descr.is_native_byteorder() == Some(false) {
        return None;
    }
    let dtype = match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => LabelType::Bool,
        (b'i', 1) => LabelType::I8,
        (b'i', 2) => LabelType::I16,
        (b'i', 4) => LabelType::I32,
        (b'i', 8) => LabelType::I64,
        (b'u', 1) => LabelType::U8,
        (b'u', 2) => LabelType::U16,
        (b'u', 4) => LabelType::U32,
        (b'u', 8) => LabelType::U64,
        _ => return None,
    };
    let (&[len], &[stride]) = (array.shape(), array.strides()) else {
        return None;
    };
    // SAFETY: the array is alive and the GIL is held.
    let data = unsafe { (*array.as_array_ptr()).fields.data };
    // SAFETY: numpy keeps all elements of an array readable while it is alive, and the caller holds it.
    Some(unsafe { Labels::new(data.cast(), len, stride, dtype) })
}
