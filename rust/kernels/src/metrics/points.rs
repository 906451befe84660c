//! What a curve's points say. A point is the number of positive and of negative cases whose score is
//! at least a threshold, the thresholds in descending order.

/// The quotient of two integers, rounded once.
pub fn ratio(numerator: u128, denominator: u128) -> f64 {
    if numerator == 0 || denominator == 0 {
        return numerator as f64 / denominator as f64;
    }
    // More bits of the quotient than a float has, the last one set if there is a remainder: then the
    // conversion rounds as the quotient would.
    let up = numerator.leading_zeros();
    let scaled = numerator << up;
    let quotient = (scaled / denominator) | u128::from(!scaled.is_multiple_of(denominator));
    debug_assert!(denominator.leading_zeros() >= 56);
    quotient as f64 * 0.5_f64.powi(up as i32)
}

/// Points of a curve over unweighted cases.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// Positive cases at or above each threshold.
    pub tps: &'a [u32],
    /// Negative cases at or above each threshold.
    pub fps: &'a [u32],
}

/// A threshold on a curve. `index` counts thresholds; `None` is +∞, where no case is called positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingPoint {
    /// Which threshold.
    pub index: Option<usize>,
    /// Share of the positive cases at or above it.
    pub sensitivity: f64,
    /// Share of the negative cases below it.
    pub specificity: f64,
}

impl Points<'_> {
    /// All positive and all negative cases.
    pub fn totals(&self) -> (u32, u32) {
        let last = |counts: &[u32]| counts.last().copied().unwrap_or(0);
        (last(self.tps), last(self.fps))
    }

    fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        self.tps.iter().copied().zip(self.fps.iter().copied())
    }

    /// 2U as [`RankSum`](super::RankSum) has it.
    pub fn two_u(&self) -> u128 {
        let mut two_u = 0;
        let mut before = (0, 0);
        for (tp, fp) in self.all() {
            two_u += u128::from(fp - before.1) * u128::from(u64::from(tp) + u64::from(before.0));
            before = (tp, fp);
        }
        two_u
    }

    /// The area under the ROC curve; NaN without a case of either class.
    pub fn auc(&self) -> f64 {
        let (positives, negatives) = self.totals();
        ratio(
            self.two_u(),
            2 * u128::from(positives) * u128::from(negatives),
        )
    }

    /// The area under the ROC curve up to a false positive rate, not standardised.
    pub fn partial_auc(&self, max_fpr: f64) -> f64 {
        let (positives, negatives) = self.totals();
        let most = max_fpr * f64::from(negatives);
        let mut two_u = 0_u128;
        let mut before = (0, 0);
        for (tp, fp) in self.all() {
            if f64::from(fp) > most {
                let (width, step) = (most - f64::from(before.1), f64::from(fp - before.1));
                let height = f64::from(before.0) + f64::from(tp - before.0) * (width / step);
                let rest = width * (f64::from(before.0) + height);
                return (two_u as f64 + rest) / (2.0 * f64::from(positives) * f64::from(negatives));
            }
            two_u += u128::from(fp - before.1) * u128::from(u64::from(tp) + u64::from(before.0));
            before = (tp, fp);
        }
        ratio(two_u, 2 * u128::from(positives) * u128::from(negatives))
    }

    /// Σ (R_n − R_{n−1}) P_n; NaN without a positive case.
    pub fn average_precision(&self) -> f64 {
        self.precisions(0) / f64::from(self.totals().0)
    }

    /// Σ (TP_n − TP_{n−1}) P_n, where the first point follows one with `before` true positives.
    pub(super) fn precisions(&self, before: u32) -> f64 {
        // Short runs are added in lanes, for divisions in vectors; their sums with compensation.
        const LANES: usize = 8;
        const RUN: usize = 8 * LANES;
        let mut sum = Compensated::default();
        let mut before = before;
        for (tps, fps) in self.tps.chunks(RUN).zip(self.fps.chunks(RUN)) {
            let mut lanes = [0.0; LANES];
            let mut gains = [0.0; RUN];
            for ((gain, &tp), &fp) in gains.iter_mut().zip(tps).zip(fps) {
                let (hits, called) = (f64::from(tp), f64::from(tp) + f64::from(fp));
                // Where a resample has drawn no case yet, nothing is gained either.
                *gain = f64::from(tp - before) * (hits / called.max(1.0));
                before = tp;
            }
            for gains in gains.chunks(LANES) {
                for (lane, gain) in lanes.iter_mut().zip(gains) {
                    *lane += gain;
                }
            }
            sum.add(lanes.iter().sum());
        }
        sum.total()
    }

    fn point(&self, index: Option<usize>) -> OperatingPoint {
        let (positives, negatives) = self.totals();
        let at = |counts: &[u32]| {
            index
                .and_then(|index| counts.get(index))
                .copied()
                .unwrap_or(0)
        };
        OperatingPoint {
            index,
            sensitivity: f64::from(at(self.tps)) / f64::from(positives),
            specificity: f64::from(negatives - at(self.fps)) / f64::from(negatives),
        }
    }

    /// The highest sensitivity whose specificity is at least `wanted`; of those, the highest specificity.
    pub fn sensitivity_at_specificity(&self, wanted: f64) -> OperatingPoint {
        let negatives = f64::from(self.totals().1);
        let within = self
            .fps
            .partition_point(|&fp| (negatives - f64::from(fp)) / negatives >= wanted);
        let best = within.checked_sub(1).map(|last| self.tps[last]);
        let index = best
            .filter(|&tp| tp > 0)
            .map(|tp| self.tps.partition_point(|&other| other < tp));
        self.point(index)
    }

    /// The highest specificity whose sensitivity is at least `wanted`; of those, the highest sensitivity.
    pub fn specificity_at_sensitivity(&self, wanted: f64) -> OperatingPoint {
        let positives = f64::from(self.totals().0);
        let first = self
            .tps
            .partition_point(|&tp| f64::from(tp) / positives < wanted);
        if wanted <= 0.0 {
            // Calling no case positive suffices; so may a threshold above all negatives.
            let above = self.fps.partition_point(|&fp| fp == 0);
            return self.point(above.checked_sub(1));
        }
        let first = first.min(self.fps.len().saturating_sub(1));
        let fp = self.fps.get(first).copied().unwrap_or(0);
        let same = self.fps.partition_point(|&other| other <= fp);
        self.point(same.checked_sub(1))
    }

    /// The largest sensitivity + specificity − 1, compared exactly; of several, the highest threshold.
    pub fn youden(&self) -> OperatingPoint {
        let (positives, negatives) = self.totals();
        let mut best = (None, 0);
        for (index, (tp, fp)) in self.all().enumerate() {
            let gain =
                i128::from(tp) * i128::from(negatives) - i128::from(fp) * i128::from(positives);
            if gain > best.1 {
                best = (Some(index), gain);
            }
        }
        self.point(best.0)
    }

    /// DeLong's variance of the area (1988): S10/P + S01/N, where S10 and S01 are the sample
    /// variances of the cases' placement values; exact until the last division.
    pub fn delong_variance(&self) -> f64 {
        let totals = self.totals();
        Placements::of(*self, (0, 0), totals).variance(totals)
    }
}

/// Sums of the cases' placement counts, doubled so that ties are integers, and of their squares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Placements {
    of_positives: (u128, u128),
    of_negatives: (u128, u128),
}

impl Placements {
    /// The sums over the cases of some points, which follow a point with the counts `before`.
    pub fn of(points: Points<'_>, before: (u32, u32), totals: (u32, u32)) -> Placements {
        let mut sums = Placements::default();
        let mut before = before;
        for (tp, fp) in points.all() {
            let (p, n) = (u128::from(tp - before.0), u128::from(fp - before.1));
            // Below 2^32: their squares are below 2^64.
            let below = u64::from(totals.1 - fp) + u64::from(totals.1 - before.1);
            let above = u64::from(tp) + u64::from(before.0);
            sums.of_positives.0 += p * u128::from(below);
            sums.of_positives.1 += p * u128::from(below * below);
            sums.of_negatives.0 += n * u128::from(above);
            sums.of_negatives.1 += n * u128::from(above * above);
            before = (tp, fp);
        }
        sums
    }

    pub fn add(&mut self, other: Placements) {
        self.of_positives.0 += other.of_positives.0;
        self.of_positives.1 += other.of_positives.1;
        self.of_negatives.0 += other.of_negatives.0;
        self.of_negatives.1 += other.of_negatives.1;
    }

    /// 2U
    pub fn two_u(&self) -> u128 {
        self.of_positives.0
    }

    pub fn variance(&self, (positives, negatives): (u32, u32)) -> f64 {
        // P·Σv² − (Σv)² = P·(P − 1)·(2N)²·S10.
        let part = |(sum, squares): (u128, u128), own: u32, other: u32| {
            let spread = u128::from(own) * squares - sum * sum;
            let (own, other) = (f64::from(own), f64::from(other));
            spread as f64 / (own * own * (own - 1.0) * 4.0 * other * other)
        };
        part(self.of_positives, positives, negatives)
            + part(self.of_negatives, negatives, positives)
    }
}

/// A sum that carries what rounding lost (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    #[inline(always)]
    pub fn add(&mut self, value: f64) {
        let next = self.sum + value;
        let (large, small) = if self.sum.abs() >= value.abs() {
            (self.sum, value)
        } else {
            (value, self.sum)
        };
        self.lost += (large - next) + small;
        self.sum = next;
    }

    #[inline(always)]
    pub fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_rounded_once() {
        assert_eq!(ratio(1, 3), 1.0 / 3.0);
        assert_eq!(ratio(0, 5), 0.0);
        assert!(ratio(0, 0).is_nan());
        // (2^60 + 1) / 2^61: rounds to one half, and (2^54 + 3) / 2^55 up to the next float.
        assert_eq!(ratio((1 << 60) + 1, 1 << 61), 0.5);
        assert_eq!(ratio((1 << 54) + 3, 1 << 55), 0.5 + f64::EPSILON / 2.0);
        // Numerator and denominator are no floats themselves.
        assert_eq!(ratio((1 << 61) - 1, (1 << 61) - 1), 1.0);
    }
}
