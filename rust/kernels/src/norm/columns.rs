//! The kernels of channels side by side: a run is a row, with an element of each. Sums run down the
//! columns, a strip of them at a time.

use super::lanes::{LANES, Lanes, read, write};
use super::moments::{Runs, in_range, merge};
use super::runs::masked;
use super::{Gradient, Mask, Normal, in_wider, relu_passes};
use crate::dtype::Float;
use crate::isa::per_isa;

/// One value for each column, of each of the numbers that [`Normal`] has.
#[derive(Default)]
pub(super) struct Normals<F> {
    pub center: Vec<F>,
    pub scale: Vec<F>,
    pub shift: Vec<F>,
}

/// The same for [`Gradient`].
#[derive(Default)]
pub(super) struct Gradients<F> {
    pub mean: Vec<F>,
    pub scale: Vec<F>,
    pub slope: Vec<F>,
    pub offset: Vec<F>,
}

/// Calls `strip(column, width)` for every strip of a row; `width` is a constant where it is whole.
#[inline(always)]
fn strips(width: usize, mut strip: impl FnMut(usize, usize)) {
    let rest = width % LANES;
    for column in (0..width - rest).step_by(LANES) {
        strip(column, LANES);
    }
    if rest > 0 {
        strip(width - rest, rest);
    }
}

per_isa! {
    /// Merges the rows into each column's moments of `count` rows.
    ///
    /// # Safety
    /// The rows from `x` on are valid for reads.
    pub(super) unsafe fn moments[F: Float][F](
        x: *const F, runs: Runs, count: usize, means: &mut [f64], squares: &mut [f64],
    ) {
        let (means, squares) = (&mut means[..runs.cols], &mut squares[..runs.cols]);
        strips(runs.cols, |column, width| {
            // SAFETY: the strip of every row lies in the rows.
            let part = unsafe {
                let x = x.add(column);
                let part = strip_moments::<F, F>(x, runs, width);
                if part.1[..width].iter().all(|&squares| in_range(squares)) {
                    part
                } else {
                    strip_moments::<F, f64>(x, runs, width)
                }
            };
            merge(
                count as f64,
                &mut means[column..column + width],
                &mut squares[column..column + width],
                runs.rows as f64,
                &part.0[..width],
                &part.1[..width],
            );
        });
    }
}

/// Means and squared distances of a strip of columns, computed in `A`.
///
/// # Safety
/// The strip of every row is valid for reads.
#[inline(always)]
unsafe fn strip_moments<F: Float, A: Float>(
    x: *const F,
    Runs { rows, pitch, .. }: Runs,
    width: usize,
) -> (Lanes<f64>, Lanes<f64>) {
    let zeros = [A::ZERO; LANES];
    let count = rows as f64;
    let mut sums = zeros;
    for row in 0..rows {
        // SAFETY: by contract.
        let x = unsafe { read::<F, A>(x.add(row * pitch), width, &zeros) };
        for l in 0..LANES {
            sums[l] = sums[l] + x[l];
        }
    }
    let mut centers = zeros;
    for l in 0..LANES {
        centers[l] = A::from_f64(sums[l].to_f64() / count);
    }
    let (mut sums, mut squares) = (zeros, zeros);
    for row in 0..rows {
        // SAFETY: by contract.
        let x = unsafe { read::<F, A>(x.add(row * pitch), width, &zeros) };
        for l in 0..LANES {
            let distance = x[l] - centers[l];
            sums[l] = sums[l] + distance;
            squares[l] = squares[l] + distance * distance;
        }
    }
    let (mut means, mut corrected) = ([0.0; LANES], [0.0; LANES]);
    for l in 0..LANES {
        let missed = sums[l].to_f64() / count;
        let square = squares[l].to_f64() - missed * missed * count;
        means[l] = centers[l].to_f64() + missed;
        corrected[l] = if square < 0.0 { 0.0 } else { square };
    }
    (means, corrected)
}

/// The numbers of a strip of columns.
///
/// # Safety
/// They are within each list.
#[inline(always)]
unsafe fn normals<F: Float>(all: &Normals<F>, column: usize, width: usize) -> [Lanes<F>; 3] {
    let zeros = [F::ZERO; LANES];
    // SAFETY: by contract.
    [&all.center, &all.scale, &all.shift]
        .map(|list| unsafe { read(list.as_ptr().add(column), width, &zeros) })
}

per_isa! {
    /// As for slabs.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `y` on; there is a normal for each column.
    pub(super) unsafe fn normalise[F: Float][F](
        x: *const F, residual: *const F, y: *mut F, runs: Runs, first: usize, all: &Normals<F>, relu: bool,
    ) {
        let last = first + runs.cols;
        assert!(last <= all.center.len() && last <= all.scale.len() && last <= all.shift.len());
        // SAFETY: by contract, and the lists are as long.
        unsafe {
            match (residual.is_null(), relu) {
                (true, false) => normalise_as::<F, false, false>(x, residual, y, runs, first, all),
                (true, true) => normalise_as::<F, false, true>(x, residual, y, runs, first, all),
                (false, false) => normalise_as::<F, true, false>(x, residual, y, runs, first, all),
                (false, true) => normalise_as::<F, true, true>(x, residual, y, runs, first, all),
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
    first: usize,
    all: &Normals<F>,
) {
    let zeros = [F::ZERO; LANES];
    for row in 0..runs.rows {
        strips(runs.cols, |column, strip| {
            let at = row * runs.pitch + column;
            // SAFETY: the strip lies in the rows.
            unsafe {
                let [center, scale, shift] = normals(all, first + column, strip);
                let mut lanes = read::<F, F>(x.add(at), strip, &zeros);
                let added = if ADD {
                    read(residual.add(at), strip, &zeros)
                } else {
                    zeros
                };
                for l in 0..LANES {
                    let normal = Normal {
                        center: center[l],
                        scale: scale[l],
                        shift: shift[l],
                    };
                    let mut z = normal.apply(lanes[l]);
                    if ADD {
                        z = z + added[l];
                    }
                    lanes[l] = if !RELU || relu_passes(z) { z } else { F::ZERO };
                }
                write(y.add(at), strip, &lanes);
            }
        });
    }
}

per_isa! {
    /// Adds each column's Σ dy and Σ dy·(x − center), of the `dy` that passes the mask.
    ///
    /// # Safety
    /// The rows are valid for reads; there is a normal for each column.
    pub(super) unsafe fn sums[F: Float][F](
        x: *const F, dy: *const F, y: *const F, runs: Runs, first: usize, all: &Normals<F>, mask: Mask,
        sums: &mut [f64], products: &mut [f64],
    ) {
        let (sums, products) = (&mut sums[..runs.cols], &mut products[..runs.cols]);
        strips(runs.cols, |column, strip| {
            let (x, dy, y) = (x.wrapping_add(column), dy.wrapping_add(column), y.wrapping_add(column));
            // SAFETY: the strip of every row lies in the rows.
            unsafe {
                let normals = normals(all, first + column, strip);
                let mut part = match mask {
                    Mask::None => strip_sums::<F, F, 0>(x, dy, y, runs, strip, &normals),
                    Mask::OfInput => strip_sums::<F, F, 1>(x, dy, y, runs, strip, &normals),
                    Mask::OfOutput => strip_sums::<F, F, 2>(x, dy, y, runs, strip, &normals),
                };
                if !part.iter().flatten().all(|sum| sum.is_finite()) {
                    part = match mask {
                        Mask::None => strip_sums::<F, f64, 0>(x, dy, y, runs, strip, &normals),
                        Mask::OfInput => strip_sums::<F, f64, 1>(x, dy, y, runs, strip, &normals),
                        Mask::OfOutput => strip_sums::<F, f64, 2>(x, dy, y, runs, strip, &normals),
                    };
                }
                for l in 0..strip {
                    sums[column + l] += part[0][l];
                    products[column + l] += part[1][l];
                }
            }
        });
    }
}

/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn strip_sums<F: Float, A: Float, const MASK: u8>(
    x: *const F,
    dy: *const F,
    y: *const F,
    Runs { rows, pitch, .. }: Runs,
    width: usize,
    [center, scale, shift]: &[Lanes<F>; 3],
) -> [Lanes<f64>; 2] {
    let zeros = [F::ZERO; LANES];
    let (mut sums, mut products) = ([A::ZERO; LANES], [A::ZERO; LANES]);
    for row in 0..rows {
        let at = row * pitch;
        // SAFETY: by contract.
        unsafe {
            let x = read::<F, F>(x.add(at), width, center);
            let mut dy = read::<F, F>(dy.add(at), width, &zeros);
            masked::<F, MASK>(&x, &mut dy, y.wrapping_add(at), width, |l| Normal {
                center: center[l],
                scale: scale[l],
                shift: shift[l],
            });
            for l in 0..LANES {
                let (dy, distance) = in_wider::<F, A>(dy[l], x[l], center[l]);
                sums[l] = sums[l] + dy;
                products[l] = products[l] + dy * distance;
            }
        }
    }
    [sums, products].map(|lanes| lanes.map(A::to_f64))
}

per_isa! {
    /// As for slabs.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `dx` and `dr` on; there is a normal and a
    /// gradient for each column.
    pub(super) unsafe fn gradient[F: Float][F](
        x: *const F, dy: *const F, y: *const F, dx: *mut F, dr: *mut F, runs: Runs, first: usize,
        all: &Normals<F>, gradients: &Gradients<F>, mask: Mask,
    ) {
        // SAFETY: by contract.
        unsafe { match mask {
            Mask::None => gradient_as::<F, 0>(x, dy, y, dx, dr, runs, first, all, gradients),
            Mask::OfInput => gradient_as::<F, 1>(x, dy, y, dx, dr, runs, first, all, gradients),
            Mask::OfOutput => gradient_as::<F, 2>(x, dy, y, dx, dr, runs, first, all, gradients),
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
    first: usize,
    all: &Normals<F>,
    gradients: &Gradients<F>,
) {
    let zeros = [F::ZERO; LANES];
    let Gradients {
        mean,
        scale,
        slope,
        offset,
    } = gradients;
    for row in 0..runs.rows {
        strips(runs.cols, |column, strip| {
            let at = row * runs.pitch + column;
            // SAFETY: the strip lies in the rows.
            unsafe {
                let [center, forward_scale, shift] = normals(all, first + column, strip);
                let mut x = read::<F, F>(x.add(at), strip, &zeros);
                let mut dy = read::<F, F>(dy.add(at), strip, &zeros);
                masked::<F, MASK>(&x, &mut dy, y.wrapping_add(at), strip, |l| Normal {
                    center: center[l],
                    scale: forward_scale[l],
                    shift: shift[l],
                });
                if !dr.is_null() {
                    write(dr.add(at), strip, &dy);
                }
                if !dx.is_null() {
                    let [mean, scale, slope, offset] = [mean, scale, slope, offset]
                        .map(|list| read::<F, F>(list.as_ptr().add(first + column), strip, &zeros));
                    for l in 0..LANES {
                        let gradient = Gradient {
                            mean: mean[l],
                            scale: scale[l],
                            slope: slope[l],
                            offset: offset[l],
                        };
                        x[l] = gradient.apply(dy[l], x[l] - center[l]);
                    }
                    write(dx.add(at), strip, &x);
                }
            }
        });
    }
}
