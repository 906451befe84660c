//! One sort, many answers.

use std::sync::OnceLock;

use ironstep_kernels::metrics::{
    self, Draws, OperatingPoint, Plan, Resampling, Rule, Statistic, WeightedCurve,
};
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use super::run;
use super::truth::{array, error, same_length, scores, with_scores, with_truth};

/// Three arrays.
type Arrays<'py, A, B> = (
    Bound<'py, PyArray1<A>>,
    Bound<'py, PyArray1<A>>,
    Bound<'py, PyArray1<B>>,
);

/// Cases in descending order of their scores.
#[pyclass(frozen, module = "ironstep._native")]
pub struct ScoreIndex {
    index: metrics::ScoreIndex,
    plan: OnceLock<Plan>,
}

/// How many draws are made between two looks for Ctrl-C.
// measured: 2^24 draws take about 50 ms on one thread
const SLICE: usize = 1 << 24;

#[pymethods]
impl ScoreIndex {
    #[new]
    #[pyo3(signature = (y_true, y_score, positive, *, half=None))]
    fn new(
        y_true: &Bound<'_, PyAny>,
        y_score: &Bound<'_, PyAny>,
        positive: &Bound<'_, PyAny>,
        half: Option<&str>,
    ) -> PyResult<ScoreIndex> {
        let py = y_true.py();
        let scores = scores(y_score, half)?;
        let index = with_truth(y_true, Some(positive), |truth| {
            with_scores!(scores, scores => {
                let n = same_length(truth, scores.len())?;
                run(py, n, |threads, go_on| metrics::ScoreIndex::new(threads, scores, truth, true, go_on))
            })
        })?;
        let index = index
            .unwrap_or(Err(metrics::BadInput::Label))
            .map_err(error)?;
        Ok(ScoreIndex {
            index,
            plan: OnceLock::new(),
        })
    }

    /// The numbers of positive and of negative cases.
    fn totals(&self) -> (u32, u32) {
        self.index.curve().points().totals()
    }

    /// Counts of positive and of negative cases at or above each distinct score, and the scores.
    fn counts<'py>(&self, py: Python<'py>) -> Arrays<'py, i64, f64> {
        let curve = self.index.curve();
        let array = |counts: &[u32]| {
            let counts: Vec<i64> = counts.iter().copied().map(i64::from).collect();
            counts.into_pyarray(py)
        };
        (
            array(&curve.tps),
            array(&curve.fps),
            PyArray1::from_slice(py, &curve.thresholds),
        )
    }

    /// The rows by descending score.
    fn order<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let rows: Vec<i64> = self.index.rows().map(|row| row as i64).collect();
        rows.into_pyarray(py)
    }

    fn auc(&self) -> f64 {
        self.index.curve().points().auc()
    }

    fn partial_auc(&self, max_fpr: f64) -> f64 {
        self.index.curve().points().partial_auc(max_fpr)
    }

    fn average_precision(&self) -> f64 {
        self.index.curve().points().average_precision()
    }

    fn delong_variance(&self) -> f64 {
        self.index.curve().points().delong_variance()
    }

    fn roc<'py>(
        &self,
        py: Python<'py>,
        drop_intermediate: bool,
    ) -> PyResult<Arrays<'py, f64, f64>> {
        let curve = self.index.curve();
        let roc = run(py, self.index.n_rows(), |threads, _| {
            curve.roc(threads, drop_intermediate)
        })?;
        Ok(arrays(py, roc))
    }

    fn precision_recall<'py>(
        &self,
        py: Python<'py>,
        drop_intermediate: bool,
    ) -> PyResult<Arrays<'py, f64, f64>> {
        let curve = self.index.curve();
        let rates = run(py, self.index.n_rows(), |threads, _| {
            curve.precision_recall(threads, drop_intermediate)
        })?;
        Ok(arrays(py, rates))
    }

    /// Threshold, sensitivity and specificity.
    fn sensitivity_at_specificity(&self, specificity: f64) -> (f64, f64, f64) {
        self.at(self
            .index
            .curve()
            .points()
            .sensitivity_at_specificity(specificity))
    }

    /// Threshold, sensitivity and specificity.
    fn specificity_at_sensitivity(&self, sensitivity: f64) -> (f64, f64, f64) {
        self.at(self
            .index
            .curve()
            .points()
            .specificity_at_sensitivity(sensitivity))
    }

    /// Threshold, sensitivity and specificity.
    fn youden(&self) -> (f64, f64, f64) {
        self.at(self.index.curve().points().youden())
    }

    fn placements<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let n = self.index.n_rows();
        Ok(run(py, n, |_, _| self.index.placements())?.into_pyarray(py))
    }

    fn influence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let n = self.index.n_rows();
        Ok(run(py, n, |_, _| self.index.influence())?.into_pyarray(py))
    }

    /// The area where row i counts counts[i] times; NaN if a class has no case.
    fn auc_of_counts(&self, py: Python<'_>, counts: &Bound<'_, PyAny>) -> PyResult<f64> {
        let counts = self.a_row::<u32>("counts", counts)?;
        let counts = counts.as_slice()?;
        let sum = run(py, counts.len(), |_, _| self.index.counted(counts))?;
        Ok(sum.auc().unwrap_or(f64::NAN))
    }

    /// Sums of weights of positive and of negative cases at or above each distinct score that has a
    /// weight, and the scores.
    fn weighted_counts<'py>(
        &self,
        py: Python<'py>,
        weights: &Bound<'py, PyAny>,
    ) -> PyResult<Arrays<'py, f64, f64>> {
        let counts = self.weighted(weights, |_, curve| (curve.tps, curve.fps, curve.thresholds))?;
        Ok(arrays(py, counts))
    }

    fn weighted_roc<'py>(
        &self,
        py: Python<'py>,
        weights: &Bound<'py, PyAny>,
        drop_intermediate: bool,
    ) -> PyResult<Arrays<'py, f64, f64>> {
        Ok(arrays(
            py,
            self.weighted(weights, |threads, curve| {
                curve.roc(threads, drop_intermediate)
            })?,
        ))
    }

    fn weighted_precision_recall<'py>(
        &self,
        py: Python<'py>,
        weights: &Bound<'py, PyAny>,
        drop_intermediate: bool,
    ) -> PyResult<Arrays<'py, f64, f64>> {
        Ok(arrays(
            py,
            self.weighted(weights, |threads, curve| {
                curve.precision_recall(threads, drop_intermediate)
            })?,
        ))
    }

    fn weighted_auc(&self, weights: &Bound<'_, PyAny>) -> PyResult<f64> {
        self.weighted(weights, |_, curve| curve.auc())
    }

    fn weighted_average_precision(&self, weights: &Bound<'_, PyAny>) -> PyResult<f64> {
        self.weighted(weights, |_, curve| curve.average_precision())
    }

    /// The statistic in the resamples from `first` on, NaN where it is not defined.
    #[pyo3(signature = (statistic, value, *, draws, seed, first, n_resamples))]
    #[allow(clippy::too_many_arguments)]
    fn bootstrap<'py>(
        &self,
        py: Python<'py>,
        statistic: &str,
        value: f64,
        draws: &str,
        seed: u64,
        first: u64,
        n_resamples: usize,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let statistic = match statistic {
            "auc" => Statistic::Auc,
            "partial_auc" => Statistic::PartialAuc(value),
            "average_precision" => Statistic::AveragePrecision,
            "sensitivity_at_specificity" => Statistic::SensitivityAtSpecificity(value),
            "specificity_at_sensitivity" => Statistic::SpecificityAtSensitivity(value),
            "youden" => Statistic::Youden,
            other => return Err(PyValueError::new_err(format!("statistic: got {other:?}"))),
        };
        let resampling = resampling(draws, seed)?;
        let values = self.of_resamples(py, first, n_resamples, 0.0, |threads, start, values| {
            (self.plan()).run(threads, statistic, resampling, start, values);
        })?;
        Ok(values.into_pyarray(py))
    }

    /// Sensitivity and specificity of the cut that a rule chooses in each resample from `first` on, by
    /// what was drawn and by what was not: four numbers each. `groups` are numbers below `n_groups`.
    #[pyo3(signature = (rule, value, prevalence, groups, n_groups, *, seed, first, n_resamples))]
    #[allow(clippy::too_many_arguments)]
    fn judge<'py>(
        &self,
        py: Python<'py>,
        rule: &str,
        value: f64,
        prevalence: Option<f64>,
        groups: Option<&Bound<'py, PyAny>>,
        n_groups: u32,
        seed: u64,
        first: u64,
        n_resamples: usize,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let rule = match rule {
            "youden" => Rule::Youden,
            "sensitivity" => Rule::Sensitivity(value),
            "specificity" => Rule::Specificity(value),
            "cost" => Rule::Cost {
                ratio: value,
                prevalence,
            },
            other => return Err(PyValueError::new_err(format!("rule: got {other:?}"))),
        };
        let of_groups = match groups {
            None => None,
            Some(groups) => {
                let groups = self.a_row::<u32>("groups", groups)?;
                let groups = groups.as_slice()?;
                if n_groups > 1 << 30 || groups.iter().any(|&group| group >= n_groups) {
                    return Err(PyValueError::new_err(
                        "groups: numbers below n_groups expected",
                    ));
                }
                Some(Plan::of_groups(&self.index, groups, n_groups))
            }
        };
        let draws = if of_groups.is_some() {
            Draws::Cases
        } else {
            Draws::Stratified
        };
        let resampling = Resampling { draws, seed };
        let values = self.of_resamples(
            py,
            first,
            n_resamples,
            [0.0; 4],
            |threads, start, values| {
                let plan = of_groups.as_ref().unwrap_or_else(|| self.plan());
                plan.judge(threads, rule, resampling, start, values);
            },
        )?;
        Ok(values.concat().into_pyarray(py))
    }

    /// How often each row is drawn in a resample.
    fn resample_counts<'py>(
        &self,
        py: Python<'py>,
        draws: &str,
        seed: u64,
        resample: u64,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let resampling = resampling(draws, seed)?;
        let counts = self.plan().counts(&self.index, resampling, resample);
        Ok(counts.into_pyarray(py))
    }
}

fn resampling(draws: &str, seed: u64) -> PyResult<Resampling> {
    let draws = match draws {
        "stratified" => Draws::Stratified,
        "cases" => Draws::Cases,
        "poisson" => Draws::Poisson,
        other => return Err(PyValueError::new_err(format!("draws: got {other:?}"))),
    };
    Ok(Resampling { draws, seed })
}

/// DeLong's covariance matrix of the areas of several indices, row by row; `None` if their cases
/// differ.
#[pyfunction]
#[pyo3(signature = (indices, /))]
pub fn delong_covariance<'py>(
    py: Python<'py>,
    indices: Vec<PyRef<'py, ScoreIndex>>,
) -> PyResult<Option<Bound<'py, PyArray1<f64>>>> {
    let indices: Vec<&metrics::ScoreIndex> = indices.iter().map(|index| &index.index).collect();
    let n = indices.iter().map(|index| index.n_rows()).sum();
    let matrix = run(py, n, |threads, _| {
        metrics::ScoreIndex::delong_covariance(threads, &indices)
    })?;
    Ok(matrix.map(|matrix| matrix.into_pyarray(py)))
}

impl ScoreIndex {
    fn at(&self, point: OperatingPoint) -> (f64, f64, f64) {
        let thresholds = &self.index.curve().thresholds;
        let threshold = point.index.and_then(|index| thresholds.get(index));
        let threshold = threshold.copied().unwrap_or(f64::INFINITY);
        (threshold, point.sensitivity, point.specificity)
    }

    fn plan(&self) -> &Plan {
        self.plan.get_or_init(|| Plan::new(&self.index))
    }

    /// A value for each resample, which `set` is asked for in slices, with the number of the first.
    fn of_resamples<T: Clone + Send>(
        &self,
        py: Python<'_>,
        first: u64,
        n_resamples: usize,
        unset: T,
        set: impl Fn(usize, u64, &mut [T]) + Send + Sync,
    ) -> PyResult<Vec<T>> {
        let mut values: Vec<T> = Vec::new();
        (values.try_reserve_exact(n_resamples))
            .map_err(|error| PyMemoryError::new_err(format!("n_resamples: {error}")))?;
        values.resize(n_resamples, unset);
        let rows = self.index.n_rows().max(1);
        run(py, rows.saturating_mul(n_resamples), |threads, go_on| {
            let slice = (SLICE / rows).max(threads);
            let mut start = first;
            for values in values.chunks_mut(slice) {
                set(threads, start, values);
                start += values.len() as u64;
                if !go_on() {
                    return;
                }
            }
        })?;
        Ok(values)
    }

    fn a_row<'py, T: Element>(
        &self,
        name: &str,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<PyReadonlyArray1<'py, T>> {
        let wanted = self.index.n_rows();
        let array =
            array::<T>(object).filter(|array| array.as_slice().is_ok_and(|s| s.len() == wanted));
        array.ok_or_else(|| {
            PyValueError::new_err(format!("{name}: an array of {wanted} numbers expected"))
        })
    }

    /// What `read` makes of the curve of weighted cases.
    fn weighted<R: Send>(
        &self,
        weights: &Bound<'_, PyAny>,
        read: impl FnOnce(usize, WeightedCurve) -> R + Send,
    ) -> PyResult<R> {
        let py = weights.py();
        let weights = self.a_row::<f64>("sample_weight", weights)?;
        let weights = weights.as_slice()?;
        run(py, weights.len(), |threads, _| {
            read(threads, self.index.weighted(weights))
        })
    }
}

fn arrays<'py>(py: Python<'py>, values: (Vec<f64>, Vec<f64>, Vec<f64>)) -> Arrays<'py, f64, f64> {
    (
        values.0.into_pyarray(py),
        values.1.into_pyarray(py),
        values.2.into_pyarray(py),
    )
}
