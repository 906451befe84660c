//! Strips of 32 elements side by side, and sums over them.
//!
//! Element *l* of every strip goes to lane *l*, so that a sum is the same in vectors of any width. Loops
//! over the lanes of local arrays are what the compiler turns into vectors; a strip is read as a whole
//! before anything is written, so that it need not ask whether the two overlap.

use crate::dtype::Float;

/// Elements of a strip.
// Four vectors of AVX2, two of AVX-512: enough sums at a time to hide what an addition takes.
pub(crate) const LANES: usize = 32;

pub(crate) type Lanes<A> = [A; LANES];

/// A value of another type of computation: the wider one where sums of this overflow.
#[inline(always)]
pub(crate) fn convert<F: Float, A: Float>(value: F) -> A {
    A::from_f64(value.to_f64())
}

/// Which lanes of a strip count.
#[derive(Clone, Copy)]
pub(crate) enum Used {
    All,
    First(usize),
    /// The others have been counted: it is quicker to read a whole strip than a part of one.
    Last(usize),
}

/// The elements from `from` on that count, and `pad` in the other lanes.
///
/// # Safety
/// The elements that count are valid for reads; with the last of them, the whole strip is.
#[inline(always)]
pub(crate) unsafe fn read<F: Float, A: Float>(
    from: *const F,
    used: Used,
    pad: &Lanes<A>,
) -> Lanes<A> {
    // SAFETY: by contract.
    let element = |l| convert::<F, A>(unsafe { from.add(l).read_unaligned() });
    let mut lanes = *pad;
    match used {
        Used::All => {
            for (l, lane) in lanes.iter_mut().enumerate() {
                *lane = element(l);
            }
        }
        Used::First(width) => {
            for (l, lane) in lanes.iter_mut().enumerate().take(width) {
                *lane = element(l);
            }
        }
        Used::Last(width) => {
            for (l, lane) in lanes.iter_mut().enumerate() {
                let element = element(l);
                *lane = if l + width < LANES { *lane } else { element };
            }
        }
    }
    lanes
}

/// All lanes in one, over a balanced tree.
#[inline(always)]
pub(crate) fn tree<T: Copy>(lanes: Lanes<T>, join: impl Fn(T, T) -> T) -> T {
    // Each half by itself: as a loop it does not become vectors.
    let half: [T; 16] = std::array::from_fn(|i| join(lanes[i], lanes[i + 16]));
    let half: [T; 8] = std::array::from_fn(|i| join(half[i], half[i + 8]));
    let half: [T; 4] = std::array::from_fn(|i| join(half[i], half[i + 4]));
    join(join(half[0], half[2]), join(half[1], half[3]))
}

/// The lanes' sum, pairwise.
#[inline(always)]
pub(crate) fn total<A: Float>(lanes: &Lanes<A>) -> f64 {
    let mut sums = [0.0; LANES];
    for (sum, lane) in sums.iter_mut().zip(lanes) {
        *sum = lane.to_f64();
    }
    tree(sums, |a, b| a + b)
}
