//! Mean and variance of parts, and of the whole from them (Chan, Golub & LeVeque 1979).
//!
//! ```text
//! n = nₐ + n_b          δ = mean_b − meanₐ
//! mean = meanₐ + δ·n_b/n
//! M₂   = M₂ₐ + M₂_b + δ²·nₐ·n_b/n          M₂ = Σ (x − mean)²
//! ```
//!
//! Squares are of distances from a center of the part's own, so that nothing cancels, however large the
//! mean is against the spread. The mean of its first elements is such a center, and one pass does; where
//! they were not like the rest, the part's mean is found first. Parts are some thousand elements, summed
//! in their own type; all above them is `f64`.

use std::slice;

use super::Statistics;
use crate::dtype::Float;
use crate::lanes::{LANES, Lanes, Used, read, total};

/// Count, mean and sum of squared distances from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub count: f64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    #[inline(always)]
    pub(super) fn merge(&mut self, part: &Moments) {
        let (mean, squares) = (
            slice::from_mut(&mut self.mean),
            slice::from_mut(&mut self.squares),
        );
        let (part_mean, part_squares) =
            (slice::from_ref(&part.mean), slice::from_ref(&part.squares));
        merge(
            self.count,
            mean,
            squares,
            part.count,
            part_mean,
            part_squares,
        );
        self.count += part.count;
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            mean: self.mean,
            variance: self.squares / self.count,
        }
    }
}

/// Merges channels side by side, of equal counts, with parts of equal counts.
#[inline(always)]
pub(super) fn merge(
    count: f64,
    means: &mut [f64],
    squares: &mut [f64],
    part_count: f64,
    part_means: &[f64],
    part_squares: &[f64],
) {
    if count == 0.0 {
        means.copy_from_slice(part_means);
        squares.copy_from_slice(part_squares);
        return;
    }
    let share = part_count / (count + part_count);
    let weight = count * share;
    let len = means.len();
    let (squares, part_means, part_squares) = (
        &mut squares[..len],
        &part_means[..len],
        &part_squares[..len],
    );
    for i in 0..len {
        let apart = part_means[i] - means[i];
        means[i] += apart * share;
        squares[i] += part_squares[i] + apart * apart * weight;
    }
}

/// `rows` runs of `cols` elements, `pitch` apart: of one channel, or of channels side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    pub rows: usize,
    pub cols: usize,
    pub pitch: usize,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }
}

/// Runs a block for every strip of every run, with its start and the lanes that count.
macro_rules! each_strip {
    ($runs:expr, |$start:ident, $used:ident| $block:block) => {{
        let runs: $crate::norm::moments::Runs = $runs;
        let rest = runs.cols % LANES;
        for row in 0..runs.rows {
            let run = row * runs.pitch;
            for strip in 0..runs.cols / LANES {
                let ($start, $used) = (run + strip * LANES, Used::All);
                $block
            }
            if rest > 0 && runs.cols > LANES {
                let ($start, $used) = (run + runs.cols - LANES, Used::Last(rest));
                $block
            } else if rest > 0 {
                let ($start, $used) = (run, Used::First(rest));
                $block
            }
        }
    }};
}
pub(super) use each_strip;

/// Elements whose mean is a part's center.
const FIRST: usize = 128;

/// The moments of a part, in one pass, computed in its own type: or in two and `f64`.
///
/// # Safety
/// The runs from `x` on are valid for reads.
#[inline(always)]
pub(super) unsafe fn moments_of<F: Float>(x: *const F, runs: Runs) -> Moments {
    // SAFETY: by contract.
    unsafe {
        let first = Runs {
            rows: (FIRST / runs.cols.max(1)).clamp(1, runs.rows),
            cols: runs.cols.min(FIRST),
            ..runs
        };
        let mut sums = [F::ZERO; LANES];
        each_strip!(first, |offset, used| {
            let x = read::<F, F>(x.add(offset), used, &[F::ZERO; LANES]);
            for l in 0..LANES {
                sums[l] = sums[l] + x[l];
            }
        });
        let center = F::from_f64(total(&sums) / first.len() as f64);
        match around::<F, F>(x, runs, center) {
            (moments, true) => moments,
            (_, false) => in_two_passes(x, runs),
        }
    }
}

/// The moments of a part in `f64`, around its mean.
///
/// # Safety
/// The runs from `x` on are valid for reads.
#[inline(always)]
pub(super) unsafe fn in_two_passes<F: Float>(x: *const F, runs: Runs) -> Moments {
    // SAFETY: by contract.
    unsafe {
        let center = around::<F, f64>(x, runs, 0.0).0.mean;
        around::<F, f64>(x, runs, center).0
    }
}

/// The moments of a part by the distances from a center, computed in `A`, and whether they can be relied on.
///
/// # Safety
/// The runs from `x` on are valid for reads.
#[inline(always)]
unsafe fn around<F: Float, A: Float>(x: *const F, runs: Runs, center: A) -> (Moments, bool) {
    let centers = [center; LANES];
    let (mut sums, mut squares): (Lanes<A>, Lanes<A>) = ([A::ZERO; LANES], [A::ZERO; LANES]);
    each_strip!(runs, |offset, used| {
        // SAFETY: the strip lies in the runs.
        let x = unsafe { read::<F, A>(x.add(offset), used, &centers) };
        for l in 0..LANES {
            let distance = x[l] - center;
            sums[l] = sums[l] + distance;
            squares[l] = squares[l] + distance * distance;
        }
    });
    let count = runs.len() as f64;
    let (mean, squares, reliable) =
        from_center(count, center.to_f64(), total(&sums), total(&squares));
    let moments = Moments {
        count,
        mean,
        squares,
    };
    (moments, reliable)
}

/// Mean and squared distances from it, of sums of distances from a center and of their squares; and
/// whether the center was near enough, and the squares in the range of `f32`.
#[inline(always)]
pub(super) fn from_center(count: f64, center: f64, sum: f64, square: f64) -> (f64, f64, bool) {
    let missed = sum / count;
    let of_center = missed * missed * count;
    let squares = square - of_center;
    // What cancels is no more than the three lowest bits of the sum.
    let near = (of_center <= 8.0 * squares) | (square == 0.0);
    let squares = if squares < 0.0 { 0.0 } else { squares };
    (center + missed, squares, near & in_range(square))
}

/// Whether squares in `f32` neither overflowed nor came near its smallest numbers.
#[inline(always)]
#[allow(clippy::manual_range_contains)] // it has a branch
fn in_range(squares: f64) -> bool {
    // All, without a branch: of many columns at a time.
    (squares == 0.0) | (squares >= 1e-30) & (squares < 1e37)
}
