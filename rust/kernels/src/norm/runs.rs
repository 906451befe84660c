//! The kernels of one channel whose elements are in runs.

use super::map::{self, Mask, NONE, OF_INPUT, OF_OUTPUT, passing};
use super::moments::{Moments, Runs, each_strip, moments_of};
use super::{Gradient, Normal, Sums, in_wider};
use crate::dtype::Float;
use crate::isa::per_isa;
use crate::lanes::{LANES, Lanes, Used, read, total};

per_isa! {
    /// # Safety
    /// The runs from `x` on are valid for reads.
    pub(super) unsafe fn moments[F: Float][F](x: *const F, runs: Runs) -> Moments {
        // SAFETY: by contract.
        unsafe { moments_of(x, runs) }
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
    // SAFETY: by contract.
    unsafe { map::normalise_runs::<F, ADD, RELU>(x, residual, y, runs, |_| normal) };
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
            Mask::None => sums_as::<F, F, NONE>(x, dy, y, runs, normal),
            Mask::OfInput => sums_as::<F, F, OF_INPUT>(x, dy, y, runs, normal),
            Mask::OfOutput => sums_as::<F, F, OF_OUTPUT>(x, dy, y, runs, normal),
        } };
        if sums.grads.is_finite() && sums.products.is_finite() {
            return sums;
        }
        // SAFETY: by contract.
        unsafe { match mask {
            Mask::None => sums_as::<F, f64, NONE>(x, dy, y, runs, normal),
            Mask::OfInput => sums_as::<F, f64, OF_INPUT>(x, dy, y, runs, normal),
            Mask::OfOutput => sums_as::<F, f64, OF_OUTPUT>(x, dy, y, runs, normal),
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
    each_strip!(runs, |offset, used| {
        // SAFETY: the strip lies in the runs.
        unsafe {
            // Where dy does not count, any x of the channel will do.
            let of_x = if let Used::Last(_) = used {
                Used::All
            } else {
                used
            };
            let x = read::<F, F>(x.add(offset), of_x, &centers);
            let dy = read::<F, F>(dy.add(offset), used, &zeros);
            let y = if MASK == OF_OUTPUT {
                read::<F, F>(y.add(offset), used, &zeros)
            } else {
                zeros
            };
            for l in 0..LANES {
                let dy = passing::<F, MASK>(x[l], dy[l], y[l], normal);
                let (dy, distance) = in_wider::<F, A>(dy, x[l], normal.center);
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

per_isa! {
    /// The gradients of the input and of what was added, each if it is not null.
    ///
    /// # Safety
    /// The runs are valid: for reads, and for writes from `dx` and `dr` on.
    pub(super) unsafe fn gradient[F: Float][F](
        inputs: [*const F; 3], outputs: [*mut F; 2], runs: Runs, normal: &Normal<F>, gradient: &Gradient<F>,
        mask: Mask,
    ) {
        let written = outputs.map(|output| !output.is_null());
        // SAFETY: by contract.
        unsafe {
            match (mask, written) {
                (Mask::None, _) => gradient_as::<F, NONE, true, false>(inputs, outputs, runs, normal, gradient),
                (Mask::OfInput, _) => gradient_as::<F, OF_INPUT, true, false>(inputs, outputs, runs, normal, gradient),
                (_, [true, false]) => gradient_as::<F, OF_OUTPUT, true, false>(inputs, outputs, runs, normal, gradient),
                (_, [true, true]) => gradient_as::<F, OF_OUTPUT, true, true>(inputs, outputs, runs, normal, gradient),
                (_, [false, _]) => gradient_as::<F, OF_OUTPUT, false, true>(inputs, outputs, runs, normal, gradient),
            }
        }
    }
}

/// # Safety
/// As for [`gradient`].
#[inline(always)]
unsafe fn gradient_as<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
    inputs: [*const F; 3],
    outputs: [*mut F; 2],
    runs: Runs,
    normal: &Normal<F>,
    gradient: &Gradient<F>,
) {
    let (normal, gradient) = (*normal, *gradient);
    // SAFETY: by contract.
    unsafe {
        map::gradient_runs::<F, MASK, DX, DR>(inputs, outputs, runs, |_| normal, |_| gradient);
    }
}
