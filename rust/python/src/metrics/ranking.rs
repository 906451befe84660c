//! Functions of labels and scores that sort once and answer once.

use ironstep_kernels::metrics::{self, BadInput, Classes, Curve, Equal};
use numpy::{Element, IntoPyArray, PyArray1};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::run;
use super::truth::{
    Scores, WithLabels, array, error, error_in_matrix, same_length, scores, with_labels,
    with_scores, with_truth,
};

/// Two rates and their thresholds.
type Rates<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
);

struct TwoClasses<'py>(Python<'py>);

impl<'py> WithLabels for TwoClasses<'py> {
    type Output = Option<Vec<Bound<'py, PyAny>>>;

    fn call<T>(self, labels: &[T]) -> PyResult<Self::Output>
    where
        T: Element
            + Copy
            + PartialOrd
            + Sync
            + for<'p> IntoPyObject<'p>
            + for<'a, 'p> FromPyObject<'a, 'p>,
    {
        let Some((low, high)) = metrics::two_classes(labels) else {
            return Ok(Some(Vec::new()));
        };
        let py = self.0;
        let binary = run(py, labels.len(), |threads, _| {
            metrics::are_binary(threads, labels, low, high)
        })?;
        if !binary {
            return Ok(None);
        }
        let object = |label: T| label.into_bound_py_any(py);
        let classes = std::iter::once(low).chain(high);
        classes.map(object).collect::<PyResult<_>>().map(Some)
    }
}

/// The distinct labels in order if there are at most two; `None` if there are more, or a NaN.
#[pyfunction]
#[pyo3(signature = (y_true, /))]
pub fn two_classes<'py>(y_true: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    with_labels(y_true, TwoClasses(y_true.py()))
}

/// The area under the ROC curve with the numbers of positive and negative cases, NaN if a class has
/// none. Without `positive` the larger of two labels is; `None` if they are not two.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive=None, *, half=None))]
pub fn roc_auc(
    y_true: &Bound<'_, PyAny>,
    y_score: &Bound<'_, PyAny>,
    positive: Option<&Bound<'_, PyAny>>,
    half: Option<&str>,
) -> PyResult<Option<(f64, u64, u64)>> {
    let py = y_true.py();
    let scores = scores(y_score, half)?;
    let sum = with_truth(y_true, positive, |truth| {
        with_scores!(scores, scores => {
            let n = same_length(truth, scores.len())?;
            run(py, n, |threads, go_on| metrics::rank_sum(threads, scores, truth, false, go_on))
        }, half, bits => {
            let n = same_length(truth, bits.len())?;
            run(py, n, |threads, _| metrics::half_rank_sum(threads, half, bits, truth, false))
        })
    })?;
    match sum {
        Some(Err(BadInput::Label)) | None => Ok(None),
        Some(Err(bad)) => Err(error(bad)),
        Some(Ok(sum)) => Ok(Some((
            sum.auc().unwrap_or(f64::NAN),
            sum.positives,
            sum.negatives,
        ))),
    }
}

/// The curve of an array of labels and one of scores.
fn sorted(
    y_true: &Bound<'_, PyAny>,
    y_score: &Bound<'_, PyAny>,
    positive: &Bound<'_, PyAny>,
    half: Option<&str>,
) -> PyResult<Curve> {
    let py = y_true.py();
    let scores = scores(y_score, half)?;
    let curve = with_truth(y_true, Some(positive), |truth| {
        with_scores!(scores, scores => {
            let n = same_length(truth, scores.len())?;
            run(py, n, |threads, go_on| metrics::curve(threads, scores, truth, false, go_on))
        })
    })?;
    curve.unwrap_or(Err(BadInput::Label)).map_err(error)
}

fn rates<'py>(py: Python<'py>, rates: (Vec<f64>, Vec<f64>, Vec<f64>)) -> Rates<'py> {
    (
        rates.0.into_pyarray(py),
        rates.1.into_pyarray(py),
        rates.2.into_pyarray(py),
    )
}

/// False and true positive rates and thresholds, all by descending threshold, the first +∞.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive, *, drop_intermediate, half=None))]
pub fn roc_curve<'py>(
    y_true: &Bound<'py, PyAny>,
    y_score: &Bound<'py, PyAny>,
    positive: &Bound<'py, PyAny>,
    drop_intermediate: bool,
    half: Option<&str>,
) -> PyResult<Rates<'py>> {
    let py = y_true.py();
    let curve = sorted(y_true, y_score, positive, half)?;
    let roc = run(py, curve.thresholds.len(), |threads, _| {
        curve.roc(threads, drop_intermediate)
    })?;
    Ok(rates(py, roc))
}

/// Precision and recall, each with a last point that has no threshold, and ascending thresholds.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive, *, drop_intermediate, half=None))]
pub fn precision_recall_curve<'py>(
    y_true: &Bound<'py, PyAny>,
    y_score: &Bound<'py, PyAny>,
    positive: &Bound<'py, PyAny>,
    drop_intermediate: bool,
    half: Option<&str>,
) -> PyResult<Rates<'py>> {
    let py = y_true.py();
    let curve = sorted(y_true, y_score, positive, half)?;
    let curve = run(py, curve.thresholds.len(), |threads, _| {
        curve.precision_recall(threads, drop_intermediate)
    })?;
    Ok(rates(py, curve))
}

/// The counts of positive and of negative cases at or above each distinct score, and the scores,
/// descending.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive, *, half=None))]
pub fn threshold_counts<'py>(
    y_true: &Bound<'py, PyAny>,
    y_score: &Bound<'py, PyAny>,
    positive: &Bound<'py, PyAny>,
    half: Option<&str>,
) -> PyResult<Rates<'py>> {
    let py = y_true.py();
    let curve = sorted(y_true, y_score, positive, half)?;
    let counts = run(py, curve.thresholds.len(), |threads, _| {
        curve.counts(threads)
    })?;
    Ok(rates(py, counts))
}

/// Average precision with the number of positive cases; NaN if there is none.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive, *, half=None))]
pub fn average_precision(
    y_true: &Bound<'_, PyAny>,
    y_score: &Bound<'_, PyAny>,
    positive: &Bound<'_, PyAny>,
    half: Option<&str>,
) -> PyResult<(f64, u32)> {
    let py = y_true.py();
    let scores = scores(y_score, half)?;
    let found = with_truth(y_true, Some(positive), |truth| {
        with_scores!(scores, scores => {
            let n = same_length(truth, scores.len())?;
            run(py, n, |threads, go_on| metrics::average_precision(threads, scores, truth, false, go_on))
        })
    })?;
    found.unwrap_or(Err(BadInput::Label)).map_err(error)
}

/// The area under the ROC curve, DeLong's variance of it and the numbers of positive and negative
/// cases, by one sort that keeps nothing.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, positive, *, half=None))]
pub fn delong(
    y_true: &Bound<'_, PyAny>,
    y_score: &Bound<'_, PyAny>,
    positive: &Bound<'_, PyAny>,
    half: Option<&str>,
) -> PyResult<(f64, f64, u64, u64)> {
    let py = y_true.py();
    let scores = scores(y_score, half)?;
    let found = with_truth(y_true, Some(positive), |truth| {
        with_scores!(scores, scores => {
            let n = same_length(truth, scores.len())?;
            run(py, n, |threads, go_on| metrics::delong(threads, scores, truth, true, go_on))
        })
    })?;
    let (sum, variance) = found.unwrap_or(Err(BadInput::Label)).map_err(error)?;
    Ok((
        sum.auc().unwrap_or(f64::NAN),
        variance,
        sum.positives,
        sum.negatives,
    ))
}

/// The area for each column of row-major scores, with its numbers of positive and negative cases.
/// `classes` has each row's class, or (bytes) an indicator for every score.
#[pyfunction]
#[pyo3(signature = (classes, y_score, n_columns, *, half=None))]
pub fn column_aucs(
    classes: &Bound<'_, PyAny>,
    y_score: &Bound<'_, PyAny>,
    n_columns: usize,
    half: Option<&str>,
) -> PyResult<Vec<(f64, u64, u64)>> {
    let py = classes.py();
    let scores = scores(y_score, half)?;
    let numbers = array::<i64>(classes);
    let indicator = array::<u8>(classes);
    let (found, n) = match (&numbers, &indicator) {
        (Some(numbers), _) => (
            Classes::Numbers(numbers.as_slice()?),
            numbers.as_slice()?.len() * n_columns,
        ),
        (_, Some(indicator)) => (
            Classes::Indicator(indicator.as_slice()?),
            indicator.as_slice()?.len(),
        ),
        _ => {
            return Err(PyValueError::new_err(
                "classes: int64 numbers or bytes expected",
            ));
        }
    };
    let sums = with_scores!(scores, scores => {
        if scores.len() != n {
            let (rows, wanted) = (scores.len(), n);
            return Err(PyValueError::new_err(format!("y_score: got {rows} scores; {wanted} expected")));
        }
        run(py, n, |threads, _| metrics::column_rank_sums(threads, scores, n_columns, found))?
    });
    let sums = sums
        .map_err(|bad| error_in_matrix(bad, n_columns))?
        .into_iter();
    Ok(sums
        .map(|sum| (sum.auc().unwrap_or(f64::NAN), sum.positives, sum.negatives))
        .collect())
}

/// Whether each row of scores sums to one, as `numpy.allclose` tells.
#[pyfunction]
#[pyo3(signature = (y_score, n_columns, *, half=None))]
pub fn rows_sum_to_one(
    py: Python<'_>,
    y_score: &Bound<'_, PyAny>,
    n_columns: usize,
    half: Option<&str>,
) -> PyResult<bool> {
    let scores = scores(y_score, half)?;
    with_scores!(scores, scores => {
        run(py, scores.len(), |threads, _| metrics::rows_sum_to_one(threads, scores, n_columns))
    })
}

/// The rank of each row's class among its scores, given row by row: how many are greater, or equal
/// and of a higher class (`equal="later"`), of any (`"all"`) or of none (`"none"`).
#[pyfunction]
#[pyo3(signature = (classes, y_score, n_classes, *, equal="later", half=None))]
pub fn class_ranks<'py>(
    classes: &Bound<'py, PyAny>,
    y_score: &Bound<'py, PyAny>,
    n_classes: usize,
    equal: &str,
    half: Option<&str>,
) -> PyResult<Bound<'py, PyArray1<u32>>> {
    let py = classes.py();
    let equal = match equal {
        "later" => Equal::Later,
        "all" => Equal::All,
        "none" => Equal::None,
        other => return Err(PyValueError::new_err(format!("equal: got {other:?}"))),
    };
    let scores: Scores<'py> = scores(y_score, half)?;
    let Some(classes) = array::<i64>(classes) else {
        return Err(PyValueError::new_err("classes: int64 numbers expected"));
    };
    let classes = classes.as_slice()?;
    let ranks = with_scores!(scores, scores => {
        if scores.len() != classes.len() * n_classes {
            let (rows, wanted) = (scores.len(), classes.len() * n_classes);
            return Err(PyValueError::new_err(format!("y_score: got {rows} scores; {wanted} expected")));
        }
        run(py, scores.len(), |threads, _| metrics::ranks(threads, scores, n_classes, classes, equal))?
    });
    let ranks = ranks.map_err(|bad| error_in_matrix(bad, n_classes))?;
    Ok(ranks.into_pyarray(py))
}
