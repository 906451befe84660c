//! What is known of a block of rows: their targets as what is hit and what is spread, the weights, and
//! what is found on the way to the loss.

use super::cross_entropy::Job;
use super::exp::Exponential;
use super::targets::Targets;
use crate::lanes::{LANES, Lanes};

/// What is known of a block of rows.
pub(super) struct Rows<F> {
    /// The classes that are hit, by as many lists as there are.
    pub(super) class: [Lanes<usize>; 2],
    /// wⱼ·tⱼ of them, less what is spread.
    pub(super) hit: [Lanes<f64>; 2],
    pub(super) counts: [Lanes<bool>; 2],
    pub(super) n_lists: usize,
    /// What every class gets.
    pub(super) spread: Lanes<f64>,
    /// By what the row's loss is multiplied, and its gradient.
    pub(super) own: Lanes<f64>,
    pub(super) scale: Lanes<f64>,
    /// T
    pub(super) total: Lanes<f64>,
    /// Σ wⱼ·tⱼ·(m − xⱼ)
    pub(super) linear: Lanes<f64>,
    pub(super) max: Lanes<F>,
    /// s
    pub(super) sum: Lanes<f64>,
}

impl<F: Exponential> Job<'_, F> {
    #[inline(always)]
    pub(super) fn rows(&self, first: usize, count: usize) -> Rows<F> {
        let mut rows = Rows {
            class: [[0; LANES]; 2],
            hit: [[0.0; LANES]; 2],
            counts: [[false; LANES]; 2],
            n_lists: 0,
            spread: [0.0; LANES],
            own: [1.0; LANES],
            scale: [0.0; LANES],
            total: [0.0; LANES],
            linear: [0.0; LANES],
            max: [F::NEG_INFINITY; LANES],
            sum: [1.0; LANES],
        };
        let what = self.what;
        if let Some(weight) = what.sample_weight {
            rows.own[..count].copy_from_slice(&weight[first..first + count]);
        }
        match what.targets {
            Targets::Classes(labels) => {
                self.hits(&mut rows, &labels[first..first + count], |_| 1.0);
            }
            Targets::Mixed(one, other, share) => {
                let share = |i: usize| share.of(first + i);
                self.hits(&mut rows, &one[first..first + count], share);
                self.hits(&mut rows, &other[first..first + count], |i| 1.0 - share(i));
            }
            Targets::Probabilities(_) => {}
        }
        for i in 0..LANES {
            let ignored = rows.n_lists > 0 && !rows.counts[0][i] && !rows.counts[1][i];
            // Nothing is left of them: where all are ignored, the mean's scale is infinite.
            rows.own[i] = if ignored { 0.0 } else { rows.own[i] };
            rows.scale[i] = if ignored {
                0.0
            } else {
                self.scale * rows.own[i]
            };
            rows.total[i] += rows.spread[i] * self.weight_sum;
        }
        rows
    }

    #[inline(always)]
    fn hits(&self, rows: &mut Rows<F>, labels: &[i64], share: impl Fn(usize) -> f64) {
        let list = rows.n_lists;
        rows.n_lists += 1;
        let last = self.logits.layout.classes - 1;
        for (i, &label) in labels.iter().enumerate().take(LANES) {
            let counts = label != self.what.ignore_index;
            // Labels were looked at before, but somebody may write them meanwhile.
            let class = if counts {
                (label as usize).min(last)
            } else {
                0
            };
            let share = if counts { share(i) } else { 0.0 };
            rows.class[list][i] = class;
            rows.counts[list][i] = counts;
            let weight = self.what.weight.map_or(1.0, |weight| weight[class]);
            rows.hit[list][i] = share * self.what.hit * weight;
            rows.spread[i] += share * self.what.spread;
        }
        for i in 0..LANES {
            rows.total[i] += rows.hit[list][i];
        }
    }

    /// By what exp, wⱼ and wⱼ·tⱼ of row `i` are multiplied in its gradient.
    #[inline(always)]
    pub(super) fn factors(rows: &Rows<F>, i: usize) -> (F, F, F) {
        let scale = rows.scale[i];
        let share = scale * rows.total[i] / rows.sum[i];
        let spread = scale * rows.spread[i];
        (F::from_f64(share), F::from_f64(spread), F::from_f64(scale))
    }

    /// wⱼ·tⱼ in the place of given probabilities; `class` tells whose an element is.
    #[inline(always)]
    pub(super) fn aim(&self, aims: &mut [F], class: impl Fn(usize) -> usize) {
        if self.what.hit != 1.0 || self.what.spread != 0.0 {
            let (hit, spread) = (F::from_f64(self.what.hit), F::from_f64(self.what.spread));
            for aim in aims.iter_mut() {
                *aim = hit * *aim + spread;
            }
        }
        if let Some(weight) = &self.weight {
            for (j, aim) in aims.iter_mut().enumerate() {
                *aim = *aim * weight[class(j)];
            }
        }
    }
}
