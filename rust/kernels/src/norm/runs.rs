//! The kernels of one channel whose elements are in runs.

use super::lanes::{LANES, Lanes, read, total, write};
use super::moments::{Moments, Runs, in_range, moments_in};
use super::{Gradient, Mask, Normal, Sums, in_wider, relu_passes};
use crate::dtype::Float;
use crate::isa::per_isa;

per_isa! {
    /// # Safety
    /// The runs from `x` on are valid for reads.
    pub(super) unsafe fn moments[F: Float][F](x: *const F, runs: Runs) -> Moments {
        // SAFETY: by contract.
        unsafe {
            let moments = moments_in::<F, F>(x, runs);
            if in_range(moments.squares) { moments } else { moments_in::<F, f64>(x, runs) }
        }
    }
}

per_isa! {
    /// The element that the affine map gives, plus the residual's if it is not null, through the ReLU if
    /// asked for.
    ///
    /// # Safety
    /// The runs are valid: for reads, and for writes from `y` on.
    pub(super) unsafe fn normalise[F: Float][F](
        x: *const F, residual: *const F, y: *mut F, runs: Runs, normal: &Normal<F>, relu: bool,
    ) {
        // SAFETY: by contract.
        unsafe {
            match (residual.is_null(), relu) {
                (true, false) => normalise_as::<F, false, false>(x, residual, y, runs, normal),
                (true, true) => normalise_as::<F, false, true>(x, residual, y, runs, normal),
                (false, false) => normalise_as::<F, true, false>(x, residual, y, runs, normal),
                (false, true) => normalise_as::<F, true, true>(x, residual, y, runs, normal),
            }
        }
    }
}

/// # Safety
/// As for [`normalise`].
#[inline(always)]
unsafe fn normalise_as<F: Float, const ADD: bool, const RELU: bool>(
    x: *const F,
    residual: *const F,
    y: *mut F,
    runs: Runs,
    normal: &Normal<F>,
) {
    let normal = *normal;
    let zeros = [F::ZERO; LANES];
    runs.strips(|offset, width| {
        // SAFETY: the strip lies in the runs.
        unsafe {
            let mut lanes = read::<F, F>(x.add(offset), width, &zeros);
            let added = if ADD {
                read(residual.add(offset), width, &zeros)
            } else {
                zeros
            };
            for l in 0..LANES {
                let mut z = normal.apply(lanes[l]);
                if ADD {
                    z = z + added[l];
                }
                lanes[l] = if !RELU || relu_passes(z) { z } else { F::ZERO };
            }
            write(y.add(offset), width, &lanes);
        }
    });
}

per_isa! {
    /// Σ dy and Σ dy·(x − center), of the `dy` that passes the mask.
    ///
    /// # Safety
    /// The runs are valid for reads.
    pub(super) unsafe fn sums[F: Float][F](
        x: *const F, dy: *const F, y: *const F, runs: Runs, normal: &Normal<F>, mask: Mask,
    ) -> Sums {
        // SAFETY: by contract.
        let sums = unsafe { match mask {
            Mask::None => sums_as::<F, F, 0>(x, dy, y, runs, normal),
            Mask::OfInput => sums_as::<F, F, 1>(x, dy, y, runs, normal),
            Mask::OfOutput => sums_as::<F, F, 2>(x, dy, y, runs, normal),
        } };
        if sums.grads.is_finite() && sums.products.is_finite() {
            return sums;
        }
        // SAFETY: by contract.
        unsafe { match mask {
            Mask::None => sums_as::<F, f64, 0>(x, dy, y, runs, normal),
            Mask::OfInput => sums_as::<F, f64, 1>(x, dy, y, runs, normal),
            Mask::OfOutput => sums_as::<F, f64, 2>(x, dy, y, runs, normal),
        } }
    }
}

/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn sums_as<F: Float, A: Float, const MASK: u8>(
    x: *const F,
    dy: *const F,
    y: *const F,
    runs: Runs,
    normal: &Normal<F>,
) -> Sums {
    let normal = *normal;
    let zeros = [F::ZERO; LANES];
    let centers = [normal.center; LANES];
    let (mut sums, mut products): (Lanes<A>, Lanes<A>) = ([A::ZERO; LANES], [A::ZERO; LANES]);
    runs.strips(|offset, width| {
        // SAFETY: the strip lies in the runs.
        unsafe {
            let x = read::<F, F>(x.add(offset), width, &centers);
            let mut dy = read::<F, F>(dy.add(offset), width, &zeros);
            masked::<F, MASK>(&x, &mut dy, y.wrapping_add(offset), width, |_| normal);
            for l in 0..LANES {
                let (dy, distance) = in_wider::<F, A>(dy[l], x[l], normal.center);
                sums[l] = sums[l] + dy;
                products[l] = products[l] + dy * distance;
            }
        }
    });
    Sums {
        grads: total(&sums),
        products: total(&products),
    }
}

/// Makes the `dy` zero that the ReLU stopped.
///
/// # Safety
/// With the output's mask, its strip is valid for reads.
#[inline(always)]
pub(super) unsafe fn masked<F: Float, const MASK: u8>(
    x: &Lanes<F>,
    dy: &mut Lanes<F>,
    y: *const F,
    width: usize,
    normal: impl Fn(usize) -> Normal<F>,
) {
    if MASK == 1 {
        for l in 0..LANES {
            dy[l] = if relu_passes(normal(l).apply(x[l])) {
                dy[l]
            } else {
                F::ZERO
            };
        }
    } else if MASK == 2 {
        // SAFETY: by contract.
        let y = unsafe { read::<F, F>(y, width, &[F::ZERO; LANES]) };
        for l in 0..LANES {
            dy[l] = if relu_passes(y[l]) { dy[l] } else { F::ZERO };
        }
    }
}

per_isa! {
    /// The gradients of the input and, if it is not null, of the residual.
    ///
    /// # Safety
    /// The runs are valid: for reads, and for writes from `dx` and `dr` on.
    pub(super) unsafe fn gradient[F: Float][F](
        x: *const F, dy: *const F, y: *const F, dx: *mut F, dr: *mut F, runs: Runs,
        normal: &Normal<F>, gradient: &Gradient<F>, mask: Mask,
    ) {
        // SAFETY: by contract.
        unsafe { match mask {
            Mask::None => gradient_as::<F, 0>(x, dy, y, dx, dr, runs, normal, gradient),
            Mask::OfInput => gradient_as::<F, 1>(x, dy, y, dx, dr, runs, normal, gradient),
            Mask::OfOutput => gradient_as::<F, 2>(x, dy, y, dx, dr, runs, normal, gradient),
        } }
    }
}

/// # Safety
/// As for [`gradient`].
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn gradient_as<F: Float, const MASK: u8>(
    x: *const F,
    dy: *const F,
    y: *const F,
    dx: *mut F,
    dr: *mut F,
    runs: Runs,
    normal: &Normal<F>,
    gradient: &Gradient<F>,
) {
    let (normal, gradient) = (*normal, *gradient);
    let zeros = [F::ZERO; LANES];
    runs.strips(|offset, width| {
        // SAFETY: the strip lies in the runs.
        unsafe {
            let mut x = read::<F, F>(x.add(offset), width, &zeros);
            let mut dy = read::<F, F>(dy.add(offset), width, &zeros);
            masked::<F, MASK>(&x, &mut dy, y.wrapping_add(offset), width, |_| normal);
            if !dr.is_null() {
                write(dr.add(offset), width, &dy);
            }
            if !dx.is_null() {
                for l in 0..LANES {
                    x[l] = gradient.apply(dy[l], x[l] - normal.center);
                }
                write(dx.add(offset), width, &x);
            }
        }
    });
}
