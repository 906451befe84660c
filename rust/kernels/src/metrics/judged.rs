//! A cut that is chosen anew in every resample, and judged by what was not drawn.
//!
//! One walk a resample, without its curve: at each threshold the rule looks at the counts that were
//! drawn, and where it finds them better, notes them and those that were left out.

use super::bootstrap::{Plan, Resampling};
use super::score_index::{NEW, ROW};
use super::sort::NEGATIVE;

/// What a cut is chosen for. Of cuts that it finds equal the first, which has the highest threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The largest sensitivity + specificity − 1, compared exactly.
    Youden,
    /// The highest specificity with a sensitivity of at least so much.
    Sensitivity(f64),
    /// The highest sensitivity with a specificity of at least so much.
    Specificity(f64),
    /// The least cost, where a false negative costs so many times a false positive.
    Cost {
        /// How many times.
        ratio: f64,
        /// Share of positives where the costs arise; that of the resample if `None`.
        prevalence: Option<f64>,
    },
}

/// Sensitivity and specificity by the cases that were drawn, and by those that were not; NaN where a
/// class is missing.
pub type Judged = [f64; 4];

/// Numbers of positive and negative cases.
type Counts = [u64; 2];

impl Plan {
    /// Sets `values` to the judgements in the resamples from `first` on.
    pub fn judge(
        &self,
        threads: usize,
        rule: Rule,
        resampling: Resampling,
        first: u64,
        values: &mut [Judged],
    ) {
        self.each(threads, resampling, first, values, |scratch| {
            self.judged(rule, &scratch.counts)
        });
    }

    fn judged(&self, rule: Rule, counts: &[u8]) -> Judged {
        let totals = self.totals(counts);
        if totals.0[0] == 0 || totals.0[1] == 0 {
            return [f64::NAN; 4];
        }
        let best = match rule {
            Rule::Youden => {
                let [positives, negatives] = totals.0.map(|count| count as i64);
                // Fewer than 2^31 cases are drawn: products stay below 2^62.
                let mut most = 0;
                self.best(counts, |[tp, fp]| {
                    let worth = tp as i64 * negatives - fp as i64 * positives;
                    let better = worth > most;
                    most = if better { worth } else { most };
                    better
                })
            }
            Rule::Sensitivity(wanted) => {
                // Once it is reached, further thresholds that cost no false positive give more.
                let positives = totals.0[0] as f64;
                let mut reached = (wanted <= 0.0).then_some([0, 0]);
                self.best(counts, |at| {
                    let better = match reached {
                        Some([tp, fp]) => at[1] == fp && at[0] > tp,
                        None => at[0] as f64 / positives >= wanted,
                    };
                    reached = if better { Some(at) } else { reached };
                    better
                })
            }
            Rule::Specificity(wanted) => {
                let negatives = totals.0[1] as f64;
                let mut most = 0;
                self.best(counts, |[tp, fp]| {
                    let better = tp > most && 1.0 - fp as f64 / negatives >= wanted;
                    most = if better { tp } else { most };
                    better
                })
            }
            Rule::Cost { ratio, prevalence } => {
                let [positives, negatives] = totals.0.map(|count| count as f64);
                let share = prevalence.unwrap_or(positives / (positives + negatives));
                let cost = |[tp, fp]: Counts| {
                    (1.0 - tp as f64 / positives) * share * ratio
                        + fp as f64 / negatives * (1.0 - share)
                };
                let mut least = cost([0, 0]);
                self.best(counts, |at| {
                    let now = cost(at);
                    let better = now < least;
                    least = if better { now } else { least };
                    better
                })
            }
        };
        let [inside, outside] = [(best.0, totals.0), (best.1, totals.1)].map(|(at, of)| {
            if of[0] == 0 || of[1] == 0 {
                return [f64::NAN; 2];
            }
            [
                at[0] as f64 / of[0] as f64,
                1.0 - at[1] as f64 / of[1] as f64,
            ]
        });
        [inside[0], inside[1], outside[0], outside[1]]
    }

    /// How many cases of each class are drawn, and how many are not.
    fn totals(&self, counts: &[u8]) -> (Counts, Counts) {
        let (mut drawn, mut left_out) = ([0_u64; 2], [0_u64; 2]);
        for (unit, &count) in self.units.iter().zip(counts) {
            for class in 0..2 {
                drawn[class] += u64::from(unit[class] * u32::from(count));
                left_out[class] += u64::from(unit[class] * u32::from(count == 0));
            }
        }
        (drawn, left_out)
    }

    /// Counts above the cut, of what was drawn and of what was not: the last that is better; before
    /// the first nothing is above it.
    #[inline(always)]
    fn best(&self, counts: &[u8], mut is_better: impl FnMut(Counts) -> bool) -> (Counts, Counts) {
        let mut best = ([0; 2], [0; 2]);
        let (mut drawn, mut left_out) = ([0_u64; 2], [0_u64; 2]);
        let mut look = |drawn: Counts, left_out: Counts| {
            if is_better(drawn) {
                best = (drawn, left_out);
            }
        };
        for (place, &entry) in self.walk.iter().enumerate() {
            if entry & NEW != 0 && place > 0 {
                look(drawn, left_out);
            }
            let count = u64::from(counts.get((entry & ROW) as usize).copied().unwrap_or(0));
            let out = u64::from(count == 0);
            let if_negative = i64::from((entry & NEGATIVE) as i32 >> 31) as u64;
            drawn[0] += count & !if_negative;
            drawn[1] += count & if_negative;
            left_out[0] += out & !if_negative;
            left_out[1] += out & if_negative;
        }
        if !self.walk.is_empty() {
            look(drawn, left_out);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::Draws;
    use super::super::score_index::ScoreIndex;
    use super::super::truth::Cases;
    use super::*;

    const SEED: u64 = 7;

    fn index(labels: &[bool], scores: &[f64]) -> ScoreIndex {
        let truth = Cases {
            labels,
            positive: true,
            negative: None,
        };
        ScoreIndex::new(1, scores, &truth, true, &mut || true).expect("cases")
    }

    fn resampling(draws: Draws) -> Resampling {
        Resampling { draws, seed: SEED }
    }

    /// By the curves of what was drawn and of what was not.
    fn by_curves(index: &ScoreIndex, rule: Rule, counts: &[u32]) -> Judged {
        let n = index.curve().thresholds.len();
        let mut curves = vec![([0_u64; 2], [0_u64; 2]); n + 1];
        let mut at = 0;
        for (place, &entry) in index.walk.iter().enumerate() {
            if entry & NEW != 0 || place == 0 {
                at += 1;
                curves[at] = curves[at - 1];
            }
            let class = usize::from(entry & NEGATIVE != 0);
            let count = u64::from(counts[(entry & ROW) as usize]);
            curves[at].0[class] += count;
            curves[at].1[class] += u64::from(count == 0);
        }
        let (inside, outside) = curves[n];
        let rate = |at: u64, of: u64| at as f64 / of as f64;
        let worth = |(at, _): &([u64; 2], [u64; 2])| {
            let tpr = rate(at[0], inside[0]);
            let tnr = 1.0 - rate(at[1], inside[1]);
            match rule {
                Rule::Youden => tpr + tnr,
                Rule::Sensitivity(wanted) if tpr >= wanted => tnr + 1e-6 * tpr,
                Rule::Specificity(wanted) if tnr >= wanted => tpr,
                Rule::Cost { ratio, prevalence } => {
                    let share = prevalence.unwrap_or(rate(inside[0], inside[0] + inside[1]));
                    -((1.0 - tpr) * share * ratio + (1.0 - tnr) * (1.0 - share))
                }
                _ => -1.0,
            }
        };
        let mut best = 0;
        for (cut, each) in curves.iter().enumerate() {
            if worth(each) > worth(&curves[best]) + 1e-12 {
                best = cut;
            }
        }
        let of = |at: [u64; 2], of: [u64; 2]| [rate(at[0], of[0]), 1.0 - rate(at[1], of[1])];
        let [a, b] = of(curves[best].0, inside);
        let [c, d] = of(curves[best].1, outside);
        [a, b, c, d]
    }

    #[test]
    fn cuts_are_those_of_a_search_over_all_thresholds() {
        let n = 90_usize;
        let labels: Vec<bool> = (0..n).map(|row| row * 7 % 5 < 2).collect();
        // Ties; and positive cases somewhat higher.
        let scores: Vec<f64> = (0..n)
            .map(|row| ((row * 31 % 23) + 4 * usize::from(labels[row])) as f64)
            .collect();
        let index = index(&labels, &scores);
        let plan = Plan::new(&index);
        let groups: Vec<u32> = (0..n as u32).map(|row| row / 4).collect();
        let of_groups = Plan::of_groups(&index, &groups, 23);
        let rules = [
            Rule::Youden,
            Rule::Sensitivity(0.8),
            Rule::Sensitivity(0.0),
            Rule::Specificity(0.75),
            Rule::Cost {
                ratio: 3.3,
                prevalence: None,
            },
            Rule::Cost {
                ratio: 50.0,
                prevalence: Some(0.02),
            },
        ];
        for rule in rules {
            let mut values = [[[0.0; 4]; 20]; 2];
            plan.judge(1, rule, resampling(Draws::Stratified), 0, &mut values[0]);
            of_groups.judge(2, rule, resampling(Draws::Cases), 0, &mut values[1]);
            for resample in 0..20 {
                let counts = plan.counts(&index, resampling(Draws::Stratified), resample);
                let wanted = by_curves(&index, rule, &counts);
                assert_eq!(values[0][resample as usize], wanted, "{rule:?}");
                let mut of_each = Vec::new();
                of_groups.draw(resampling(Draws::Cases), resample, &mut of_each);
                assert_eq!(
                    of_each.iter().map(|&count| u32::from(count)).sum::<u32>(),
                    23
                );
                let counts: Vec<u32> = (groups.iter())
                    .map(|&group| u32::from(of_each[group as usize]))
                    .collect();
                let wanted = by_curves(&index, rule, &counts);
                assert_eq!(values[1][resample as usize], wanted, "{rule:?}");
            }
        }
    }

    #[test]
    fn a_class_that_was_not_drawn_is_nan() {
        let (scores, labels) = ([1.0, 2.0, 3.0], [true, false, false]);
        let index = index(&labels, &scores);
        let plan = Plan::of_groups(&index, &[0, 1, 2], 3);
        let mut values = [[0.0; 4]; 64];
        plan.judge(1, Rule::Youden, resampling(Draws::Cases), 0, &mut values);
        assert!(values.iter().any(|value| value[0].is_nan()));
        // Drawn at least once, its only case is never left out.
        assert!(values.iter().all(|value| value[2].is_nan()));
    }
}
