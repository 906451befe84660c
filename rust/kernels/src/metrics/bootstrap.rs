//! Resampled cases, without sorting again: how often each case is drawn, and a walk over the index.
//!
//! Draw `i` of resample `r` depends on the seed, `r` and `i` alone: on no thread, and not on the
//! scores, so that two models are judged on the same resamples.

use std::sync::Mutex;

use super::points::{Points, ratio};
use super::score_index::{NEW, ROW, ScoreIndex};
use super::sort::NEGATIVE;
use crate::isa::{Isa, per_isa};
use crate::pool;
use crate::rng::{GROUP, Stream};

/// Numbers that are drawn at a time.
const CHUNK: usize = 16 * GROUP;

/// What is computed from a resample; NaN where it is not defined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The area under the ROC curve.
    Auc,
    /// That area up to a false positive rate.
    PartialAuc(f64),
    /// Average precision.
    AveragePrecision,
    /// The sensitivity at a specificity of at least so much, with the cut chosen anew.
    SensitivityAtSpecificity(f64),
    /// The specificity at a sensitivity of at least so much, with the cut chosen anew.
    SpecificityAtSensitivity(f64),
    /// The largest sensitivity + specificity − 1.
    Youden,
}

/// How many cases are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    /// As many of each class as there are.
    Stratified,
    /// As many as there are cases, of either class.
    Cases,
    /// Each case by itself a number of times that is Poisson-distributed with mean 1: nearly the same
    /// for many cases, whose counts are then written one after another.
    Poisson,
}

/// How cases are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Resampling {
    /// How many.
    pub draws: Draws,
    /// All numbers depend on it.
    pub seed: u64,
}

/// P(X ≤ k) of the Poisson distribution with mean 1, in units of 2^-32: a number of 32 bits that is
/// not below so many of them stands for so many draws.
const POISSON: [u32; 13] = [
    1_580_030_168,
    3_160_060_337,
    3_950_075_421,
    4_213_413_783,
    4_279_248_373,
    4_292_415_291,
    4_294_609_777,
    4_294_923_276,
    4_294_962_463,
    4_294_966_817,
    4_294_967_252,
    4_294_967_292,
    4_294_967_295,
];

per_isa! {
    fn poisson [] [] (bits: &[u32], counts: &mut [u8]) {
        for (&bits, count) in bits.iter().zip(counts) {
            let mut draws = 0;
            for at_most in POISSON {
                draws += u32::from(bits >= at_most);
            }
            *count = draws as u8;
        }
    }
}

/// An index prepared for many resamples.
#[derive(Clone, Debug)]
pub struct Plan {
    /// As the index's walk, with numbers of what is drawn instead of rows: cases, positives first, each
    /// class by its rows; or groups.
    pub(super) walk: Vec<u32>,
    /// How many positive and negative cases each of them has.
    pub(super) units: Vec<[u32; 2]>,
    positives: u32,
    thresholds: usize,
}

/// What a thread needs for a resample.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) counts: Vec<u8>,
    drawn: u64,
    tps: Vec<u32>,
    fps: Vec<u32>,
}

/// The index's walk with a number for each row.
fn renumbered(index: &ScoreIndex, numbers: &[u32]) -> Vec<u32> {
    let number = |row: u32| numbers.get(row as usize).copied().unwrap_or(0) & ROW;
    let walk = index.walk.iter();
    walk.map(|&entry| entry & !ROW | number(entry & ROW))
        .collect()
}

impl Plan {
    /// Numbers the cases.
    pub fn new(index: &ScoreIndex) -> Plan {
        let mut number = vec![0; index.walk.len()];
        for &entry in &index.walk {
            number[(entry & ROW) as usize] = entry & NEGATIVE;
        }
        let (positives, _) = index.curve().points().totals();
        let mut next = (0, positives);
        for number in &mut number {
            let next = if *number == 0 {
                &mut next.0
            } else {
                &mut next.1
            };
            *number = *next;
            *next += 1;
        }
        Plan {
            walk: renumbered(index, &number),
            units: (0..index.walk.len())
                .map(|unit| {
                    let is_positive = unit < positives as usize;
                    [u32::from(is_positive), u32::from(!is_positive)]
                })
                .collect(),
            positives,
            thresholds: index.curve().thresholds.len(),
        }
    }

    /// Draws whole groups: `groups` has one for each row, numbers below `n_groups`, which is at most
    /// 2^30. With `Draws::Cases` alone.
    pub fn of_groups(index: &ScoreIndex, groups: &[u32], n_groups: u32) -> Plan {
        let walk = renumbered(index, groups);
        let mut units = vec![[0; 2]; n_groups as usize];
        for &entry in &walk {
            if let Some(unit) = units.get_mut((entry & ROW) as usize) {
                unit[usize::from(entry & NEGATIVE != 0)] += 1;
            }
        }
        Plan {
            walk,
            units,
            positives: 0,
            thresholds: index.curve().thresholds.len(),
        }
    }

    /// Sets `values` to the statistic of the resamples from `first` on.
    pub fn run(
        &self,
        threads: usize,
        statistic: Statistic,
        resampling: Resampling,
        first: u64,
        values: &mut [f64],
    ) {
        self.each(threads, resampling, first, values, |scratch| {
            self.statistic(statistic, scratch)
        });
    }

    /// Sets each value to what is found in its resample, from `first` on.
    pub(super) fn each<T: Send>(
        &self,
        threads: usize,
        resampling: Resampling,
        first: u64,
        values: &mut [T],
        find: impl Fn(&mut Scratch) -> T + Sync,
    ) {
        let spare: Mutex<Vec<Scratch>> = Mutex::default();
        let places: Vec<Mutex<&mut T>> = values.iter_mut().map(Mutex::new).collect();
        pool::run(threads, places.len(), &|index| {
            let mut scratch =
                (spare.lock().ok().and_then(|mut spare| spare.pop())).unwrap_or_default();
            let Scratch { counts, drawn, .. } = &mut scratch;
            *drawn = self.draw(resampling, first + index as u64, counts);
            let value = find(&mut scratch);
            if let Ok(mut place) = places[index].lock() {
                **place = value;
            }
            if let Ok(mut spare) = spare.lock() {
                spare.push(scratch);
            }
        });
    }

    /// How often each case is drawn in a resample; returns how many are in all.
    pub(super) fn draw(&self, resampling: Resampling, resample: u64, counts: &mut Vec<u8>) -> u64 {
        let n = self.units.len() as u32;
        counts.clear();
        counts.resize(n as usize, 0);
        let stream = Stream::new(resampling.seed, resample);
        let isa = Isa::current();
        let mut bits = [0; CHUNK];
        let mut draw = |from: u32, to: u32, counts: &mut [u8]| {
            let bound = counts.len() as u32;
            let mut start = from / GROUP as u32 * GROUP as u32;
            while start < to {
                let len = ((to - start) as usize).min(CHUNK);
                stream.fill(isa, start / GROUP as u32, &mut bits[..len]);
                let skipped = from.saturating_sub(start) as usize;
                for (index, &bits) in bits[..len].iter().enumerate().skip(skipped) {
                    let case = stream.below(bound, start + index as u32, bits);
                    // That a case is drawn 256 times has a chance below 1/256!: less than 10^-500.
                    if let Some(count) = counts.get_mut(case as usize) {
                        *count = count.wrapping_add(1);
                    }
                }
                start += len as u32;
            }
        };
        match resampling.draws {
            Draws::Stratified => {
                let (positives, negatives) = counts.split_at_mut(self.positives as usize);
                draw(0, self.positives, positives);
                draw(self.positives, n, negatives);
            }
            Draws::Cases => draw(0, n, counts),
            Draws::Poisson => {
                for (chunk, counts) in counts.chunks_mut(CHUNK).enumerate() {
                    let bits = &mut bits[..counts.len()];
                    stream.fill(isa, (chunk * CHUNK / GROUP) as u32, bits);
                    poisson(isa, bits, counts);
                }
                return counts.iter().map(|&count| u64::from(count)).sum();
            }
        }
        u64::from(n)
    }

    fn statistic(&self, statistic: Statistic, scratch: &mut Scratch) -> f64 {
        if statistic == Statistic::Auc {
            return self.auc(&scratch.counts, scratch.drawn);
        }
        self.accumulate(scratch);
        let points = Points {
            tps: &scratch.tps,
            fps: &scratch.fps,
        };
        let (positives, negatives) = points.totals();
        if positives == 0 || (negatives == 0 && statistic != Statistic::AveragePrecision) {
            return f64::NAN;
        }
        match statistic {
            Statistic::Auc => points.auc(),
            Statistic::PartialAuc(max_fpr) => points.partial_auc(max_fpr),
            Statistic::AveragePrecision => points.average_precision(),
            Statistic::SensitivityAtSpecificity(wanted) => {
                points.sensitivity_at_specificity(wanted).sensitivity
            }
            Statistic::SpecificityAtSensitivity(wanted) => {
                points.specificity_at_sensitivity(wanted).specificity
            }
            Statistic::Youden => {
                let point = points.youden();
                point.sensitivity + point.specificity - 1.0
            }
        }
    }

    /// The area, in one pass without branches.
    fn auc(&self, counts: &[u8], drawn: u64) -> f64 {
        let (two_u, positives) = if self.thresholds == self.walk.len() {
            self.two_u::<false>(counts)
        } else {
            self.two_u::<true>(counts)
        };
        let negatives = drawn - positives;
        let pairs = 2 * u128::from(positives) * u128::from(negatives);
        ratio(u128::from(two_u), pairs)
    }

    /// 2U and the number of positive cases. Hardly more than 2^30 cases are drawn: 2U stays near 2^60.
    #[inline(always)]
    fn two_u<const TIES: bool>(&self, counts: &[u8]) -> (u64, u64) {
        let (mut two_u, mut positives, mut above) = (0_u64, 0_u64, 0_u64);
        for &entry in &self.walk {
            let count = u64::from(counts.get((entry & ROW) as usize).copied().unwrap_or(0));
            let if_negative = i64::from((entry & NEGATIVE) as i32 >> 31) as u64;
            if TIES {
                above = if entry & NEW != 0 { positives } else { above };
            }
            two_u += (count & if_negative)
                * if TIES {
                    above + positives
                } else {
                    2 * positives
                };
            positives += count & !if_negative;
        }
        (two_u, positives)
    }

    /// The points of the resample's curve, one for each threshold of the whole.
    fn accumulate(&self, scratch: &mut Scratch) {
        let Scratch {
            counts, tps, fps, ..
        } = scratch;
        tps.clear();
        fps.clear();
        tps.reserve(self.thresholds);
        fps.reserve(self.thresholds);
        let (mut tp, mut fp) = (0, 0);
        for (place, &entry) in self.walk.iter().enumerate() {
            if entry & NEW != 0 && place > 0 {
                tps.push(tp);
                fps.push(fp);
            }
            let count = u32::from(counts.get((entry & ROW) as usize).copied().unwrap_or(0));
            if entry & NEGATIVE == 0 {
                tp += count;
            } else {
                fp += count;
            }
        }
        tps.push(tp);
        fps.push(fp);
    }

    /// How often each row of the index is drawn in a resample, in the rows' order; `index` is the
    /// one that the plan was made of.
    pub fn counts(&self, index: &ScoreIndex, resampling: Resampling, resample: u64) -> Vec<u32> {
        let mut counts = Vec::new();
        self.draw(resampling, resample, &mut counts);
        let mut of_rows = vec![0; counts.len()];
        for (&entry, &numbered) in index.walk.iter().zip(&self.walk) {
            of_rows[(entry & ROW) as usize] = u32::from(counts[(numbered & ROW) as usize]);
        }
        of_rows
    }
}
