//! The kernels of channels side by side: a run is a row, with an element of each. Sums run down the
//! columns, a strip of them at a time.

use std::slice::{from_raw_parts, from_raw_parts_mut};

use super::map::{self, Mask, NONE, OF_INPUT, OF_OUTPUT, passing};
use super::moments::{Runs, in_range, merge};
use super::{Gradient, Normal, in_wider};
use crate::dtype::Float;
use crate::isa::per_isa;
use crate::lanes::{LANES, Lanes, Used, read, strips_of};

/// A value for each column, of each of the `N` numbers that a map has.
pub(super) struct Columns<F, const N: usize>([Vec<F>; N]);

impl<F: Float, const N: usize> Columns<F, N> {
    /// From the numbers of each channel, `folded` times one after another.
    pub(super) fn new(channels: &[[F; N]], folded: usize) -> Columns<F, N> {
        Columns(std::array::from_fn(|number| {
            let of_channel: Vec<F> = channels.iter().map(|numbers| numbers[number]).collect();
            of_channel.repeat(folded)
        }))
    }

    /// Those of some columns: slices of one length.
    #[inline(always)]
    fn of(&self, first: usize, columns: usize) -> [&[F]; N] {
        self.0.each_ref().map(|list| &list[first..first + columns])
    }
}

/// Those of a strip of columns.
///
/// # Safety
/// The columns are there.
#[inline(always)]
unsafe fn strip_of<F: Float, const N: usize>(
    columns: [&[F]; N],
    column: usize,
    used: Used,
) -> [Lanes<F>; N] {
    let mut lanes = [[F::ZERO; LANES]; N];
    for number in 0..N {
        // SAFETY: by contract.
        lanes[number] = unsafe {
            read(
                columns[number].as_ptr().add(column),
                used,
                &[F::ZERO; LANES],
            )
        };
    }
    lanes
}

/// The numbers of one column.
#[inline(always)]
fn numbers_of<F: Float, const N: usize>(columns: &[&[F]; N], column: usize) -> [F; N] {
    let mut numbers = [F::ZERO; N];
    for number in 0..N {
        numbers[number] = columns[number][column];
    }
    numbers
}

/// The lanes of a strip of so many columns.
#[inline(always)]
fn used(width: usize) -> Used {
    if width == LANES {
        Used::All
    } else {
        Used::First(width)
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
        strips_of!(runs.cols, |column, width| {
            // SAFETY: the strip of every row lies in the rows.
            let part = unsafe {
                let x = x.add(column);
                let part = strip_moments::<F, F>(x, runs, used(width));
                if part.1[..width].iter().all(|&squares| in_range(squares)) {
                    part
                } else {
                    strip_moments::<F, f64>(x, runs, used(width))
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
    used: Used,
) -> (Lanes<f64>, Lanes<f64>) {
    let zeros = [A::ZERO; LANES];
    let count = rows as f64;
    let mut sums = zeros;
    for row in 0..rows {
        // SAFETY: by contract.
        let x = unsafe { read::<F, A>(x.add(row * pitch), used, &zeros) };
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
        let x = unsafe { read::<F, A>(x.add(row * pitch), used, &zeros) };
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

per_isa! {
    /// As for a run of one channel.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `y` on.
    pub(super) unsafe fn normalise[F: Float][F](
        x: *const F, residual: *const F, y: *mut F, runs: Runs, first: usize, normals: &Columns<F, 3>, relu: bool,
    ) {
        // SAFETY: by contract.
        unsafe {
            match (residual.is_null(), relu) {
                (true, false) => normalise_as::<F, false, false>(x, residual, y, runs, first, normals),
                (true, true) => normalise_as::<F, false, true>(x, residual, y, runs, first, normals),
                (false, false) => normalise_as::<F, true, false>(x, residual, y, runs, first, normals),
                (false, true) => normalise_as::<F, true, true>(x, residual, y, runs, first, normals),
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
    normals: &Columns<F, 3>,
) {
    let normals = normals.of(first, runs.cols);
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
        map::normalise::<F, ADD, RELU>(x, r, y, |column| Normal::of(numbers_of(&normals, column)));
    }
}

per_isa! {
    /// Adds each column's Σ dy and Σ dy·(x − center), of the `dy` that passes the mask.
    ///
    /// # Safety
    /// The rows are valid for reads.
    pub(super) unsafe fn sums[F: Float][F](
        x: *const F, dy: *const F, y: *const F, runs: Runs, first: usize, normals: &Columns<F, 3>, mask: Mask,
        sums: &mut [f64], products: &mut [f64],
    ) {
        let (sums, products) = (&mut sums[..runs.cols], &mut products[..runs.cols]);
        let normals = normals.of(first, runs.cols);
        strips_of!(runs.cols, |column, strip| {
            let (x, dy, y) = (x.wrapping_add(column), dy.wrapping_add(column), y.wrapping_add(column));
            // SAFETY: the strip of every row lies in the rows.
            unsafe {
                let normals = strip_of(normals, column, used(strip));
                let mut part = match mask {
                    Mask::None => strip_sums::<F, F, NONE>(x, dy, y, runs, used(strip), &normals),
                    Mask::OfInput => strip_sums::<F, F, OF_INPUT>(x, dy, y, runs, used(strip), &normals),
                    Mask::OfOutput => strip_sums::<F, F, OF_OUTPUT>(x, dy, y, runs, used(strip), &normals),
                };
                if !part.iter().flatten().all(|sum| sum.is_finite()) {
                    part = match mask {
                        Mask::None => strip_sums::<F, f64, NONE>(x, dy, y, runs, used(strip), &normals),
                        Mask::OfInput => strip_sums::<F, f64, OF_INPUT>(x, dy, y, runs, used(strip), &normals),
                        Mask::OfOutput => strip_sums::<F, f64, OF_OUTPUT>(x, dy, y, runs, used(strip), &normals),
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
    used: Used,
    [center, scale, shift]: &[Lanes<F>; 3],
) -> [Lanes<f64>; 2] {
    let zeros = [F::ZERO; LANES];
    let (mut sums, mut products) = ([A::ZERO; LANES], [A::ZERO; LANES]);
    for row in 0..rows {
        let at = row * pitch;
        // SAFETY: by contract.
        unsafe {
            let x = read::<F, F>(x.add(at), used, center);
            let dy = read::<F, F>(dy.add(at), used, &zeros);
            let y = if MASK == OF_OUTPUT {
                read::<F, F>(y.add(at), used, &zeros)
            } else {
                zeros
            };
            for l in 0..LANES {
                let normal = Normal::of([center[l], scale[l], shift[l]]);
                let dy = passing::<F, MASK>(x[l], dy[l], y[l], normal);
                let (dy, distance) = in_wider::<F, A>(dy, x[l], normal.center);
                sums[l] = sums[l] + dy;
                products[l] = products[l] + dy * distance;
            }
        }
    }
    [sums, products].map(|lanes| lanes.map(A::to_f64))
}

per_isa! {
    /// As for a run of one channel.
    ///
    /// # Safety
    /// The rows are valid: for reads, and for writes from `dx` and `dr` on.
    pub(super) unsafe fn gradient[F: Float][F](
        inputs: [*const F; 3], outputs: [*mut F; 2], runs: Runs, first: usize,
        normals: &Columns<F, 3>, gradients: &Columns<F, 4>, mask: Mask,
    ) {
        let all = (normals.of(first, runs.cols), gradients.of(first, runs.cols));
        let written = outputs.map(|output| !output.is_null());
        // SAFETY: by contract.
        unsafe {
            match (mask, written) {
                (Mask::None, _) => gradient_as::<F, NONE, true, false>(inputs, outputs, runs, all),
                (Mask::OfInput, _) => gradient_as::<F, OF_INPUT, true, false>(inputs, outputs, runs, all),
                (_, [true, false]) => gradient_as::<F, OF_OUTPUT, true, false>(inputs, outputs, runs, all),
                (_, [true, true]) => gradient_as::<F, OF_OUTPUT, true, true>(inputs, outputs, runs, all),
                (_, [false, _]) => gradient_as::<F, OF_OUTPUT, false, true>(inputs, outputs, runs, all),
            }
        }
    }
}

/// # Safety
/// As for [`gradient`].
#[inline(always)]
unsafe fn gradient_as<F: Float, const MASK: u8, const DX: bool, const DR: bool>(
    [x, dy, y]: [*const F; 3],
    [dx, dr]: [*mut F; 2],
    runs: Runs,
    (normals, gradients): ([&[F]; 3], [&[F]; 4]),
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
            map::gradient::<F, MASK, DX, DR>(
                [read(true, x), read(true, dy), read(MASK == OF_OUTPUT, y)],
                [write(DX, dx), write(DR, dr)],
                |column| Normal::of(numbers_of(&normals, column)),
                |column| Gradient::of(numbers_of(&gradients, column)),
            );
        }
    }
}
