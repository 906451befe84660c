//! Scores that come part by part.

use ironstep_kernels::dtype::widened;
use ironstep_kernels::metrics::{self, BadInput, HALVES, RankSum, Truth};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::run;
use super::truth::{Scores, array, error, same_length, scores, with_classes};

/// The negative and the positive label.
type Labels<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Scores and both counts of each.
type Entries<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyArray1<u16>>,
    Bound<'py, PyArray1<u16>>,
);

#[derive(Clone)]
enum Kept {
    F32(metrics::Stream<f32>),
    F64(metrics::Stream<f64>),
}

/// A multiset of scores and classes; float32 until a float64 comes.
#[pyclass(module = "ironstep._native")]
pub struct Stream {
    kept: Kept,
}

macro_rules! with_kept {
    ($kept:expr, $stream:ident => $call:expr) => {
        match $kept {
            Kept::F32($stream) => $call,
            Kept::F64($stream) => $call,
        }
    };
}

impl Stream {
    /// As float64.
    fn wide(&mut self) {
        if let Kept::F32(stream) = &self.kept {
            self.kept = Kept::F64(stream.widened());
        }
    }
}

#[pymethods]
impl Stream {
    /// `gathered` cases are sorted at a time.
    #[new]
    fn new(gathered: usize) -> Stream {
        Stream {
            kept: Kept::F32(metrics::Stream::new(gathered)),
        }
    }

    /// Adds cases.
    #[pyo3(signature = (y_true, y_score, labels, *, half=None))]
    fn add(
        &mut self,
        y_true: &Bound<'_, PyAny>,
        y_score: &Bound<'_, PyAny>,
        labels: Labels<'_>,
        half: Option<&str>,
    ) -> PyResult<()> {
        let py = y_true.py();
        let scores = scores(y_score, half)?;
        if matches!(scores, Scores::F64(_)) {
            self.wide();
        }
        with_classes(y_true, &labels, |truth| {
            let kept = &mut self.kept;
            let added = match &scores {
                Scores::F64(scores) => {
                    let scores = scores.as_slice()?;
                    let n = same_length(truth, scores.len())?;
                    run(py, n, |threads, _| match kept {
                        Kept::F64(stream) => stream.add(threads, scores, truth),
                        Kept::F32(_) => Ok(()), // it has just been widened
                    })?
                }
                Scores::F32(scores) => {
                    let scores = scores.as_slice()?;
                    let n = same_length(truth, scores.len())?;
                    run(py, n, |threads, _| add_narrow(kept, threads, scores, truth))?
                }
                Scores::Half(half, bits) => {
                    let bits = bits.as_slice()?;
                    let n = same_length(truth, bits.len())?;
                    run(py, n, |threads, _| {
                        let scores = widened(half.dtype(), bits);
                        add_narrow(kept, threads, &scores, truth)
                    })?
                }
            };
            added.map_err(error)
        })
    }

    /// Adds what another has.
    fn merge(&mut self, py: Python<'_>, other: PyRef<'_, Stream>) -> PyResult<()> {
        let other = &other.kept;
        run(py, usize::MAX, |threads, _| match (&mut self.kept, other) {
            (Kept::F32(one), Kept::F32(other)) => one.merge(threads, other),
            (Kept::F64(one), Kept::F64(other)) => one.merge(threads, other),
            (Kept::F64(one), Kept::F32(other)) => one.merge(threads, &other.widened()),
            (Kept::F32(one), Kept::F64(other)) => {
                let mut wide = one.widened();
                let merged = wide.merge(threads, other);
                self.kept = Kept::F64(wide);
                merged
            }
        })?
        .map_err(error)
    }

    /// The area under the ROC curve with the numbers of positive and negative cases.
    fn auc(&mut self, py: Python<'_>) -> PyResult<(f64, u64, u64)> {
        let sum = run(
            py,
            usize::MAX,
            |threads, _| with_kept!(&mut self.kept, stream => stream.rank_sum(threads)),
        )?;
        sum.map(area).map_err(error)
    }

    /// Average precision, NaN without a positive case.
    fn average_precision(&mut self, py: Python<'_>) -> PyResult<f64> {
        run(
            py,
            usize::MAX,
            |threads, _| with_kept!(&mut self.kept, stream => stream.average_precision(threads)),
        )?
        .map_err(error)
    }

    /// The scores with the positive and negative cases of each.
    fn entries<'py>(&mut self, py: Python<'py>) -> PyResult<Entries<'py>> {
        with_kept!(&mut self.kept, stream => {
            let found = run(py, usize::MAX, |threads, _| stream.entries(threads))?;
            let (scores, positives, negatives) = found.map_err(error)?;
            let scores = scores.into_pyarray(py).into_any();
            Ok((scores, positives.into_pyarray(py), negatives.into_pyarray(py)))
        })
    }

    /// Adds such entries, in any order.
    fn add_entries(
        &mut self,
        y_score: &Bound<'_, PyAny>,
        positives: PyReadonlyArray1<'_, u16>,
        negatives: PyReadonlyArray1<'_, u16>,
    ) -> PyResult<()> {
        let py = y_score.py();
        let (positives, negatives) = (positives.as_slice()?, negatives.as_slice()?);
        let n = positives.len();
        let (narrow, wide) = (array::<f32>(y_score), array::<f64>(y_score));
        let narrow = narrow
            .as_ref()
            .map(PyReadonlyArray1::as_slice)
            .transpose()?;
        let wide = wide.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
        let len = narrow.map(<[_]>::len).or(wide.map(<[_]>::len));
        if len != Some(n) || negatives.len() != n {
            return Err(PyValueError::new_err(
                "state: scores of float32 or float64, and as many counts of each class, expected",
            ));
        }
        if wide.is_some() {
            self.wide();
        }
        run(py, n, |threads, _| match (&mut self.kept, narrow, wide) {
            (Kept::F32(stream), Some(scores), _) => {
                stream.add_entries(threads, scores, positives, negatives)
            }
            (Kept::F64(stream), _, Some(scores)) => {
                stream.add_entries(threads, scores, positives, negatives)
            }
            // A stream of float64 is not told of float32: there is one type in a state.
            _ => Ok(()),
        })?
        .map_err(error)
    }
}

fn area(sum: RankSum) -> (f64, u64, u64) {
    let area = sum.auc().unwrap_or(f64::NAN);
    (area, sum.positives, sum.negatives)
}

fn add_narrow(
    kept: &mut Kept,
    threads: usize,
    scores: &[f32],
    truth: &dyn Truth,
) -> Result<(), BadInput> {
    match kept {
        Kept::F32(stream) => stream.add(threads, scores, truth),
        Kept::F64(stream) => {
            let wide: Vec<f64> = scores.iter().copied().map(f64::from).collect();
            stream.add(threads, &wide, truth)
        }
    }
}

/// Counts cases by the bits of their float16 scores: the positive ones first, then the negative ones.
#[pyfunction]
#[pyo3(signature = (counts, y_true, y_score, labels, /))]
pub fn count_halves(
    mut counts: PyReadwriteArray1<'_, i64>,
    y_true: &Bound<'_, PyAny>,
    y_score: PyReadonlyArray1<'_, u16>,
    labels: Labels<'_>,
) -> PyResult<()> {
    let py = y_true.py();
    let (counts, bits) = (counts.as_slice_mut()?, y_score.as_slice()?);
    check_halves(counts)?;
    with_classes(y_true, &labels, |truth| {
        let n = same_length(truth, bits.len())?;
        run(py, n, |threads, _| {
            metrics::count_halves(threads, bits, truth, counts)
        })?
        .map_err(error)
    })
}

/// The area under the ROC curve of such counts, with the numbers of positive and negative cases.
#[pyfunction]
#[pyo3(signature = (counts, /))]
pub fn auc_of_halves(counts: PyReadonlyArray1<'_, i64>) -> PyResult<(f64, u64, u64)> {
    let counts = counts.as_slice()?;
    check_halves(counts)?;
    Ok(area(metrics::rank_sum_of_halves(counts)))
}

fn check_halves(counts: &[i64]) -> PyResult<()> {
    if counts.len() == 2 * HALVES {
        return Ok(());
    }
    let len = counts.len();
    Err(PyValueError::new_err(format!(
        "counts: got {len}; {} expected",
        2 * HALVES
    )))
}
