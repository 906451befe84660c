//! Cross-entropy of logits and its gradient, in one pass.
//!
//! ```text
//! tⱼ = hit·yⱼ + spread                    y: one class, two classes in shares, or given probabilities
//! L  = −Σⱼ wⱼ·tⱼ·ln pⱼ = T·ln s + Σⱼ wⱼ·tⱼ·(m − xⱼ)        m = maxⱼ xⱼ,  s = Σⱼ exp(xⱼ − m),  T = Σⱼ wⱼ·tⱼ
//! ∂L/∂xⱼ = T·pⱼ − wⱼ·tⱼ                   pⱼ = exp(xⱼ − m) / s
//! ```
//!
//! Every form of label smoothing is a `hit` and a `spread`, so that no matrix of targets is made.
//!
//! Many classes that lie side by side are walked along, row by row. Few classes would leave most of a
//! vector empty: there, [`LANES`] rows are turned so that a vector holds one class of many rows.
//! Sums over classes are in `F` for at most 256 of them, and from there in `f64`.

// Several arrays are walked lane by lane: the number of the lane says so.
#![allow(clippy::needless_range_loop)]

use std::cell::UnsafeCell;
use std::ops::Range;

use super::exp::{Exponential, ln_from_one};
use crate::dtype::{DType, Grid};
use crate::isa::{Isa, per_isa};
use crate::pool;

/// Rows of a block, or classes that are taken at a time.
const LANES: usize = 32;

/// Classes from which a row is long enough for vectors of its own: at most half of a row is then done
/// twice, where its last lanes overlap those before.
const LONG: usize = 64;

/// Chunks of classes that are summed in `F`.
const CHUNKS: usize = 8;

/// Elements of a tile.
const TILE: usize = 4096;

/// Where the logits of `outer` × `inner` rows of `classes` lie; strides in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Images, say.
    pub outer: usize,
    /// Pixels of an image.
    pub inner: usize,
    /// Classes, at least one.
    pub classes: usize,
    /// From an image to the next.
    pub outer_stride: isize,
    /// From a pixel to the next.
    pub inner_stride: isize,
    /// From a class to the next.
    pub class_stride: isize,
}

impl Layout {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.outer * self.inner
    }
}

/// A buffer with its layout.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// The first class of the first row.
    pub data: *mut u8,
    /// The elements' type.
    pub dtype: DType,
    /// Where they lie.
    pub layout: Layout,
}

// SAFETY: the pointer is only followed by `cross_entropy`, whose caller vouches for it.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    fn at(&self, outer: usize, inner: usize) -> *mut u8 {
        let Layout {
            outer_stride,
            inner_stride,
            ..
        } = self.layout;
        let offset = outer as isize * outer_stride + inner as isize * inner_stride;
        self.data
            .wrapping_offset(offset * self.dtype.size() as isize)
    }

    /// `rows` rows from one on, turned: a row of the grid is a class.
    fn turned(&self, rows: usize) -> Grid {
        Grid {
            rows: self.layout.classes,
            cols: rows,
            row_stride: self.layout.class_stride,
            col_stride: self.layout.inner_stride,
        }
    }
}

/// The share of the first of two labels.
#[derive(Clone, Copy, Debug)]
pub enum Share<'a> {
    /// One for all rows.
    All(f64),
    /// One a row.
    Each(&'a [f64]),
}

/// What the rows should be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A class each.
    Classes(&'a [i64]),
    /// Two classes each, in shares that sum to 1 (mixup).
    Mixed(&'a [i64], &'a [i64], Share<'a>),
    /// A probability for each class, laid out and typed in any way that the logits could be.
    Probabilities(Matrix),
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

/// A label that is no class, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget {
    /// Which of two lists of labels.
    pub list: usize,
    /// The label.
    pub label: i64,
    /// The row.
    pub row: usize,
}

/// The answer, besides the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// The reduced loss; 0 if it is not reduced.
    pub loss: f64,
    /// By what the sum over the rows was divided: 1 unless the reduction is the mean.
    pub divisor: f64,
}

impl CrossEntropy<'_> {
    /// The sum of the rows' weights: of each row that of its class, times its own.
    fn total_weight(&self, rows: usize, classes: usize) -> Result<f64, BadTarget> {
        const PART: usize = 1024;
        let lists: &[&[i64]] = match &self.targets {
            Targets::Classes(labels) => &[labels],
            Targets::Mixed(first, second, _) => &[first, second],
            Targets::Probabilities(_) => &[],
        };
        if let (Targets::Classes(labels), None, None) =
            (&self.targets, self.weight, self.sample_weight)
        {
            let (mut counted, mut bad) = (0, false);
            for &label in *labels {
                let counts = label != self.ignore_index;
                counted += usize::from(counts);
                bad |= counts & (label as u64 >= classes as u64);
            }
            if !bad {
                return Ok(counted as f64);
            }
        }
        for (list, labels) in lists.iter().enumerate() {
            let is_bad = |&label: &i64| {
                label != self.ignore_index && usize::try_from(label).map_or(true, |c| c >= classes)
            };
            if let Some(row) = labels.iter().position(is_bad) {
                return Err(BadTarget {
                    list,
                    label: labels[row],
                    row,
                });
            }
        }
        let of_row = |row: usize| {
            let class_weight = |label: i64| match self.weight {
                _ if label == self.ignore_index => 0.0,
                Some(weight) => weight[(label as usize).min(classes - 1)],
                None => 1.0,
            };
            let of_classes = match self.targets {
                Targets::Classes(labels) => class_weight(labels[row]),
                Targets::Mixed(first, second, share) => {
                    let share = share.of(row);
                    share * class_weight(first[row]) + (1.0 - share) * class_weight(second[row])
                }
                Targets::Probabilities(_) => 1.0,
            };
            of_classes * self.sample_weight.map_or(1.0, |weight| weight[row])
        };
        let parts = (0..rows).step_by(PART);
        let sums = parts.map(|start| (start..rows.min(start + PART)).map(of_row).sum());
        Ok(pairwise_sum(&sums.collect::<Vec<f64>>()))
    }
}

impl Share<'_> {
    #[inline(always)]
    fn of(&self, row: usize) -> f64 {
        match self {
            Share::All(share) => *share,
            Share::Each(shares) => shares[row],
        }
    }
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
    struct Slot(UnsafeCell<f64>);
    // SAFETY: slot i is written by the one thread that runs tile i, and read after all have ended.
    unsafe impl Sync for Slot {}
    let slots: Vec<Slot> = (0..outer * per_outer)
        .map(|_| Slot(UnsafeCell::new(0.0)))
        .collect();
    pool::run(threads, slots.len(), &|index| {
        let (outer, start) = (index / per_outer, index % per_outer * tile);
        let end = inner.min(start + tile);
        // SAFETY: the caller vouches for the buffers; rows of two tiles are disjoint. See `Slot`.
        unsafe { *slots[index].0.get() = run_tile::<F>(isa, &job, outer, start, end) };
    });
    let sums: Vec<f64> = slots.into_iter().map(|slot| slot.0.into_inner()).collect();
    Ok(Losses {
        loss: pairwise_sum(&sums) / divisor,
        divisor,
    })
}

struct Job<'a, F> {
    isa: Isa,
    what: &'a CrossEntropy<'a>,
    logits: Matrix,
    losses: Option<Matrix>,
    gradient: Option<Matrix>,
    scale: f64,
    weight: Option<Vec<F>>,
    weight_sum: f64,
}

/// What is known of a block of rows.
struct Rows<F> {
    /// The classes that are hit, by as many lists as there are.
    class: [[usize; LANES]; 2],
    /// wⱼ·tⱼ of them, less what is spread.
    hit: [[f64; LANES]; 2],
    counts: [[bool; LANES]; 2],
    n_lists: usize,
    /// What every class gets.
    spread: [f64; LANES],
    /// By what the row's loss is multiplied, and its gradient.
    own: [f64; LANES],
    scale: [f64; LANES],
    /// T
    total: [f64; LANES],
    /// Σ wⱼ·tⱼ·(m − xⱼ)
    linear: [f64; LANES],
    max: [F; LANES],
    /// s
    sum: [f64; LANES],
}

impl<F: Exponential> Job<'_, F> {
    #[inline(always)]
    fn rows(&self, first: usize, count: usize) -> Rows<F> {
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
        let size = if along { 3 * group * classes } else { 2 * LANES * classes };
        let mut scratch = vec![F::ZERO; size];
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

impl<F: Exponential> Job<'_, F> {
    /// Rows whose classes lie side by side, from `start` on.
    ///
    /// Each step is done for all rows before the next: within a row, each waits for the one before.
    ///
    /// # Safety
    /// As for [`run_tile`].
    #[inline(always)]
    unsafe fn along(
        &self,
        rows: &mut Rows<F>,
        outer: usize,
        first: usize,
        range: Range<usize>,
        scratch: &mut [F],
    ) {
        let classes = self.logits.layout.classes;
        let size = scratch.len() / 3;
        let (decoded, scratch) = scratch.split_at_mut(size);
        let (exps, aims) = scratch.split_at_mut(size);
        let weight = self.weight.as_deref();
        let start = range.start;
        let of_row = |i: usize| (i - start) * classes..(i - start + 1) * classes;

        let x_of = |i: usize| self.logits.at(outer, first + i);
        let x_is_direct = self.logits.dtype == F::DTYPE && x_of(0).cast::<F>().is_aligned();
        if !x_is_direct {
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

    /// By what exp, wⱼ and wⱼ·tⱼ of row `i` are multiplied in its gradient.
    #[inline(always)]
    fn factors(rows: &Rows<F>, i: usize) -> (F, F, F) {
        let scale = rows.scale[i];
        let share = scale * rows.total[i] / rows.sum[i];
        let spread = scale * rows.spread[i];
        (F::from_f64(share), F::from_f64(spread), F::from_f64(scale))
    }

    /// Rows side by side, a class at a time.
    ///
    /// # Safety
    /// As for [`run_tile`].
    #[inline(always)]
    unsafe fn across(
        &self,
        rows: &mut Rows<F>,
        outer: usize,
        first: usize,
        count: usize,
        scratch: &mut [F],
    ) {
        let classes = self.logits.layout.classes;
        let (x, aims) = scratch.split_at_mut(classes * LANES);
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

    /// wⱼ·tⱼ in the place of given probabilities; `class` tells whose an element is.
    #[inline(always)]
    fn aim(&self, aims: &mut [F], class: impl Fn(usize) -> usize) {
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

#[inline(always)]
fn largest<F: Exponential>(x: &[F]) -> F {
    let mut max = [F::NEG_INFINITY; LANES];
    // Twice the same number is no matter.
    for x in x
        .as_chunks::<LANES>()
        .0
        .iter()
        .chain(x.last_chunk::<LANES>())
    {
        for i in 0..LANES {
            max[i] = if x[i] > max[i] { x[i] } else { max[i] };
        }
    }
    tree(max, |a, b| if b > a { b } else { a })
}

/// Writes exp(xⱼ − max) to `g`, and returns their sum. There are at least [`LANES`].
#[inline(always)]
fn exps_of<F: Exponential>(x: &[F], g: &mut [F], max: F) -> f64 {
    let mut total = 0.0;
    let parts = x.chunks(CHUNKS * LANES);
    for (x, g) in parts.zip(g.chunks_mut(CHUNKS * LANES)) {
        let mut sum = [F::ZERO; LANES];
        let chunks = x.as_chunks::<LANES>().0;
        for (x, g) in chunks.iter().zip(g.as_chunks_mut::<LANES>().0) {
            for i in 0..LANES {
                g[i] = (x[i] - max).exp_nonpositive();
                sum[i] = sum[i] + g[i];
            }
        }
        total += tree(sum, |a, b| a + b).to_f64();
    }
    // The last ones of the row, of which some were done before and come to the same.
    let new = x.len() % LANES;
    if let (1.., Some(x), Some(g)) = (new, x.last_chunk::<LANES>(), g.last_chunk_mut::<LANES>()) {
        let mut sum: [F; LANES] = [F::ZERO; LANES];
        for i in 0..LANES {
            g[i] = (x[i] - max).exp_nonpositive();
            sum[i] = if i + new < LANES { F::ZERO } else { g[i] };
        }
        total += tree(sum, |a, b| a + b).to_f64();
    }
    total
}

/// The sum of f(j, valueⱼ).
#[inline(always)]
fn total<F: Exponential>(values: &[F], f: impl Fn(usize, F) -> F) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for (chunk, values) in chunks.iter().enumerate() {
        for i in 0..LANES {
            sums[i] += f(chunk * LANES + i, values[i]).to_f64();
        }
    }
    for (i, &value) in rest.iter().enumerate() {
        sums[i] += f(chunks.len() * LANES + i, value).to_f64();
    }
    tree(sums, |a, b| a + b)
}

/// All lanes in one, over a balanced tree.
#[inline(always)]
fn tree<T: Copy>(lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    // Each half by itself: as a loop it does not become vectors.
    let half: [T; 16] = std::array::from_fn(|i| join(lanes[i], lanes[i + 16]));
    let half: [T; 8] = std::array::from_fn(|i| join(half[i], half[i + 8]));
    let half: [T; 4] = std::array::from_fn(|i| join(half[i], half[i + 4]));
    join(join(half[0], half[2]), join(half[1], half[3]))
}

/// The sum over a balanced tree: its rounding error grows with the logarithm of the length.
fn pairwise_sum(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            pairwise_sum(left) + pairwise_sum(right)
        }
    }
}
