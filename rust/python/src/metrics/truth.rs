//! Labels and scores of numpy arrays as the kernels read them.

use ironstep_kernels::metrics::{BadInput, Cases, Half, Truth};
use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::tensor::type_name;

/// What the kernels refuse, in scikit-learn's words and with the place.
pub fn error(bad: BadInput) -> PyErr {
    PyValueError::new_err(match bad {
        BadInput::Nan(index) => format!("Input y_score contains NaN, first at index {index}"),
        BadInput::Infinite(index) => {
            format!("Input y_score contains infinity, first at index {index}")
        }
        BadInput::Stopped => "stopped".into(), // by a signal, whose error comes first
        BadInput::Label => "y_true: a label that is neither of the two classes".into(),
        BadInput::TooManyRows(n) => format!("y_score: got {n} rows; fewer than 2^30 expected"),
    })
}

/// The same for scores given row by row, with a row and a column for the place.
pub fn error_in_matrix(bad: BadInput, n_columns: usize) -> PyErr {
    let at = |what: &str, index: usize| {
        let (row, column) = (index / n_columns.max(1), index % n_columns.max(1));
        PyValueError::new_err(format!(
            "Input y_score contains {what}, first at index ({row}, {column})"
        ))
    };
    match bad {
        BadInput::Nan(index) => at("NaN", index),
        BadInput::Infinite(index) => at("infinity", index),
        other => error(other),
    }
}

fn wrong_type(name: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let got = object
        .getattr("dtype")
        .map_or_else(|_| type_name(object), |dtype| dtype.to_string());
    PyTypeError::new_err(format!(
        "{name}: got {got}, or a layout that is not read here"
    ))
}

/// The elements of a contiguous one-dimensional array, if it is one of `T`.
pub fn array<'py, T: Element>(object: &Bound<'py, PyAny>) -> Option<PyReadonlyArray1<'py, T>> {
    let array = object.cast::<PyArray1<T>>().ok()?.try_readonly().ok()?;
    array.as_slice().is_ok().then_some(array)
}

/// Labels with the function that is generic over their type.
pub trait WithLabels {
    /// What the function returns.
    type Output;
    /// The function.
    fn call<T>(self, labels: &[T]) -> PyResult<Self::Output>
    where
        T: Element
            + Copy
            + PartialOrd
            + Sync
            + for<'py> IntoPyObject<'py>
            + for<'a, 'py> FromPyObject<'a, 'py>;
}

/// Calls `function` with the labels of an array of integers or floats (bools come as bytes).
pub fn with_labels<F: WithLabels>(object: &Bound<'_, PyAny>, function: F) -> PyResult<F::Output> {
    macro_rules! try_types {
        ($($type:ty),*) => {$(
            if let Some(array) = array::<$type>(object)
                && let Ok(labels) = array.as_slice()
            {
                return function.call(labels);
            }
        )*};
    }
    try_types!(i64, u8, i32, f64, f32, i8, i16, u16, u32, u64);
    Err(wrong_type("y_true", object))
}

struct AsCases<'a, 'py, F> {
    positive: Option<&'a Bound<'py, PyAny>>,
    negative: Option<&'a Bound<'py, PyAny>>,
    function: F,
}

impl<R, F: FnOnce(&dyn Truth) -> PyResult<R>> WithLabels for AsCases<'_, '_, F> {
    type Output = Option<R>;

    fn call<T>(self, labels: &[T]) -> PyResult<Option<R>>
    where
        T: Element
            + Copy
            + PartialOrd
            + Sync
            + for<'py> IntoPyObject<'py>
            + for<'a, 'py> FromPyObject<'a, 'py>,
    {
        let (positive, negative) = match self.positive {
            Some(positive) => {
                let label = |label: &Bound<'_, PyAny>| label.extract::<T>().map_err(Into::into);
                (label(positive)?, self.negative.map(label).transpose()?)
            }
            None => match ironstep_kernels::metrics::two_classes(labels) {
                Some((low, Some(high))) => (high, Some(low)),
                // The only class counts as negative, as scikit-learn's binarised labels are 0 then.
                _ => return Ok(None),
            },
        };
        let cases = Cases {
            labels,
            positive,
            negative,
        };
        (self.function)(&cases).map(Some)
    }
}

/// Calls `function` with the labels, the cases with `positive` (or else the larger of two labels)
/// being positive; `None` without `positive` where all labels are equal.
pub fn with_truth<R>(
    object: &Bound<'_, PyAny>,
    positive: Option<&Bound<'_, PyAny>>,
    function: impl FnOnce(&dyn Truth) -> PyResult<R>,
) -> PyResult<Option<R>> {
    let negative = None;
    with_labels(
        object,
        AsCases {
            positive,
            negative,
            function,
        },
    )
}

/// Calls `function` with the labels, of which there may be `classes` alone: the negative and the
/// positive one.
pub fn with_classes<R>(
    object: &Bound<'_, PyAny>,
    classes: &(Bound<'_, PyAny>, Bound<'_, PyAny>),
    function: impl FnOnce(&dyn Truth) -> PyResult<R>,
) -> PyResult<R> {
    let (negative, positive) = (Some(&classes.0), Some(&classes.1));
    let called = with_labels(
        object,
        AsCases {
            positive,
            negative,
            function,
        },
    )?;
    called.ok_or_else(|| error(BadInput::Label))
}

/// Scores of any type that is sorted.
pub enum Scores<'py> {
    F64(PyReadonlyArray1<'py, f64>),
    F32(PyReadonlyArray1<'py, f32>),
    Half(Half, PyReadonlyArray1<'py, u16>),
}

/// The scores of a float64 or float32 array, or of an array of 16 bits that `half` tells the meaning of.
pub fn scores<'py>(object: &Bound<'py, PyAny>, half: Option<&str>) -> PyResult<Scores<'py>> {
    let half = match half {
        None => None,
        Some("float16") => Some(Half::F16),
        Some("bfloat16") => Some(Half::Bf16),
        Some(other) => return Err(PyValueError::new_err(format!("half: got {other:?}"))),
    };
    let found = match half {
        Some(half) => array(object).map(|array| Scores::Half(half, array)),
        None => (array(object).map(Scores::F64)).or_else(|| array(object).map(Scores::F32)),
    };
    found.ok_or_else(|| wrong_type("y_score", object))
}

/// The length of both, which must be the same.
pub fn same_length(truth: &dyn Truth, scores: usize) -> PyResult<usize> {
    let labels = truth.len();
    if labels == scores {
        return Ok(labels);
    }
    Err(PyValueError::new_err(format!(
        "Found input variables with inconsistent numbers of samples: [{labels}, {scores}]"
    )))
}

/// Calls a kernel with the scores as a slice of their type.
macro_rules! with_scores {
    ($scores:expr, $slice:ident => $call:expr, $half:ident, $bits:ident => $half_call:expr) => {
        match &$scores {
            $crate::metrics::truth::Scores::F64(array) => {
                let $slice = array.as_slice()?;
                $call
            }
            $crate::metrics::truth::Scores::F32(array) => {
                let $slice = array.as_slice()?;
                $call
            }
            $crate::metrics::truth::Scores::Half($half, array) => {
                let $bits = array.as_slice()?;
                let $half = *$half;
                $half_call
            }
        }
    };
    ($scores:expr, $slice:ident => $call:expr) => {
        $crate::metrics::truth::with_scores!($scores, $slice => $call, half, bits => {
            let $slice = &ironstep_kernels::dtype::widened(half.dtype(), bits)[..];
            $call
        })
    };
}
pub(super) use with_scores;
