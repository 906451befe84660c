//! A curve: the counts of positive and negative cases at or above each distinct score, the highest
//! first; and what scikit-learn's functions make of them.

use std::sync::Mutex;

use super::BadInput;
use super::auc::RankSum;
use super::points::{Compensated, Placements, Points};
use super::sort::{Bucket, Layout, PIECE, Partition, Sortable};
use super::truth::Truth;
use crate::memory::{Buffer, buffer, zeroed};
use crate::pool;

/// Distinct scores, descending, with the counts at or above them.
#[derive(Debug)]
pub struct Curve {
    /// The distinct scores.
    pub thresholds: Buffer<f64>,
    /// Positive cases at or above each.
    pub tps: Buffer<u32>,
    /// Negative cases at or above each.
    pub fps: Buffer<u32>,
}

/// The same with sums of weights.
#[derive(Clone, Debug, Default)]
pub struct WeightedCurve {
    /// The distinct scores of cases with a weight.
    pub thresholds: Vec<f64>,
    /// Weight of the positive cases at or above each.
    pub tps: Vec<f64>,
    /// Weight of the negative cases at or above each.
    pub fps: Vec<f64>,
}

/// Rates of a curve: two of them for each threshold.
pub type Rates = (Vec<f64>, Vec<f64>, Vec<f64>);

/// Sorts scores into a curve. `go_on` as for [`rank_sum`](super::rank_sum), here and below.
#[allow(private_bounds)]
pub fn curve<S: Sortable>(
    threads: usize,
    scores: &[S],
    truth: &dyn Truth,
    infinite_allowed: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Curve, BadInput> {
    let partition = Partition::<S::Flag>::new(threads, scores, truth, infinite_allowed, go_on)?;
    build(threads, &partition, go_on, &|_| {})
}

/// Sorts a partition's buckets into a curve, and shows each to `see`.
pub(super) fn build<L: Layout>(
    threads: usize,
    partition: &Partition<L>,
    go_on: &mut dyn FnMut() -> bool,
    see: &(dyn Fn(&Bucket<'_, L>) + Sync),
) -> Result<Curve, BadInput> {
    let n = partition.sizes().sum();
    let mut curve = Curve {
        thresholds: buffer(n),
        tps: buffer(n),
        fps: buffer(n),
    };
    // Each bucket has room for as many groups as it has cases; the gaps are closed at the end.
    let (mut thresholds, mut tps, mut fps) = (
        &mut curve.thresholds[..],
        &mut curve.tps[..],
        &mut curve.fps[..],
    );
    let places: Vec<_> = (partition.sizes())
        .map(|size| {
            Mutex::new((
                split_off(&mut thresholds, size),
                split_off(&mut tps, size),
                split_off(&mut fps, size),
                0,
            ))
        })
        .collect();
    partition.sorted(threads, go_on, &|bucket| {
        if let Ok(mut place) = places[bucket.index].lock() {
            let (thresholds, tps, fps, used) = &mut *place;
            *used = bucket.groups(tps, fps, |place, item| {
                if let Some(threshold) = thresholds.get_mut(place) {
                    *threshold = bucket.score(item);
                }
            });
        }
        see(&bucket);
    })?;
    let used: Vec<usize> = places
        .into_iter()
        .map(|place| place.into_inner().map_or(0, |place| place.3))
        .collect();
    let (mut from, mut to, mut asked_at) = (0, 0, 0);
    for (size, used) in partition.sizes().zip(used) {
        if from - asked_at >= PIECE {
            asked_at = from;
            if !go_on() {
                return Err(BadInput::Stopped);
            }
        }
        if from != to {
            curve.thresholds.copy_within(from..from + used, to);
            curve.tps.copy_within(from..from + used, to);
            curve.fps.copy_within(from..from + used, to);
        }
        from += size;
        to += used;
    }
    curve.thresholds.truncate(to);
    curve.tps.truncate(to);
    curve.fps.truncate(to);
    Ok(curve)
}

/// Average precision from scores that are sorted anew, and the number of positive cases.
#[allow(private_bounds)]
pub fn average_precision<S: Sortable>(
    threads: usize,
    scores: &[S],
    truth: &dyn Truth,
    infinite_allowed: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(f64, u32), BadInput> {
    let partition = Partition::<S::Flag>::new(threads, scores, truth, infinite_allowed, go_on)?;
    let sums: Vec<Mutex<f64>> = (0..partition.buckets()).map(|_| Mutex::default()).collect();
    partition.grouped(threads, go_on, &|bucket, before, points| {
        if let Ok(mut sum) = sums[bucket].lock() {
            *sum = points.precisions(before.0);
        }
    })?;
    let mut sum = Compensated::default();
    for of_bucket in sums {
        sum.add(of_bucket.into_inner().unwrap_or(f64::NAN));
    }
    let positives = partition.totals().0;
    Ok((sum.total() / f64::from(positives), positives))
}

/// The counts behind an area and DeLong's variance of it.
#[allow(private_bounds)]
pub fn delong<S: Sortable>(
    threads: usize,
    scores: &[S],
    truth: &dyn Truth,
    infinite_allowed: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(RankSum, f64), BadInput> {
    let partition = Partition::<S::Flag>::new(threads, scores, truth, infinite_allowed, go_on)?;
    let totals = partition.totals();
    let whole: Mutex<Placements> = Mutex::default();
    partition.grouped(threads, go_on, &|_, before, points| {
        let of_bucket = Placements::of(points, before, totals);
        if let Ok(mut whole) = whole.lock() {
            // Integers: the order does not matter.
            whole.add(of_bucket);
        }
    })?;
    let placements = whole.into_inner().unwrap_or_default();
    let sum = RankSum {
        two_u: placements.two_u(),
        positives: totals.0.into(),
        negatives: totals.1.into(),
    };
    Ok((sum, placements.variance(totals)))
}

/// The first `n` of a slice, which keeps the rest.
pub(super) fn split_off<'a, T>(slice: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (first, rest) = std::mem::take(slice).split_at_mut(n);
    *slice = rest;
    first
}

/// A count or a sum of weights.
trait Count: Copy + PartialEq + Sync {
    fn float(self) -> f64;
    /// c − 2b + a is not zero.
    fn bends(a: Self, b: Self, c: Self) -> bool;
}

impl Count for u32 {
    fn float(self) -> f64 {
        f64::from(self)
    }
    fn bends(a: u32, b: u32, c: u32) -> bool {
        u64::from(a) + u64::from(c) != 2 * u64::from(b)
    }
}

impl Count for f64 {
    fn float(self) -> f64 {
        self
    }
    fn bends(a: f64, b: f64, c: f64) -> bool {
        (c - b) - (b - a) != 0.0
    }
}

/// The points that are kept, chunk after chunk on several threads, each as three numbers; with a
/// place more at the `front` or else at the end.
#[inline(always)]
fn choose(
    threads: usize,
    n: usize,
    kept: impl Fn(usize) -> bool + Sync,
    values: impl Fn(usize) -> (f64, f64, f64) + Sync,
    front: bool,
    reversed: bool,
) -> Rates {
    const CHUNK: usize = 1 << 15;
    let chunk = |index: usize| index * CHUNK..n.min((index + 1) * CHUNK);
    let n_chunks = n.div_ceil(CHUNK);
    // First which, without branches, then their values: both as fast for any pattern.
    let chosen: Vec<Mutex<Vec<u32>>> = (0..n_chunks).map(|_| Mutex::default()).collect();
    pool::run(threads, n_chunks, &|index| {
        let points = chunk(index);
        let mut list = vec![0; points.len() + 1];
        let mut used = 0;
        for point in points {
            list[used] = point as u32;
            used += usize::from(kept(point));
        }
        list.truncate(used);
        if reversed {
            list.reverse();
        }
        if let Ok(mut place) = chosen[index].lock() {
            *place = list;
        }
    });
    let lists = chosen.into_iter();
    let mut chosen: Vec<Vec<u32>> = lists
        .map(|list| list.into_inner().unwrap_or_default())
        .collect();
    if reversed {
        chosen.reverse();
    }
    let len = chosen.iter().map(Vec::len).sum::<usize>() + 1;
    let mut rates: Rates = (zeroed(len), zeroed(len), zeroed(len));
    let first = usize::from(front);
    let (mut ones, mut others, mut thresholds) = (
        &mut rates.0[first..],
        &mut rates.1[first..],
        &mut rates.2[first..],
    );
    let places: Vec<_> = (chosen.iter().map(Vec::len))
        .map(|len| {
            Mutex::new((
                split_off(&mut ones, len),
                split_off(&mut others, len),
                split_off(&mut thresholds, len),
            ))
        })
        .collect();
    pool::run(threads, n_chunks, &|place| {
        let Ok(mut slices) = places[place].lock() else {
            return;
        };
        let (ones, others, thresholds) = &mut *slices;
        let slots = ones
            .iter_mut()
            .zip(others.iter_mut())
            .zip(thresholds.iter_mut());
        for (((one, other), threshold), &point) in slots.zip(&chosen[place]) {
            (*one, *other, *threshold) = values(point as usize);
        }
    });
    drop(places);
    rates
}

/// The points where a curve of rates may turn, or all of them.
fn roc<C: Count>(threads: usize, thresholds: &[f64], tps: &[C], fps: &[C], drop: bool) -> Rates {
    let n = thresholds.len().min(tps.len()).min(fps.len());
    let totals = (last(tps), last(fps));
    let kept = |index: usize| {
        !drop
            || index == 0
            || index + 1 >= n
            || (C::bends(fps[index - 1], fps[index], fps[index + 1])
                | C::bends(tps[index - 1], tps[index], tps[index + 1]))
    };
    let rate = |count: C, total: f64| {
        if total > 0.0 {
            count.float() / total
        } else {
            f64::NAN
        }
    };
    let values = |index: usize| {
        (
            rate(fps[index], totals.1),
            rate(tps[index], totals.0),
            thresholds[index],
        )
    };
    let mut rates = choose(threads, n, kept, values, true, false);
    rates.0[0] = if totals.1 > 0.0 { 0.0 } else { f64::NAN };
    rates.1[0] = if totals.0 > 0.0 { 0.0 } else { f64::NAN };
    rates.2[0] = f64::INFINITY;
    rates
}

fn last<C: Count>(counts: &[C]) -> f64 {
    counts.last().map_or(0.0, |count| count.float())
}

/// Precision and recall from the lowest threshold to the highest, then 1 and 0; all points, or those
/// whose count of positives differs from the one before or the one after.
fn precision_recall<C: Count>(
    threads: usize,
    thresholds: &[f64],
    tps: &[C],
    fps: &[C],
    drop: bool,
) -> Rates {
    let n = thresholds.len().min(tps.len()).min(fps.len());
    let total = last(tps);
    let kept = |index: usize| {
        !drop
            || index == 0
            || index + 1 >= n
            || ((tps[index - 1] != tps[index]) | (tps[index] != tps[index + 1]))
    };
    let values = |index: usize| {
        let (tp, called) = (tps[index].float(), tps[index].float() + fps[index].float());
        let precision = if called == 0.0 { 0.0 } else { tp / called };
        let recall = if total == 0.0 { 1.0 } else { tp / total };
        (precision, recall, thresholds[index])
    };
    let mut rates = choose(threads, n, kept, values, false, true);
    if let Some(precision) = rates.0.last_mut() {
        *precision = 1.0;
    }
    rates.2.pop();
    rates
}

impl Curve {
    /// The counts alone.
    pub fn points(&self) -> Points<'_> {
        Points {
            tps: &self.tps,
            fps: &self.fps,
        }
    }

    /// True and false positives and thresholds, all in `f64`.
    pub fn counts(&self, threads: usize) -> Rates {
        let values = |index: usize| {
            (
                f64::from(self.tps[index]),
                f64::from(self.fps[index]),
                self.thresholds[index],
            )
        };
        let mut rates = choose(
            threads,
            self.thresholds.len(),
            |_| true,
            values,
            false,
            false,
        );
        rates.0.pop();
        rates.1.pop();
        rates.2.pop();
        rates
    }

    /// False and true positive rates by descending threshold, the first of which is +∞. With `drop`
    /// without the points between two others on a line, as integer second differences tell. NaN
    /// where a class has no case.
    pub fn roc(&self, threads: usize, drop: bool) -> Rates {
        roc(threads, &self.thresholds, &self.tps, &self.fps, drop)
    }

    /// Precision and recall by ascending threshold; the last point, 1 and 0, has none. With `drop`
    /// without the points within a run of equal recall.
    pub fn precision_recall(&self, threads: usize, drop: bool) -> Rates {
        precision_recall(threads, &self.thresholds, &self.tps, &self.fps, drop)
    }
}

impl WeightedCurve {
    /// As [`Curve::roc`].
    pub fn roc(&self, threads: usize, drop: bool) -> Rates {
        roc(threads, &self.thresholds, &self.tps, &self.fps, drop)
    }

    /// As [`Curve::precision_recall`].
    pub fn precision_recall(&self, threads: usize, drop: bool) -> Rates {
        precision_recall(threads, &self.thresholds, &self.tps, &self.fps, drop)
    }

    /// The area under the ROC curve.
    pub fn auc(&self) -> f64 {
        let mut area = Compensated::default();
        let mut before = (0.0, 0.0);
        for (&tp, &fp) in self.tps.iter().zip(&self.fps) {
            area.add((fp - before.1) * (tp + before.0));
            before = (tp, fp);
        }
        // One factor after the other: their product may be below the smallest float.
        area.total() / 2.0 / last(&self.tps) / last(&self.fps)
    }

    /// Σ (R_n − R_{n−1}) P_n.
    pub fn average_precision(&self) -> f64 {
        let mut sum = Compensated::default();
        let mut before = 0.0;
        for (&tp, &fp) in self.tps.iter().zip(&self.fps) {
            if tp != before {
                sum.add((tp - before) * (tp / (tp + fp)));
                before = tp;
            }
        }
        sum.total() / last(&self.tps)
    }
}
