//! What is found of a row whose classes lie side by side: its largest logit, its exponentials and sums.
//!
//! A row is taken in strips. What is left behind them is taken first, in parts of [`PART`], the last of
//! which overlaps what is before it, with lanes that do not count: so all of it is in vectors, and few
//! lanes are idle. A lane sums at most [`CHUNKS`] strips and four parts in the elements' own type.

use super::CHUNKS;
use super::exp::Exponential;
use crate::dtype::Float;
use crate::lanes::{LANES, convert, tree};

/// Lanes of a part.
// One vector of AVX2: a row of 100 classes then has 4 idle lanes, and with whole strips it has 28.
const PART: usize = 8;

/// Runs a block for every part behind the strips of a row of `len`, with its start and the number of its
/// first lanes that do not count.
macro_rules! parts_of {
    ($len:expr, |$start:ident, $seen:ident| $block:block) => {{
        let len: usize = $len;
        for from in (len / LANES * LANES..len).step_by(PART) {
            let $start = from.min(len - PART);
            let $seen = (from - $start) as u32;
            $block
        }
    }};
}

/// The largest that is a number, or −∞. There are at least [`PART`].
#[inline(always)]
pub(super) fn largest<F: Exponential>(x: &[F]) -> F {
    let mut max = [F::NEG_INFINITY; LANES];
    parts_of!(x.len(), |start, _seen| {
        let x = &x[start..start + PART];
        for l in 0..PART {
            max[l] = if x[l] > max[l] { x[l] } else { max[l] };
        }
    });
    for x in x.as_chunks::<LANES>().0 {
        for l in 0..LANES {
            max[l] = if x[l] > max[l] { x[l] } else { max[l] };
        }
    }
    tree(max, |a, b| if b > a { b } else { a })
}

/// Writes exp(xⱼ − max) to `g`, as long as `x`, and returns their sum. There are at least [`PART`].
#[inline(always)]
pub(super) fn exps_of<F: Exponential>(x: &[F], g: &mut [F], max: F) -> f64 {
    let mut sums = [F::ZERO; LANES];
    parts_of!(x.len(), |start, seen| {
        let (x, g) = (&x[start..start + PART], &mut g[start..start + PART]);
        for l in 0..PART {
            let exp = (x[l] - max).exp_nonpositive();
            g[l] = exp;
            sums[l] = sums[l] + if (l as u32) < seen { F::ZERO } else { exp };
        }
    });
    let mut total = 0.0;
    let chunks = x.as_chunks::<LANES>().0.chunks(CHUNKS);
    for (x, g) in chunks.zip(g.as_chunks_mut::<LANES>().0.chunks_mut(CHUNKS)) {
        for (x, g) in x.iter().zip(g) {
            for l in 0..LANES {
                g[l] = (x[l] - max).exp_nonpositive();
                sums[l] = sums[l] + g[l];
            }
        }
        total += tree(sums, |a, b| a + b).to_f64();
        sums = [F::ZERO; LANES];
    }
    total
}

/// The sum of f(j, valueⱼ), in `f64` where `F` has not the range. There are at least [`PART`].
#[inline(always)]
pub(super) fn total<F: Exponential>(values: &[F], f: impl Fn(usize, F) -> F) -> f64 {
    let total = total_in::<F, F>(values, &f);
    if total.is_finite() {
        total
    } else {
        total_in::<F, f64>(values, &f)
    }
}

#[inline(always)]
fn total_in<F: Exponential, A: Float>(values: &[F], f: &impl Fn(usize, F) -> F) -> f64 {
    let mut sums = [A::ZERO; LANES];
    parts_of!(values.len(), |start, seen| {
        let values = &values[start..start + PART];
        for l in 0..PART {
            let value = convert(f(start + l, values[l]));
            sums[l] = sums[l] + if (l as u32) < seen { A::ZERO } else { value };
        }
    });
    let mut total = 0.0;
    for (chunk, strips) in values.as_chunks::<LANES>().0.chunks(CHUNKS).enumerate() {
        for (strip, values) in strips.iter().enumerate() {
            let start = (chunk * CHUNKS + strip) * LANES;
            for l in 0..LANES {
                sums[l] = sums[l] + convert(f(start + l, values[l]));
            }
        }
        total += tree(sums, |a, b| a + b).to_f64();
        sums = [A::ZERO; LANES];
    }
    total
}
