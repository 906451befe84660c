//! Rows whose classes lie side by side, walked along: enough of them that each fills vectors of its own.

use std::ops::Range;

use super::cross_entropy::Job;
use super::exp::Exponential;
use super::rows::Rows;
use super::sums::{exps_of, largest, total};
use super::targets::Targets;

impl<F: Exponential> Job<'_, F> {
    /// Rows whose classes lie side by side, from `start` on.
    ///
    /// Each step is done for all rows before the next: within a row, each waits for the one before.
    ///
    /// # Safety
    /// As for [`run_tile`].
    #[inline(always)]
    pub(super) unsafe fn along(
        &self,
        rows: &mut Rows<F>,
        outer: usize,
        first: usize,
        range: Range<usize>,
        [decoded, exps, aims]: &mut [Vec<F>; 3],
    ) {
        let classes = self.logits.layout.classes;
        let weight = self.weight.as_deref();
        let start = range.start;
        let of_row = |i: usize| (i - start) * classes..(i - start + 1) * classes;

        let x_of = |i: usize| self.logits.at(outer, first + i);
        let x_is_direct = self.logits.dtype == F::DTYPE && x_of(0).cast::<F>().is_aligned();
        let size = range.len() * classes;
        if !x_is_direct {
            decoded.resize(size, F::ZERO);
            for i in range.clone() {
                // SAFETY: the row is valid for reads, by contract.
                unsafe { F::decode(self.logits.dtype, x_of(i), &mut decoded[of_row(i)]) };
            }
        }
        let x_of = |i: usize| -> &[F] {
            if x_is_direct {
                // SAFETY: the row is valid for reads and, as the first, aligned.
                unsafe { std::slice::from_raw_parts(x_of(i).cast(), classes) }
            } else {
                &decoded[of_row(i)]
            }
        };
        let g_at = |i: usize| self.gradient.map(|gradient| gradient.at(outer, first + i));
        let g_is_direct = self.gradient.is_some_and(|gradient| {
            gradient.dtype == F::DTYPE && gradient.at(outer, first).cast::<F>().is_aligned()
        });
        if !g_is_direct {
            exps.resize(size, F::ZERO);
        }
        let g_of = |i: usize, exps: &mut [F]| -> &mut [F] {
            match g_at(i) {
                // SAFETY: the row is valid for writes, as the first is aligned, and no other slice of
                // it is alive.
                Some(to) if g_is_direct => unsafe {
                    std::slice::from_raw_parts_mut(to.cast(), classes)
                },
                // SAFETY: the row of `exps`, borrowed for as long.
                _ => unsafe {
                    std::slice::from_raw_parts_mut(exps[of_row(i)].as_mut_ptr(), classes)
                },
            }
        };

        for i in range.clone() {
            rows.max[i] = largest(x_of(i));
        }
        for i in range.clone() {
            rows.sum[i] = exps_of(x_of(i), g_of(i, exps), rows.max[i]);
        }
        if let Targets::Probabilities(targets) = self.what.targets {
            aims.resize(size, F::ZERO);
            for i in range.clone() {
                let (aims, x, max) = (&mut aims[of_row(i)], x_of(i), rows.max[i]);
                // SAFETY: the row is valid for reads, by contract.
                unsafe { F::decode(targets.dtype, targets.at(outer, first + i), aims) };
                self.aim(aims, |j| j);
                rows.total[i] = total(aims, |_, aim| aim);
                rows.linear[i] = total(aims, |j, aim| aim * (max - x[j]));
            }
        } else {
            for list in 0..rows.n_lists {
                for i in range.clone().filter(|&i| rows.counts[list][i]) {
                    let below = rows.max[i] - x_of(i)[rows.class[list][i]];
                    rows.linear[i] += rows.hit[list][i] * below.to_f64();
                }
            }
            for i in range.clone().filter(|&i| rows.spread[i] != 0.0) {
                let (x, max) = (x_of(i), rows.max[i]);
                let below = match weight {
                    Some(weight) => total(x, |j, x| weight[j] * (max - x)),
                    None => total(x, |_, x| max - x),
                };
                rows.linear[i] += rows.spread[i] * below;
            }
        }

        let Some(gradient) = self.gradient else {
            return;
        };
        for i in range.clone() {
            let (share, spread, scale) = Self::factors(rows, i);
            let g = g_of(i, exps);
            if matches!(self.what.targets, Targets::Probabilities(_)) {
                for (g, &aim) in g.iter_mut().zip(&aims[of_row(i)]) {
                    *g = *g * share - aim * scale;
                }
            } else if let Some(weight) = weight {
                for (g, &w) in g.iter_mut().zip(weight) {
                    *g = *g * share - spread * w;
                }
            } else {
                for g in g.iter_mut() {
                    *g = *g * share - spread;
                }
            }
        }
        for list in 0..rows.n_lists {
            for i in range.clone() {
                let g = &mut g_of(i, exps)[rows.class[list][i]];
                *g = *g - F::from_f64(rows.scale[i] * rows.hit[list][i]);
            }
        }
        if !g_is_direct {
            for i in range {
                // SAFETY: the row is valid for writes, by contract.
                unsafe {
                    let to = gradient.at(outer, first + i);
                    F::encode(gradient.dtype, &exps[of_row(i)], to);
                }
            }
        }
    }
}
