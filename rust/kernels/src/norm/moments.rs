//! Mean and variance of parts, and of the whole from them (Chan, Golub & LeVeque 1979).
//!
//! ```text
//! n = nₐ + n_b          δ = mean_b − meanₐ
//! mean = meanₐ + δ·n_b/n
//! M₂   = M₂ₐ + M₂_b + δ²·nₐ·n_b/n          M₂ = Σ (x − mean)²
//! ```
//!
//! The mean of a part is found first, and squares are of distances from it: nothing cancels, however
//! large the mean is against the spread. Parts are some thousand elements, summed in their own type;
//! all above them is `f64`.

use std::slice;

use super::Statistics;
use crate::dtype::Float;
use crate::lanes::{LANES, Lanes, read, total};

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
        use $crate::lanes::Used;
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

/// The moments of a part, computed in `A`.
///
/// # Safety
/// The runs from `x` on are valid for reads.
#[inline(always)]
pub(super) unsafe fn moments_in<F: Float, A: Float>(x: *const F, runs: Runs) -> Moments {
    let count = runs.len() as f64;
    let zeros = [A::ZERO; LANES];
    let mut sums = zeros;
    each_strip!(runs, |offset, used| {
        // SAFETY: the strip lies in the runs.
        let x = unsafe { read::<F, A>(x.add(offset), used, &zeros) };
        for l in 0..LANES {
            sums[l] = sums[l] + x[l];
        }
    });
    let center = A::from_f64(total(&sums) / count);
    let centers = [center; LANES];
    let (mut sums, mut squares): (Lanes<A>, Lanes<A>) = (zeros, zeros);
    each_strip!(runs, |offset, used| {
        // SAFETY: as above.
        let x = unsafe { read::<F, A>(x.add(offset), used, &centers) };
        for l in 0..LANES {
            let distance = x[l] - center;
            sums[l] = sums[l] + distance;
            squares[l] = squares[l] + distance * distance;
        }
    });
    // The center is rounded: what it missed is in the second sums.
    let missed = total(&sums) / count;
    let squares = total(&squares) - missed * missed * count;
    Moments {
        count,
        mean: center.to_f64() + missed,
        squares: if squares < 0.0 { 0.0 } else { squares },
    }
}

/// Whether squares in `f32` neither overflowed nor came near its smallest numbers.
#[inline(always)]
pub(super) fn in_range(squares: f64) -> bool {
    squares == 0.0 || (1e-30..1e37).contains(&squares)
}
