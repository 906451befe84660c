//! Strips of 32 elements side by side, and sums over them.
//!
//! Element *l* of every strip goes to lane *l*, so that a sum is the same in vectors of any width. Loops
//! over the lanes of local arrays are what the compiler turns into vectors; a strip is read as a whole
//! before anything is written, so that it need not ask whether the two overlap.

use crate::dtype::Float;

/// Elements of a strip.
// Four vectors of AVX2, two of AVX-512: enough sums at a time to hide what an addition takes.
pub(super) const LANES: usize = 32;

pub(super) type Lanes<A> = [A; LANES];

/// A value of another type of computation: the wider one where sums of this overflow.
#[inline(always)]
pub(super) fn convert<F: Float, A: Float>(value: F) -> A {
    A::from_f64(value.to_f64())
}

/// The first `width` elements at `from`, and `pad` in the other lanes.
///
/// # Safety
/// They are valid for reads.
#[inline(always)]
pub(super) unsafe fn read<F: Float, A: Float>(
    from: *const F,
    width: usize,
    pad: &Lanes<A>,
) -> Lanes<A> {
    let mut lanes = *pad;
    if width == LANES {
        for (l, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: by contract.
            *lane = convert(unsafe { from.add(l).read_unaligned() });
        }
    } else {
        for (l, lane) in lanes.iter_mut().enumerate().take(width) {
            // SAFETY: by contract.
            *lane = convert(unsafe { from.add(l).read_unaligned() });
        }
    }
    lanes
}

/// The lanes' sum, pairwise.
#[inline(always)]
pub(super) fn total<A: Float>(lanes: &Lanes<A>) -> f64 {
    let mut sums = [0.0; LANES];
    for (sum, lane) in sums.iter_mut().zip(lanes) {
        *sum = lane.to_f64();
    }
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for l in 0..n {
            sums[l] += sums[l + n];
        }
    }
    sums[0]
}

/// Runs a block for every strip of a run of `len` elements, with its start and its width. The block is
/// pasted, not called: where the width is whole it is a constant, and a closure would not have the
/// target features.
macro_rules! strips_of {
    ($len:expr, |$start:ident, $width:ident| $block:block) => {{
        let len: usize = $len;
        let rest = len % LANES;
        for strip in 0..len / LANES {
            let ($start, $width) = (strip * LANES, LANES);
            $block
        }
        if rest > 0 {
            let ($start, $width) = (len - rest, rest);
            $block
        }
    }};
}
pub(super) use strips_of;

/// The same for every strip of several runs.
macro_rules! each_strip {
    ($runs:expr, |$start:ident, $width:ident| $block:block) => {{
        let runs: $crate::norm::moments::Runs = $runs;
        for row in 0..runs.rows {
            $crate::norm::lanes::strips_of!(runs.cols, |column, $width| {
                let $start = row * runs.pitch + column;
                $block
            });
        }
    }};
}
pub(super) use each_strip;
