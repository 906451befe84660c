//! A curve: the counts of positive and negative cases at or above each distinct score, the highest
//! first; and what scikit-learn's functions make of them.

use std::sync::Mutex;

use super::BadInput;
use super::points::{Compensated, Points};
use super::sort::{Bucket, Item, Layout, Partition, Sortable};
use super::truth::Truth;
use crate::pool;

/// Distinct scores, descending, with the counts at or above them.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    /// The distinct scores.
    pub thresholds: Vec<f64>,
    /// Positive cases at or above each.
    pub tps: Vec<u32>,
    /// Negative cases at or above each.
    pub fps: Vec<u32>,
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

/// Sorts scores into a curve.
#[allow(private_bounds)]
pub fn curve<S: Sortable>(
    threads: usize,
    scores: &[S],
    truth: &dyn Truth,
    infinite_allowed: bool,
) -> Result<Curve, BadInput> {
    let partition = Partition::<S::Flag>::new(threads, scores, truth, infinite_allowed)?;
    let groups = Groups::new(partition.buckets());
    partition.sorted(threads, &|bucket| groups.put(&bucket));
    Ok(groups.curve(threads))
}

/// Cases with the same score.
#[derive(Clone, Copy)]
struct Group {
    score: f64,
    positives: u32,
    negatives: u32,
}

/// The groups of each bucket.
pub(super) struct Groups(Vec<Mutex<Vec<Group>>>);

impl Groups {
    pub fn new(buckets: usize) -> Groups {
        Groups((0..buckets).map(|_| Mutex::default()).collect())
    }

    /// Finds the groups of a bucket's cases.
    pub fn put<L: Layout>(&self, bucket: &Bucket<'_, L>) {
        let flag = |item: L::Item| (item.low() >> (L::PAYLOAD - 1)) & 1;
        let offset = |item: L::Item| item.offset(L::PAYLOAD);
        let items = bucket.items;
        let changes = items
            .windows(2)
            .filter(|pair| offset(pair[0]) != offset(pair[1]));
        let mut groups = Vec::with_capacity(changes.count() + 1);
        let (mut positives, mut negatives) = (0, 0);
        for (index, &item) in items.iter().enumerate() {
            positives += 1 - flag(item);
            negatives += flag(item);
            if items
                .get(index + 1)
                .is_none_or(|&next| offset(next) != offset(item))
            {
                groups.push(Group {
                    score: bucket.score(item),
                    positives,
                    negatives,
                });
                (positives, negatives) = (0, 0);
            }
        }
        if let Ok(mut place) = self.0[bucket.index].lock() {
            *place = groups;
        }
    }

    /// All groups in one line, counted up.
    pub fn curve(self, threads: usize) -> Curve {
        let buckets: Vec<Vec<Group>> = (self.0.into_iter())
            .map(|groups| groups.into_inner().unwrap_or_default())
            .collect();
        let n = buckets.iter().map(Vec::len).sum();
        let mut curve = Curve {
            thresholds: vec![0.0; n],
            tps: vec![0; n],
            fps: vec![0; n],
        };
        let (mut thresholds, mut tps, mut fps) = (
            &mut curve.thresholds[..],
            &mut curve.tps[..],
            &mut curve.fps[..],
        );
        let mut before = (0, 0);
        let jobs: Vec<_> = (buckets.iter())
            .map(|groups| {
                let job = (
                    before,
                    split_off(&mut thresholds, groups.len()),
                    split_off(&mut tps, groups.len()),
                    split_off(&mut fps, groups.len()),
                );
                for group in groups {
                    before.0 += group.positives;
                    before.1 += group.negatives;
                }
                Mutex::new(job)
            })
            .collect();
        pool::run(threads, buckets.len(), &|index| {
            let Ok(mut job) = jobs[index].lock() else {
                return;
            };
            let (before, thresholds, tps, fps) = &mut *job;
            let (mut tp, mut fp) = *before;
            for (place, group) in buckets[index].iter().enumerate() {
                tp += group.positives;
                fp += group.negatives;
                (thresholds[place], tps[place], fps[place]) = (group.score, tp, fp);
            }
        });
        drop(jobs);
        curve
    }
}

/// The first `n` of a slice, which keeps the rest.
pub(super) fn split_off<'a, T>(slice: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (first, rest) = std::mem::take(slice).split_at_mut(n);
    *slice = rest;
    first
}

/// A count or a sum of weights.
trait Count: Copy + PartialEq {
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

/// The points where a curve of rates may turn, or all of them.
fn roc<C: Count>(thresholds: &[f64], tps: &[C], fps: &[C], drop: bool) -> Rates {
    let n = thresholds.len();
    let totals = (last(tps), last(fps));
    let kept = |index: usize| {
        let inner = index > 0 && index + 1 < n;
        !(drop && inner)
            || C::bends(fps[index - 1], fps[index], fps[index + 1])
            || C::bends(tps[index - 1], tps[index], tps[index + 1])
    };
    let mut rates: Rates = (vec![0.0], vec![0.0], vec![f64::INFINITY]);
    let rate = |count: C, total: f64| {
        if total > 0.0 {
            count.float() / total
        } else {
            f64::NAN
        }
    };
    if totals.1 <= 0.0 {
        rates.0[0] = f64::NAN;
    }
    if totals.0 <= 0.0 {
        rates.1[0] = f64::NAN;
    }
    if !drop {
        rates.0.reserve(n);
        rates.1.reserve(n);
        rates.2.reserve(n);
    }
    for index in (0..n).filter(|&index| kept(index)) {
        rates.0.push(rate(fps[index], totals.1));
        rates.1.push(rate(tps[index], totals.0));
        rates.2.push(thresholds[index]);
    }
    rates
}

fn last<C: Count>(counts: &[C]) -> f64 {
    counts.last().map_or(0.0, |count| count.float())
}

/// Points whose count of positives differs from the one before or the one after, or all of them.
fn steps<'a, C: Count>(tps: &'a [C], drop: bool) -> impl DoubleEndedIterator<Item = usize> + 'a {
    (0..tps.len()).filter(move |&index| {
        !drop
            || index == 0
            || index + 1 >= tps.len()
            || tps[index - 1] != tps[index]
            || tps[index] != tps[index + 1]
    })
}

/// Precision and recall from the lowest threshold to the highest, then 1 and 0.
fn precision_recall<C: Count>(thresholds: &[f64], tps: &[C], fps: &[C], drop: bool) -> Rates {
    let total = last(tps);
    let mut rates = Rates::default();
    for index in steps(tps, drop).rev() {
        let (tp, called) = (tps[index].float(), tps[index].float() + fps[index].float());
        rates.0.push(if called == 0.0 { 0.0 } else { tp / called });
        rates.1.push(if total == 0.0 { 1.0 } else { tp / total });
        rates.2.push(thresholds[index]);
    }
    rates.0.push(1.0);
    rates.1.push(0.0);
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

    /// False and true positive rates by descending threshold, the first of which is +∞. With `drop`
    /// without the points between two others on a line, as integer second differences tell. NaN
    /// where a class has no case.
    pub fn roc(&self, drop: bool) -> Rates {
        roc(&self.thresholds, &self.tps, &self.fps, drop)
    }

    /// Precision and recall by ascending threshold; the last point, 1 and 0, has none. With `drop`
    /// without the points within a run of equal recall.
    pub fn precision_recall(&self, drop: bool) -> Rates {
        precision_recall(&self.thresholds, &self.tps, &self.fps, drop)
    }
}

impl WeightedCurve {
    /// As [`Curve::roc`].
    pub fn roc(&self, drop: bool) -> Rates {
        roc(&self.thresholds, &self.tps, &self.fps, drop)
    }

    /// As [`Curve::precision_recall`].
    pub fn precision_recall(&self, drop: bool) -> Rates {
        precision_recall(&self.thresholds, &self.tps, &self.fps, drop)
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
