//! One sort, many answers: the curve over all cases, and which row stands where on it.

use std::sync::Mutex;

use super::BadInput;
use super::curve::{self, Curve, WeightedCurve, split_off};
use super::points::Compensated;
use super::sort::{Item, NEGATIVE, Partition, Sortable};
use super::truth::Truth;
use crate::memory::{Buffer, buffer, zeroed};
use crate::pool;

/// The first case of its score.
pub(super) const NEW: u32 = 1 << 30;

/// The bits of a row.
pub(super) const ROW: u32 = NEW - 1;

/// Cases in descending order of their scores.
#[derive(Debug)]
pub struct ScoreIndex {
    /// Rows with two flags: `NEGATIVE`, and `NEW` where a group of ties begins; positive cases come
    /// first in it.
    pub(super) walk: Buffer<u32>,
    curve: Curve,
}

/// The covariance of two areas from twice the placement counts.
fn covariance(
    one: &[u32],
    other: &[u32],
    is_negative: &[bool],
    (positives, negatives): (u32, u32),
) -> f64 {
    // Σu, Σv and Σuv of the positive and of the negative cases.
    let mut sums = [(0_u64, 0_u64, 0_u128); 2];
    for ((&u, &v), &negative) in one.iter().zip(other).zip(is_negative) {
        let sums = &mut sums[usize::from(negative)];
        let (u, v) = (u64::from(u), u64::from(v));
        sums.0 += u;
        sums.1 += v;
        sums.2 += u128::from(u * v);
    }
    let part = |(one, other, products): (u64, u64, u128), own: u32, across: u32| {
        let spread =
            (u128::from(own) * products) as i128 - (u128::from(one) * u128::from(other)) as i128;
        let (own, across) = (f64::from(own), f64::from(across));
        spread as f64 / (own * own * (own - 1.0) * 4.0 * across * across)
    };
    part(sums[0], positives, negatives) + part(sums[1], negatives, positives)
}

impl ScoreIndex {
    /// Sorts; at most 2^30 rows. `go_on` as for [`rank_sum`](super::rank_sum).
    #[allow(private_bounds)]
    pub fn new<S: Sortable>(
        threads: usize,
        scores: &[S],
        truth: &dyn Truth,
        infinite_allowed: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<ScoreIndex, BadInput> {
        if scores.len() > NEW as usize {
            return Err(BadInput::TooManyRows(scores.len()));
        }
        let partition = Partition::<S::Row>::new(threads, scores, truth, infinite_allowed, go_on)?;
        let mut walk: Buffer<u32> = buffer(scores.len());
        let mut rest = &mut walk[..];
        let places: Vec<_> = (partition.sizes())
            .map(|size| Mutex::new(split_off(&mut rest, size)))
            .collect();
        let curve = curve::build(threads, &partition, go_on, &|bucket| {
            let Ok(mut place) = places[bucket.index].lock() else {
                return;
            };
            let mut before = u64::MAX;
            for (place, item) in place.iter_mut().zip(bucket.items) {
                let offset = item.offset(32);
                *place = item.low() | (u32::from(offset != before) * NEW);
                before = offset;
            }
        })?;
        drop(places);
        Ok(ScoreIndex { walk, curve })
    }

    /// The curve over all cases.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.walk.len()
    }

    /// The rows by descending score.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.walk.iter().map(|&entry| (entry & ROW) as usize)
    }

    /// The curve of weighted cases, which are added up in descending order. Rows of zero weight
    /// leave no threshold.
    pub fn weighted(&self, weights: &[f64]) -> WeightedCurve {
        let mut curve = WeightedCurve::default();
        let mut sums = (Compensated::default(), Compensated::default());
        let mut group = 0;
        let mut present = false;
        for (place, &entry) in self.walk.iter().enumerate() {
            let weight = weights.get((entry & ROW) as usize).copied().unwrap_or(0.0);
            present |= weight != 0.0;
            if entry & NEGATIVE == 0 {
                sums.0.add(weight);
            } else {
                sums.1.add(weight);
            }
            if self.walk.get(place + 1).is_none_or(|next| next & NEW != 0) {
                if present {
                    curve.thresholds.push(self.curve.thresholds[group]);
                    curve.tps.push(sums.0.total());
                    curve.fps.push(sums.1.total());
                }
                group += 1;
                present = false;
            }
        }
        curve
    }

    /// For each row, in the input's order, the share of the other class on its wrong side or level
    /// with it, counted as DeLong's placement value: for a positive case (negatives below + ½
    /// negatives equal) / N, for a negative one (positives above + ½ positives equal) / P.
    pub fn placements(&self) -> Vec<f64> {
        let mut values: Vec<f64> = zeroed(self.walk.len());
        self.each_placement(|row, _, value| {
            if let Some(place) = values.get_mut(row) {
                *place = value;
            }
        });
        values
    }

    /// For each row its influence on the area: (placement − AUC) / its class's size. The influences
    /// of each class sum to zero. With P positives and N negatives,
    /// P/(P−1)·Σ₊ influence² + N/(N−1)·Σ₋ influence² is DeLong's variance.
    pub fn influence(&self) -> Vec<f64> {
        let points = self.curve.points();
        let auc = points.auc();
        let (positives, negatives) = points.totals();
        let sizes = (f64::from(positives), f64::from(negatives));
        let mut values: Vec<f64> = zeroed(self.walk.len());
        self.each_placement(|row, negative, value| {
            let size = if negative { sizes.1 } else { sizes.0 };
            if let Some(place) = values.get_mut(row) {
                *place = (value - auc) / size;
            }
        });
        values
    }

    #[inline(always)]
    fn each_placement(&self, mut see: impl FnMut(usize, bool, f64)) {
        let points = self.curve.points();
        let (positives, negatives) = points.totals();
        let pairs = (2.0 * f64::from(negatives), 2.0 * f64::from(positives));
        let mut values = (0.0, 0.0);
        let mut groups = points.tps.iter().zip(points.fps);
        let mut before = (0, 0);
        for &entry in &self.walk {
            if entry & NEW != 0
                && let Some((&tp, &fp)) = groups.next()
            {
                let below = u64::from(negatives - fp) + u64::from(negatives - before.1);
                let above = u64::from(tp) + u64::from(before.0);
                values = (below as f64 / pairs.0, above as f64 / pairs.1);
                before = (tp, fp);
            }
            let negative = entry & NEGATIVE != 0;
            let value = if negative { values.1 } else { values.0 };
            see((entry & ROW) as usize, negative, value);
        }
    }

    /// Twice each row's placement as a count: of its row, and whether it is negative.
    fn placement_counts(&self) -> (Buffer<u32>, Vec<bool>) {
        let points = self.curve.points();
        let (_, negatives) = points.totals();
        let mut counts: Buffer<u32> = buffer(self.walk.len());
        let mut is_negative = vec![false; self.walk.len()];
        let mut values = (0, 0);
        let mut groups = points.tps.iter().zip(points.fps);
        let mut before = (0, 0);
        for &entry in &self.walk {
            if entry & NEW != 0
                && let Some((&tp, &fp)) = groups.next()
            {
                values = ((negatives - fp) + (negatives - before.1), tp + before.0);
                before = (tp, fp);
            }
            let row = (entry & ROW) as usize;
            let negative = entry & NEGATIVE != 0;
            counts[row] = if negative { values.1 } else { values.0 };
            is_negative[row] = negative;
        }
        (counts, is_negative)
    }

    /// DeLong's covariances of the areas of several scores of the same cases, row by row: exact
    /// until the last division. `None` if the cases differ.
    pub fn delong_covariance(threads: usize, indices: &[&ScoreIndex]) -> Option<Vec<f64>> {
        let k = indices.len();
        let counts: Vec<Mutex<(Buffer<u32>, Vec<bool>)>> =
            indices.iter().map(|_| Mutex::default()).collect();
        pool::run(threads, k, &|index| {
            if let Ok(mut place) = counts[index].lock() {
                *place = indices[index].placement_counts();
            }
        });
        let counts: Vec<(Buffer<u32>, Vec<bool>)> = counts
            .into_iter()
            .map(|place| place.into_inner().unwrap_or_default())
            .collect();
        let is_negative = &counts.first()?.1;
        if counts.iter().any(|other| other.1 != *is_negative) {
            return None;
        }
        let totals = indices.first()?.curve.points().totals();
        let pairs: Vec<(usize, usize)> =
            (0..k).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
        let values: Vec<Mutex<f64>> = pairs.iter().map(|_| Mutex::default()).collect();
        pool::run(threads, pairs.len(), &|pair| {
            let (a, b) = pairs[pair];
            let value = covariance(&counts[a].0, &counts[b].0, is_negative, totals);
            if let Ok(mut place) = values[pair].lock() {
                *place = value;
            }
        });
        let mut matrix = vec![0.0; k * k];
        for ((a, b), value) in pairs.into_iter().zip(values) {
            let value = value.into_inner().unwrap_or(f64::NAN);
            matrix[a * k + b] = value;
            matrix[b * k + a] = value;
        }
        Some(matrix)
    }

    /// 2U, positives and negatives where row `i` counts `counts[i]` times.
    pub fn counted(&self, counts: &[u32]) -> super::RankSum {
        let (mut two_u, mut positives, mut negatives, mut above) = (0_u128, 0_u64, 0_u64, 0_u64);
        for &entry in &self.walk {
            let count = u64::from(counts.get((entry & ROW) as usize).copied().unwrap_or(0));
            if entry & NEW != 0 {
                above = positives;
            }
            if entry & NEGATIVE == 0 {
                positives += count;
            } else {
                negatives += count;
                two_u += u128::from(count) * (u128::from(above) + u128::from(positives));
            }
        }
        super::RankSum {
            two_u,
            positives,
            negatives,
        }
    }
}
