//! One run of elements through the map of their channel: with the same numbers for all, where the run
//! is of one channel, or with those of each column.

use super::{Gradient, Normal, relu_passes};
use crate::dtype::Float;

/// y = map(x) [+ r], through the ReLU if asked for.
#[inline(always)]
pub(super) fn normalise<F: Float, const ADD: bool, const RELU: bool>(
    x: &[F],
    r: &[F],
    y: &mut [F],
    normal: impl Fn(usize) -> Normal<F>,
) {
    let len = y.len();
    let x = &x[..len];
    let r = &r[..if ADD { len } else { 0 }];
    for i in 0..len {
        let mut z = normal(i).apply(x[i]);
        if ADD {
            z = z + r[i];
        }
        y[i] = if !RELU || relu_passes(z) { z } else { F::ZERO };
    }
}

/// By what the ReLU's decision is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// There was no ReLU.
    None,
    /// By the input, through the forward's own expression.
    OfInput,
    /// By the output.
    OfOutput,
}

pub(super) const NONE: u8 = 0;
pub(super) const OF_INPUT: u8 = 1;
pub(super) const OF_OUTPUT: u8 = 2;

/// The gradient that passes the ReLU.
#[inline(always)]
pub(super) fn passing<F: Float, const MASK: u8>(x: F, dy: F, y: F, normal: Normal<F>) -> F {
    let passes = match MASK {
        OF_INPUT => relu_passes(normal.apply(x)),
        OF_OUTPUT => relu_passes(y),
        _ => return dy,
    };
    if passes { dy } else { F::ZERO }
}

/// The gradients of the input, if `DX`, and of what was added, if `DR`.
#[inline(always)]
pub(super) fn gradient<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
    [x, dy, y]: [&[F]; 3],
    [dx, dr]: [&mut [F]; 2],
    normal: impl Fn(usize) -> Normal<F>,
    gradient: impl Fn(usize) -> Gradient<F>,
) {
    let len = dy.len();
    let x = &x[..len];
    let y = &y[..if MASK == OF_OUTPUT { len } else { 0 }];
    let dx = &mut dx[..if DX { len } else { 0 }];
    let dr = &mut dr[..if DR { len } else { 0 }];
    for i in 0..len {
        let normal = normal(i);
        let of_output = if MASK == OF_OUTPUT { y[i] } else { F::ZERO };
        let dy = passing::<F, MASK>(x[i], dy[i], of_output, normal);
        if DR {
            dr[i] = dy;
        }
        if DX {
            dx[i] = gradient(i).apply(dy, x[i] - normal.center);
        }
    }
}
