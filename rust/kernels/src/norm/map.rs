//! Runs of elements through the map of their channel: with the same numbers for all, where a run is of
//! one channel, or with those of each column.

use std::slice::{from_raw_parts, from_raw_parts_mut};

use super::moments::Runs;
use super::{Gradient, Normal, relu_passes};
use crate::dtype::Float;

/// y = map(x) [+ r], through the ReLU if asked for.
#[inline(always)]
fn normalise<F: Float, const ADD: bool, const RELU: bool>(
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

/// The same for every run.
///
/// # Safety
/// The runs are valid: for reads, and for writes from `y` on.
#[inline(always)]
pub(super) unsafe fn normalise_runs<F: Float, const ADD: bool, const RELU: bool>(
    x: *const F,
    residual: *const F,
    y: *mut F,
    runs: Runs,
    normal: impl Fn(usize) -> Normal<F>,
) {
    for row in 0..runs.rows {
        let at = row * runs.pitch;
        // SAFETY: by contract.
        let (x, r, y) = unsafe {
            let r = if ADD {
                from_raw_parts(residual.add(at), runs.cols)
            } else {
                &[]
            };
            (
                from_raw_parts(x.add(at), runs.cols),
                r,
                from_raw_parts_mut(y.add(at), runs.cols),
            )
        };
        normalise::<F, ADD, RELU>(x, r, y, &normal);
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
fn gradient<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
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

/// The same for every run.
///
/// # Safety
/// The runs of what is used are valid: for reads, and for writes from `dx` and `dr` on.
#[inline(always)]
pub(super) unsafe fn gradient_runs<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
    [x, dy, y]: [*const F; 3],
    [dx, dr]: [*mut F; 2],
    runs: Runs,
    normal: impl Fn(usize) -> Normal<F>,
    of_channel: impl Fn(usize) -> Gradient<F>,
) {
    for row in 0..runs.rows {
        let at = row * runs.pitch;
        // SAFETY: by contract.
        unsafe {
            let read = |used, from: *const F| {
                if used {
                    from_raw_parts(from.add(at), runs.cols)
                } else {
                    &[]
                }
            };
            let write = |used, to: *mut F| {
                if used {
                    from_raw_parts_mut(to.add(at), runs.cols)
                } else {
                    &mut []
                }
            };
            gradient::<F, MASK, DX, DR>(
                [read(true, x), read(true, dy), read(MASK == OF_OUTPUT, y)],
                [write(DX, dx), write(DR, dr)],
                &normal,
                &of_channel,
            );
        }
    }
}
