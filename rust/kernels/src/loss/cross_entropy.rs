//! Cross-entropy of logits and its gradient: the job, shared among threads.

use super::exp::{Exponential, ln_from_one};
use super::matrix::{Layout, Matrix};
use super::targets::{BadTarget, Share, Targets};
use crate::dtype::Grid;
use crate::isa::{Isa, per_isa};
use crate::lanes::{LANES, tree};
use crate::pool;
use crate::slots::{Slots, pairwise_sum};

/// Classes from which a row is long enough for vectors of its own: at most half of a row is then done
/// twice, where its last lanes overlap those before.
const LONG: usize = 64;

/// Elements of a tile.
const TILE: usize = 4096;

/// What is computed.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// What the rows should be.
    pub targets: Targets<'a>,
    /// A label that does not count.
    pub ignore_index: i64,
    /// What a given target is multiplied by.
    pub hit: f64,
    /// What is added to the target of every class.
    pub spread: f64,
    /// A weight for each class.
    pub weight: Option<&'a [f64]>,
    /// A weight for each row.
    pub sample_weight: Option<&'a [f64]>,
    /// What is returned.
    pub reduction: Reduction,
}

/// How the losses of the rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// They do not.
    None,
    /// Their sum.
    Sum,
    /// Their sum, divided by that of the rows' weights.
    Mean,
}

/// The answer, besides the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// The reduced loss; 0 if it is not reduced.
    pub loss: f64,
    /// By what the sum over the rows was divided: 1 unless the reduction is the mean.
    pub divisor: f64,
}

/// The loss of `logits`, computed in `F`; `losses` takes that of each row, if they are not reduced, and
/// `gradient` the derivative by the logits.
///
/// With `scaled`, the gradient is of the reduced loss; otherwise it is still to be divided by
/// [`Losses::divisor`], which float16 has not the range for.
///
/// # Safety
/// The buffers are of a type that `F` decodes, have the logits' shape (`losses`: a row an element), and
/// are valid for reads, and `losses` and `gradient` for writes that nobody else sees, until the call
/// returns.
///
/// # Panics
/// If there is no class, or a list has another length than there are rows or classes.
pub unsafe fn cross_entropy<F: Exponential>(
    isa: Isa,
    threads: usize,
    what: &CrossEntropy,
    logits: Matrix,
    losses: Option<Matrix>,
    gradient: Option<Matrix>,
    scaled: bool,
) -> Result<Losses, BadTarget> {
    let Layout {
        outer,
        inner,
        classes,
        ..
    } = logits.layout;
    let rows = logits.layout.rows();
    assert!(classes > 0, "no class");
    let lists = match what.targets {
        Targets::Classes(labels) => labels.len() == rows,
        Targets::Mixed(first, second, share) => {
            let fits = |share| !matches!(share, Share::Each(shares) if shares.len() != rows);
            first.len() == rows && second.len() == rows && fits(share)
        }
        Targets::Probabilities(_) => true,
    };
    assert!(
        lists
            && what.weight.is_none_or(|weight| weight.len() == classes)
            && what.sample_weight.is_none_or(|weight| weight.len() == rows),
        "a list of another length"
    );
    let total_weight = what.total_weight(rows, classes)?;
    let divisor = if what.reduction == Reduction::Mean {
        total_weight
    } else {
        1.0
    };

    if let Some(gradient) = gradient {
        gradient.ask_for_large_pages();
    }
    let job = Job {
        isa,
        what,
        logits,
        losses,
        gradient,
        scale: if scaled { 1.0 / divisor } else { 1.0 },
        weight: what
            .weight
            .map(|weight| weight.iter().map(|&w| F::from_f64(w)).collect()),
        weight_sum: match what.weight {
            Some(weight) => pairwise_sum(weight),
            None => classes as f64,
        },
    };
    let tile = (TILE / classes).clamp(1, TILE).next_multiple_of(LANES);
    let per_outer = inner.div_ceil(tile);
    let slots = Slots::new(outer * per_outer, || 0.0);
    pool::run(threads, outer * per_outer, &|index| {
        let (outer, start) = (index / per_outer, index % per_outer * tile);
        let end = inner.min(start + tile);
        // SAFETY: the caller vouches for the buffers; rows of two tiles are disjoint.
        unsafe { slots.set(index, run_tile::<F>(isa, &job, outer, start, end)) };
    });
    Ok(Losses {
        loss: pairwise_sum(&slots.into_values()) / divisor,
        divisor,
    })
}

pub(super) struct Job<'a, F> {
    pub(super) isa: Isa,
    pub(super) what: &'a CrossEntropy<'a>,
    pub(super) logits: Matrix,
    pub(super) losses: Option<Matrix>,
    pub(super) gradient: Option<Matrix>,
    pub(super) scale: f64,
    pub(super) weight: Option<Vec<F>>,
    pub(super) weight_sum: f64,
}

per_isa! {
    /// The sum of the losses of rows `start..end` of image `outer`.
    ///
    /// # Safety
    /// As for [`cross_entropy`]; no other thread has these rows.
    unsafe fn run_tile[F: Exponential][F](
        job: &Job<F>, outer: usize, start: usize, end: usize,
    ) -> f64 {
        let Layout { classes, class_stride, inner, .. } = job.logits.layout;
        let along = class_stride == 1 && classes >= LONG
            && job.gradient.is_none_or(|gradient| gradient.layout.class_stride == 1)
            && !matches!(job.what.targets, Targets::Probabilities(targets)
                         if targets.layout.class_stride != 1);
        let group = (TILE / classes).clamp(1, LANES);
        let mut scratch = [const { Vec::new() }; 3];
        let mut sums = [0.0; LANES];
        for first in (start..end).step_by(LANES) {
            let count = LANES.min(end - first);
            let mut rows = job.rows(outer * inner + first, count);
            // SAFETY: by contract.
            unsafe {
                if along {
                    for start in (0..count).step_by(group) {
                        let range = start..count.min(start + group);
                        job.along(&mut rows, outer, first, range, &mut scratch);
                    }
                } else {
                    job.across(&mut rows, outer, first, count, &mut scratch);
                }
            }
            let mut loss = [0.0; LANES];
            for i in 0..LANES {
                loss[i] = rows.total[i] * ln_from_one(rows.sum[i]) + rows.linear[i];
            }
            for i in 0..count {
                // A weight of 0 does not hide a NaN, but what is ignored is no matter.
                let ignored = rows.n_lists > 0 && !rows.counts[0][i] && !rows.counts[1][i];
                loss[i] = if ignored { 0.0 } else { loss[i] * rows.own[i] };
                sums[i] += loss[i];
            }
            if let Some(losses) = job.losses {
                let rounded: [F; LANES] = std::array::from_fn(|i| F::from_f64(loss[i]));
                // SAFETY: by contract.
                unsafe {
                    let grid = Grid { rows: 1, cols: count, row_stride: 0, col_stride: losses.layout.inner_stride };
                    F::store(job.isa, losses.dtype, &rounded, grid, losses.at(outer, first));
                }
            }
        }
        tree(sums, |a, b| a + b)
    }
}
