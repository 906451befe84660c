//! Few classes, or classes apart: blocks of rows are turned, so that a strip holds one class of many rows.

use super::CHUNKS;
use super::cross_entropy::Job;
use super::exp::Exponential;
use super::rows::Rows;
use super::targets::Targets;
use crate::lanes::LANES;

impl<F: Exponential> Job<'_, F> {
    /// Rows side by side, a class at a time.
    ///
    /// # Safety
    /// As for [`run_tile`].
    #[inline(always)]
    pub(super) unsafe fn across(
        &self,
        rows: &mut Rows<F>,
        outer: usize,
        first: usize,
        count: usize,
        [x, aims, _]: &mut [Vec<F>; 3],
    ) {
        let classes = self.logits.layout.classes;
        x.resize(classes * LANES, F::ZERO);
        let (dtype, from) = (self.logits.dtype, self.logits.at(outer, first));
        // SAFETY: the grid is the block's rows.
        unsafe { F::load(self.isa, dtype, from, self.logits.turned(count), x) };

        let mut max = [F::NEG_INFINITY; LANES];
        for x in x.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                max[i] = if x[i] > max[i] { x[i] } else { max[i] };
            }
        }
        for list in 0..rows.n_lists {
            for i in 0..count {
                if rows.counts[list][i] {
                    let below = max[i] - x[rows.class[list][i] * LANES + i];
                    rows.linear[i] += rows.hit[list][i] * below.to_f64();
                }
            }
        }
        let weight = self.weight.as_deref();
        if let Targets::Probabilities(targets) = self.what.targets {
            aims.resize(classes * LANES, F::ZERO);
            // SAFETY: the grid is the block's rows.
            unsafe {
                let from = targets.at(outer, first);
                F::load(self.isa, targets.dtype, from, targets.turned(count), aims);
            }
            self.aim(aims, |j| j / LANES);
            for (x, aims) in x
                .as_chunks::<LANES>()
                .0
                .iter()
                .zip(aims.as_chunks::<LANES>().0)
            {
                for i in 0..LANES {
                    rows.total[i] += aims[i].to_f64();
                    rows.linear[i] += (aims[i] * (max[i] - x[i])).to_f64();
                }
            }
        } else if self.what.spread != 0.0 {
            let mut below = [0.0; LANES];
            for (j, x) in x.as_chunks::<LANES>().0.iter().enumerate() {
                let w = weight.map_or(F::from_f64(1.0), |weight| weight[j]);
                for i in 0..LANES {
                    below[i] += (w * (max[i] - x[i])).to_f64();
                }
            }
            for i in 0..LANES {
                rows.linear[i] += if rows.spread[i] != 0.0 {
                    rows.spread[i] * below[i]
                } else {
                    0.0
                };
            }
        }

        let mut sums = [0.0; LANES];
        for x in x.chunks_mut(CHUNKS * LANES) {
            let mut part = [F::ZERO; LANES];
            for x in x.as_chunks_mut::<LANES>().0 {
                for i in 0..LANES {
                    x[i] = (x[i] - max[i]).exp_nonpositive();
                    part[i] = part[i] + x[i];
                }
            }
            for i in 0..LANES {
                sums[i] += part[i].to_f64();
            }
        }
        rows.sum = sums;

        let Some(gradient) = self.gradient else {
            return;
        };
        let mut share = [F::ZERO; LANES];
        let mut spread = [F::ZERO; LANES];
        let mut scale = [F::ZERO; LANES];
        for i in 0..LANES {
            (share[i], spread[i], scale[i]) = Self::factors(rows, i);
        }
        if matches!(self.what.targets, Targets::Probabilities(_)) {
            for (x, aims) in x
                .as_chunks_mut::<LANES>()
                .0
                .iter_mut()
                .zip(aims.as_chunks::<LANES>().0)
            {
                for i in 0..LANES {
                    x[i] = x[i] * share[i] - aims[i] * scale[i];
                }
            }
        } else {
            for (j, x) in x.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let w = weight.map_or(F::from_f64(1.0), |weight| weight[j]);
                for i in 0..LANES {
                    x[i] = x[i] * share[i] - spread[i] * w;
                }
            }
            for list in 0..rows.n_lists {
                for i in 0..count {
                    let x = &mut x[rows.class[list][i] * LANES + i];
                    *x = *x - F::from_f64(rows.scale[i] * rows.hit[list][i]);
                }
            }
        }
        // SAFETY: the grid is the block's rows.
        unsafe {
            let to = gradient.at(outer, first);
            F::store(self.isa, gradient.dtype, x, gradient.turned(count), to);
        }
    }
}
